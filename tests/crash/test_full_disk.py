"""Writes that fail for real: a file size limit, and a small disk with and without a reserve."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import StoppedError, StorageFullError
from tests.support.lives import ROOT

sys.path.insert(0, str(Path(__file__).parent))
from test_kills import checker, kills, logs

ENTRY = 2_000
MIB = 1 << 20


def fill(log: merklelog.Log, told: dict[int, bytes], most: int) -> Exception | None:
    """Append until the log refuses; what was acknowledged is noted."""
    for number in range(most):
        entries = [b"%d.%d " % (number, i) + os.urandom(ENTRY) for i in range(50)]
        try:
            receipt = log.append_batch(entries)
        except (StoppedError, StorageFullError) as error:
            return error
        told.update(zip(receipt.indexes, entries, strict=True))
    return None


_LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
import merklelog, merklelog.errors, os
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = merklelog.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
try:
    for number in range(1000):
        entries = [b"%d.%d " % (number, i) + bytes(2000) for i in range(50)]
        receipt = log.append_batch(entries)
        for index, entry in zip(receipt.indexes, entries):
            os.write(1, b"%d %s\\n" % (index, entry.hex().encode()))
        os.write(1, b"head %s\\n" % receipt.checkpoint.hex().encode())
except merklelog.errors.StoppedError as error:
    print(type(error).__name__, type(error.__cause__).__name__, error, file=sys.stderr)
    try:
        log.append(b"one more")
    except merklelog.errors.StoppedError:
        print("and stays stopped", file=sys.stderr)
    assert log.entry(0).startswith(b"0.0"), "reads go on"
    os._exit(7)
"""


def test_a_file_size_limit_stops_the_log_and_loses_nothing(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    told = kills.Witnessed()
    words = [sys.executable, "-c", _LIMITED, str(directory), str(ROOT)]
    done = subprocess.run(words, capture_output=True, timeout=120)
    errors = done.stderr.decode()
    assert done.returncode == 7, errors
    assert "StoppedError StorageFullError" in errors
    assert "and stays stopped" in errors
    told.take(done.stdout)
    assert told.acknowledged
    kills.judge(directory, told, checker.check_log)
    with merklelog.open(directory) as log:  # the limit is gone: a new open goes on
        index = log.append(b"after").index
        assert index >= len(told.acknowledged)
    kills.judge(directory, told, checker.check_log)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MiB in memory; mounting one is a privilege."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"mounting a small tmpfs is not permitted here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_log_and_space_brings_it_back(small_disk: Path) -> None:
    """Without a reserve the write itself fails: a clear stop, and nothing that was acknowledged is lost."""
    ballast = small_disk / "ballast"
    directory = logs.make(small_disk / "log")
    ballast.write_bytes(bytes(20 * MIB))
    told: dict[int, bytes] = {}
    log = merklelog.open(directory)
    refused = fill(log, told, 1_000)
    assert isinstance(refused, StoppedError)
    assert isinstance(refused.__cause__, StorageFullError), refused.__cause__
    assert told
    assert log.entry(0) == told[0], "reads go on"
    logs.let_go(log)
    ballast.unlink()
    with merklelog.open(directory) as log:
        checker.check_log(log, acknowledged=told)
        log.append(b"after")
        checker.check_log(log, acknowledged=told)


@pytest.mark.slow
def test_the_reserve_refuses_early_and_appends_come_back_by_themselves(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    directory = logs.make(small_disk / "log", store__min_free_bytes=16 * MIB)
    ballast.write_bytes(bytes(20 * MIB))
    told: dict[int, bytes] = {}
    with merklelog.open(directory) as log:
        refused = fill(log, told, 1_000)
        assert isinstance(refused, StorageFullError)
        assert "store.min_free_bytes" in str(refused)
        assert not log.stopped
        size = log.size
        assert log.entry(size - 1) == told[size - 1], "reads go on"
        ballast.unlink()
        receipt = log.append(b"after")
        assert receipt.index == size, "nothing of what was refused was stored"
        told[receipt.index] = b"after"
        checker.check_log(log, acknowledged=told)
