"""What a directory store asks of the operating system, with this project's errors."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from merklelog.errors import (
    DamagedError,
    MerklelogError,
    NotFoundError,
    StorageError,
    StorageFullError,
    UnreachableError,
)

# EFBIG is what a file size limit (ulimit -f) gives.
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_DENIED: Final = frozenset((errno.EACCES, errno.EPERM, errno.ELOOP))
_SYNCING: Final = 8
_ABSENT: Final = frozenset((errno.ENOENT, errno.ENOTDIR))


def _told(error: OSError, what: str) -> str:
    return f"{what}: {error.strerror or error}"


def read_error(error: OSError, what: str) -> MerklelogError:
    """The project's error for a failed read: not there, denied (it may well be there), or a failing disk."""
    if error.errno in _ABSENT:
        return NotFoundError(f"{what}: there is no such object")
    if error.errno in _DENIED:
        return UnreachableError(_told(error, what))
    return StorageError(_told(error, what))


def write_error(error: OSError, what: str) -> MerklelogError:
    """The project's error for a failed write: no room, or refused."""
    if error.errno in _FULL:
        return StorageFullError(_told(error, what))
    return StorageError(_told(error, what))


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turns what the operating system raises inside into StorageFullError or StorageError."""
    try:
        yield
    except OSError as error:
        raise write_error(error, what) from error


def read_file(path: Path, what: str, limit: int) -> bytes:
    """A regular file's bytes, at most `limit`.

    Raises NotFoundError, UnreachableError, StorageError, DamagedError (over the limit, or not a file).
    """
    try:
        # O_NONBLOCK: a named pipe put there must not make a reader wait.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise read_error(error, what) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"{what}: it is not a regular file")
        if status.st_size > limit:
            raise DamagedError(f"{what}: {status.st_size} bytes, want at most {limit}")
        return _read_all(handle, status.st_size, limit, what)
    except OSError as error:
        raise read_error(error, what) from error
    finally:
        os.close(handle)


def _read_all(handle: int, size: int, limit: int, what: str) -> bytes:
    data = os.read(handle, size + 1)
    if len(data) == size:
        return data
    # The size was no promise: the file grew, or the read was cut short (a network file system).
    parts, total = [data], len(data)
    while part := os.read(handle, 1 << 20):
        parts.append(part)
        total += len(part)
        if total > limit:
            raise DamagedError(f"{what}: more than {limit} bytes")
    return b"".join(parts)


def sync_all(handles: Sequence[int]) -> None:
    """Make the bytes of many written files durable; raises the first OSError.

    Several at a time and not one after the other: the file system then commits its journal for many at once
    (measured with 128 files on ext4: a half to a quarter of the time).
    """
    if len(handles) < _SYNCING:
        for handle in handles:
            os.fdatasync(handle)
        return
    with ThreadPoolExecutor(_SYNCING) as pool:
        list(pool.map(os.fdatasync, handles))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directories(path: Path) -> None:
    """Make a directory and what is missing above it, each name durable."""
    if not path.is_dir():
        if path.parent != path:
            make_directories(path.parent)
        path.mkdir(exist_ok=True)
    # Also when it was there: whoever made it may have been killed before this. A parent that may not be
    # listed is none that this process or its predecessor made.
    with suppress(PermissionError):
        sync_directory(path.parent)


def open_temporary(folder: Path) -> tuple[int, Path]:
    """A new temporary file, locked while its handle is open: the lock is what says that its writer lives.

    Its mode follows the umask: what is published has to be readable by a web server.
    """
    while True:
        path = folder / secrets.token_hex(8)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            # A cleaner may have come between open and lock: then the file is gone, and another one is made.
            if _try_lock(handle) and os.fstat(handle).st_nlink:
                return handle, path
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


def remove_abandoned(folder: Path) -> int:
    """Remove the temporary files whose writers are gone (nobody holds their lock); how many."""
    removed = 0
    for entry in os.scandir(folder):
        try:
            handle = os.open(entry.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its writer is done with it
        try:
            if _try_lock(handle):
                Path(entry.path).unlink(missing_ok=True)
                removed += 1
        finally:
            os.close(handle)
    return removed


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; waits for whoever holds it. The kernel frees it when its holder dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write every byte: a plain write may take only some of them, on a disk that is nearly full for one."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
