"""Answers that are no HTTP, byte by byte: each ends in this project's own errors, in time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from merklelog.cosign.http import Answer, Connection, parse_url
from merklelog.errors import DamagedError, UnavailableError

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@contextmanager
def answering(once: bytes, forever: bytes) -> Iterator[Connection]:
    """A connection to somebody who answers so: `once`, and then `forever` until nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError), listener.accept()[0] as peer:
                peer.recv(65_536)
                peer.sendall(once)
                while forever:
                    peer.sendall(forever)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        connection = Connection(parse_url(f"http://127.0.0.1:{listener.getsockname()[1]}", "witness"), None)
        try:
            yield connection
        finally:
            connection.close()
            thread.join(60)


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
    with answering(once, forever) as connection, pytest.raises(error, match=r"http://127\.0\.0\.1:"):
        connection.ask("POST", "/add-checkpoint", b"x", seconds=seconds, limit=10_000)


@pytest.mark.parametrize("length", [b"-1", b"9" * 5_000, b"x"])
def test_a_length_that_is_none_is_passed_over(length: bytes) -> None:
    with answering(OK + b"content-length: " + length + b"\r\n\r\nabc", b"") as connection:
        answer = connection.ask("POST", "/add-checkpoint", b"x", seconds=60, limit=10_000)
    assert answer == Answer(200, "", None, b"abc")
