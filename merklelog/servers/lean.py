"""The lean front: HTTP/1.1 without TLS on asyncio's own transports, for the load that `POST /add` is made of.

The native front is a server in another language with threads of its own: each request costs it about twenty
microseconds there and as much again in the event loop, to become a scope and a task. Here the bytes come to a
protocol in the loop, a plain append goes from it straight to the log's queue, and its answer is one write. It
has the native front's limits (`native.FrontLimits`); those that are HTTP/2's mean nothing here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

from merklelog.errors import StorageError

from .http_quick import Quick
from .http_values import TEXT
from .lean_connection import Connection
from .lean_exchange import Exchange, head_of
from .lean_flow import Unread
from .lean_head import Head, HeadLimits
from .lean_plain import PlainAppend
from .native import Application, Draining, FrontLimits

REQUEST: Final = "merklelog.request"  # what the tasks are called that its requests run in
_BACKLOG: Final = 1_024
# uvloop takes one new connection a turn of the loop from each descriptor that it listens at, and a turn is as long
# as the work of all that sent something: with one a thousand busy clients kept new ones out for seconds.
_LISTENERS: Final = 16
_SWEEP_SECONDS: Final = 1.0
# How long after a stop a connection is read from on which nothing is under way: its request may be here already.
_SETTLE_SECONDS: Final = 0.05
# Who is answered before all came that it sends is listened to so long, so that it reads the answer and no reset.
_LINGER_SECONDS: Final = 2.0
_DIGITS: Final = 20
# What may be kept of the bodies of plain appends until they are whole, all together.
_MAX_HELD: Final = 128 << 20
_log: Final = logging.getLogger("merklelog.http")

FindQuick = Callable[[Head], Quick | None]


def none_quick(_head: Head) -> Quick | None:
    """For an application that answers everything itself."""
    return None


class LeanFront:
    """What the connections of one server share. It belongs to one event loop."""

    def __init__(self, application: Application, limits: FrontLimits, quick: FindQuick) -> None:
        self._application = application
        self.limits = limits
        self.head_limits = HeadLimits(limits.header_bytes, limits.header_fields)
        self.quick = quick
        self.connections: set[Connection] = set()
        self.unread = Unread()
        self.under_way = 0  # requests whose answer is not whole
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._held = 0
        self._to_submit: list[PlainAppend] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        times = (
            limits.handshake_seconds,
            limits.header_seconds,
            limits.body_idle_seconds,
            limits.idle_seconds,
        )
        self._pause = max(0.02, min(_SWEEP_SECONDS, min(*times, limits.write_seconds) / 4))
        self._second = -1
        self.date = b""
        self._heads: dict[bool, list[bytes]] = {}
        self.tick()

    def tick(self) -> None:
        """See to what is due: the date that answers have, and connections whose time is over."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.date = formatdate(second, usegmt=True).encode("ascii")
            self._heads = {keep: self._heads_of_adds(keep=keep) for keep in (True, False)}
        self._sweep = self._loop.call_later(self._pause, self.tick)
        now = self.now()
        for connection in [each for each in self.connections if each.deadline <= now]:
            connection.expire()

    def _heads_of_adds(self, *, keep: bool) -> list[bytes]:
        closing = () if keep else ((b"connection", b"close"),)
        return [
            head_of(200, ((b"content-type", TEXT), (b"content-length", b"%d" % length), *closing), self.date)
            + b"\r\n"
            for length in range(1, _DIGITS + 2)
        ]

    @property
    def linger_seconds(self) -> float:
        """How long what a client still sends behind its last answer is read and thrown away."""
        return _LINGER_SECONDS / (4 if self.draining else 1)

    def hold(self, size: int) -> bool:
        """So many bytes more are kept of bodies that have not come whole; whether that is not too much."""
        self._held += size
        return self._held <= _MAX_HELD

    def later(self, append: PlainAppend) -> None:
        """Have it queued once the loop has read from all that had something to say.

        Else the log would begin a commit with the first of them, and again and again with a few: what a commit
        costs beside its entries would be more than all the rest.
        """
        if not self._to_submit:
            self._loop.call_soon(self._submit)
        self._to_submit.append(append)

    def _submit(self) -> None:
        due, self._to_submit = self._to_submit, []
        for append in due:
            append.submit()

    def plain_answer(self, index: int, *, keep: bool) -> bytes:
        """The whole answer to a plain append."""
        text = b"%d\n" % index
        return self._heads[keep][len(text) - 1] + text

    def ask(self, head: Head, exchange: Exchange, transport: asyncio.Transport) -> asyncio.Task[None]:
        """Have the application answer that request."""
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if head.minor else "1.0",
            "method": head.method,
            "scheme": "http",
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": list(head.fields),
            "client": _pair(transport.get_extra_info("peername")),
            "server": _pair(transport.get_extra_info("sockname")),
            "extensions": {},
        }

        async def answering() -> None:
            await self._application(scope, exchange.receive, exchange.send)

        task = self._loop.create_task(answering(), name=REQUEST)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def report(self, error: BaseException) -> None:
        """The application failed: its client hears no more than that, this is for who runs it."""
        _log.error("a request failed: %s", type(error).__name__, exc_info=error)

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Let what is under way end, at most so long or until `hurry`; what has come already is answered."""
        self.draining = True
        end = self.now() + seconds
        await asyncio.sleep(min(_SETTLE_SECONDS, seconds))
        while (self.connections or self._tasks) and self.now() < end and not hurry.is_set():
            for connection in list(self.connections):
                connection.drain()
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.drain(hurry=True)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    def end(self) -> None:
        """Look after nothing more."""
        if self._sweep is not None:
            self._sweep.cancel()


def _pair(address: Any) -> tuple[str, int] | None:
    return (address[0], address[1]) if isinstance(address, tuple) else None


async def serve(
    application: Application,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    limits: FrontLimits,
    quick: FindQuick = none_quick,
    ready: Callable[[], None] = lambda: None,
    draining: Draining = lambda: None,
    hurry: asyncio.Event | None = None,
) -> None:
    """Serve at this listening socket until `stop` is set, then drain as the native front does, and close it.

    `quick` finds the requests that need no application; `hurry` cuts off what the drain waits for. Raises
    StorageError.
    """
    front = LeanFront(application, limits, quick)
    servers: list[asyncio.Server] = []
    try:
        loop = asyncio.get_running_loop()
        for number in range(_LISTENERS):
            own = listener.dup() if number else listener
            servers.append(await loop.create_server(lambda: Connection(front), sock=own, backlog=_BACKLOG))
    except OSError as error:
        _close(servers)
        front.end()
        raise StorageError(f"can not listen: {error.strerror or error}") from error
    try:
        ready()
        await stop.wait()
        waited_for = draining()
        if waited_for is not None:
            await waited_for
        _close(servers)
        await front.drain(limits.drain_seconds, asyncio.Event() if hurry is None else hurry)
    finally:
        _close(servers)
        front.end()


def _close(servers: list[asyncio.Server]) -> None:
    for each in servers:
        each.close()


__all__ = ["REQUEST", "FindQuick", "LeanFront", "none_quick", "serve"]
