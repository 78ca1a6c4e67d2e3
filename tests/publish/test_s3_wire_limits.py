"""What the wire does not send, does not wait for and does not take in; and what boto3 does after it."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, HTTPClientError, SSLError
from urllib3.util import connection
from urllib3.util.ssl_match_hostname import CertificateError

from merklelog.errors import ConfigError, UnreachableError
from merklelog.publish import s3_transfer
from merklelog.publish.s3 import S3Options, S3Store, parse_s3_url
from merklelog.publish.s3_client import CONNECT_SECONDS, make_client
from merklelog.publish.s3_sign import sign
from merklelog.publish.s3_wire import Wire, _Incoming, _write
from tests.publish.test_s3_wire import OK, Fed, Server, serving

NOBODY = "http://127.0.0.1:9"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def session(s3_credentials: None) -> Any:
    return make_client(S3Options(endpoint_url=NOBODY))._endpoint.http_session


def store_at(server: Server, **options: Any) -> S3Store:
    settings = S3Options(server.origin, "us-east-1", **options)
    return S3Store(make_client(settings), parse_s3_url("s3://bucket/log"), settings, sleep=lambda _: None)


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\n", "ключ", "\x00", "\x7f", "\udcff"])
def test_a_header_that_can_not_be_sent_is_not(session: Any, value: str) -> None:
    with serving(EMPTY) as server:
        with pytest.raises(HTTPClientError, match="header x-a: a value with") as caught:
            Wire(session).send("GET", server.origin, "/", {"host": "h", "x-a": value}, b"", 0)
        assert isinstance(caught.value.kwargs["error"], ConfigError)
        assert Wire(session).send("GET", server.origin, "/", {"x-a": "\t \xfc~"}, b"", 0).status == 200
        assert server.requests == [b"GET / HTTP/1.1\r\nx-a: \t \xfc~\r\n\r\n"]


def test_a_token_that_can_not_be_sent_leaves_as_an_error_of_the_store(
    s3_credentials: None,
) -> None:
    with serving(EMPTY) as server:
        store = store_at(server)
        store.get("k")
        credentials: Any = store.client._request_signer._credentials
        for token in ("secret\r\nx-evil: 1", "secret\udcff", "secretключ"):
            credentials.token = token
            with pytest.raises(UnreachableError, match="x-amz-security-token: a value") as caught:
                store.get("k")
            assert "secret" not in str(caught.value)
        assert len(server.requests) == 1


def test_any_secret_signs() -> None:
    credentials = SimpleNamespace(access_key="A", secret_key="\ud800", token="\udfff")
    assert sign(
        *("GET", "/", "", {"host": "h"}, ""), region="r", credentials=credentials, now=datetime.now(UTC)
    )


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (CertificateError("hostname 's3.example' doesn't match 'other.example'"), SSLError),
        (UnicodeError("label too long"), EndpointConnectionError),
    ],
)
def test_who_is_somebody_else_was_not_reached(
    session: Any, monkeypatch: pytest.MonkeyPatch, problem: Exception, error: type[Exception]
) -> None:
    """A ValueError of urllib3's; it would end the thread that sends."""
    wire = Wire(session)

    def connect(_: Any) -> None:
        raise problem

    monkeypatch.setattr(wire._pool(NOBODY).ConnectionCls, "connect", connect)
    with pytest.raises(error):
        wire.send("GET", NOBODY, "/", {}, b"", 0)


def test_whatever_goes_wrong_is_an_error_of_botocore(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(session)
    monkeypatch.setattr(wire, "_pool", lambda _: dict[str, object]()["gone"])
    with pytest.raises(HTTPClientError, match="gone"):
        wire.send("GET", NOBODY, "/", {}, b"", 0)


def test_each_connect_waits_as_long_as_the_first(
    s3_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """urllib3 leaves the time for answers on a connection that it has used."""
    waits = []
    known = connection.create_connection

    def create(address: Any, timeout: Any = None, **rest: Any) -> Any:
        waits.append(timeout)
        return known(address, timeout, **rest)

    monkeypatch.setattr(connection, "create_connection", create)
    with serving(*[EMPTY + b"<end>"] * 3) as server:
        store = store_at(server)
        for _ in range(3):
            store.get("k")
        assert [b"Botocore" in request for request in server.requests] == [True, False, False]
    assert waits == [CONNECT_SECONDS] * 3


def test_bytes_that_tls_holds_are_no_answer_to_the_next_request() -> None:
    for held, goes_on in ((0, True), (5, False)):
        fed: Any = Fed(EMPTY, 1 << 16)
        fed.pending = lambda held=held: held
        assert _Incoming(fed).reply(10)[1] is goes_on


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"x"])
def test_an_answer_in_small_parts_takes_about_its_size(chunk: bytes) -> None:
    size = 1 << 13
    framed = b"Content-Length: %d\r\n\r\n" % size if chunk == b"x" else b"Transfer-Encoding: chunked\r\n\r\n"
    data = OK + framed + chunk * size + b"0\r\n\r\n"

    class Dripping:
        at = 0

        def recv(self, most: int) -> bytes:
            found = data[self.at : self.at + min(most, 2)]
            self.at += len(found)
            return found

    fed: Any = Dripping() if chunk == b"x" else Fed(data, 1 << 10)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        reply, _ = _Incoming(fed).reply(1 << 20)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert reply.body == b"x" * size
    assert peak < 2 * len(data) + 8 * size  # what feeds it copies all of the data


def test_a_large_body_goes_out_in_parts() -> None:
    """The time is for each call: all of it takes as long as who takes it needs."""
    calls: list[bytes] = []
    sock: Any = SimpleNamespace(sendall=lambda data: calls.append(bytes(data)))
    body = bytes(range(256)) * (9 << 10)
    _write(sock, b"head", body)
    assert b"".join(calls) == b"head" + body
    assert max(len(call) for call in calls) <= 1 << 20


def test_what_is_not_understood_is_left_to_boto3(
    s3_credentials: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(s3_transfer, "_LEFT_TO_BOTO3", 2)
    strange = EMPTY.replace(b"1.1", b"1.2", 1)
    with serving(EMPTY, strange, strange, strange, EMPTY) as server:
        store = store_at(server)
        for _ in range(4):
            assert store.get("k").data == b""
        agents = [b"Botocore" in request for request in server.requests]
        assert agents == [True, False, True, True, False]
        assert store.requests.total() == 5
        assert "s3://bucket: an answer that is none of HTTP/1.1; boto3 makes the next 2" in caplog.text


@pytest.mark.parametrize("is_quick", [False, True])
def test_an_object_without_an_etag_is_no_answer(s3_credentials: None, is_quick: bool) -> None:
    with serving(*[EMPTY] * is_quick, *[EMPTY.replace(b"ETag", b"x")] * 4) as server:
        store = store_at(server)
        for _ in range(is_quick):
            store.get("k")
        with pytest.raises(UnreachableError, match="without an ETag"):
            store.get("k")
