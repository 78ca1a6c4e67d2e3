"""Waiting until an entry is published or witnessed, as long as its caller and this server have patience.

A wait that takes too long is no failure: the entry is durable, and its caller is told how far it has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Final

from merklelog.log import Log
from merklelog.log.head import Head

WAIT_SECONDS: Final = 30.0
# How much earlier than a deadline an answer is on its way, so that it still gets there.
_MARGIN: Final = 0.5

# How many seconds the call has left that is answered in this task; None: as many as it likes. A front sets it.
TIME_LEFT: ContextVar[Callable[[], float | None]] = ContextVar("TIME_LEFT")


class Waits:
    """The waits of one server, for one event loop: each at most `seconds`, and none goes on when a drain ends."""

    def __init__(self, seconds: float = WAIT_SECONDS) -> None:
        self.seconds = seconds
        self._ends: float | None = None  # in the loop's time, once the server drains
        self._running: set[asyncio.Timeout] = set()

    def drain(self, seconds: float) -> None:
        """All waits, those under way too, end within this time."""
        ends = self._ends = asyncio.get_running_loop().time() + seconds
        for timer in self._running:
            when = timer.when()
            if not timer.expired() and (when is None or when > ends):
                timer.reschedule(ends)

    async def published(self, log: Log, size: int, seconds: float | None = None) -> Head | None:
        """The head that readers see, once it has `size` entries; None when it has not in time.

        `seconds` may make the wait shorter. Raises StoppedError, ClosedError. Cancelled, it waits no more.
        """
        return await self._reached(log.published, size, lambda: log.wait_published(size), seconds)

    async def witnessed(self, log: Log, size: int, seconds: float | None = None) -> Head | None:
        """`published` for the newest checkpoint that a quorum of the log's witnesses cosigned."""
        return await self._reached(log.witnessed, size, lambda: log.wait_witnessed(size), seconds)

    async def _reached(
        self, head: Head | None, size: int, wait: Callable[[], Future[Head]], seconds: float | None
    ) -> Head | None:
        left = self._patience(seconds)
        if left <= 0:
            return head if head is not None and head.size >= size else None
        timer = asyncio.timeout(left)
        try:
            async with timer:
                self._running.add(timer)
                return await asyncio.wrap_future(wait())
        except TimeoutError:
            if not timer.expired():
                raise
            return None
        finally:
            self._running.discard(timer)

    def _patience(self, seconds: float | None) -> float:
        patience = self.seconds if seconds is None else min(seconds, self.seconds)
        ask = TIME_LEFT.get(None)
        left = None if ask is None else ask()
        if left is not None:
            patience = min(patience, left - min(_MARGIN, left / 4))
        if self._ends is not None:
            patience = min(patience, self._ends - asyncio.get_running_loop().time())
        return patience


__all__ = ["TIME_LEFT", "WAIT_SECONDS", "Waits"]
