"""The lean front over the network: what HTTP/1.1 allows clients, and appends that go past the application."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

Start = Callable[..., Any]
ADD = b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b"


def add(body: bytes, more: bytes = b"") -> bytes:
    return ADD % (len(body), more, body)


@pytest.fixture(scope="module")
def server(start: Start) -> Any:
    return start("lean")


@pytest.fixture
def client(server: Any) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        yield connection


def answer(client: socket.socket, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """The next answer: its status, its fields and its body."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += received(client, 1)
    line, *lines = raw.decode("latin-1").split("\r\n")
    fields = dict(each.split(": ", 1) for each in lines if each)
    body = b""
    while method != "HEAD" and len(body) < int(fields.get("content-length", "0")):
        body += received(client, int(fields["content-length"]) - len(body))
    return int(line.split(" ")[1]), fields, body


def received(client: socket.socket, most: int) -> bytes:
    data = client.recv(most)
    assert data, "the server closed"
    return data


def size(server: Any) -> int:
    return int(server.ask("GET", "/checkpoint")[2].split(b"\n")[1])


def test_requests_may_follow_each_other_at_once(server: Any, client: socket.socket) -> None:
    """Appends, a read and a refusal on one connection, sent together and in single bytes: answered in order."""
    first = size(server)
    together = add(b"a") + b"\r\n" + add(b"b") + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + add(b"c")
    client.sendall(together)
    assert [answer(client)[2] for _ in range(4)] == [
        b"%d\n" % first,
        b"%d\n" % (first + 1),
        b"ok\n",
        b"%d\n" % (first + 2),
    ]
    for each in add(b"d" * 3):
        client.sendall(bytes([each]))
    assert answer(client)[2] == b"%d\n" % (first + 3)
    client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + add(b"e"))
    assert answer(client)[0] == 404
    assert answer(client)[2] == b"%d\n" % (first + 4)
    assert server.ask("GET", f"/entry/{first + 3}")[2] == b"ddd"


def test_many_appends_in_one_write_are_each_answered(server: Any, client: socket.socket) -> None:
    first, count = size(server), 300
    client.sendall(b"".join(add(b"%d" % i) for i in range(count)))
    assert [answer(client)[2] for _ in range(count)] == [b"%d\n" % (first + i) for i in range(count)]
    assert server.ask("GET", f"/entry/{first + 123}")[2] == b"123"


def test_a_plain_append_is_answered_as_the_application_does(server: Any, client: socket.socket) -> None:
    """One goes to the log at once, one by way of the application, because it says how long it waits."""
    for more in (b"", b"merklelog-wait: integrated\r\n", b"Accept: */*\r\n"):
        client.sendall(add(b"same", more))
    plain, asked, curl = (answer(client) for _ in range(3))
    assert plain[0] == asked[0] == curl[0] == 200
    for got in (plain, asked, curl):
        assert got[1].pop("date").endswith(" GMT")
        assert set(got[1].items()) == set(plain[1].items())
    assert int(asked[2]) == int(plain[2]) + 1


@pytest.mark.parametrize("length", [0, 1, 65_535])
def test_appends_of_every_length(server: Any, client: socket.socket, length: int) -> None:
    client.sendall(add(b"x" * length))
    status, _, body = answer(client)
    assert status == 200
    assert server.ask("GET", f"/entry/{int(body)}")[2] == b"x" * length


