"""HTTP as the client speaks it: kept connections, one deadline for a whole answer, and a bound on its length.

http.client is all this takes. What it lacks is a deadline that a server can not stretch by sending a byte now and
then: here every read of the socket waits no longer than what is left.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult

from merklelog.client.access import Access
from merklelog.errors import CertificateError, DamagedError, UnavailableError, UsageError
from merklelog.version import __version__

_KEPT: Final = 16
_AGENT: Final = f"merklelog/{__version__}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are lower case, of a header that comes twice the first counts."""

    status: int
    headers: dict[str, str]
    body: bytes


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


class Connections:
    """Connections to one server, kept for the next request. Safe for threads."""

    def __init__(self, url: SplitResult, access: Access) -> None:
        """Raises UsageError."""
        self._host = url.hostname or ""
        self._port = url.port
        self.location = f"{url.scheme}://{url.netloc}"
        self._access = access
        self._tls: ssl.SSLContext | None = None
        if url.scheme == "https":
            self._tls = access.tls()
        else:
            access.check_clear(self.location, self._host)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close what is kept; safe to call twice."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        limit: int,
        seconds: float,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One request and its whole answer, of at most `limit` bytes, within `seconds`.

        Raises UnavailableError when there was none in that time or the connection broke (the request may have been
        carried out); CertificateError when TLS can not be; DamagedError for a longer
        answer and for one that is no HTTP.
        """
        where = f"{self.location}{path}"
        ends = time.monotonic() + seconds
        sent = {"User-Agent": _AGENT, **(headers or {})}
        if self._access.authorization is not None:
            sent["Authorization"] = self._access.authorization
        while True:
            connection = self._take()
            kept = connection.sock is not None
            whole = False
            try:
                answer, whole = self._exchange(connection, method, path, body, sent, limit, ends)
            except ssl.SSLCertVerificationError as error:
                raise CertificateError(f"{where}: certificate: {error.verify_message}") from error
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                raise UnavailableError(f"{where}: the server closed the connection") from error
            except ssl.SSLError as error:
                raise CertificateError(f"{where}: TLS: {error.reason or error}") from error
            except TimeoutError as error:
                raise UnavailableError(f"{where}: no whole answer within {seconds:.1f} s") from error
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                if kept:
                    continue  # a kept connection may have been closed meanwhile; a fresh one tells
                raise UnavailableError(f"{where}: {_reason(error)}") from error
            except OSError as error:
                raise UnavailableError(f"{where}: {_reason(error)}") from error
            except http.client.IncompleteRead as error:
                raise UnavailableError(f"{where}: the answer ends early") from error
            except http.client.HTTPException as error:
                raise DamagedError(f"{where}: no HTTP answer: {type(error).__name__}") from error
            else:
                return answer
            finally:
                self._give_back(connection, whole)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        limit: int,
        ends: float,
    ) -> tuple[Answer, bool]:
        """The answer, and whether the connection may carry another request."""
        left = max(0.001, ends - time.monotonic())
        connection.timeout = left
        if connection.sock is not None:
            connection.sock.settimeout(left)

        def respond(sock: socket.socket, method: str | None = None, **_: Any) -> _Response:
            return _Response(sock, ends, method)

        connection.response_class = respond  # type: ignore[assignment]  # any factory will do
        connection.request(method, path, body, headers)
        with connection.getresponse() as response:
            data = response.read(limit + 1)
            if len(data) > limit or (response.length or 0) > limit:
                raise DamagedError(f"{self.location}{path}: the answer is longer than {limit} bytes")
            if response.length:
                raise http.client.IncompleteRead(data, response.length)
            found: dict[str, str] = {}
            for name, value in response.getheaders():
                found.setdefault(name.lower(), value)
            return Answer(response.status, found, data), not response.will_close

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._closed:
                raise UsageError(f"{self.location}: the client was closed")
            if self._idle:
                return self._idle.pop()
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port)

    def _give_back(self, connection: http.client.HTTPConnection, whole: bool) -> None:
        if whole:
            with self._lock:
                if not self._closed and len(self._idle) < _KEPT:
                    self._idle.append(connection)
                    return
        connection.close()


def _reason(error: OSError | http.client.HTTPException) -> str:
    """In words: http.client's own say little."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    return getattr(error, "strerror", None) or str(error)
