"""What a client has not taken yet of the answers that were written to it."""

from __future__ import annotations

import asyncio
import math
from typing import Final

# What a client that reads slowly takes at least, each time that it is asked after.
LEAST_BYTES: Final = 64 << 10
# What all clients together may leave unread; beyond it those are cut off that have not read for longest.
MAX_UNSENT: Final = 256 << 20


class Unread:
    """What the blocked clients of one server have not taken, all together."""

    __slots__ = ("_flows", "_total")

    def __init__(self) -> None:
        self._flows: dict[Outflow, int] = {}
        self._total = 0

    def add(self, flow: Outflow) -> None:
        """Count one that is blocked; where all are too much, cut off those that have not read for longest."""
        self._flows[flow] = flow.unsent
        self._total += self._flows[flow]
        if self._total > MAX_UNSENT:  # by what each had when it was blocked: look at what it has now
            for each in self._flows:
                self._flows[each] = each.unsent
            self._total = sum(self._flows.values())
        while self._total > MAX_UNSENT:
            next(iter(self._flows)).cut()

    def drop(self, flow: Outflow) -> None:
        """Count one no more."""
        self._total -= self._flows.pop(flow, 0)


class Outflow:
    """The side of a connection that writes: blocked from when the transport says so until it has room again.

    `others` are those of the same server that are blocked.
    """

    __slots__ = ("_future", "_left", "_others", "_transport", "since")

    def __init__(self, transport: asyncio.Transport, others: Unread) -> None:
        self._transport = transport
        self._others = others
        self._future: asyncio.Future[None] | None = None
        self._left = 0
        self.since = math.inf  # when it was blocked, in the loop's time

    @property
    def blocked(self) -> bool:
        """Whether nothing more should be written."""
        return self._future is not None

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken."""
        return self._transport.get_write_buffer_size()

    def block(self, now: float) -> None:
        """There is no room."""
        self._future = asyncio.get_running_loop().create_future()
        self._left = self.unsent
        self.since = now
        self._others.add(self)

    def cut(self) -> None:
        """End the connection, and let go of what its client did not take."""
        self._transport.abort()
        self.release()

    def release(self) -> None:
        """There is room again, or nobody to write to."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
        self._future = None
        self.since = math.inf
        self._others.drop(self)

    async def room(self) -> None:
        """Wait until there is."""
        while self._future is not None:
            await asyncio.shield(self._future)

    def moves(self) -> bool:
        """Whether the client took enough since this was last asked."""
        left, before = self.unsent, self._left
        self._left = left
        return left + LEAST_BYTES <= before


__all__ = ["Outflow", "Unread"]
