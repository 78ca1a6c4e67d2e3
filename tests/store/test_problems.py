"""What RocksDB says in words, each told apart; what the words of a path say is of no account."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from merklelog.errors import ClosedError, DamagedError, LockedError, StorageError, StorageFullError
from merklelog.store.problems import os_problem, translate

PATH = Path("/srv/missing no space left/corruption/lock:/db")
# As RocksDB 9.8 and rocksdict word them; DB stands for the database's path.
SAID = {
    "IO error: No space left on device: While appending to file: DB/000012.log": StorageFullError,
    "IO error: While appending to file: DB/000012.log: File too large": StorageFullError,
    "IO error: While fsync: DB/000012.log: Disk quota exceeded": StorageFullError,
    "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4 in DB/000021.sst": DamagedError,
    "Corruption: Bad table magic number: expected 1, found 2 in DB/000021.sst": DamagedError,
    "Corruption: Corrupted keys": DamagedError,
    "IO error: No such file or directory: While open a file for random read: DB/000021.sst": DamagedError,
    "Invalid argument: Column family not found: tiles": DamagedError,
    "IO error: While lock file: DB/LOCK: Resource temporarily unavailable": LockedError,
    "IO error: lock hold by current process, acquire time 1 acquiring thread 2: DB/LOCK: No locks": LockedError,
    "DB instance already closed": ClosedError,
    "IO error: While pread offset 0 len 5: DB/000021.sst: Input/output error": StorageError,
    "IO error: While open a file for appending: DB/000022.log: Read-only file system": StorageError,
    "Result incomplete: Write stall": StorageError,
}


@pytest.mark.parametrize(("text", "kind"), SAID.items(), ids=lambda value: getattr(value, "__name__", "said"))
def test_what_rocksdb_says_is_told_apart(text: str, kind: type[Exception]) -> None:
    error = translate(Exception(text.replace("DB", str(PATH))), PATH, "reading tiles")
    assert type(error) is kind
    assert str(PATH) in str(error)
    if kind is not ClosedError:
        assert "reading tiles" in str(error)


def test_an_error_of_ours_stays_what_it_is() -> None:
    ours = DamagedError("this one")
    assert translate(ours, PATH, "reading tiles") is ours


def test_the_place_that_rocksdb_was_told_is_not_shown() -> None:
    """A reader's database is opened through a directory of its own, which nobody knows."""
    error = translate(Exception("Corruption: in /tmp/x1/000021.sst"), PATH, "opening", Path("/tmp/x1"))
    assert f"{PATH}/000021.sst" in str(error)
    assert "/tmp/x1" not in str(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES])
def test_what_the_system_says_of_a_file(number: int) -> None:
    error = os_problem(OSError(number, "words"), PATH)
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert type(error) is (StorageFullError if full else StorageError)
    assert str(error) == f"{PATH}: words"