@pytest.mark.parametrize(
    "path",
    [
        "checkpoint",
        "tile/0/000.p/1",
        "tile/0/999",
        "entry/0",
        "proof/0.tlog-proof",
        "healthz",
        "nowhere",
        "add",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_is_answered_as_the_application_does(
    server: Any, client: socket.socket, method: str, path: str
) -> None:
    """The first of two together is the application's, the last is answered at once; and so is who knows it."""
    client.sendall(add(b"there is one"))
    answer(client)
    head = f"{method} /{path} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n".encode()
    client.sendall((head + b"\r\n") * 2)
    slow, quick = (answer(client, method) for _ in range(2))
    for got in (slow, quick):
        assert got[1].pop("date").endswith(" GMT")
    assert slow == quick
    if "etag" in quick[1]:
        client.sendall(head + b"If-None-Match: %b\r\n\r\n" % quick[1]["etag"].encode())
        assert answer(client, method)[0] == 304
    client.sendall(head + b"Connection: close\r\n\r\n")
    assert answer(client, method)[1]["connection"] == "close"
    assert client.recv(1) == b""


def test_a_short_body_behind_a_refusal_costs_no_connection(server: Any, client: socket.socket) -> None:
    """As http.client sends it: first the head, which is answered, then the body; then another request."""
    for keeps, length in ((True, 3), (True, 40_000), (False, 100_000)):
        client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
        status, fields, _ = answer(client)
        assert (status, "connection" not in fields) == (404, keeps)
        if keeps:
            client.sendall(b"x" * (length - 1))
            client.sendall(b"x" + add(b"behind it"))
            assert answer(client)[0] == 200


def test_one_that_the_log_alone_may_write_is_refused(server: Any, client: socket.socket) -> None:
    before = size(server)
    client.sendall(add(b'{"log":{"format":"merklelog/entry/v1"}}') + add(b"z" * 65_536))
    refused = answer(client)
    assert (refused[0], json.loads(refused[2])["reason"]) == (400, "ENTRY_REFUSED")
    assert answer(client)[0] == 413
    assert size(server) == before


def test_who_said_all_is_answered(server: Any, client: socket.socket) -> None:
    client.sendall(add(b"half") + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    assert answer(client)[0] == 200
    assert answer(client)[2] == b"ok\n"
    assert client.recv(1) == b""


def test_a_body_that_is_waited_for(client: socket.socket) -> None:
    client.sendall(b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert answer(client)[0] == 100
    client.sendall(b"abc")
    assert answer(client)[0] == 200


def test_a_body_in_chunks(server: Any, client: socket.socket) -> None:
    head = b"POST /add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + add(b"behind"))
    status, _, body = answer(client)
    assert status == 200
    assert server.ask("GET", f"/entry/{int(body)}")[2] == b"abcde"
    assert int(answer(client)[2]) == int(body) + 1


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"POST /add HTTP/1.0\r\nContent-Length: 1\r\n\r\na", False),
        (b"POST /add HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", True),
        (b"POST /add HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", False),
    ],
)
def test_a_connection_goes_on_as_its_client_wants(client: socket.socket, head: bytes, keeps: bool) -> None:
    client.sendall(head)
    status, fields, _ = answer(client)
    assert (status, fields.get("connection")) == (200, "keep-alive" if keeps else "close")
    if keeps:
        client.sendall(head)
        assert answer(client)[0] == 200
    else:
        assert client.recv(1) == b""


def test_one_empty_line_is_passed_over_and_not_many(server: Any, client: socket.socket) -> None:
    client.sendall(b"\r")
    client.sendall(b"\n" + add(b"after it"))
    assert answer(client)[0] == 200
    with suppress(ConnectionError):
        client.sendall(b"\r\n" * (1 << 20))
    assert server.ask("GET", "/healthz")[0] == 200
    with suppress(ConnectionError):
        assert answer(client)[0] in {400, 431}


def test_http2_without_tls_is_told_to_speak_http1(client: socket.socket) -> None:
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    raw = b""
    while data := client.recv(100):
        raw += data
    assert (raw[3], raw[12], raw[-4:]) == (4, 7, b"\0\0\0\x0d"), "SETTINGS, and GOAWAY: HTTP_1_1_REQUIRED"


def test_a_log_without_room_says_so_to_plain_appends_too(start: Start) -> None:
    server = start("full", **{"store.min_free_bytes": 1 << 60})
    for headers in ({}, {"merklelog-wait": "integrated"}):
        status, fields, body = server.ask("POST", "/add", b"x", headers)
        assert (status, json.loads(body)["reason"]) == (503, "STORAGE_FULL")
        assert int(fields["retry-after"]) >= 1
    assert server.stop() == "closed\n"
