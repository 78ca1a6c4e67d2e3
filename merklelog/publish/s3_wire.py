"""One HTTP/1.1 request and its whole answer, over a connection of boto3's own pool.

Between boto3's session and the socket are five layers, and more than half a millisecond of processor time under
the interpreter's lock for each object. What they are for stays with them: addresses, TLS, time limits and
connections that are kept. What is left, a head and a body of known length in each direction, is written and read
here.
"""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress
from typing import Any, Final, NamedTuple

from merklelog.errors import FormatError
from merklelog.formats.wire import parse_decimal

MAX_ERROR: Final = 1 << 16
_MAX_HEAD: Final = 1 << 16
_PART: Final = 1 << 16
_JOINED: Final = 1 << 18  # a body up to here goes out with its head in one call
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\r\n]*)?")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_UNFINISHED: Final = "closed before the answer was whole"


class Reply(NamedTuple):
    """An answer: names of headers in lower case, one that came twice joined by a comma.

    `is_cut`: the body had more bytes than were asked for, and those are not in it.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_cut: bool


class Wire:
    """Sends requests to one place; safe for threads.

    `session` is what a botocore client sends with. Raises AttributeError where it is not made as it was known.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._manager = session._manager
        self._verify = session._verify
        self._proxies = session._proxy_config
        self._setup = session._setup_ssl_cert
        self._pools: dict[str, Any] = {}

    def is_direct(self, origin: str) -> bool:
        """Whether no proxy stands between here and `origin`."""
        return not self._proxies.proxy_url_for(origin)

    def send(
        self, method: str, origin: str, target: str, headers: dict[str, str], data: bytes, limit: int
    ) -> Reply:
        """One attempt. Of a body with status 200 up to `limit` bytes are read, of another up to 64 KiB.

        `target` is the path with its query, and `data` the body. Raises what botocore's session raises: of an
        answer that does not come or breaks off, and of one that is none.
        """
        from botocore.exceptions import (
            BotoCoreError,
            ConnectionClosedError,
            HTTPClientError,
            ReadTimeoutError,
        )

        try:
            return self._exchange(origin, _request(method, target, headers, data), data, limit)
        except BotoCoreError:
            raise  # of connecting; some of them are OSErrors, too
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=origin, error=error) from error
        except OSError as error:
            raise ConnectionClosedError(endpoint_url=origin, error=error) from error
        except FormatError as error:
            raise HTTPClientError(error=error) from error

    def _exchange(self, origin: str, head: bytes, data: bytes, limit: int) -> Reply:
        pool = self._pool(origin)
        connection = pool._get_conn()  # one that was closed meanwhile has no socket any more
        goes_on = False
        try:
            if connection.sock is None:
                _connect(connection, origin, pool.timeout.read_timeout)
            _write(connection.sock, head, data)
            reply, goes_on = _Incoming(connection.sock).reply(limit)
            return reply
        finally:
            if not goes_on:
                connection.close()
            pool._put_conn(connection)

    def _pool(self, origin: str) -> Any:
        pool = self._pools.get(origin)
        if pool is None or pool.pool is None:  # none yet, or it was closed
            pool = self._manager.connection_from_url(origin)
            self._setup(pool, origin, self._verify)
            self._pools[origin] = pool
        return pool


def _connect(connection: Any, origin: str, seconds: float) -> None:
    """From then on it waits `seconds` for each part of an answer.

    Nothing of a request was sent when this fails, and the errors say so by their names.
    """
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, SSLError
    from urllib3 import exceptions as failed

    try:
        connection.connect()
        connection.sock.settimeout(seconds)
    except (failed.SSLError, ssl.SSLError) as error:
        raise SSLError(endpoint_url=origin, error=error) from error
    except (failed.NewConnectionError, socket.gaierror) as error:  # the first is a timeout by its class
        raise EndpointConnectionError(endpoint_url=origin, error=error) from error
    except (failed.TimeoutError, TimeoutError) as error:
        raise ConnectTimeoutError(endpoint_url=origin, error=error) from error
    except (failed.HTTPError, OSError) as error:
        raise EndpointConnectionError(endpoint_url=origin, error=error) from error


