"""Server-sent events (HTML standard, "Server-sent events"): checkpoints and entries as they come.

A stream that its client reads slower than the log grows loses nothing it must not lose: checkpoints are the newest
only, entries are read from the log when there is room to send them.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from merklelog.errors import OverloadedError
from merklelog.formats.wire import parse_decimal
from merklelog.log import Log

from .growth import Growth
from .http_append import Receive, Send
from .http_values import CORS, EVENTS, NO_SNIFFING, UNCACHED, Request, decimal, parameters

# The front keeps up to 32 parts for a client that does not read, so these three bound what such clients cost.
MAX_STREAMS: Final = 256
PART_BYTES: Final = 8 << 10  # reached by the last entry of a part
STALL_SECONDS: Final = 30.0  # until a client that takes nothing is let go of
PART_ENTRIES: Final = 64
HEARTBEAT: Final = 5.0  # seconds: shorter than what proxies and browsers give a silent connection
# A front may not look at a connection it answers on until it writes there: the first write to a client that has
# gone is lost, the next one fails. So what keeps a connection alive is sent in two halves, so many seconds apart.
PROBE: Final = 0.25

_START: Final[dict[str, Any]] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", EVENTS), UNCACHED, NO_SNIFFING, *CORS],
}
_FROM: Final = {"start": "the first index; without it that after Last-Event-ID, else the log's size"}


@dataclass(slots=True)
class Streams:
    """The open streams of a server. `closing` ends all of them at the next wake."""

    open: int = 0
    closing: bool = False
    stall_seconds: float = STALL_SECONDS

    def enter(self) -> None:
        """One more. Raises OverloadedError."""
        if self.closing or self.open >= MAX_STREAMS:
            raise OverloadedError(f"{self.open} event streams are open, which is the most", 5.0)
        self.open += 1


class Pause:
    """Where a stream waits until its log grew, its client left or the server closes."""

    def __init__(self, growth: Growth, streams: Streams, gone: asyncio.Task[None]) -> None:
        self._growth = growth
        self._streams = streams
        self._gone = gone

    @property
    def over(self) -> bool:
        """Whether the stream is to end."""
        return self._streams.closing or self._gone.done()

    async def alive(self, size: int) -> AsyncGenerator[bytes, None]:
        """Nothing, as soon as the log has more than `size` entries; a comment after HEARTBEAT seconds without."""
        if not await self._beyond(size, HEARTBEAT):
            yield b":"
            await self._beyond(size, PROBE)
            yield b"\n\n"

    async def _beyond(self, size: int, seconds: float) -> bool:
        """Whether the log has more than `size` entries; False after so many seconds, or when all is over."""
        grown = asyncio.ensure_future(self._growth.beyond(size))
        try:
            await asyncio.wait({grown, self._gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return grown.done() and grown.exception() is None  # its one error says that the server closes
        finally:
            grown.cancel()


Stream = Callable[[Pause], AsyncGenerator[bytes, None]]
Events = Callable[[Log, Request], Stream]


def checkpoints(log: Log, request: Request) -> Stream:
    """The newest checkpoint, then each later one; the newest only for a client that is slow."""
    parameters(request.query, {})

    async def stream(pause: Pause) -> AsyncGenerator[bytes, None]:
        sent = -1
        while not pause.over:
            note = log.checkpoint()
            size = parse_decimal(note.split(b"\n", 2)[1], "tree size")
            if size > sent:
                sent = size
                lines = b"".join(b"data: " + line + b"\n" for line in note.split(b"\n"))
                yield b"event: checkpoint\nid: %d\n%b\n" % (size, lines)
            async for sign in pause.alive(sent):
                yield sign

    return stream


def entries(log: Log, request: Request) -> Stream:
    """Entries from an index on, for ever, each in base64 with its index as the event's ID.

    A client that comes back says by Last-Event-ID which it had last.
    """
    given = parameters(request.query, _FROM)
    start = decimal(given["start"], "start") if "start" in given else int(log.size)
    last = request.header(b"last-event-id")
    if last is not None:  # a client that comes back asks with the address it began with
        start = decimal(last, "last-event-id") + 1

    async def stream(pause: Pause) -> AsyncGenerator[bytes, None]:
        at = start
        while not pause.over:
            end = int(log.size)
            while at < end and not pause.over:
                part = _part(log, at, end)
                yield b"".join(part)
                at += len(part)
            async for sign in pause.alive(at):
                yield sign

    return stream


def _part(log: Log, start: int, end: int) -> list[bytes]:
    """The events of the next entries; nothing of the database stays open while a client is waited for."""
    part: list[bytes] = []
    length = 0
    for index, entry in enumerate(log.entries(start, min(end, start + PART_ENTRIES)), start):
        part.append(_entry(index, entry))
        length += len(part[-1])
        if length >= PART_BYTES:
            break
    return part


def _entry(index: int, entry: bytes) -> bytes:
    return b"event: entry\nid: %d\ndata: %b\n\n" % (index, binascii.b2a_base64(entry, newline=False))


FOLDER: Final = "events/"
STREAMS: Final[dict[str, Events]] = {"events/checkpoints": checkpoints, "events/entries": entries}


async def run(
    events: Events,
    log: Log,
    growth: Growth,
    streams: Streams,
    request: Request,
    receive: Receive,
    send: Send,
    allowed: Callable[[], bool] = lambda: True,
) -> None:
    """Serve one stream until its client leaves or the server closes, or `allowed` says that it may not go on.

    Raises this project's errors only before the answer has begun.
    """
    stream = events(log, request)
    if request.method == "HEAD":
        await send(_START)
        await send({"type": "http.response.body", "body": b""})
        return
    streams.enter()
    gone = asyncio.ensure_future(_left(receive))
    try:
        await send(_START)
        # A front may keep the headers until there is a body; the client is to know now that it listens.
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        async with aclosing(stream(Pause(growth, streams, gone))) as told:
            async for part in told:
                if not allowed():
                    break
                async with asyncio.timeout(streams.stall_seconds):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                if gone.done():
                    return
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        return  # gone, or it takes nothing: the front closes an answer that ends before its end
    finally:
        streams.open -= 1
        gone.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
