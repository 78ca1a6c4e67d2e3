"""How many entries a log has acknowledged, written down beside its database.

A database that lost its end opens as a shorter one: a write-ahead log that was deleted or came back from an older
copy leaves no gap to be seen, and the log would sign other entries for sizes it has signed already. So the size of
each durable head is noted here before its appends are told, and a database that holds less is refused.

The note is a store into mapped memory, not a write and never synced: it survives the process, and after a power
cut it may be a few seconds old, never ahead. Without the file (in a backup, say) nothing is known and nothing
refused.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

from merklelog.errors import DamagedError
from merklelog.store.problems import os_problem

FILE: Final = "acknowledged"
_BYTES = 8  # big endian; written and read at once, so that no reader sees half of two numbers


class Acknowledged:
    """The note of one log, open for its one writer. Raises StorageError, StorageFullError."""

    def __init__(self, directory: Path) -> None:
        path = directory / FILE
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.fstat(handle).st_size != _BYTES:
                    os.ftruncate(handle, 0)
                    os.write(handle, bytes(_BYTES))  # the block must be there before memory is mapped to it
                self._memory = mmap.mmap(handle, _BYTES)
            finally:
                os.close(handle)
        except OSError as error:
            raise os_problem(error, path) from error

    def note(self, size: int) -> None:
        """All entries below `size` are durable, and their callers are about to be told."""
        self._memory[:] = size.to_bytes(_BYTES, "big")


def read_acknowledged(directory: Path) -> int:
    """How many entries were acknowledged at least; 0 when that is not known. Raises StorageError."""
    path = directory / FILE
    try:
        return int.from_bytes(path.read_bytes()[:_BYTES], "big")
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise os_problem(error, path) from error


def check_acknowledged(directory: Path, acknowledged: int, size: int) -> None:
    """Raises DamagedError when the database holds fewer entries than were acknowledged."""
    if size < acknowledged:
        raise DamagedError(
            f"{directory}: the database holds {size} entries, but {acknowledged} were acknowledged: it lost its "
            f"end, or is an older copy. Appending would sign other entries for the same sizes. Bring back the "
            f"database that has them; {directory / FILE} is where their number stands"
        )
