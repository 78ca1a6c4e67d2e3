"""HTTP as the client speaks it: connections that are kept, and what goes wrong in this project's errors."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from typing import Final
from urllib.parse import SplitResult

from merklelog.client.access import Access
from merklelog.cosign.exchange import (
    AGENT,
    Connecting,
    Exchange,
    TooLongError,
    exchange,
    open_connection,
    reason,
)
from merklelog.errors import CertificateError, DamagedError, UnavailableError, UsageError

_KEPT: Final = 16


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
        self._idle: list[Connecting] = []
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
    ) -> Exchange:
        """One request and its whole answer, of at most `limit` bytes, within `seconds`.

        Raises UnavailableError when there was none in that time or the connection broke (the request may have been
        carried out); CertificateError when TLS can not be; DamagedError for a longer
        answer and for one that is no HTTP.
        """
        where = f"{self.location}{path}"
        ends = time.monotonic() + seconds
        sent = {"User-Agent": AGENT, **(headers or {})}
        if self._access.authorization is not None:
            sent["Authorization"] = self._access.authorization
        while True:
            connection = self._take()
            kept = connection.sock is not None
            whole = False
            try:
                answer = exchange(connection, method, path, body, sent, limit=limit, ends=ends)
                whole = answer.may_go_on
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
                raise UnavailableError(f"{where}: {reason(error, 'server')}") from error
            except OSError as error:
                raise UnavailableError(f"{where}: {reason(error, 'server')}") from error
            except http.client.IncompleteRead as error:
                raise UnavailableError(f"{where}: the answer ends early") from error
            except TooLongError as error:
                raise DamagedError(f"{where}: the answer is longer than {limit} bytes") from error
            except http.client.HTTPException as error:
                raise DamagedError(f"{where}: no HTTP answer: {type(error).__name__}") from error
            else:
                return answer
            finally:
                self._give_back(connection, whole)

    def _take(self) -> Connecting:
        with self._lock:
            if self._closed:
                raise UsageError(f"{self.location}: the client was closed")
            if self._idle:
                return self._idle.pop()
        return open_connection(self._host, self._port, self._tls)

    def _give_back(self, connection: Connecting, whole: bool) -> None:
        if whole:
            with self._lock:
                if not self._closed and len(self._idle) < _KEPT:
                    self._idle.append(connection)
                    return
        connection.close()
