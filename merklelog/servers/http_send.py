"""Sending answers over HTTP: long ones in parts, so that who takes nothing of them is let go of.

A front takes the whole of what it is given and keeps it until the client has read it. The native one ends who
reads nothing over HTTP/2 alone. So it is given no more than it has room for, each part has its time, and all long
answers that are under way have a bound together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .http_values import Response, problem_answer
from .problems import Code, Problem

PART: Final = 16 << 10  # h2corn 2.0.0 keeps some thirty of them, whatever their length
WRITE_SECONDS: Final = 60.0
MAX_UNDER_WAY: Final = 256 << 20
IDLE_SECONDS: Final = 1.0
_BUSY: Final = Problem(
    Code.RESOURCE_EXHAUSTED,
    503,
    "TOO_MANY_ANSWERS",
    "as many long answers as this server holds are being read: try again",
    None,
    1.0,
)

Send = Callable[[Any], Awaitable[None]]


class _Long:
    """What is still held of a long answer's body, from `at` on to be sent, and the time that its client has.

    `since`, in the loop's time: when its client took something.
    """

    __slots__ = ("at", "body", "since", "timer")

    def __init__(self, body: bytes, now: float) -> None:
        self.body = body
        self.since = now
        self.at = 0
        self.timer = asyncio.timeout(None)

    def part(self) -> tuple[bytes, bool]:
        """What goes next, and whether there is more."""
        end = self.at + PART
        return self.body[self.at : end], end < len(self.body)

    def taken(self) -> int:
        """The part was; lets go of what was sent once that is half, and gives how much that is."""
        self.at += PART
        if 2 * self.at < len(self.body):
            return 0
        before = len(self.body)
        self.body = self.body[self.at :]
        self.at = 0
        return before - len(self.body)


class Answers:
    """The answers of one application, for one event loop.

    A client may take nothing of a long answer for `write_seconds`. Where one more would be beyond `most` bytes of
    long answers that are held, those are cut off that have taken nothing for longest, if that is `idle_seconds`;
    where all others are being read, the new one is refused. The native front sends what it was given before a
    cut as slowly as its client reads.
    """

    def __init__(
        self,
        write_seconds: float = WRITE_SECONDS,
        most: int = MAX_UNDER_WAY,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._seconds = write_seconds
        self._most = most
        self._idle = idle_seconds
        self._under_way: dict[_Long, None] = {}  # who has taken nothing for longest is first
        self._bytes = 0

    async def send(self, response: Response, send: Send) -> None:
        """Send a whole answer, or as much as its client takes."""
        long = None
        if len(response.body) > PART:
            long = self._begin(response.body)
            if long is None:
                response = problem_answer(_BUSY)
        start = {"type": "http.response.start", "status": response.status, "headers": list(response.headers)}
        if long is None:
            await send(start)
            await send({"type": "http.response.body", "body": response.body})
            return
        del response  # who is cut off holds nothing from then on
        try:
            async with long.timer:
                long.timer.reschedule(asyncio.get_running_loop().time() + self._seconds)
                await send(start)
                await self._send_parts(long, send)
        except OSError:
            return  # gone, or it takes nothing: the front closes an answer that ends before its end
        finally:
            self._end(long)

    async def _send_parts(self, long: _Long, send: Send) -> None:
        now = asyncio.get_running_loop().time
        more = True
        while more and long in self._under_way:
            long.timer.reschedule(now() + self._seconds)
            part, more = long.part()
            await send({"type": "http.response.body", "body": part, "more_body": more})
            if long not in self._under_way:
                return
            del self._under_way[long]
            self._under_way[long] = None
            self._bytes -= long.taken()
            long.since = now()

    def _begin(self, body: bytes) -> _Long | None:
        """Make room for one more, if need be of those that are idle; None where that is too little."""
        now = asyncio.get_running_loop().time()
        beyond = self._bytes + len(body) - self._most
        idle = []
        for each in self._under_way:
            if beyond <= 0:
                break
            if now - each.since < self._idle:
                return None
            idle.append(each)
            beyond -= len(each.body)
        for each in idle:
            self._end(each)
            if not each.timer.expired():
                each.timer.reschedule(0)
        long = _Long(body, now)
        self._under_way[long] = None
        self._bytes += len(body)
        return long

    def _end(self, long: _Long) -> None:
        if long in self._under_way:
            del self._under_way[long]
            self._bytes -= len(long.body)
            long.body = b""


__all__ = ["IDLE_SECONDS", "MAX_UNDER_WAY", "PART", "WRITE_SECONDS", "Answers"]
