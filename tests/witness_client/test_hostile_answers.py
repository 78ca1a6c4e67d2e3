"""Answers that are no HTTP, byte by byte: each is an error of this project, in time, for logs and for clients."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from merklelog.client import Access
from merklelog.client.http_wire import Connections
from merklelog.cosign.http import Answer, Connection, parse_url
from merklelog.errors import DamagedError, UnavailableError

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@contextmanager
def answering(once: bytes, forever: bytes) -> Iterator[str]:
    """The URL of somebody who answers so: `once`, and then `forever` until nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError), listener.accept()[0] as peer:
                asked = b""
                while not asked.endswith(b"\r\n\r\nx"):  # what is left unread would reset the connection
                    asked += peer.recv(65_536)
                peer.sendall(once)
                while forever:
                    peer.sendall(forever)
                peer.shutdown(socket.SHUT_WR)
                peer.recv(1)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(60)


@contextmanager
def asking(once: bytes, forever: bytes = b"") -> Iterator[Connection]:
    """A log's connection to such a witness."""
    with answering(once, forever) as url:
        connection = Connection(parse_url(url, "witness"), None)
        try:
            yield connection
        finally:
            connection.close()


@pytest.mark.parametrize(
    ("once", "forever", "error"),
    [
        (CHUNKED + b"-5\r\nabc", b"", DamagedError),
        (CHUNKED + b"zz\r\n", b"", UnavailableError),
        (CHUNKED + b"1;", b"a" * 1_000, DamagedError),
        (CHUNKED, b"1\r\na\r\n", DamagedError),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"a: b\r\n", UnavailableError),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", UnavailableError),
        (OK, b"a: b\r\n", DamagedError),
        (OK + b"content-length: " + b"9" * 30 + b"\r\n\r\nabc", b"", DamagedError),
        (b"HTTP/1.1 abc OK\r\n\r\n", b"", DamagedError),
        (b"HTTP/1.1 99999 OK\r\n\r\n", b"", DamagedError),
        (b"\x15\x03\x01\x00\x02\x02\x46", b"", DamagedError),
        (b"", b"", UnavailableError),
    ],
)
def test_what_is_no_answer_is_an_error_of_the_project(
    once: bytes, forever: bytes, error: type[Exception]
) -> None:
    seconds = 0.5 if error is UnavailableError else 60
    with asking(once, forever) as connection, pytest.raises(error, match=r"http://127\.0\.0\.1:"):
        connection.ask("POST", "/add-checkpoint", b"x", seconds=seconds, limit=10_000)


@pytest.mark.parametrize("length", [b"-1", b"9" * 5_000, b"x"])
def test_a_length_that_is_none_is_passed_over(length: bytes) -> None:
    with asking(OK + b"content-length: " + length + b"\r\n\r\nabc") as connection:
        answer = connection.ask("POST", "/add-checkpoint", b"x", seconds=60, limit=10_000)
    assert answer == Answer(200, "", None, b"abc")


@pytest.mark.parametrize(
    "answer", [CHUNKED + b"-5\r\nabc", OK + b"content-length: " + b"9" * 30 + b"\r\n\r\nabc"]
)
def test_a_client_is_told_in_the_project_s_errors_too(answer: bytes) -> None:
    with answering(answer, b"") as url:
        connections = Connections(urlsplit(url), Access())
        try:
            with pytest.raises(DamagedError, match=r"http://127\.0\.0\.1:"):
                connections.ask("POST", "/", seconds=60, limit=10_000, body=b"x")
        finally:
            connections.close()


Found = list[tuple[Any, ...]]


def resolving(monkeypatch: pytest.MonkeyPatch, names: Callable[[int], Found]) -> None:
    """Names are resolved by `names`, from the port; addresses as ever."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **wanted: Any) -> Found:
        return real(host, port, **wanted) if wanted.get("flags") else names(port)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_a_name_server_that_does_not_answer_costs_no_more_than_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = threading.Event()

    def silent(_port: int) -> Found:
        go.wait(120)
        return []

    resolving(monkeypatch, silent)
    connection = Connection(parse_url("http://slow.example/w", "witness"), None)
    with pytest.raises(UnavailableError, match=r"no whole answer within 0\.2 s"):
        connection.ask("GET", "/x", None, seconds=0.2, limit=10)
    assert not go.is_set()
    go.set()


def test_each_address_of_a_name_is_tried_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes no connection has its share of the time and no more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(3):  # more than the system keeps for somebody who accepts none
            hanging = waiting.enter_context(socket.socket())
            hanging.setblocking(False)
            hanging.connect_ex(full.getsockname())
        with answering(OK + b"content-length: 2\r\n\r\nok", b"") as url:

            def many(port: int) -> Found:
                kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
                return [(*kind, full.getsockname()), *[(*kind, ("127.0.0.1", port))] * 99]

            resolving(monkeypatch, many)
            there = url.replace("127.0.0.1", "many.example")
            connection = Connection(parse_url(there, "witness"), None)
            assert connection.ask("POST", "/x", b"x", seconds=60, limit=10).body == b"ok"
            connection.close()


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "none.invalid"])
def test_a_name_that_nobody_has_is_an_error_of_the_project(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if len(name) < 64:
        resolving(monkeypatch, lambda _port: [])
    connection = Connection(parse_url(f"http://{name}/", "witness"), None)
    with pytest.raises(UnavailableError, match=name):
        connection.ask("GET", "/x", None, seconds=60, limit=10)
