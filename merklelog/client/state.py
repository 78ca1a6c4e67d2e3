"""The state file: the newest checkpoint that a client verified, so that it is held to it for ever.

The file is that signed note, byte for byte, which any tool reads. It is replaced as a whole, and synced before
that; a lock file beside it keeps several processes in turn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from merklelog.errors import DamagedError, StorageError
from merklelog.formats.note import MAX_NOTE_BYTES


class StateFile:
    """One log's state at `path`. Every method raises StorageError naming the file when the system refuses."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = self.path.with_name(self.path.name + ".lock")

    def read(self) -> bytes | None:
        """The note, None before the first one. Raises DamagedError for a file too long to be one."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault(error) from error
        if len(data) > MAX_NOTE_BYTES:
            raise DamagedError(
                f"{self.path}: more than {MAX_NOTE_BYTES} bytes, so it is no signed checkpoint"
            )
        return data

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the file: other processes and threads that lock it wait."""
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._fault(error) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise self._fault(error) from error
            yield
        finally:
            os.close(lock)

    def write(self, note: bytes) -> None:
        """Replace the note; only while it is locked. A crash or a power cut leaves the old one or the new one."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            with new.open("wb") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> StorageError:
        return StorageError(f"state file {self.path}: {error.strerror or error}")
