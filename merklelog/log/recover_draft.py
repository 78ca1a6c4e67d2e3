"""Where a log is rebuilt until it is whole: a directory beside its place, and a note of how far it is.

    .NAME.recover/        the draft, renamed to NAME when everything in it was verified
    .NAME.recover.json    whose it is, and how many entries are in it for good; held while somebody works on it

Both stand in the place's own directory under names that the next run finds. What was synced is not read again
from the copy, but it has to be what the copy has: the root of the draft's tree is held against it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

import msgspec

from merklelog.errors import DamagedError, LockedError, MerklelogError
from merklelog.publish.verified import VerifiedTiles
from merklelog.store import FORMAT, RocksStore
from merklelog.store.problems import os_problem
from merklelog.tree import Frontier, Hash, root_hash

from .create import LogInfo
from .directory import DATABASE
from .recover_build import frontier_at

_FORMAT: Final = 1


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The note: the draft holds the first `done` entries of this log, whose tree has this root."""

    format: int
    log: LogInfo
    done: int
    root: str


class Draft:
    """The draft of the log that `info` says, to stand at `path`, which is not there yet.

    Only one process at a time has it: LockedError. `close` leaves everything for the next run; `remove` does not.
    """

    def __init__(self, path: Path, info: LogInfo) -> None:
        self.path = path.with_name(f".{path.name}.recover")
        self._note = path.with_name(f".{path.name}.recover.json")
        self._info = info
        self._handle = self._lock()
        self._store: RocksStore | None = None

    def _lock(self) -> int:
        try:
            while True:
                handle = os.open(self._note, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if self._is_there(handle):
                        return handle
                except BaseException:
                    os.close(handle)
                    raise
                os.close(handle)  # who had it was done and took the file away meanwhile
        except BlockingIOError as error:
            raise LockedError(f"{self.path}: another process recovers this log") from error
        except OSError as error:
            raise os_problem(error, self._note) from error

    def _is_there(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self._note.stat())
        except FileNotFoundError:
            return False

    def begin(self, tiles: VerifiedTiles, size: int) -> tuple[RocksStore, Frontier]:
        """The draft's database and its tree: what an earlier run left, if the tree of `size` begins with it, else
        a new one. Raises what reading `tiles` raises, but for damage.
        """
        state = self._read()
        if state is not None and state.done <= size and state.log == self._info:
            found = self._open(state)
            if found is not None and _begins_with(tiles, found[1]):
                return found
        self._clear()
        try:
            self.path.mkdir(mode=0o700)
            self._write(b"")  # it says nothing until something is synced
        except OSError as error:
            raise os_problem(error, self.path) from error
        metas = {"format": str(FORMAT).encode(), "log": self._info.row()}
        self._store = RocksStore.create(self.path / DATABASE, metas)
        return self._store, Frontier()

    def _read(self) -> _State | None:
        try:
            state = msgspec.json.decode(os.pread(self._handle, 1 << 16, 0), type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # a new one, or a note that a power cut took: then the draft is begun anew
        return state if state.format == _FORMAT and state.done >= 0 and state.done % 256 == 0 else None

    def _open(self, state: _State) -> tuple[RocksStore, Frontier] | None:
        """What an earlier run left; None when it can not be gone on with."""
        if not (self.path / DATABASE / "CURRENT").exists():
            return None
        try:
            self._store = RocksStore(self.path / DATABASE)
            frontier = frontier_at(self._store, state.done)
        except MerklelogError:
            return None  # damaged: all of it is in the copy
        if frontier is None or frontier.root().hex() != state.root:
            return None
        return self._store, frontier

    def saved(self, done: int, root: Hash) -> None:
        """Note that the first `done` entries, a multiple of 256 of them, are synced."""
        state = _State(_FORMAT, self._info, done, root.hex())
        try:
            self._write(msgspec.json.encode(state))
        except OSError as error:
            raise os_problem(error, self._note) from error

    def _write(self, data: bytes) -> None:
        # In place, and never synced: a note that is torn or old costs time and nothing else.
        os.pwrite(self._handle, data, 0)
        os.ftruncate(self._handle, len(data))

    def _clear(self) -> None:
        self.close_store()
        shutil.rmtree(self.path, ignore_errors=True)

    def close_store(self) -> None:
        """Close the draft's database; its files stay."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def finish(self) -> None:
        """Take the note away: the draft has its place, or is not wanted any more."""
        self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything; what is there stays for the next run."""
        try:
            self.close_store()
        finally:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1


def _begins_with(tiles: VerifiedTiles, frontier: Frontier) -> bool:
    """Whether the copy's tree has that beginning; False also where damaged tiles do not let it be told."""
    try:
        return root_hash(frontier.size, tiles.read) == frontier.root()
    except DamagedError:
        return False


__all__ = ["Draft"]
