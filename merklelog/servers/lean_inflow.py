"""What came from a client and is not used yet: the begin of a head, a body's parts, and what came too early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from .lean_body import Chunks, Counted
from .lean_exchange import MAX_UNREAD

# A body comes at this rate at least, over all its time but the first wait: else one byte now and then would keep a
# connection for ever.
LEAST_RATE: Final = 1 << 10


class Inflow:
    """The side of a connection that reads. `hold` counts what is kept of bodies, and says whether that may be."""

    __slots__ = ("_began", "_body", "_hold", "_parts", "_paused", "_seen", "_transport", "head", "later")

    def __init__(self, transport: asyncio.Transport, hold: Callable[[int], bool]) -> None:
        self._transport = transport
        self._hold = hold
        self._paused = False
        self._body: Counted | Chunks = Counted(0)  # what has not come of a body
        self._parts: list[bytes] = []  # of a plain append's body
        self._began = 0.0
        self._seen = 0
        self.head = b""  # of a head that has not come whole
        self.later = b""  # what came behind a request that is being answered

    # --- a body ------------------------------------------------------------------------------------------------

    def begin(self, body: Counted | Chunks, now: float) -> None:
        """Expect this body."""
        self._body = body
        self.renew(now)

    def renew(self, now: float) -> None:
        """The client has its time anew: it was not read from."""
        self._began, self._seen = now, 0

    def feed(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """The body's bytes among these, what is behind its end, and whether it is whole. Raises RefusedError."""
        self._seen += len(data)
        body, rest = self._body.feed(data)
        return body, rest, self._body.done

    def due(self, now: float, idle: float) -> float:
        """When more of the body must have come, of a client that may be silent for `idle` seconds."""
        return min(now, self._began + self._seen / LEAST_RATE) + idle

    @property
    def ends_soon(self) -> bool:
        """Whether little is missing of a body whose length was told."""
        return isinstance(self._body, Counted) and self._body.missing <= MAX_UNREAD

    def keep(self, part: bytes) -> bool:
        """Keep this part of a plain append's body; False where all that is kept is too much."""
        self._parts.append(part)
        return self._hold(len(part))

    def whole(self) -> bytes:
        """All that was kept of the body, which is let go of."""
        body = b"".join(self._parts)
        self.release()
        return body

    # --- what comes too early ------------------------------------------------------------------------------------

    def hold(self, data: bytes) -> None:
        """Keep what came behind a request, and read no more."""
        self.later += data
        self.pause()

    def take_later(self) -> bytes:
        """What came too early, which is let go of; reading goes on."""
        data, self.later = self.later, b""
        self.read_on()
        return data

    def release(self) -> None:
        """Keep nothing any more."""
        self._hold(-sum(map(len, self._parts)))
        self.later, self.head, self._parts = b"", b"", []

    @property
    def paused(self) -> bool:
        """Whether nothing is read."""
        return self._paused

    def pause(self) -> None:
        """Read no more for now."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()


__all__ = ["LEAST_RATE", "Inflow"]
