"""An HTTP proxy in front of a real S3 server that spoils chosen requests, as networks and services do.

A fault is one of: "refused" (an error answered, nothing passed on), "stored" (passed on, and an error answered
all the same), "lost" (passed on, and the connection closed without an answer), "dropped" (closed at once).
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """A request: its method, its path without the query, the query, its headers in lower case, its number."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    number: int


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of being served."""

    how: str
    status: int = 500
    code: str = "InternalError"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The error as S3 writes it."""
        said = f"<Error><Code>{self.code}</Code><Message>words</Message><RequestId>REQ1</RequestId></Error>"
        return b'<?xml version="1.0" encoding="UTF-8"?>' + said.encode()


SLOW_DOWN = Fault("refused", 503, "SlowDown")
Judge = Callable[[Asked], Fault | None]


@dataclass
class Proxy:
    """A running proxy; `judge` may be set at any time, `asked` holds every request in the order it came."""

    endpoint: str
    judge: Judge = field(default=lambda _: None)
    change: Callable[[Asked, dict[str, str], bytes], tuple[dict[str, str], bytes]] | None = None
    asked: list[Asked] = field(default_factory=list)

    def reset(self) -> None:
        """Pass everything on from now on, and forget what was asked."""
        self.judge, self.change = (lambda _: None), None
        self.asked.clear()

    def first(self, count: int, fault: Fault, method: str = "PUT") -> None:
        """Spoil the first `count` requests of a method from now on, and no other."""
        left = [count]

        def judge(asked: Asked) -> Fault | None:
            if asked.method != method or not left[0]:
                return None
            left[0] -= 1
            return fault

        self.judge = judge


class _Server(ThreadingHTTPServer):
    """Passes on to the server at `target` ("host:port") what `proxy` does not spoil."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.lock = threading.Lock()
        self.proxy = Proxy(f"http://127.0.0.1:{self.server_address[1]}")

    def take(self, asked: Callable[[int], Asked]) -> tuple[Asked, Fault | None]:
        """Write down a request, and what is to happen to it."""
        with self.lock:
            request = asked(len(self.proxy.asked))
            self.proxy.asked.append(request)
            return request, self.proxy.judge(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked, fault = self.server.take(lambda number: Asked(self.command, path, query, headers, number))
        if fault is None or fault.how in ("stored", "lost"):
            status, answered, data = self.pass_on(body)
        if fault is not None and fault.how in ("lost", "dropped"):
            self.close_connection = True
            return
        change = self.server.proxy.change
        if fault is not None:
            status, data = fault.status, fault.body
            answered = {"x-amz-request-id": "REQ1", **fault.headers}
        elif change is not None:
            answered, data = change(asked, answered, data)
        self.answer(status, answered, data)

    def pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "keep-alive"):
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", headers.get("Content-Length", "0"))
            data = b""
        elif status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def proxied(endpoint: str) -> Iterator[Proxy]:
    """A proxy in front of the server at `endpoint`, on a port of its own."""
    server = _Server(urlsplit(endpoint).netloc)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
