"""Requests on a socket of boto3's pool: every form an answer may have, and what is none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from hypothesis import example, given
from hypothesis import strategies as st

from merklelog.errors import FormatError
from merklelog.publish.s3_client import make_client
from merklelog.publish.s3_options import S3Options
from merklelog.publish.s3_wire import MAX_ERROR, Reply, Wire, _Incoming
from tests.servers.security.conftest import Authority

OK = b"HTTP/1.1 200 OK\r\nETag: x\r\n"


@pytest.fixture(scope="module")
def session(s3_credentials: None) -> Any:
    """What a client sends with; a client takes a part of a second to make."""
    return make_client(S3Options(endpoint_url="http://127.0.0.1:9"))._endpoint.http_session


class Server:
    """Takes one connection after the other, and gives each request on it the next answer."""

    def __init__(self, answers: list[bytes], tls: ssl.SSLContext | None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        scheme = "http" if tls is None else "https"
        self.origin = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self.answers:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            taken.settimeout(60)  # a test that fails leaves its connection in the pool
            with taken, suppress(OSError):  # who has read enough closes
                if self._tls is None:
                    self._answer(taken)
                else:
                    with self._tls.wrap_socket(taken, server_side=True) as secured:
                        self._answer(secured)
        self._refuse()

    def _refuse(self) -> None:
        """Who asks for more is refused at once, and the port is nobody else's."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def _answer(self, taken: socket.socket) -> None:
        while self.answers:
            data = b""
            while b"\r\n\r\n" not in data:
                if not (part := taken.recv(1 << 16)):
                    return
                data += part
            self.requests.append(data)
            answer = self.answers.pop(0)
            taken.sendall(answer.removesuffix(b"<end>"))
            if answer.endswith(b"<end>"):
                return

    def close(self) -> None:
        self._refuse()
        self._thread.join()
        self._listener.close()


@contextmanager
def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(list(answers), tls)
    try:
        yield server
    finally:
        server.close()


def get(session: Any, server: Server, limit: int = 100) -> Reply:
    return Wire(session).send("GET", server.origin, "/b/k?x=1", {"host": "h"}, b"", limit)


def test_a_request_is_what_was_asked_for(session: Any) -> None:
    with serving(OK + b"Content-Length: 0\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n") as server:
        get(session, server)
        Wire(session).send("PUT", server.origin, "/b/k", {"host": "h", "x-a": "ü"}, b"data", 0)
        assert server.requests == [
            b"GET /b/k?x=1 HTTP/1.1\r\nhost: h\r\n\r\n",
            b"PUT /b/k HTTP/1.1\r\nhost: h\r\nx-a: \xfc\r\ncontent-length: 4\r\n\r\ndata",
        ]
        assert server.connections == 1


WHOLE = {
    "length": OK + b"Content-Length: 4\r\n\r\nbody",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1;x=y\r\ny\r\n0\r\n\r\n",
    "until it ends": OK + b"\r\nbody<end>",
    "after a notice": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length:4\r\n\r\nbody",
    "of another version": OK.replace(b"1.1", b"1.0") + b"Content-Length: 4\r\n\r\nbody<end>",
    "and then closed": OK + b"Content-Length: 4\r\nConnection: Close\r\n\r\nbody<end>",
    "its lines end in LF": OK.replace(b"\r", b"") + b"Content-Length: 4\n\nbody",
    "chunks, their lines end in LF": OK + b"Transfer-Encoding: chunked\n\n3\nbod\n1\ny\n0\n\n",
    "a folded line": OK + b"Content-Length: 4\r\nx: a\r\n\tb: c\r\n\r\nbody",
    "two lengths, the same": OK + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    "a length with zeroes": OK + b"Content-Length: 004\r\n\r\nbody",
    "a coding that is none": OK + b"Transfer-Encoding: Identity\r\nContent-Length: 4\r\n\r\nbody",
    "after ten notices": b"HTTP/1.1 102 \r\n\r\n" * 10 + OK + b"Content-Length: 4\r\n\r\nbody",
    "with lines behind it": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx: y\r\n\r\n<end>",
}


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE)
def test_a_body_is_read_whole_and_the_next_answer_is_the_next_ones(session: Any, answer: bytes) -> None:
    with serving(answer, OK + b"Content-Length: 6\r\n\r\nsecond") as server:
        reply = get(session, server)
        assert (reply.status, reply.headers["etag"], reply.body, reply.is_cut) == (200, "x", b"body", False)
        assert get(session, server).body == b"second"
        assert server.connections == (2 if answer.endswith(b"<end>") else 1)


@pytest.mark.parametrize("form", ["length", "chunks", "end"])
def test_no_more_of_a_body_is_read_than_was_asked_for(session: Any, form: str) -> None:
    body = b"x" * (1 << 20)
    answer = {
        "length": OK + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        "end": OK + b"\r\n" + body,
    }[form]
    for status, limit, want in ((b"200", 9, 9), (b"404", 9, MAX_ERROR), (b"200", 1 << 20, 1 << 20)):
        with serving(answer.replace(b"200", status, 1) + b"<end>") as server:
            reply = get(session, server, limit)
            assert (len(reply.body), reply.is_cut) == (want, want < len(body))


def test_a_length_beyond_all_memory_is_no_reason_to_take_it(session: Any) -> None:
    with serving(OK + b"Content-Length: %d\r\n\r\nbody<end>" % (2**62)) as server:
        reply = get(session, server, 3)
        assert (reply.body, reply.is_cut) == (b"bod", True)


