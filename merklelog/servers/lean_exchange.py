"""One request on the lean front as an ASGI application sees it, and how an answer is framed.

Sources: ASGI 3.0, "HTTP & WebSocket ASGI Message Format"; RFC 9112, sections 6 and 7.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, Protocol

from .lean_head import Head

# What is read of a body before its application asks for it.
MAX_UNREAD: Final = 64 << 10
_LINES: Final = {
    each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus
}
_COPIED: Final = 16 << 10  # a longer body is not copied behind its head
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Carrier(Protocol):
    """The connection that an exchange is on."""

    @property
    def date(self) -> bytes:
        """The time as the `date` of an answer."""
        ...

    def write(self, data: bytes) -> None:
        """Send, or hold until there is room."""
        ...

    async def room(self) -> None:
        """Wait until the client took most of what was written."""
        ...

    def read_on(self) -> None:
        """More of the body may come."""
        ...

    def may_keep(self, head: Head) -> bool:
        """Whether the connection may carry another request after this one."""
        ...

    def answered(self, *, keep: bool) -> None:
        """The answer is whole."""
        ...


def head_of(status: int, fields: Iterable[tuple[bytes, bytes]], date: bytes) -> bytes:
    """The head of an answer without its last empty line."""
    line = _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return line + b"".join([b"%b: %b\r\n" % field for field in fields]) + b"date: %b\r\n" % date


class Exchange:
    """The two callables of an ASGI application for one request. It belongs to one event loop."""

    __slots__ = (
        *("_carrier", "_chunked", "_complete", "_head", "_keep", "_parts", "_silent", "_start"),
        *("_told", "_waiter", "finished", "gone", "started", "unread"),
    )

    def __init__(self, carrier: Carrier, head: Head) -> None:
        self._carrier = carrier
        self._head = head
        self._parts: list[bytes] = []
        self._complete = False  # the whole body came
        self._told = False  # and the application heard that it did
        self.gone = False  # the client has, or is let go of
        self._waiter: asyncio.Future[None] | None = None
        self._start: dict[str, Any] | None = None
        self._chunked = self._keep = False
        self._silent = head.method == "HEAD"  # no body follows
        self.unread = 0
        self.started = False  # something of the answer was sent
        self.finished = False  # all of it

    # --- the connection's side ---------------------------------------------------------------------------------

    def feed(self, data: bytes, *, complete: bool) -> None:
        """These bytes of the body came."""
        if data:
            self._parts.append(data)
            self.unread += len(data)
        self._complete = complete
        self._wake()

    def leave(self) -> None:
        """The client has gone, or is let go of."""
        self.gone = True
        self._wake()

    @property
    def streaming(self) -> bool:
        """Whether an answer has begun and goes on."""
        return self.started and not self.finished

    @property
    def complete(self) -> bool:
        """Whether the whole body came."""
        return self._complete

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the application's side --------------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        while not (self.gone or self.finished):
            if self._parts or (self._complete and not self._told):
                body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts.clear()
                self.unread = 0
                self._told = self._complete
                if not self._complete:
                    self._carrier.read_on()
                return {"type": "http.request", "body": body, "more_body": not self._complete}
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI's send. Raises ConnectionResetError when the client has gone, as ASGI wants it."""
        if self.gone:
            raise ConnectionResetError("the client has gone")
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body" or self.finished:
            raise ValueError(f"ASGI message of type {message['type']!r} where none is to come")
        more = message.get("more_body", False)
        self._write(message.get("body", b""), more=more)
        if not more:
            self.finished = True
            self._carrier.answered(keep=self._keep)
        await self._carrier.room()

    def _write(self, body: bytes, *, more: bool) -> None:
        """Frame a part of the answer; its head goes out with the first one."""
        head = b""
        if not self.started:
            head = self._begin(len(body), more=more)
            self.started = True
        if self._silent:
            body = b""
        elif self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                body += _LAST_CHUNK
        if len(body) > _COPIED:
            self._carrier.write(head)
            self._carrier.write(body)
        elif head or body:
            self._carrier.write(head + body)

    def _begin(self, length: int, *, more: bool) -> bytes:
        """The answer's head, and how its body is told to end (RFC 9112, section 6.3)."""
        if self._start is None:
            raise ValueError("ASGI: an answer's body before its start")
        status, fields = self._start["status"], list(self._start.get("headers", ()))
        self._keep = self._carrier.may_keep(self._head)
        if status in (204, 304):
            self._silent = True
        elif not any(name == b"content-length" for name, _ in fields):
            if not more and self._head.method != "HEAD":
                fields.append((b"content-length", b"%d" % length))
            elif self._head.minor:
                self._chunked = True
                fields.append((b"transfer-encoding", b"chunked"))
            else:
                self._keep = False  # to HTTP/1.0 a body ends where its connection does
        if not self._keep:
            fields.append((b"connection", b"close"))
        elif not self._head.minor:
            fields.append((b"connection", b"keep-alive"))
        return head_of(status, fields, self._carrier.date) + b"\r\n"


__all__ = ["MAX_UNREAD", "Carrier", "Exchange", "head_of"]
