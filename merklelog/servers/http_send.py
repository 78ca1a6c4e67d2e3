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

PART: Final = 64 << 10
WRITE_SECONDS: Final = 60.0
MAX_UNDER_WAY: Final = 256 << 20

Send = Callable[[Any], Awaitable[None]]


class Answers:
    """The answers of one application, for one event loop.

    A client may take nothing of a long answer for `write_seconds`; beyond `most` bytes of long answers those are
    cut off that began first.
    """

    def __init__(self, write_seconds: float = WRITE_SECONDS, most: int = MAX_UNDER_WAY) -> None:
        self._seconds = write_seconds
        self._most = most
        self._under_way: dict[asyncio.Timeout, int] = {}  # how long each is, the oldest first
        self._bytes = 0

    async def send(self, response: Response, send: Send) -> None:
        """Send a whole answer, or as much as its client takes."""
        body = response.body
        head = list(response.headers)
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        if len(body) <= PART:
            await send({"type": "http.response.body", "body": body})
            return
        try:
            async with asyncio.timeout(None) as timer:
                await self._send_parts(body, send, timer)
        except OSError:
            return  # gone, or it takes nothing: the front closes an answer that ends before its end

    async def _send_parts(self, body: bytes, send: Send, timer: asyncio.Timeout) -> None:
        now = asyncio.get_running_loop().time
        self._under_way[timer] = len(body)
        self._bytes += len(body)
        self._cut(now())
        try:
            for at in range(0, len(body), PART):
                if timer not in self._under_way:
                    return
                timer.reschedule(now() + self._seconds)
                end = at + PART
                part = {"type": "http.response.body", "body": body[at:end], "more_body": end < len(body)}
                await send(part)
        finally:
            self._bytes -= self._under_way.pop(timer, 0)

    def _cut(self, now: float) -> None:
        while self._bytes > self._most and len(self._under_way) > 1:
            oldest = next(iter(self._under_way))
            self._bytes -= self._under_way.pop(oldest)
            oldest.reschedule(now)


__all__ = ["MAX_UNDER_WAY", "PART", "WRITE_SECONDS", "Answers"]
