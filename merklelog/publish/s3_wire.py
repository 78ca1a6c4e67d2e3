"""One HTTP/1.1 request and its whole answer, over a connection of boto3's own pool.

Between boto3's session and the socket are five layers, and more than half a millisecond of processor time under
the interpreter's lock for each object. What they are for stays with them: addresses, TLS, time limits and
connections that are kept. What is left, a head and a body of known length in each direction, is written and read
here.

An answer is read as leniently as boto3's own layers do where there is no doubt what it says (lines that end in LF
alone, a folded line, a length that is said twice), and is none where there is.
"""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress
from typing import Any, Final, NamedTuple

from merklelog.errors import ConfigError, FormatError
from merklelog.formats.wire import parse_decimal

MAX_ERROR: Final = 1 << 16
_MAX_HEAD: Final = 1 << 16
_MAX_NOTICES: Final = 10  # answers with a status of 1xx before the one that counts
_MAX_CHUNK_LINE: Final = 256
_PART: Final = 1 << 16
_JOINED: Final = 1 << 18  # a body up to here goes out with its head in one call, a longer one in such parts
_STATUS: Final = re.compile(rb"HTTP/1\.([01])[ \t]+([1-5][0-9][0-9])(?:[ \t].*)?", re.DOTALL)
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.1
_UNFIT: Final = re.compile("[^\t -~\x80-\xff]")  # RFC 9110, section 5.5
_LENGTH: Final = re.compile(r"([0-9]{1,40})(?:[ \t]*,[ \t]*\1)*")  # section 8.6: it may be said twice
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_SPACE: Final = " \t\r"
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

        `target` is the path with its query, and `data` the body. Raises what botocore's session raises, and
        nothing else: of an answer that does not come or breaks off, and of one that is none; its `error` is a
        FormatError where boto3 may know better.
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
        except Exception as error:
            raise HTTPClientError(error=error) from error

    def _exchange(self, origin: str, head: bytes, data: bytes, limit: int) -> Reply:
        pool = self._pool(origin)
        connection = pool._get_conn()  # one that was closed meanwhile has no socket any more
        goes_on = False
        try:
            if connection.sock is None:
                _connect(connection, origin, pool.timeout)
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


def _connect(connection: Any, origin: str, timeout: Any) -> None:
    """From then on it waits as long as `timeout` says for each part of an answer.

    Nothing of a request was sent when this fails, and the errors say so by their names.
    """
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, SSLError
    from urllib3 import exceptions as failed
    from urllib3.util.ssl_match_hostname import CertificateError

    try:
        connection.timeout = timeout.connect_timeout  # a request of boto3's leaves its own there
        connection.connect()
        connection.sock.settimeout(timeout.read_timeout)
    except (failed.SSLError, ssl.SSLError, CertificateError) as error:  # the last is of the host's name
        raise SSLError(endpoint_url=origin, error=error) from error
    except (failed.NewConnectionError, socket.gaierror) as error:  # the first is a timeout by its class
        raise EndpointConnectionError(endpoint_url=origin, error=error) from error
    except (failed.TimeoutError, TimeoutError) as error:
        raise ConnectTimeoutError(endpoint_url=origin, error=error) from error
    except Exception as error:
        raise EndpointConnectionError(endpoint_url=origin, error=error) from error


def _request(method: str, target: str, headers: dict[str, str], data: bytes) -> bytes:
    if _UNFIT.search("".join(headers.values())):
        named = ", ".join(name for name, value in headers.items() if _UNFIT.search(value))
        raise ConfigError(f"header {named}: a value with characters that no header may have")
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if data or method != "GET":
        lines.append(f"content-length: {len(data)}")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


def _write(sock: socket.socket, head: bytes, data: bytes) -> None:
    # Who refuses a body before its end may close, and what it answered can still be read.
    with suppress(BrokenPipeError):
        if len(data) <= _JOINED:
            sock.sendall(head + data)
            return
        sock.sendall(head)
        whole = memoryview(data)
        for start in range(0, len(data), _JOINED):  # the socket's time limit is for each call
            sock.sendall(whole[start : start + _JOINED])


