"""The parts of an audit by themselves: the inner loop, roots of old sizes, worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.audit import AuditFinding, FindingKind, audit, workers
from merklelog.audit.hashing import bundle_hashes, leading_hashes, partial_rows, tile_rows
from merklelog.audit.heads import HeadClaim
from merklelog.audit.peaks import Peaks, inner_peaks
from merklelog.audit.report import MAX_FINDINGS, Findings
from merklelog.audit.scan import Scanned, Task
from merklelog.audit.worker import (
    Setup,
    format_scanned,
    format_setup,
    format_task,
    parse_scanned,
    parse_setup,
    parse_task,
)
from merklelog.errors import DamagedError, FormatError, NotFoundError, StorageError, UnreachableError
from merklelog.formats import SignatureType, format_bundle, generate_signing_key, parse_bundle
from merklelog.tree import CompactRange, Hash, leaf_hash, leaf_hashes, node_hash

LEAVES = [leaf_hash(b"%d" % i) for i in range(256)]

# --- hashing ---------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_gives_the_leaf_hash_of_each_entry(entries: list[bytes]) -> None:
    framed = format_bundle(entries)
    joined = b"".join(leaf_hashes(entries))
    assert bundle_hashes(framed, len(entries)) == joined
    assert leading_hashes(framed, len(entries)) == joined


@pytest.mark.parametrize(
    "sizes", [[0] * 3, [300] * 256, [3, 4, 2], [2, 2, 1, 3], [256, 256, 255, 257], [65_535] * 2]
)
def test_entries_of_one_length_are_told_from_those_that_only_sum_up_to_it(sizes: list[int]) -> None:
    entries = [bytes(at % 251 for at in range(number, number + size)) for number, size in enumerate(sizes)]
    framed = format_bundle(entries)
    assert bundle_hashes(framed, len(entries)) == b"".join(leaf_hashes(entries))
    for width, data in ((len(sizes) + 1, framed), (len(sizes), framed + b"\0"), (len(sizes), framed[:-1])):
        with pytest.raises(FormatError):
            bundle_hashes(data, width)


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=6), st.data())
def test_a_bundle_is_taken_exactly_when_it_can_be_parsed(entries: list[bytes], data: st.DataObject) -> None:
    framed = bytearray(format_bundle(entries))
    cut = data.draw(st.integers(0, len(framed)))
    for at in data.draw(st.lists(st.integers(0, len(framed) - 1), max_size=2)):
        framed[at] = data.draw(st.integers(0, 255))
    broken, width = bytes(framed[:cut]), data.draw(st.integers(1, 7))
    assert outcome(lambda: bundle_hashes(broken, width)) == outcome(
        lambda: b"".join(leaf_hashes(parse_bundle(broken, width)))
    )
    assert len(leading_hashes(broken, width)) <= 32 * width


def outcome(call: Callable[[], bytes]) -> bytes | str:
    try:
        return call()
    except FormatError as error:
        return str(error)


@pytest.mark.parametrize("width", range(1, 257))
def test_rows_hold_every_node_of_a_tile(width: int) -> None:
    rows = partial_rows(b"".join(LEAVES[:width]))
    for height, row in enumerate(rows):
        assert len(row) == 32 * (width >> height)
        for at in range(0, len(row), 32):
            if height:
                below = rows[height - 1][2 * at : 2 * at + 64]
                assert row[at : at + 32] == node_hash(below[:32], below[32:])
    if width == 256:
        assert rows == tile_rows(b"".join(LEAVES))


# --- roots of old sizes ----------------------------------------------------------------------------------------


def test_peaks_fold_to_the_root_of_every_size() -> None:
    """Bundles of 4 leaves in ranges of 8, as the audit joins ranges of bundles: root by root."""
    whole, before = CompactRange(), Peaks()
    for start in range(0, 128, 8):
        inner = Peaks()
        for first in range(start, start + 8, 4):
            rows = partial_rows(b"".join(LEAVES[first : first + 4]))
            for count in range(1, 5):
                whole = whole.append(LEAVES[first + count - 1])
                tail = inner.fold(inner_peaks(rows, count)) if count < 4 else None
                if count == 4:
                    inner.push(2, Hash(rows[2]))
                    tail = inner.fold()
                assert before.fold((tail,)) == whole.root()
        for height, digest in inner.row:
            before.push(height, digest)
    assert len(before.row) == 1


def test_what_is_made_with_an_unknown_hash_is_unknown() -> None:
    peaks = Peaks()
    for known in (LEAVES[0], None, LEAVES[2], LEAVES[3]):
        peaks.push(0, known)
    assert peaks.row == [(2, None)]
    assert peaks.fold() is None
    peaks.push(0, LEAVES[4])
    assert peaks.fold() is None
    assert Peaks().fold((LEAVES[0], None)) is None


# --- findings --------------------------------------------------------------------------------------------------


def test_neighbouring_entries_with_one_fault_are_one_finding() -> None:
    findings = Findings()
    for start in (0, 256, 512, 1024):
        findings.fault(
            FindingKind.BUNDLE, "/log/db", DamagedError("/log/db: bad block"), (start, start + 256)
        )
    findings.fault(FindingKind.BUNDLE, "/log/db", DamagedError("/log/db: another"), (1280, 1536))
    assert [(f.entries, f.detail) for f in findings.listed] == [
        ((0, 768), "bad block"),
        ((1024, 1280), "bad block"),
        ((1280, 1536), "another"),
    ]
    assert str(findings.listed[0]) == "/log/db: bad block [entries 0 to 767]"


def test_only_what_can_not_be_told_is_not_disproof() -> None:
    findings = Findings()
    for error in (
        DamagedError("x"),
        NotFoundError("x"),
        FormatError("x"),
        UnreachableError("x"),
        StorageError("x"),
    ):
        findings.fault(FindingKind.TILE, "here", error, (len(findings.listed) * 10, 1))
    assert [finding.disproven for finding in findings.listed] == [True, True, True, False, False]


def test_the_list_is_bounded_and_nothing_is_told_twice() -> None:
    findings = Findings()
    for number in range(MAX_FINDINGS + 20):
        findings.add(FindingKind.TILE, str(number), "denied", disproven=False)
        findings.add(FindingKind.TILE, str(number), "denied", disproven=False)
    assert (len(findings.listed), findings.listed[-1].where) == (MAX_FINDINGS, str(MAX_FINDINGS - 1))
    findings.add(FindingKind.TILE, "late", "wrong")
    assert findings.listed[-1].where == "late"


# --- worker processes ------------------------------------------------------------------------------------------


def test_messages_come_back_as_they_were() -> None:
    keys = tuple(
        generate_signing_key("example.com/é", kind).verifier
        for kind in (SignatureType.ED25519, SignatureType.COSIGNATURE_MLDSA44)
    )
    setup = Setup("dir:/tmp/a b\n", 2**62, "example.com/é", keys)
    assert parse_setup(format_setup(setup)) == setup
    task = Task(128, 256, (32_769, 65_536))
    assert parse_task(format_task(task)) == task
    finding = AuditFinding(FindingKind.ENTRY, "a\nb", "é", (3, 4), disproven=False)
    bare = AuditFinding(FindingKind.ROOT, "a", "b")
    found = Scanned(
        task,
        (LEAVES[0], None),
        ((8, LEAVES[1]), (9, None)),
        (HeadClaim(7, LEAVES[2], None), HeadClaim(8, None, LEAVES[3])),
        (finding, bare),
        4,
        5,
        6,
        7,
    )
    line = format_scanned(found)
    assert line.count(b"\n") == 1
    assert parse_scanned(line, task) == found


@pytest.mark.parametrize(
    ("boot", "words"),
    [
        ("import sys; sys.exit(7)", "status 7"),
        ("raise RuntimeError('no such luck')", "no such luck"),
        ("import os; os.kill(os.getpid(), 9)", "status -9"),
        ("import sys; sys.stdin.readline(); sys.stdin.readline(); print('half', end='')", "status 0"),
    ],
)
def test_a_worker_that_dies_is_an_error_of_the_audit(
    boot: str, words: str, data: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_BOOT", boot)
    with pytest.raises(StorageError, match=words):
        audit(str(data(70_000)), processes=2)


def test_a_worker_that_can_not_open_the_log_says_why(
    data: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = r'print(\'{"error":["DamagedError","gone meanwhile"]}\')'
    monkeypatch.setattr(workers, "_BOOT", f"import sys; sys.stdin.readline(); {answer}".replace("\\'", "'"))
    with pytest.raises(DamagedError, match="gone meanwhile"):
        audit(str(data(70_000)), processes=2)


def test_without_an_interpreter_to_start_one_process_audits(
    data: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    report = audit(str(data(70_000)))
    assert (report.processes, report.findings) == (1, ())


def test_workers_end_with_the_audit_that_started_them(data: Callable[[int], Path]) -> None:
    """Killed without a chance to clean up, in the middle: the workers find their input ended, and end."""
    code = (
        "import os, sys\n"
        "from merklelog.audit import audit, workers\n"
        "start = workers._Worker.__init__\n"
        "def told(self, setup):\n"
        "    start(self, setup)\n"
        "    print(self._process.pid, flush=True)\n"
        "workers._Worker.__init__ = told\n"
        "audit(sys.argv[1], processes=3, progress=lambda done, total: done and os.kill(os.getpid(), 9))\n"
    )
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code, data(70_000)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(line) for line in done.stdout.split()]
    assert len(pids) == 2
    for pid in pids:
        for _ in range(1000):
            if not alive(pid):
                break
            time.sleep(0.02)
        assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_interrupted_audit_ends_its_workers(
    data: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = workers._Worker.__init__

    def told(self: workers._Worker, setup: Setup) -> None:
        start(self, setup)
        started.append(self._process)

    def interrupt(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(workers._Worker, "__init__", told)
    with pytest.raises(KeyboardInterrupt):
        audit(str(data(70_000)), processes=3, progress=interrupt)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
