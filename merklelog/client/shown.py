"""The signed checkpoints that a published copy shows: the newest and those under `checkpoints/`, not verified."""

from __future__ import annotations

from merklelog.errors import DamagedError, FormatError, NotFoundError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.publish.layout import CHECKPOINT_KEY, checkpoint_key
from merklelog.publish.objects import ObjectReads


class ShownCheckpoints:
    """Reads them out of `objects`, and raises what those raise."""

    def __init__(self, objects: ObjectReads) -> None:
        self._objects = objects

    def get(self, size: int | None = None) -> bytes:
        """The newest one, or the one stored for `size`. Raises NotFoundError."""
        if size is None:
            return self._read(CHECKPOINT_KEY)
        try:
            return self._read(checkpoint_key(size))
        except NotFoundError:
            newest = self._read(CHECKPOINT_KEY)
            if self._size_of(newest) != size:
                raise
            return newest

    def newest_size(self) -> int:
        """The size of the newest. Raises NotFoundError, DamagedError."""
        return self._size_of(self._read(CHECKPOINT_KEY))

    def _read(self, key: str) -> bytes:
        return self._objects.get(key, limit=MAX_NOTE_BYTES).data

    def _size_of(self, note: bytes) -> int:
        try:
            return parse_checkpoint(note).checkpoint.size
        except FormatError as error:
            raise DamagedError(f"{self._objects.location}/{CHECKPOINT_KEY}: {error}") from error
