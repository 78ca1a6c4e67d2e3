"""Heads and bodies of HTTP/1.1 as the lean front reads them: what is ambiguous is refused with its status."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.servers.http_wishes import RefusedError
from merklelog.servers.lean_body import Chunks, Counted
from merklelog.servers.lean_head import Head, HeadLimits, parse_head

LIMITS = HeadLimits(head_bytes=4_096, fields=10)
GET = b"GET /x HTTP/1.1\r\nHost: a"


def read(raw: bytes) -> Head:
    return parse_head(raw, LIMITS)


REFUSED = {
    "no version": (b"GET /x", 400),
    "two spaces": (b"GET  /x HTTP/1.1\r\nHost: a", 400),
    "a space in the target": (b"GET /x y HTTP/1.1\r\nHost: a", 400),
    "a byte beyond ASCII in the target": (b"GET /\xff HTTP/1.1\r\nHost: a", 400),
    "a tab in the line": (b"GET\t/x HTTP/1.1\r\nHost: a", 400),
    "a method that is no token": (b"G(T /x HTTP/1.1\r\nHost: a", 400),
    "HTTP/2.0": (b"GET /x HTTP/2.0\r\nHost: a", 505),
    "HTTP/1.2": (b"GET /x HTTP/1.2\r\nHost: a", 505),
    "a long line": (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a", 414),
    "no host": (b"GET /x HTTP/1.1\r\nA: b", 400),
    "two hosts": (GET + b"\r\nHost: a", 400),
    "a host with a path": (b"GET /x HTTP/1.1\r\nHost: a/b", 400),
    "a host with a user": (b"GET /x HTTP/1.1\r\nHost: a@b", 400),
    "a fragment": (b"GET /x#y HTTP/1.1\r\nHost: a", 400),
    "an authority": (b"CONNECT a:80 HTTP/1.1\r\nHost: a", 400),
    "a target of another scheme": (b"GET ftp://a/x HTTP/1.1\r\nHost: a", 400),
    "a bare line feed": (GET + b"\nX: y", 400),
    "a bare carriage return": (GET + b"\r\nX: y\rZ: a", 400),
    "a folded line": (GET + b"\r\nX: y\r\n z", 400),
    "a space before the colon": (GET + b"\r\nContent-Length : 5", 400),
    "no colon": (GET + b"\r\nX", 400),
    "no name": (GET + b"\r\n: y", 400),
    "a NUL": (GET + b"\r\nX: \0", 400),
    "too many fields": (GET + b"\r\nX: y" * 10, 431),
    "a long field": (GET + b"\r\nX: " + b"y" * 2_048, 431),
    "a negative length": (GET + b"\r\nContent-Length: -1", 400),
    "a signed length": (GET + b"\r\nContent-Length: +1", 400),
    "a length in hex": (GET + b"\r\nContent-Length: 0x1", 400),
    "a length with an underscore": (GET + b"\r\nContent-Length: 1_0", 400),
    "a length in other digits": (GET + "\r\nContent-Length: ١".encode(), 400),
    "an empty length": (GET + b"\r\nContent-Length:", 400),
    "a list of lengths": (GET + b"\r\nContent-Length: 5, 5", 400),
    "two lengths": (GET + b"\r\nContent-Length: 5\r\nContent-Length: 5", 400),
    "a length beyond all": (GET + b"\r\nContent-Length: 99999999999999999999", 400),
    "chunks and a length": (GET + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400),
    "chunks in HTTP/1.0": (b"GET /x HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
    "chunks twice": (GET + b"\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
    "another coding": (GET + b"\r\nTransfer-Encoding: gzip, chunked", 501),
    "another expectation": (GET + b"\r\nExpect: tea", 417),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ambiguous_is_refused(name: str) -> None:
    raw, status = REFUSED[name]
    with pytest.raises(RefusedError) as caught:
        read(raw)
    assert caught.value.problem.http == status


def test_a_fields_value_is_not_repeated_to_anyone() -> None:
    with pytest.raises(RefusedError) as caught:
        read(GET + b"\r\nAuthorization: Bearer mlt_\0secret")
    assert "authorization" in caught.value.problem.message.lower()
    assert "secret" not in caught.value.problem.message


def test_a_head_says_what_it_says() -> None:
    got = read(
        b"POST /a%20b/%C3%A9?q=%20 HTTP/1.1\r\nHOST:x:1\r\nX:  y z \t\r\n"
        b"Content-Length: 12\r\nExpect: 100-Continue"
    )
    assert (got.method, got.path, got.raw_path, got.query) == (
        "POST",
        "/a b/é",
        b"/a%20b/%C3%A9",
        b"q=%20",
    )
    assert got.fields[:2] == ((b"host", b"x:1"), (b"x", b"y z"))
    assert (got.length, got.keeps, got.expects, got.minor) == (12, True, True, 1)
    assert read(GET + b"\r\nTransfer-Encoding: Chunked").length is None
    assert read(GET).length == 0


def test_an_absolute_target_goes_before_the_host() -> None:
    got = read(b"GET http://log.example:80/x?y HTTP/1.1\r\nHost: other\r\nA: b")
    assert (got.path, got.query) == ("/x", b"y")
    assert got.fields == ((b"host", b"log.example:80"), (b"a", b"b"))
    assert read(b"GET http://a HTTP/1.1\r\nHost: a").path == "/"


@pytest.mark.parametrize(
    ("raw", "keeps"),
    [
        (GET, True),
        (GET + b"\r\nConnection: Close", False),
        (GET + b"\r\nConnection: x, close", False),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", True),
    ],
)
def test_whether_a_connection_goes_on(raw: bytes, keeps: bool) -> None:
    assert read(raw).keeps is keeps


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(raw: bytes) -> None:
    for each in (raw, GET + b"\r\n" + raw, b"GET " + raw + b" HTTP/1.1\r\nHost: a"):
        with suppress(RefusedError):
            read(each)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
def test_chunks_are_one_body_however_they_come(parts: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(b"%x;a=b\r\n%b\r\n" % (len(each), each) for each in parts) + b"0\r\nT: u\r\n\r\nnext"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    chunks, body, rest = Chunks(1_000), b"", b""
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        if chunks.done:
            rest += raw[start:end]
            continue
        more, behind = chunks.feed(raw[start:end])
        body, rest = body + more, rest + behind
    assert (body, rest, chunks.done) == (b"".join(parts), b"next", True)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"zz\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x1\r\n", 400),
        (b" 1\r\n", 400),
        (b"1_0\r\n", 400),
        (b"\r\n", 400),
        (b"fffffffff\r\n", 400),
        (b"1\r\nab\r\n", 400),
        (b"1\r\na\n0\r\n", 400),
        (b"1;" + b"x" * 300, 400),
        (b"11\r\n", 413),
        (b"0\r\n" + b"T: u\r\n" * 1_000, 431),
        (b"0\r\n\nGET /x HTTP/1.1\r\n", 400),
    ],
)
def test_chunks_that_are_none_are_refused(raw: bytes, status: int) -> None:
    with pytest.raises(RefusedError) as caught:
        Chunks(16).feed(raw)
    assert caught.value.problem.http == status


@pytest.mark.parametrize(
    ("size", "count", "taken"), [(1, 4_000, True), (100, 20_000, True), (1, 5_000, False)]
)
def test_chunks_may_be_short_but_not_without_end(size: int, count: int, taken: bool) -> None:
    chunks, raw = Chunks(1 << 22), b"%x\r\n%b\r\n" % (size, b"x" * size)
    if taken:
        assert chunks.feed(raw * count) == (b"x" * size * count, b"")
    else:
        with pytest.raises(RefusedError, match="came in 4,1"):
            chunks.feed(raw * count)


def test_a_body_of_a_known_length_ends_there() -> None:
    body = Counted(5)
    assert body.feed(b"abc") == (b"abc", b"")
    assert not body.done
    assert body.feed(b"defg") == (b"de", b"fg")
    assert body.done
