"""Reading a database beside its writer, and without writing in its directory.

RocksDB's diary and a file that rocksdict writes anew at each open would both land in the directory that is opened,
which may be on a read-only mount or another user's; and what a writer deletes meanwhile would be missed.
So a reader opens a place of its own: a copy of the manifest, which is the list of the files, and links to those.
On Linux the links lead to handles that are held until the database is open, so that a deleted file is still there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from merklelog.errors import DamagedError

from .problems import os_problem

COPY_TRIES: Final = 500
_HANDLES = Path(
    "/proc/self/fd"
)  # not /dev/fd, as macOS has it: what is opened there again shares its position
PINNING: Final = _HANDLES.is_dir()
_CURRENT = re.compile(rb"(MANIFEST-[0-9]+)\n")
_LINKED = re.compile(r"\.(?:log|sst)$|^(?:IDENTITY|OPTIONS-)")
_NOTHING_TO_SYNC = frozenset((errno.EROFS, errno.EINVAL))  # what fsync says where no write can be pending


class LookAlike:
    """A temporary directory, `place`, that looks like the database at `path` at one moment.

    A write-ahead log that is missing leaves no gap to be seen. But the writer deletes a file only after it put
    into the manifest that it needs it no more: while that stays as it was copied, all that it names is there.

    Raises DamagedError when a file that has to be there is not, StorageError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handles: list[int] = []
        self._manifest = Path("MANIFEST")
        self._copied = 0
        try:
            self.diary = Path(tempfile.mkdtemp(prefix="merklelog-read-"))
        except OSError as error:
            raise os_problem(error, Path("a temporary directory to read from")) from error
        # Also for who forgets to close, and never by a fork's copy of this object.
        self._remove = weakref.finalize(self, _remove_own, self.diary, os.getpid())
        self.place = self.diary / path.name
        try:
            self.place.mkdir()
            self._fill()
        except BaseException as error:
            self.unpin()
            self.remove()
            if isinstance(error, OSError):
                raise os_problem(error, path) from error
            raise

    def _fill(self) -> None:
        for _ in range(COPY_TRIES):
            self._copy_manifest()
            self._link(file_names(self._path) - file_names(self.place))
            if self.is_current():
                return
        raise DamagedError(f"{self._path} changed during each of {COPY_TRIES} tries to read what is in it")

    def _copy_manifest(self) -> None:
        current = (self._path / "CURRENT").read_bytes()
        match = _CURRENT.fullmatch(current)
        if match is None:
            raise DamagedError(f"{self._path / 'CURRENT'} says {current[:40]!r}, want the name of a manifest")
        (self.place / self._manifest.name).unlink(missing_ok=True)  # the last try's, and maybe not this one's
        self._manifest = self._path / match[1].decode()
        try:
            data = self._manifest.read_bytes()
        except FileNotFoundError as error:
            raise DamagedError(f"{self._manifest} is missing, and CURRENT names it") from error
        self._copied = len(data)
        (self.place / "CURRENT").write_bytes(current)
        (self.place / self._manifest.name).write_bytes(data)

    def is_current(self) -> bool:
        """Whether the manifest is still what was copied: it only grows, until another one takes its place."""
        try:
            return self._manifest.stat().st_size == self._copied
        except FileNotFoundError:
            return False

    def _link(self, names: set[str]) -> None:
        for name in names:
            if _LINKED.search(name):
                # Deleted since it was listed: then the manifest has changed too, and is copied again.
                with suppress(FileNotFoundError):
                    (self.place / name).symlink_to(self._pin(self._path.absolute() / name))

    def _pin(self, file: Path) -> Path:
        if not PINNING:
            return file
        self._handles.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
        return _HANDLES / str(self._handles[-1])

    def unpin(self) -> None:
        """Let go of the files: an open database has handles of its own."""
        while self._handles:
            os.close(self._handles.pop())

    def remove(self) -> None:
        """Delete the place."""
        self._remove()


def _remove_own(place: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(place, ignore_errors=True)


def file_names(path: Path) -> set[str]:
    """The names of the database's files as they are now."""
    try:
        return {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise os_problem(error, path) from error


def sync_logs(path: Path) -> None:
    """Sync the write-ahead logs that were just read.

    The writer's process may not have synced its last commits yet. A checkpoint that a reader shows must not be
    taken back by a power cut, or the log would sign another for that size: so the reader syncs first.
    """
    for file in [*path.glob("*.log"), path]:
        try:
            handle = os.open(file, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its rows were flushed into a synced table meanwhile
        except OSError as error:
            raise os_problem(error, file) from error
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NOTHING_TO_SYNC:
                raise os_problem(error, file) from error
        finally:
            os.close(handle)