class _Incoming:
    """What comes in on a socket for one request.

    Raises OSError, FormatError for what is no answer of HTTP/1.1. Never shows what was in it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._data = b""
        self._at = 0  # what stands before it in the data was read

    def reply(self, limit: int) -> tuple[Reply, bool]:
        """The answer, and whether another request may follow on the connection."""
        for _ in range(_MAX_NOTICES + 1):
            minor, status, headers = self._head()
            if status >= 200:
                break
        else:
            raise ConnectionAbortedError(f"more than {_MAX_NOTICES} answers of status 1xx")
        most = limit if status == 200 else MAX_ERROR
        body, is_whole = self._body(status, headers, most)
        goes_on = is_whole and minor == b"1" and "close" not in headers.get("connection", "").lower()
        return Reply(status, headers, body[:most], len(body) > most), goes_on and not self._has_more()

    def _head(self) -> tuple[bytes, int, dict[str, str]]:
        first, *lines = self._until_empty().split(b"\n")
        status = _STATUS.fullmatch(first.removesuffix(b"\r"))
        if status is None:
            raise FormatError("an answer that is none of HTTP/1.1")
        headers: dict[str, str] = {}
        name = ""
        for line in lines:
            text = line.decode("latin-1")
            if text[:1] in (" ", "\t") and name:  # RFC 9112, section 5.2
                headers[name] = f"{headers[name]} {text.strip(_SPACE)}"
                continue
            name, colon, value = text.partition(":")
            if not colon or not _NAME.fullmatch(name):
                raise FormatError("an answer of HTTP/1.1 with a line that is no header")
            name, value = name.lower(), value.strip(_SPACE)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return status[1], parse_decimal(status[2], "status"), headers

    def _body(self, status: int, headers: dict[str, str], most: int) -> tuple[bytes, bool]:
        """At least one byte more than `most` where there are more; and whether that is all that came."""
        if status in (204, 304):
            return b"", True
        coding = headers.get("transfer-encoding", "identity").lower()
        if coding == "chunked":
            return self._chunks(most)
        if coding != "identity":
            raise FormatError("transfer-encoding: got another, want chunked")
        length = headers.get("content-length")
        if length is None:
            return self._rest(most), False
        said = _LENGTH.fullmatch(length)
        if said is None:
            raise FormatError("content-length: want one decimal number")
        count = parse_decimal((said[1].lstrip("0") or "0").encode("ascii"), "content-length")
        taken = self._take(min(count, most + 1))
        return taken, len(taken) == count

    def _chunks(self, most: int) -> tuple[bytes, bool]:
        body = bytearray()
        while len(body) <= most:
            size = _CHUNK.fullmatch(self._line(_MAX_CHUNK_LINE))
            if size is None:
                raise FormatError("an answer in chunks, and one of them without its length")
            count = int.from_bytes(bytes.fromhex(size[1].rjust(16, b"0").decode("ascii")))
            if count == 0:
                # Lines behind the body are nothing that S3 knows: a connection that brings some is given up.
                return bytes(body), not self._line(_MAX_HEAD)
            body += self._take(min(count, most + 1 - len(body)))
            if len(body) <= most and self._line(2):
                raise FormatError("an answer in chunks, and one of them longer than it says")
        return bytes(body), False

    def _rest(self, most: int) -> bytes:
        body = bytearray(self._data[self._at :])
        self._data, self._at = b"", 0
        while len(body) <= most and (part := self._socket.recv(_PART)):
            body += part
        return bytes(body)

    # --- bytes ---------------------------------------------------------------------------------------------------

    def _has_more(self) -> bool:
        """Whether there are bytes behind the answer: here, or in what TLS has read."""
        return self._at < len(self._data) or getattr(self._socket, "pending", int)() > 0

    def _until_empty(self) -> bytes:
        """The lines before the next empty one, without the end of the last."""
        while (end := _HEAD_END.search(self._data, self._at)) is None:
            self._more(_MAX_HEAD)
        found = self._data[self._at : end.start()]
        self._at = end.end()
        return found.removesuffix(b"\r")

    def _line(self, most: int) -> bytes:
        """The next line, without its end."""
        while (end := self._data.find(b"\n", self._at, self._at + most + 2)) < 0:
            self._more(most)
        found = self._data[self._at : end]
        self._at = end + 1
        return found.removesuffix(b"\r")

    def _more(self, most: int) -> None:
        """Receives some; there may be `most` bytes that were not read yet."""
        if len(self._data) - self._at > most:
            raise FormatError(f"an answer of HTTP/1.1 with a line or a head of more than {most} bytes")
        self._data, self._at = self._data[self._at :] + self._receive(_PART), 0

    def _take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        self._at += len(found)
        if len(found) == count:
            return found
        self._data, self._at = b"", 0
        taken = bytearray(found)
        while len(taken) < count:
            # No more than is there is ever allocated for long: recv gives back what it did not fill.
            taken += self._receive(min(count - len(taken), 16 * _PART))
        return bytes(taken)

    def _receive(self, most: int) -> bytes:
        part = self._socket.recv(most)
        if not part:
            raise ConnectionResetError(_UNFINISHED)
        return part


__all__ = ["MAX_ERROR", "Reply", "Wire"]
