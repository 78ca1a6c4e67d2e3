"""POST and GET as a log speaks them to a witness: a kept connection, one deadline for all of it, a bound on bytes.

`exchange` has the deadline, and what it can not be stretched by.
"""

from __future__ import annotations

import http.client
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from merklelog.cosign.exchange import AGENT, Connecting, TooLongError, exchange, open_connection, reason
from merklelog.errors import CertificateError, ConfigError, DamagedError, UnavailableError
from merklelog.formats.wire import quote

_SCHEMES: Final = ("http", "https")
_LATER: Final = 3600.0  # seconds: no Retry-After is taken for longer


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `content_type` is as it came; `retry_after` is in seconds, None where none was said."""

    status: int
    content_type: str
    retry_after: float | None
    body: bytes


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
        self._host, self._port = url.hostname or "", url.port
        self._tls = tls if url.scheme == "https" else None
        self._kept: Connecting | None = None

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
            connection, self._kept = self._kept or open_connection(self._host, self._port, self._tls), None
            is_kept = connection.sock is not None
            try:
                answer, more = self._exchange(connection, method, path, body, limit, ends)
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                connection.close()
                if is_kept:
                    continue  # a kept connection may have been closed meanwhile; a fresh one tells
                raise UnavailableError(f"{self.location}: {reason(error, 'witness')}") from error
            except BaseException as error:
                connection.close()
                raise self._told(error, seconds, limit) from error
            if more:
                self._kept = connection
            else:
                connection.close()
            return answer

    def _told(self, error: BaseException, seconds: float, limit: int) -> BaseException:
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
            return UnavailableError(f"{self.location}: {reason(error, 'witness')}")
        if isinstance(error, TooLongError):
            return DamagedError(f"{self.location}: the answer is longer than {limit:,} bytes")
        if isinstance(error, http.client.HTTPException | ValueError):
            return DamagedError(f"{self.location}: no HTTP answer: {type(error).__name__}")
        return error

    def _exchange(
        self,
        connection: Connecting,
        method: str,
        path: str,
        body: bytes | None,
        limit: int,
        ends: float,
    ) -> tuple[Answer, bool]:
        """The answer, and whether the connection may carry another request."""
        headers = {"User-Agent": AGENT}
        got = exchange(connection, method, f"{self._prefix}{path}", body, headers, limit=limit, ends=ends)
        kind, later = got.headers.get("content-type", ""), _seconds(got.headers.get("retry-after"))
        return Answer(got.status, kind, later, got.body), got.may_go_on


def _seconds(value: str | None) -> float | None:
    """Retry-After as a number of seconds; a date is passed over, as the caller has its own pauses."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 9:
        return None
    return min(float(value), _LATER)


__all__ = ["Answer", "Connection", "parse_url", "trust"]