NONE = {
    "nothing": (b"<end>", ConnectionClosedError),
    "half a head": (OK + b"<end>", ConnectionClosedError),
    "half a body": (OK + b"Content-Length: 5\r\n\r\nbody<end>", ConnectionClosedError),
    "half a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nbody<end>", ConnectionClosedError),
    "another protocol": (b"SSH-2.0-OpenSSH\r\n\r\n<end>", HTTPClientError),
    "a lax length": (OK + b"Content-Length: +4\r\n\r\nbody<end>", HTTPClientError),
    "two lengths": (OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody<end>", HTTPClientError),
    "a coding that is not known": (OK + b"Transfer-Encoding: gzip\r\n\r\nbody<end>", HTTPClientError),
    "a chunk without length": (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n<end>", HTTPClientError),
    "a chunk too long": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n<end>", HTTPClientError),
    "a line that is no header": (OK + b"a b: c\r\nContent-Length: 0\r\n\r\n<end>", HTTPClientError),
    "a first line that is folded": (OK.replace(b"ETag", b" ETag") + b"\r\n<end>", HTTPClientError),
    "a long line before a chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n4;" + b"y" * 300 + b"\r\nbody\r\n0\r\n\r\n<end>",
        HTTPClientError,
    ),
    "notices without end": (b"HTTP/1.1 100 Continue\r\n\r\n" * 11 + b"<end>", ConnectionClosedError),
    "a head without end": (OK + b"x: " + b"y" * (MAX_ERROR * 2) + b"<end>", HTTPClientError),
}


@pytest.mark.parametrize(("answer", "error"), NONE.values(), ids=NONE)
def test_what_is_no_answer_is_told_as_botocore_tells_it(
    session: Any, answer: bytes, error: type[Exception]
) -> None:
    with serving(answer, OK + b"Content-Length: 6\r\n\r\nsecond") as server:
        with pytest.raises(error):
            get(session, server)
        assert get(session, server).body == b"second"


def test_who_can_not_be_reached(session: Any) -> None:
    with socket.socket() as deaf:  # it has the port, and does not listen
        deaf.bind(("127.0.0.1", 0))
        for origin in (f"http://127.0.0.1:{deaf.getsockname()[1]}", "http://no-such-host.invalid"):
            with pytest.raises(EndpointConnectionError):
                Wire(session).send("GET", origin, "/", {}, b"", 0)
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            with plain.accept()[0] as taken:
                taken.sendall(b"HTTP/1.1 400 no\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(SSLError):
            Wire(session).send("GET", f"https://127.0.0.1:{plain.getsockname()[1]}", "/", {}, b"", 0)
        answering.join()


def test_over_tls_who_is_vouched_for_is_asked_and_nobody_else(
    s3_credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"x" * (1 << 20)
    answer = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    roots = []
    for name in ("ca", "stranger"):
        (tmp_path / name).mkdir()
        authority = Authority(tmp_path / name)
        assert authority.root is not None
        roots.append(authority.root.pem)
        if name == "ca":
            pair = authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.pem, pair.key)
    sessions = []
    for root in roots:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(root))
        sessions.append(make_client(S3Options(endpoint_url="https://127.0.0.1:9"))._endpoint.http_session)
    with serving(answer, answer, tls=context) as server:
        for _ in range(2):
            assert get(sessions[0], server, len(body)).body == body
        assert server.connections == 1
    with serving(answer, tls=context) as server, pytest.raises(SSLError, match="certificate verify failed"):
        get(sessions[1], server)


def test_who_does_not_answer_is_not_waited_for_without_end(s3_credentials: None) -> None:
    client = make_client(S3Options(endpoint_url="http://127.0.0.1:9"))
    session = client._endpoint.http_session
    with socket.create_server(("127.0.0.1", 0)) as silent:
        origin = f"http://127.0.0.1:{silent.getsockname()[1]}"
        wire = Wire(session)
        wire._pool(origin).timeout = type(session._timeout)(connect=60, read=0.01)
        with pytest.raises(ReadTimeoutError):
            wire.send("GET", origin, "/", {}, b"", 0)


def test_a_proxy_is_left_to_boto3(s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "other.example")
    for host, is_direct in (("s3.example", False), ("other.example", True)):
        origin = f"http://{host}"
        assert (
            Wire(make_client(S3Options(endpoint_url=origin))._endpoint.http_session).is_direct(origin)
            is is_direct
        )


class Fed:
    """A socket that has these bytes, in parts of some length."""

    def __init__(self, data: bytes, part: int) -> None:
        self._data = data
        self._part = part

    def recv(self, most: int) -> bytes:
        assert most > 0
        count = min(most, self._part)
        found, self._data = self._data[:count], self._data[count:]
        return found


BITS = st.sampled_from(
    (
        *(
            b"HTTP/1.1 200 OK",
            b"HTTP/1.0 404",
            b"HTTP/1.1 100",
            b"\r\n",
            b"\r\n\r\n",
            b"a: b",
            b"0",
            b"\xff",
            b":",
        ),
        *(
            b"transfer-encoding: chunked",
            b"3\r\nabc\r\n",
            b"connection: close",
            b"content-length: 3",
            b"ab\xff",
        ),
    )
)


@given(st.lists(BITS, max_size=12).map(b"".join) | st.binary(max_size=60), st.integers(1, 50))
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", 1)
def test_whatever_comes_is_an_answer_or_an_error_of_the_wire(data: bytes, part: int) -> None:
    try:
        reply, goes_on = _Incoming(Fed(data, part)).reply(10)  # type: ignore[arg-type]
    except (FormatError, OSError):
        return
    assert data.startswith(b"HTTP/1.")
    assert 200 <= reply.status < 600
    assert len(reply.body) <= max(10, MAX_ERROR)
    assert not goes_on or not reply.is_cut


def test_errors_are_botocores() -> None:
    assert all(issubclass(error, BotoCoreError) for _, error in NONE.values())
