"""What is read of an answer without http.client is what http.client reads of it; what is sent is one request."""

from __future__ import annotations

import http.client
import itertools
import socket
import time

import pytest

from merklelog.cosign import exchange as exchanging
from merklelog.cosign.exchange import Exchange, TooLongError, open_connection
from merklelog.cosign.http_bytes import plain_head, request_head

LIMIT = 1_000
PLAIN = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    b'HTTP/1.1 200 OK\r\nContent-Length:3\r\nX-A: 1\r\nx-a: 2\r\nETag:  "q" \r\n\r\nabc',
    b"HTTP/1.1 404 \r\ncontent-length: 0\r\nConnection: Close\r\n\r\n",
    b"HTTP/1.1 503 Later\r\nretry-after: 1\r\ncontent-length: 3\r\n\r\nab\xff",
)
UNUSUAL = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx: a\r\n b\r\n\r\nabc",
    b"HTTP/1.1 204 None\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 3\n\nabc",
)


def ask(answer: bytes, cuts: tuple[int, ...] = (), *, more: bytes = b"", limit: int = LIMIT) -> Exchange:
    """Ask a server that answers so, in pieces cut there, and says no more."""
    ours, theirs = socket.socketpair()
    connection = open_connection("log.example", None, None)
    connection.sock = ours
    with ours, theirs:
        edges = (0, *cuts, len(answer))
        for start, end in itertools.pairwise(edges):
            theirs.sendall(answer[start:end])
            if cuts:
                time.sleep(0.01)  # so that the pieces come apart, mostly
        theirs.sendall(more)
        theirs.shutdown(socket.SHUT_WR)
        return exchanging.exchange(connection, "GET", "/x", None, {}, limit=limit, ends=time.monotonic() + 60)


def by_http_client(answer: bytes) -> Exchange:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        return exchanging._unusual(ours, "GET", LIMIT, time.monotonic() + 60, b"")


@pytest.mark.parametrize("answer", [*PLAIN, *UNUSUAL])
def test_the_answer_is_what_http_client_reads(answer: bytes) -> None:
    head = answer.partition(b"\r\n\r\n")[0]
    assert (plain_head(head, "GET") is not None) is (answer in PLAIN)
    want = by_http_client(answer)
    got = ask(answer)
    stripped = {name: value.strip() for name, value in want.headers.items()}
    assert (got.status, got.headers, got.body) == (want.status, stripped, want.body)
    assert got.may_go_on is want.may_go_on
    assert ask(answer, (1,)) == got
    assert ask(answer, (len(head) + 3,)) == got
    assert ask(answer, (len(answer) - 1,)).body == want.body


def test_bytes_behind_an_answer_answer_no_other_request() -> None:
    assert ask(PLAIN[0]).may_go_on
    assert not ask(PLAIN[0], more=b"HTTP/1.1 200 OK\r\n").may_go_on


def test_an_answer_that_is_too_long_or_ends_early_is_an_error() -> None:
    with pytest.raises(TooLongError):
        ask(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n")
    with pytest.raises(TooLongError):
        ask(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999999999\r\n\r\nabc")
    with pytest.raises(http.client.IncompleteRead):
        ask(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc")
    with pytest.raises(http.client.RemoteDisconnected):
        ask(b"")
    with pytest.raises(http.client.HTTPException):
        ask(b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\nabc", limit=2)


def test_a_request_is_one_request() -> None:
    head = request_head("POST", "/add", "log.example", 81, {"User-Agent": "a"}, b"abc")
    want = b"POST /add HTTP/1.1\r\nHost: log.example:81\r\nAccept-Encoding: identity\r\nContent-Length: 3\r\n"
    assert head == want + b"User-Agent: a\r\n\r\n"
    assert b"\r\nHost: [::1]\r\n" in request_head("GET", "/", "::1", None, {}, None)
    assert b"\r\nHost: xn--bcher-kva.example\r\n" in request_head(
        "GET", "/", "bücher.example", None, {}, None
    )
    for path in ("/a b", "/a\r\nx: y", "/ä", "a"):
        with pytest.raises(http.client.HTTPException):
            request_head("GET", path, "log.example", None, {}, None)
    for name, value in (("a", "b\r\nc: d"), ("a:", "b"), ("", "b"), ("a", "€")):
        with pytest.raises(http.client.HTTPException) as caught:
            request_head("GET", "/", "log.example", None, {name: value}, None)
        assert "€" not in str(caught.value)
