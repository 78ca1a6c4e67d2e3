"""Reading the files of a published copy, and nothing more: an audit reads two for each 256 entries."""

from __future__ import annotations

import os
import stat
from typing import Final

from merklelog.errors import DamagedError
from merklelog.publish import StoredObject
from merklelog.publish.files import read_error
from merklelog.publish.objects import MAX_OBJECT_BYTES

# O_NONBLOCK: a named pipe put there must not make a reader wait.
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class FileReads:
    """The objects of a directory store as it keeps them, without the version (a hash of all bytes) of each.

    Keys come from this project's own `tile_path` and its like, so none leaves the directory. Raises as
    ObjectStore.get says.
    """

    def __init__(self, root: str, location: str) -> None:
        self._root = root
        self.location = location

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get."""
        try:
            handle = os.open(f"{self._root}/{key}", _FLAGS)
        except OSError as error:
            raise read_error(error, f"{self.location}/{key}") from error
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                what = f"{status.st_size} bytes, want a file of at most {limit}"
                raise DamagedError(f"{self.location}/{key}: {what}")
            data = os.read(handle, status.st_size + 1)
            while 0 < len(data) < status.st_size and (more := os.read(handle, status.st_size - len(data))):
                data += more  # a read may be cut short, by a signal or a network file system
            return StoredObject(data, "")
        except OSError as error:
            raise read_error(error, f"{self.location}/{key}") from error
        finally:
            os.close(handle)
