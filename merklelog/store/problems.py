"""What the database's errors mean.

rocksdict raises bare `Exception` with RocksDB's text in it. Each is told apart here, once: no room, damage, a
second process, or any other refusal of the disk.
"""

from __future__ import annotations

import errno
from pathlib import Path

from merklelog.errors import (
    ClosedError,
    DamagedError,
    LockedError,
    MerklelogError,
    StorageError,
    StorageFullError,
)

_FULL = ("no space left", "file too large", "disk quota", "enospc", "edquot", "efbig")
_DAMAGED = (
    *("corruption", "checksum mismatch", "bad magic", "no such file or directory", "missing"),
    "column family not found",  # some other program's database
)
_FULL_NUMBERS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_CLOSED = "instance already closed"
_LOCKED = ("while lock file", "lock hold by current process", "/lock:")


def translate(error: Exception, path: Path, doing: str, place: Path | None = None) -> MerklelogError:
    """The project's error for what rocksdict raised while `doing` something with the database at `path`.

    `place` is where RocksDB was told it is, and so what its text says.
    """
    if isinstance(error, MerklelogError):
        return error
    text = str(error).replace(str(place or path), str(path))
    # RocksDB's text names files, and a log may live in a directory called "missing".
    low = text.replace(str(path), "").lower()
    said = f"{path}: {doing}: {text}"
    if _CLOSED in low:
        return ClosedError(f"{path}: the database was closed")
    if any(word in low for word in _LOCKED):
        return LockedError(said)
    if any(word in low for word in _FULL):
        return StorageFullError(said)
    if any(word in low for word in _DAMAGED):
        return DamagedError(said)
    return StorageError(said)


def os_problem(error: OSError, path: Path) -> StorageFullError | StorageError:
    """The project's error for what the system said about a file beside the database."""
    said = f"{path}: {error.strerror or error}"
    return StorageFullError(said) if error.errno in _FULL_NUMBERS else StorageError(said)
