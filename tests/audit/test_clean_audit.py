"""Logs with nothing wrong: proven, whatever their size, and everything was looked at."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog.audit import AuditReport, audit
from merklelog.errors import NotALogError, NotFoundError, UsageError
from merklelog.formats import Policy, parse_checkpoint, single_log_policy
from merklelog.tree import tiles_of

SIZES = (0, 1, 255, 256, 257, 1000, 70_000)


def policy_of(path: Path) -> Policy:
    with merklelog.open_reader(path) as reader:
        return single_log_policy(reader.vkeys)


def check_counts(report: AuditReport, log: Path, size: int) -> None:
    with merklelog.open_reader(log) as reader:
        signed = parse_checkpoint(reader.checkpoint()).checkpoint
        framed = sum(2 + len(each) for each in reader.entries(0, size))
    assert (report.origin, report.size, report.root) == (signed.origin, size, signed.root)
    assert (report.entries, report.bytes) == (size, framed)
    assert report.bundles == -(-size // 256)
    assert report.tiles == len(list(tiles_of(size)))
    assert (report.findings, report.unlisted, report.exit_status) == ((), 0, 0)


@pytest.mark.parametrize("size", SIZES)
def test_a_data_directory_is_proven(size: int, data: Callable[[int], Path]) -> None:
    report = audit(str(data(size)))
    check_counts(report, data(size), size)
    assert report.signatures_checked
    with merklelog.open_reader(data(size)) as reader:
        assert report.checkpoints == len(list(reader._reads.stored_sizes())) + 1
    assert report.checkpoints > min(size, 5)
    assert report.remarks == ()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("size", SIZES)
def test_a_published_copy_is_proven(
    size: int, encoding: str, data: Callable[[int], Path], copies: Callable[[int, str], Path]
) -> None:
    report = audit(f"dir:{copies(size, encoding)}", policy_of(data(size)))
    check_counts(report, data(size), size)
    assert (report.signatures_checked, report.checkpoints, report.remarks) == (True, 2, ())


def test_without_a_key_it_says_that_signatures_were_not_checked(
    data: Callable[[int], Path], copies: Callable[[int, str], Path]
) -> None:
    report = audit(f"dir:{copies(1000, 'identity')}")
    check_counts(report, data(1000), 1000)
    assert not report.signatures_checked
    assert "signatures were not checked" in report.remarks[0]


def test_several_processes_and_one_report_the_same(data: Callable[[int], Path]) -> None:
    path, steps = data(70_000), list[tuple[int, int]]()
    one = audit(str(path), processes=1)
    two = audit(str(path), processes=2, progress=lambda done, total: steps.append((done, total)))
    assert (one.processes, two.processes) == (1, 2)
    assert strip(one) == strip(two)
    assert steps[0] == (0, 70_000)
    assert steps[-1] == (70_000, 70_000)
    assert steps == sorted(steps)
    assert len(steps) > 3


def strip(report: AuditReport) -> list[object]:
    return [
        report.origin,
        report.size,
        report.root,
        report.entries,
        report.bundles,
        report.tiles,
        report.bytes,
        report.checkpoints,
        report.findings,
        report.unlisted,
        report.remarks,
    ]


def test_an_old_size_is_audited_under_its_own_checkpoint(grown: tuple[Path, Path]) -> None:
    log, copy = grown
    for target in (str(log), f"dir:{copy}"):
        for size in (300, 700, 1000):
            report = audit(target, policy_of(log), size=size)
            assert (report.findings, report.size, report.entries) == ((), size, size)
        with pytest.raises(NotFoundError, match="999"):
            audit(target, policy_of(log), size=999)


def test_every_published_checkpoint_is_compared(grown: tuple[Path, Path]) -> None:
    report = audit(f"dir:{grown[1]}", policy_of(grown[0]))
    assert (report.findings, report.checkpoints) == ((), 4)


def test_a_script_without_a_main_guard_may_audit_with_several_processes(
    tmp_path: Path, data: Callable[[int], Path]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from merklelog.audit import audit\n"
        f"report = audit({str(data(70_000))!r}, processes=2)\n"
        "print(report.processes, report.exit_status, report.entries)\n"
    )
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.stdout, done.stderr) == ("2 0 70000\n", "")


def test_an_audit_beside_a_writer_sees_one_moment(tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "log", "example.com/busy")
    stop, failures = threading.Event(), list[object]()
    with merklelog.open(tmp_path / "log") as log:
        log.append_batch([b"x" * (i % 50) for i in range(70_000)])

        def write() -> None:
            while not stop.is_set():
                log.append_batch([b"%d" % i for i in range(37)])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for processes in (1, 2, 1):
                report = audit(str(tmp_path / "log"), processes=processes)
                failures += report.findings
                assert report.entries == report.size >= 70_000
        finally:
            stop.set()
            writer.join()
    assert failures == []


def test_targets_that_can_not_be_audited_are_refused(
    tmp_path: Path, copies: Callable[[int, str], Path]
) -> None:
    with pytest.raises(NotALogError):
        audit(str(tmp_path / "nothing"))
    with pytest.raises(NotALogError):
        audit(__file__)
    with pytest.raises(NotALogError, match="dir:"):
        audit(str(copies(1, "identity")))
    with pytest.raises(NotALogError):
        audit(f"dir:{tmp_path}")
    with pytest.raises(UsageError):
        audit("s3://example//log")
    with pytest.raises(UsageError, match="no locks"):
        audit(f"dir:{tmp_path}", retention=True)
    with pytest.raises(UsageError):
        audit("")
    assert list(tmp_path.iterdir()) == []
