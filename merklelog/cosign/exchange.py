"""One HTTP request and its whole answer, with one deadline for all of it and a bound on its length.

http.client is all this takes. What it lacks is a deadline that a server can not stretch by sending a byte now and
then: here every read of the socket waits no longer than what is left.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from dataclasses import dataclass
from typing import Any

from merklelog.version import __version__

AGENT = f"merklelog/{__version__}"


class TooLongError(http.client.HTTPException):
    """An answer of more bytes than were asked for."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A whole answer; header names are lower case, of a header that comes twice the first counts.

    `may_go_on`: the connection may carry another request.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    may_go_on: bool


class _Reader(io.RawIOBase):
    """Reads a socket until a moment, however the bytes trickle."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        # The file counts as a user of the socket, so that http.client may close its own end early.
        self._file = sock.makefile("rb", 0)
        self._socket = sock
        self._ends = ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that is read through `_Reader`."""

    def __init__(self, sock: socket.socket, ends: float, method: str | None) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, ends), 64 << 10)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    *,
    limit: int,
    ends: float,
) -> Exchange:
    """Ask, and read an answer of at most `limit` bytes until `ends` on the monotonic clock.

    Raises OSError (TimeoutError and ssl.SSLError among them) and http.client.HTTPException; TooLongError is one.
    """
    left = max(0.001, ends - time.monotonic())
    connection.timeout = left
    if connection.sock is not None:
        connection.sock.settimeout(left)

    def respond(sock: socket.socket, method: str | None = None, **_: Any) -> _Response:
        return _Response(sock, ends, method)

    connection.response_class = respond  # type: ignore[assignment]  # any factory will do
    connection.request(method, path, body, headers)
    with connection.getresponse() as response:
        try:
            data = response.read(limit + 1)
        except ValueError as error:  # a chunk of -5 bytes, say
            raise http.client.HTTPException(str(error)) from error
        if len(data) > limit or (response.length or 0) > limit:
            raise TooLongError
        if response.length:
            raise http.client.IncompleteRead(data, response.length)
        found: dict[str, str] = {}
        for name, value in response.getheaders():
            found.setdefault(name.lower(), value)
        return Exchange(response.status, found, data, not response.will_close)


def open_connection(host: str, port: int | None, tls: Any) -> http.client.HTTPConnection:
    """A connection that is made when it is first used; over TLS where there is a context for it."""
    # Said with its port, or http.client would look for one in an IPv6 address.
    if tls is not None:
        return http.client.HTTPSConnection(host, port or 443, context=tls)
    return http.client.HTTPConnection(host, port or 80)


def reason(error: OSError | http.client.HTTPException, whose: str) -> str:
    """In words: http.client's own say little. `whose` is who was asked."""
    if isinstance(error, http.client.RemoteDisconnected):
        return f"the {whose} closed the connection without an answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


__all__ = ["AGENT", "Exchange", "TooLongError", "exchange", "open_connection", "reason"]
