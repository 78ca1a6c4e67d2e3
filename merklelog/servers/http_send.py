"""Sending answers over HTTP: long ones in parts, so that who takes nothing of them is let go of.

A front takes the whole of what it is given and keeps it until the client has read it. The native one ends who
reads nothing over HTTP/2 alone. So it is given no more than it has room for, each part has its time, and all long
answers that are under way have a bound together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .http_values import Response

PART: Final = 16 << 10  # h2corn 2.0.0 keeps some thirty of them, whatever their length
WRITE_SECONDS: Final = 60.0
MAX_UNDER_WAY: Final = 256 << 20

Send = Callable[[Any], Awaitable[None]]


class _Long:
    """A long answer's body, as long as it is to be sent, and the time that its client has."""

    __slots__ = ("body", "timer")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.timer = asyncio.timeout(None)


class Answers:
    """The answers of one application, for one event loop.

    A client may take nothing of a long answer for `write_seconds`; beyond `most` bytes of long answers those are
    cut off that began first. The native front sends what it was given by then as slowly as its client reads.
    """

    def __init__(self, write_seconds: float = WRITE_SECONDS, most: int = MAX_UNDER_WAY) -> None:
        self._seconds = write_seconds
        self._most = most
        self._under_way: dict[_Long, None] = {}  # the oldest first
        self._bytes = 0

    async def send(self, response: Response, send: Send) -> None:
        """Send a whole answer, or as much as its client takes."""
        head = list(response.headers)
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        if len(response.body) <= PART:
            await send({"type": "http.response.body", "body": response.body})
            return
        long = _Long(response.body)
        del response  # who is cut off holds nothing from then on
        self._begin(long)
        try:
            async with long.timer:
                await self._send_parts(long, send)
        except OSError:
            return  # gone, or it takes nothing: the front closes an answer that ends before its end
        finally:
            self._end(long)

    async def _send_parts(self, long: _Long, send: Send) -> None:
        now = asyncio.get_running_loop().time
        length = len(long.body)
        for at in range(0, length, PART):
            long.timer.reschedule(now() + self._seconds)
            part = long.body[at : at + PART]
            await send({"type": "http.response.body", "body": part, "more_body": at + PART < length})
            if not long.body:
                return

    def _begin(self, long: _Long) -> None:
        self._under_way[long] = None
        self._bytes += len(long.body)
        while self._bytes > self._most and len(self._under_way) > 1:
            oldest = next(iter(self._under_way))
            self._end(oldest)
            if not oldest.timer.expired():
                oldest.timer.reschedule(0)

    def _end(self, long: _Long) -> None:
        if long in self._under_way:
            del self._under_way[long]
            self._bytes -= len(long.body)
            long.body = b""


__all__ = ["MAX_UNDER_WAY", "PART", "WRITE_SECONDS", "Answers"]
