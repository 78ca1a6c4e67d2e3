"""The files of a log's database, damaged: a bit anywhere, a file that is missing, a block."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog.audit import FindingKind, audit
from tests.support.damaged_logs import ORIGIN, SIZE, log, only, whole

__all__ = ["log", "whole"]  # fixtures


def flipped(file: Path, position: int, bit: int) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[position] ^= 1 << bit
    file.write_bytes(damaged)


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_bit_anywhere_in_the_files_is_found_or_means_nothing(
    end: str, tmp_path: Path, whole: Callable[[str], Path]
) -> None:
    """Never an error that is not this project's, never a shorter log, never a wrong one that passes."""
    log, clean, found = whole(end), audit(str(whole(end))), dict[str, int]()
    chance = random.Random(20)
    files = [file.name for file in sorted((log / "db").iterdir()) if file.stat().st_size]
    kinds = {name.split("-")[0] if "-" in name else name.rpartition(".")[2] for name in files}
    assert kinds >= (
        {"sst", "MANIFEST", "CURRENT"} if end == "closed" else {"sst", "log", "MANIFEST", "CURRENT"}
    )
    for name in files:
        length = (log / "db" / name).stat().st_size
        for position in (0, length - 1, *(chance.randrange(length) for _ in range(4))):
            victim = tmp_path / "victim"
            shutil.copytree(log, victim)
            flipped(victim / "db" / name, position, chance.randrange(8))
            report = audit(str(victim), processes=1)
            shutil.rmtree(victim)
            if report.findings:
                assert report.exit_status == 1, (name, position, report)
                found[name] = found.get(name, 0) + 1
                if name.endswith((".sst", ".log")):
                    assert any(name in str(finding) for finding in report.findings), report.findings
                continue
            same = (report.origin, report.size, report.root, report.entries, report.tiles, report.checkpoints)
            assert same == (clean.origin, SIZE, clean.root, SIZE, clean.tiles, clean.checkpoints), (
                name,
                position,
            )
    assert all(found.get(name, 0) >= 4 for name in files if name.endswith((".sst", ".log")))
    assert all(found.get(name, 0) == 6 for name in files if name.startswith(("MANIFEST", "CURRENT")))


@pytest.mark.parametrize("suffix", [".sst", "MANIFEST"])
def test_a_missing_file_is_found(log: Path, suffix: str) -> None:
    files = sorted(file for file in (log / "db").iterdir() if suffix in file.name)
    for file in files:
        file.rename(log / "gone")
        assert audit(str(log)).exit_status == 1
        (log / "gone").rename(file)
    assert files
    assert audit(str(log)).findings == ()


def test_one_damaged_block_costs_only_its_own_entries(tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "log", ORIGIN)
    chance = random.Random(1)
    with merklelog.open(tmp_path / "log") as log:
        log.append_batch([chance.randbytes(256) for _ in range(4096)])
    file = max((tmp_path / "log/db").glob("*.sst"), key=lambda each: each.stat().st_size)
    flipped(file, file.stat().st_size // 2, 3)
    report = audit(str(tmp_path / "log"), processes=1)
    finding = only(report, 4096)
    assert finding.kind is FindingKind.BUNDLE
    assert file.name in finding.detail
    assert finding.entries is not None
    first, end = finding.entries
    assert (first % 256, end % 256) == (0, 0)
    assert end - first <= 3 * 256
    assert first <= 2048 < end + 512
    assert report.entries == 4096 - (end - first)
    assert f"[entries {first} to {end - 1}]" in str(finding)
