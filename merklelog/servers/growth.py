"""Waiting, in an event loop, until a log has grown."""

from __future__ import annotations

import asyncio
from typing import Any

from merklelog.errors import ClosedError
from merklelog.log import Log
from merklelog.log.head import Head
from merklelog.tree import TreeSize


class Growth:
    """Wakes the coroutines of one event loop that wait for one log.

    Made in that loop; the log's own thread is troubled once a commit, and only while somebody waits.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._ended = False
        self._end = log.listen(self._grown)

    def _grown(self, _size: TreeSize) -> None:
        if not self._waiting:
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def beyond(self, size: int) -> int:
        """Wait until the log has more than `size` entries; gives its size. Raises ClosedError after `end`."""
        while (now := self._log.size) <= size:
            if self._ended:
                raise ClosedError("the server is shutting down")
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.add(future)
            try:
                # Looked at again: a commit between the first look and the line above woke nobody.
                if self._log.size <= size:
                    await future
            finally:
                self._waiting.discard(future)
        if self._ended:
            raise ClosedError("the server is shutting down")
        return now

    async def witnessed_beyond(self, size: int) -> Head:
        """Wait for a checkpoint of more than `size` entries that meets the log's policy. Raises as `beyond`."""
        coming = asyncio.wrap_future(self._log.wait_witnessed(size + 1))
        try:
            while not coming.done():
                if self._ended:
                    raise ClosedError("the server is shutting down")
                woken: asyncio.Future[None] = self._loop.create_future()
                self._waiting.add(woken)
                try:
                    ends: tuple[asyncio.Future[Any], ...] = (coming, woken)
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self._waiting.discard(woken)
            return coming.result()
        finally:
            coming.cancel()

    def end(self) -> None:
        """Let go of the log; who waits gets ClosedError."""
        self._ended = True
        self._end()
        self._wake()
