"""POST and GET as a log speaks them to a witness: a kept connection, one deadline for all of it, a bound on bytes.

http.client is all this takes. What it lacks is a deadline that a server can not stretch by sending a byte now and
then: here every read of the socket waits no longer than what is left.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from merklelog.errors import CertificateError, ConfigError, DamagedError, UnavailableError
from merklelog.formats.wire import quote
from merklelog.version import __version__

_AGENT: Final = f"merklelog/{__version__}"
_SCHEMES: Final = ("http", "https")
_LATER: Final = 3600.0  # seconds: no Retry-After is taken for longer


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `content_type` is as it came; `retry_after` is in seconds, None where none was said."""

    status: int
    content_type: str
    retry_after: float | None
    body: bytes


class _Reader(io.RawIOBase):
    """A socket that is read until a moment, however the bytes trickle."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
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


def parse_url(url: str, what: str) -> SplitResult:
    """A URL below which a witness answers. Raises ConfigError naming `what` it is for."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{what}: {quote(url)}: {error}") from error
    plain = not (parts.query or parts.fragment or parts.username or parts.password) and url.isascii()
    if parts.scheme not in _SCHEMES or not parts.hostname or not plain or port == 0 or not url.isprintable():
        raise ConfigError(f"{what}: got {quote(url)}, want http(s)://HOST[:PORT][/PATH]")
    return parts


def trust(ca: Path | None) -> ssl.SSLContext:
    """What `https` witnesses are believed by: the system's authorities, or those in this PEM file alone.

    Raises ConfigError for a file that can not be used.
    """
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca}: no certificates that can be used: {error}") from error


class Connection:
    """One connection to one witness, opened when it is needed and kept for the next request; for one thread."""

    def __init__(self, url: SplitResult, tls: ssl.SSLContext | None) -> None:
        self.location = f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"
        self._prefix = url.path.rstrip("/")
        # Said with its port, or http.client would look for one in an IPv6 address.
        self._host, self._port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._tls = tls if url.scheme == "https" else None
        self._kept: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close what is kept; the next request opens a new one."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def ask(self, method: str, path: str, body: bytes | None, *, seconds: float, limit: int) -> Answer:
        """One request and its whole answer, of at most `limit` bytes, within `seconds`. Follows no redirects.

        Raises UnavailableError when there was none in time or the connection broke (then the witness may have done
        what was asked), CertificateError when TLS can not be, DamagedError for a longer answer or one that is no
        HTTP.
        """
        ends = time.monotonic() + seconds
        while True:
            connection, self._kept = self._kept or self._new(), None
            is_kept = connection.sock is not None
            try:
                answer, more = self._exchange(connection, method, path, body, limit, ends)
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                connection.close()
                if is_kept:
                    continue  # a kept connection may have been closed meanwhile; a fresh one tells
                raise UnavailableError(f"{self.location}: {_reason(error)}") from error
            except BaseException as error:
                connection.close()
                raise self._told(error, seconds) from error
            if more:
                self._kept = connection
            else:
                connection.close()
            return answer

    def _new(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port)

    def _told(self, error: BaseException, seconds: float) -> BaseException:
        """The error of this project that says what went wrong; others as they are."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return CertificateError(f"{self.location}: certificate: {error.verify_message}")
        if isinstance(error, ssl.SSLError):
            return UnavailableError(f"{self.location}: TLS: {error.reason or error}")
        if isinstance(error, TimeoutError):
            return UnavailableError(f"{self.location}: no whole answer within {seconds:.1f} s")
        if isinstance(error, http.client.IncompleteRead):
            return UnavailableError(f"{self.location}: the answer ends early")
        if isinstance(error, OSError):
            return UnavailableError(f"{self.location}: {_reason(error)}")
        if isinstance(error, http.client.HTTPException | ValueError):  # a chunk of -5 bytes is the latter
            return DamagedError(f"{self.location}: no HTTP answer: {type(error).__name__}")
        return error

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
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
        connection.request(method, f"{self._prefix}{path}", body, {"User-Agent": _AGENT})
        with connection.getresponse() as response:
            data = response.read(limit + 1)
            if len(data) > limit or (response.length or 0) > limit:
                raise DamagedError(f"{self.location}: the answer is longer than {limit:,} bytes")
            if response.length:
                raise http.client.IncompleteRead(data, response.length)
            kind = response.headers.get("content-type", "")
            later = _seconds(response.headers.get("retry-after"))
            return Answer(response.status, kind, later, data), not response.will_close


def _seconds(value: str | None) -> float | None:
    """Retry-After as a number of seconds; a date is passed over, as the caller has its own pauses."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 9:
        return None
    return min(float(value), _LATER)


def _reason(error: OSError) -> str:
    """In words: http.client's own say little."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "the witness closed the connection without an answer"
    return error.strerror or str(error) or type(error).__name__


__all__ = ["Answer", "Connection", "parse_url", "trust"]
