"""Where an index lies, who may write it, and whether its files are what was written.

    DIR/search/lock       held by who writes; names its process
    DIR/search/CURRENT    the name of the directory beside it that is the index
    DIR/search/<number>/  tantivy's files

Everything here is made from the log. Who finds it missing, damaged or of another version makes it anew, in a new
directory.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Final

from merklelog.errors import DamagedError, LockedError, NotFoundError
from merklelog.log.directory import SEARCH, sync_path
from merklelog.store.problems import os_problem

CURRENT: Final = "CURRENT"
REBUILD: Final = "rebuild"
_LOCK: Final = "lock"
_NAME: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_MAGIC: Final = (1337).to_bytes(4, "little")
_READ: Final = 1 << 20


def search_directory(directory: Path) -> Path:
    """Where the index of the log in `directory` lies."""
    return directory / SEARCH


def current(place: Path) -> Path:
    """The directory of the index. Raises NotFoundError for none, DamagedError."""
    try:
        name = (place / CURRENT).read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        raise NotFoundError("the log has no index yet: `merklelog index update` makes one") from None
    except OSError as error:
        raise os_problem(error, place / CURRENT) from error
    if _NAME.fullmatch(name) is None:
        raise DamagedError(f"{place / CURRENT} says {name[:40]!r}, want the name of a directory")
    return place / name


def fresh(place: Path) -> Path:
    """A new and empty directory for an index; what was begun before and never became one is deleted.

    For who holds the lock. Raises StorageError, StorageFullError.
    """
    try:
        place.mkdir(exist_ok=True)
        text = place / CURRENT
        now = text.read_text("ascii", errors="replace").strip() if text.exists() else ""
        for each in place.iterdir():
            if _NAME.fullmatch(each.name) and each.name != now:
                shutil.rmtree(each, ignore_errors=True)  # what is left over is deleted the next time
        numbers = [int(each.name) for each in place.iterdir() if _NAME.fullmatch(each.name)]
        made = place / str(max(numbers, default=0) % 999_999_999 + 1)
        made.mkdir()
    except OSError as error:
        raise os_problem(error, place) from error
    return made


def make_current(made: Path) -> None:
    """That directory is the index from now on; all others are deleted. Raises StorageError."""
    place = made.parent
    draft = place / f"{CURRENT}.new"
    try:
        draft.write_text(f"{made.name}\n", "ascii")
        sync_path(draft)
        draft.rename(place / CURRENT)
        sync_path(place)
        for each in place.iterdir():
            if _NAME.fullmatch(each.name) and each != made:
                shutil.rmtree(each, ignore_errors=True)  # what is left over is deleted the next time
    except OSError as error:
        raise os_problem(error, place) from error


def ask_for_rebuild(place: Path) -> None:
    """Have whoever writes the index make it anew. Raises StorageError, StorageFullError."""
    try:
        (place / REBUILD).touch()
    except OSError as error:
        raise os_problem(error, place / REBUILD) from error


def was_asked_for_rebuild(place: Path) -> bool:
    """Whether it was asked for since the last call of this."""
    try:
        (place / REBUILD).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise os_problem(error, place / REBUILD) from error
    return True


class WriterLock:
    """The right to write an index, held while this object is open. Raises LockedError naming who has it."""

    def __init__(self, place: Path) -> None:
        try:
            place.mkdir(exist_ok=True)
            self._handle = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise os_problem(error, place) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            text = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
            self.release()
            pid = int(text) if text.isascii() and text.isdecimal() else None
            who = f"process {pid}" if pid is not None else "another process"
            raise LockedError(f"{place} is written by {who}", pid) from error
        except OSError as error:
            self.release()
            raise os_problem(error, place) from error

    def release(self) -> None:
        """Let the next one in."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def check_files(index: Path) -> None:
    """Read every file of an index, and compare it with the checksum at its end. Raises DamagedError naming one.

    Source: tantivy's file footer: JSON with the CRC-32 of all before it, its length, and a magic number.
    """
    for path in _segment_files(index):
        try:
            _check_file(path)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(f"{path}: {error}") from error


def _segment_files(index: Path) -> list[Path]:
    try:
        meta = json.loads((index / "meta.json").read_bytes())
        names = {str(each["segment_id"]).replace("-", "") for each in meta["segments"]}
        found = [path for path in index.iterdir() if path.name.partition(".")[0] in names]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{index / 'meta.json'}: {error}") from error
    missing = names - {path.name.partition(".")[0] for path in found if path.suffix == ".store"}
    if missing:
        raise DamagedError(f"{index}: segment {min(missing)} is missing")
    return found


def _check_file(path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or not 0 < length <= min(size - 8, 4_096):
            raise ValueError("it has no checksum at its end")
        file.seek(size - 8 - length)
        told = json.loads(file.read(length))["crc"]
        file.seek(0)
        left, crc = size - 8 - length, 0
        while left:
            data = file.read(min(left, _READ))
            if not data:
                raise ValueError("it ended while it was read")
            crc = zlib.crc32(data, crc)
            left -= len(data)
    if crc != told:
        raise ValueError(f"its checksum is {crc}, want {told}")


def size_of(index: Path) -> int:
    """Bytes of an index on the disk; a file that is deleted meanwhile counts as nothing."""
    total = 0
    for path in index.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # merged into another one meanwhile
    return total


__all__ = [
    "REBUILD",
    "WriterLock",
    "ask_for_rebuild",
    "check_files",
    "current",
    "fresh",
    "make_current",
    "search_directory",
    "size_of",
    "was_asked_for_rebuild",
]