def _request(method: str, target: str, headers: dict[str, str], data: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if data or method != "GET":
        lines.append(f"content-length: {len(data)}")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


def _write(sock: socket.socket, head: bytes, data: bytes) -> None:
    # Who refuses a body before its end may close, and what it answered can still be read.
    with suppress(BrokenPipeError):
        if len(data) <= _JOINED:
            sock.sendall(head + data)
        else:
            sock.sendall(head)
            sock.sendall(data)


class _Incoming:
    """What comes in on a socket for one request.

    Raises OSError, FormatError for what is no answer of HTTP/1.1.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._data = b""

    def reply(self, limit: int) -> tuple[Reply, bool]:
        """The answer, and whether another request may follow on the connection."""
        status = 100
        while 100 <= status < 200:
            minor, status, headers = self._head()
        most = limit if status == 200 else MAX_ERROR
        body, is_whole = self._body(status, headers, most)
        goes_on = is_whole and minor == b"1" and "close" not in headers.get("connection", "").lower()
        return Reply(status, headers, body[:most], len(body) > most), goes_on and not self._data

    def _head(self) -> tuple[bytes, int, dict[str, str]]:
        head = self._until(b"\r\n\r\n", _MAX_HEAD)
        first, *lines = head.split(b"\r\n")
        status = _STATUS.fullmatch(first)
        if status is None:
            raise FormatError(f"no answer of HTTP/1.1: {first[:40]!r}")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not name or name[0] in " \t":
                raise FormatError("an answer of HTTP/1.1 with a line that is no header")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return status[1], parse_decimal(status[2], "status"), headers

    def _body(self, status: int, headers: dict[str, str], most: int) -> tuple[bytes, bool]:
        """At least one byte more than `most` where there are more; and whether that is all that came."""
        if status in (204, 304):
            return b"", True
        coding = headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked":
                raise FormatError(f"transfer-encoding: got {coding[:40]!r}, want chunked")
            return self._chunks(most)
        length = headers.get("content-length")
        if length is None:
            return self._rest(most), False
        count = parse_decimal(length.encode("latin-1"), "content-length")
        taken = self._take(min(count, most + 1))
        return taken, len(taken) == count

    def _chunks(self, most: int) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        total = 0
        while total <= most:
            size = _CHUNK.fullmatch(self._until(b"\r\n", _MAX_HEAD))
            if size is None:
                raise FormatError("an answer in chunks, and one of them without its length")
            count = int.from_bytes(bytes.fromhex(size[1].rjust(16, b"0").decode("ascii")))
            if count == 0:
                # Lines behind the body are nothing that S3 knows: a connection that brings some is given up.
                return b"".join(parts), not self._until(b"\r\n", _MAX_HEAD)
            parts.append(self._take(min(count, most + 1 - total)))
            total += len(parts[-1])
            if total <= most and self._take(2) != b"\r\n":
                raise FormatError("an answer in chunks, and one of them longer than it says")
        return b"".join(parts), False

    def _rest(self, most: int) -> bytes:
        parts, total = [self._data], len(self._data)
        self._data = b""
        while total <= most and (part := self._socket.recv(_PART)):
            parts.append(part)
            total += len(part)
        return b"".join(parts)

    # --- bytes ---------------------------------------------------------------------------------------------------

    def _until(self, end: bytes, most: int) -> bytes:
        while (at := self._data.find(end)) < 0:
            if len(self._data) > most:
                raise FormatError(f"an answer of HTTP/1.1 without an end of its head in {most} bytes")
            self._data += self._receive(_PART)
        found, self._data = self._data[:at], self._data[at + len(end) :]
        return found

    def _take(self, count: int) -> bytes:
        found, self._data = self._data[:count], self._data[count:]
        if len(found) == count:
            return found
        parts, total = [found], len(found)
        while total < count:
            # No more than is there is ever allocated for long: recv gives back what it did not fill.
            parts.append(self._receive(min(count - total, 16 * _PART)))
            total += len(parts[-1])
        return b"".join(parts)

    def _receive(self, most: int) -> bytes:
        part = self._socket.recv(most)
        if not part:
            raise ConnectionResetError(_UNFINISHED)
        return part


__all__ = ["MAX_ERROR", "Reply", "Wire"]
