"""One HTTP request and its whole answer, with one deadline for all of it and a bound on its length.

http.client is all this takes. What it lacks is a deadline that nobody can stretch: a server that sends a byte now
and then, a name server that does not answer, a name with many addresses of which none does. Here everything that
is waited for waits no longer than what is left.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from merklelog.cosign.http_bytes import END, plain_head, request_head
from merklelog.version import __version__

AGENT = f"merklelog/{__version__}"
_READ = 64 << 10
_MOST = 256 << 10


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
    """Reads a socket until a moment, however the bytes trickle; before that, what was `read` of it already."""

    def __init__(self, sock: socket.socket, ends: float, read: bytes) -> None:
        # The file counts as a user of the socket, so that http.client may close its own end early.
        self._file = sock.makefile("rb", 0)
        self._socket = sock
        self._ends = ends
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._read:
            part = self._read[: len(buffer)]
            self._read = self._read[len(part) :]
            buffer[: len(part)] = part
            return len(part)
        self._socket.settimeout(_left(self._ends))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that is read through `_Reader`."""

    def __init__(self, sock: socket.socket, ends: float, method: str, read: bytes) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, ends, read), _READ)


def exchange(
    connection: Connecting,
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
    connection.ends = ends
    port = None if connection.port == connection.default_port else connection.port
    head = request_head(method, path, connection.host, port, headers, body)
    if connection.sock is None:
        connection.connect()
    sock: socket.socket = connection.sock
    sock.settimeout(_left(ends))
    sock.sendall(head + body if body else head)
    return _answer(sock, method, limit, ends)


def _answer(sock: socket.socket, method: str, limit: int, ends: float) -> Exchange:
    """The answer to what was sent: read here where its head is a plain one, else by http.client."""
    sock.settimeout(_left(ends))
    read = sock.recv(_READ)
    end = read.find(END)
    plain = None if end < 0 else plain_head(read[:end], method)
    if plain is None:
        return _unusual(sock, method, limit, ends, read)
    if plain.length > limit:
        raise TooLongError
    body = read[end + len(END) :]
    if len(body) < plain.length:
        parts, missing = [body], plain.length - len(body)
        while missing:
            sock.settimeout(_left(ends))
            part = sock.recv(min(missing, _MOST))
            if not part:
                raise http.client.IncompleteRead(b"".join(parts), missing)
            parts.append(part)
            missing -= len(part)
        body = b"".join(parts)
    more = len(body) > plain.length  # than the answer: whatever that is, it is no answer to another request
    return Exchange(plain.status, plain.headers, body[: plain.length], plain.may_go_on and not more)


def _unusual(sock: socket.socket, method: str, limit: int, ends: float, read: bytes) -> Exchange:
    """The answer that begins with what was `read`, by http.client, which knows every kind."""
    with _Response(sock, ends, method, read) as response:
        try:
            response.begin()
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


class Connecting(http.client.HTTPConnection):
    """A connection that is made when it is first used, until the moment `ends`; over TLS with a context for it."""

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext | None) -> None:
        self.default_port = 80 if tls is None else 443  # what the Host header leaves out
        # Said with its port, or http.client would look for one in an IPv6 address.
        super().__init__(host, port or self.default_port)
        self.ends = 0.0
        self._tls = tls

    def connect(self) -> None:
        """Find out the addresses and try one after the other. Raises OSError."""
        made = self._reached()
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(_left(self.ends))
            self.sock = made if self._tls is None else self._tls.wrap_socket(made, server_hostname=self.host)
        except BaseException:
            made.close()
            raise

    def _reached(self) -> socket.socket:
        failed: OSError = OSError(f"{self.host}: it has no address")
        known = _addresses(self.host, self.port, self.ends)
        for tried, (family, kind, protocol, _, address) in enumerate(known):
            share = _left(self.ends) / (len(known) - tried)  # else one that is silent would take it all
            try:
                made = socket.socket(family, kind, protocol)
            except OSError as error:  # a kind of address that this system does not have
                failed = error
                continue
            try:
                made.settimeout(share)
                made.connect(address)
            except OSError as error:
                made.close()
                failed = error
            else:
                return made
        raise failed


def open_connection(host: str, port: int | None, tls: ssl.SSLContext | None) -> Connecting:
    """A connection that is made when it is first used; over TLS where there is a context for it."""
    return Connecting(host, port, tls)


def _left(ends: float) -> float:
    """Seconds until then. Raises TimeoutError when there are none."""
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _addresses(host: str, port: int, ends: float) -> list[Any]:
    """What an address in digits or a name stands for. Raises OSError."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):  # no digits: a name, that somebody has to be asked about
        return _looked_up(host, port, ends)


def _looked_up(host: str, port: int, ends: float) -> list[Any]:
    """What the system's getaddrinfo says, unless it takes longer: it has no deadline of its own. Raises OSError.

    Then its thread is left behind until it has one more answer than anybody waits for; it keeps no program alive.
    """
    found: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that waits
            found.put(error)

    try:
        threading.Thread(target=ask, name="merklelog-resolve", daemon=True).start()
    except RuntimeError as error:  # there are as many threads as the system lets there be
        raise OSError(f"{host}: its address can not be looked up: {error}") from error
    try:
        answer = found.get(timeout=_left(ends))
    except Empty:
        raise TimeoutError(f"{host}: its address was not found in time") from None
    if isinstance(answer, UnicodeError):  # a label that no name can have
        raise OSError(f"{host}: {answer}") from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def reason(error: OSError | http.client.HTTPException, whose: str) -> str:
    """In words: http.client's own say little. `whose` is who was asked."""
    if isinstance(error, http.client.RemoteDisconnected):
        return f"the {whose} closed the connection without an answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


__all__ = ["AGENT", "Connecting", "Exchange", "TooLongError", "exchange", "open_connection", "reason"]
