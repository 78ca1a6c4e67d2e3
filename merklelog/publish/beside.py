"""Who writes more into the targets of a publisher, kept out of the way of its publications.

A writer is asked after a publication was shown, and once more whenever nothing is published: for a bounded part
each time. What it fails with stops no publication: it is told, and tried again with a pause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from merklelog.errors import ClosedError, MerklelogError, StoppedError
from merklelog.protocol.publication import EMPTY_TREE, TreeHead
from merklelog.publish.publishing import Beside
from merklelog.publish.source import TileReads

PAUSE: Final = 30  # seconds after a failure, by the publisher's clock


class Besides:
    """The writers of a publisher's targets, None for a target without one. Not safe for threads.

    `failure` is what the last attempts failed with, None where none did.
    """

    def __init__(
        self, writers: Sequence[Beside | None], locations: Sequence[str], now: Callable[[], int]
    ) -> None:
        self._writers = dict(enumerate(writers))
        self._locations = locations
        self._now = now
        self._marks: dict[int, tuple[int, TreeHead]] = {}
        self._failed: dict[int, tuple[int, str]] = {}

    @property
    def failure(self) -> str | None:
        """Which target's writer failed last time, and with what."""
        return "; ".join(said for _, said in self._failed.values()) or None

    def mark(self, number: int, shown: TreeHead | None) -> None:
        """Note the time at which the target's `checkpoint` moves on from `shown`; no request.

        It is what the writer is told next. A moment that it was not told of yet stays.
        """
        if self._writers[number] is not None:
            self._marks.setdefault(number, (self._now(), shown or EMPTY_TREE))

    def is_due(self, number: int, shown: TreeHead | None) -> bool:
        """Whether the writer of a target that shows `shown` has something to do though nothing is published."""
        writer, now = self._writers[number], self._now()
        if writer is None or shown is None or self._waits(number, now):
            return False
        return number in self._marks or writer.due(now, shown.size)

    def write(self, number: int, shown: TreeHead | None, tiles: TileReads) -> bool:
        """Let the writer write a part of what is due; True: there is more. Raises ClosedError, StoppedError."""
        writer, now = self._writers[number], self._now()
        if writer is None or shown is None or self._waits(number, now):
            return False
        try:
            writer.run(*self._marks.get(number, (now, shown)), tiles)
        except (ClosedError, StoppedError):
            raise
        except MerklelogError as error:
            self._failed[number] = now + PAUSE, f"{self._locations[number]}: {error}"
            return False
        self._marks.pop(number, None)
        self._failed.pop(number, None)
        return writer.due(now, shown.size)

    def write_all(self, shown: Sequence[TreeHead | None], tiles: TileReads) -> None:
        """`write` for each target, after a publication; `shown` is what each one shows."""
        for number, tree in enumerate(shown):
            self.write(number, tree, tiles)

    def _waits(self, number: int, now: int) -> bool:
        until, _ = self._failed.get(number, (now, ""))
        return until - PAUSE <= now < until  # a clock that was set back waits for nothing


__all__ = ["Besides"]
