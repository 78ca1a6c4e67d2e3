"""What a reader asks of a log; the Protocol itself lives with publication, which asks the same."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from merklelog.errors import ForbiddenError, NotFoundError, UnreachableError
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.publish.objects import ObjectReads
from merklelog.publish.source import TileReads, TileSource


@runtime_checkable
class Forgetful(Protocol):
    """A source that may have another answer to what it answered before."""

    def forget_served(self) -> bool:
        """What was given out since the last call is wrong: answer otherwise; False where that can not be."""


@runtime_checkable
class Expectant(Protocol):
    """A source that reads ahead."""

    def expect(self, start: int, end: int, size: int) -> None:
        """The entries [start, end) of the tree of `size` will be read in their order, with their tiles."""


@runtime_checkable
class Dated(Protocol):
    """A source of a log with publish targets."""

    def epoch(self) -> int | None:
        """The epoch that the log is in, so far as it says: None where there is none."""


@runtime_checkable
class Pointing(Protocol):
    """A source that shows more than one checkpoint: with witnesses, one with and one without their quorum."""

    def pointer(self, key: str) -> bytes | None:
        """The note under that name, `checkpoint.witnessed` or its like; None when there is none."""


def pointer_of(reads: ObjectReads, key: str) -> bytes | None:
    """A note that may be there or not; None as well for who is forbidden it.

    A web server without listings, and a bucket to who may not list it, say 403 of what they have not. Raises as
    `reads.get` for everything else.
    """
    try:
        return reads.get(key, limit=MAX_NOTE_BYTES).data
    except (NotFoundError, ForbiddenError):
        return None
    except UnreachableError as error:
        if not error.refused:
            raise
        return None


__all__ = ["Dated", "Expectant", "Forgetful", "Pointing", "TileReads", "TileSource", "pointer_of"]
