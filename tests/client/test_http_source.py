"""A log read over HTTP: from a real server, from a copy on a plain web server, and from servers that misbehave."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client import VerifiedReads, open_target, published_directory
from merklelog.client.access import Access
from merklelog.client.http_source import retry_after
from merklelog.client.retry import Retry
from merklelog.client.statuses import REASONS
from merklelog.errors import (
    ConflictError,
    DamagedError,
    ForbiddenError,
    NotFoundError,
    OverloadedError,
    RangeError,
    UnauthenticatedError,
    UnavailableError,
    UnknownLogError,
    UnreachableError,
    UsageError,
)
from merklelog.formats import VerifierKey
from merklelog.publish import publish_copy
from merklelog.servers.problems import TABLE

ENTRIES = [b"event %d" % i for i in range(700)]
# One try, and no other: the first pause would end behind the deadline.
ONCE = Access(retry=Retry(total=30, attempt=30, first=100, most=100))
LORIS = Access(retry=Retry(total=30, attempt=0.5, first=100, most=100))
PATIENT = Access(retry=Retry(total=60, attempt=30, first=0.01, most=0.05))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[VerifierKey, ...]]:
    path = tmp_path_factory.mktemp("served") / "log"
    keys = merklelog.create_log(path, "http.example/log", settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as writer:
        writer.append_batch(ENTRIES[:300])
        time.sleep(1.1)  # about one checkpoint a second stays
        writer.append_batch(ENTRIES[300:])
    return path, keys


@pytest.fixture(scope="module")
def copy(log: tuple[Path, tuple[VerifierKey, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    with merklelog.open_reader(log[0]) as reader:
        publish_copy(reader, published_directory(f"dir:{folder}"), verifiers=log[1], bundle_encoding="gzip")
    return folder


@pytest.fixture(scope="module")
def url(log: tuple[Path, tuple[VerifierKey, ...]], start_http: Callable[..., Any]) -> str:
    return str(start_http(log[0]).url)


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Any web server: it knows files and nothing of logs."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_reads_like_its_directory(log: tuple[Path, tuple[VerifierKey, ...]], url: str) -> None:
    path, keys = log
    with merklelog.open_reader(path) as reader:
        sizes = list(reader.stored_sizes())
        expected = reader.prove(299), reader.checkpoint()
    with contextlib.closing(open_target(url)) as source:
        reads = VerifiedReads(source, keys)
        assert list(reads.entries(0)) == ENTRIES
        assert (reads.prove(299), reads.head().note) == expected
        assert reads.consistency(300, 700).proof
        assert [source.checkpoint(size).split(b"\n")[1] for size in sizes] == [b"%d" % size for size in sizes]
        assert source.checkpoint(700) == expected[1]
        assert list(source.stored_sizes()) == [700]
        for ask in (lambda: source.checkpoint(5), lambda: source.tile(0, 9), lambda: source.bundle(2, 200)):
            with pytest.raises(NotFoundError, match="http://"):
                ask()


def test_a_copy_on_any_web_server_reads_the_same(
    log: tuple[Path, tuple[VerifierKey, ...]], copy: Path, tmp_path: Path
) -> None:
    with web_server(copy.parent) as url:
        for base in (f"{url}/{copy.name}", f"{url}/{copy.name}/"):
            with contextlib.closing(open_target(base)) as source:
                reads = VerifiedReads(source, log[1])
                assert list(reads.entries(250, 600)) == ENTRIES[250:600]
                assert reads.head().checkpoint.size == 700
                assert source.checkpoint(700) == source.checkpoint()
        with contextlib.closing(open_target(f"{url}/nowhere")) as source, pytest.raises(NotFoundError):
            source.checkpoint()


def test_threads_share_a_source(url: str) -> None:
    with contextlib.closing(open_target(url)) as source:
        found: list[bytes] = []

        def read() -> None:
            found.extend(source.tile(0, i % 2) for i in range(40))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 320
        assert len(set(found)) == 2
    with pytest.raises(UsageError, match="was closed"):
        source.checkpoint()


# --- servers that misbehave -----------------------------------------------------------------------------------


class Raw:
    """A server that sends, for each connection, the next of these parts with a pause between them, whatever it
    was asked; the last one again and again.
    """

    def __init__(self, answers: Sequence[Sequence[bytes]], pause: float = 0.0) -> None:
        self.asked: list[bytes] = []
        self._answers = answers
        self._pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut
            for number in range(1_000_000):
                connection, _ = self._listener.accept()
                parts = self._answers[min(number, len(self._answers) - 1)]
                self._threads.append(threading.Thread(target=self._serve, args=(connection, parts)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket, parts: Sequence[bytes]) -> None:
        with connection, contextlib.suppress(OSError):  # the client left
            self.asked.append(connection.recv(65_536))
            for part in parts:
                connection.sendall(part)
                if self._pause and self._ended.wait(self._pause):
                    return


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def problem(status: int, reason: str, message: str = "told", **headers: str) -> bytes:
    body = json.dumps({"status": status, "reason": reason, "message": message}).encode()
    return answer(status, body, Content_Type="application/problem+json", **headers)


def ask(raw: Raw, access: Access = ONCE) -> bytes:
    with contextlib.closing(open_target(raw.url, access)) as source:
        return source.checkpoint()


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        pytest.param(
            [b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n"] * 400], UnavailableError, "within 0.5 s", id="headers"
        ),
        pytest.param(
            [answer(200, b"x" * 400)[:-400], *[b"x"] * 400], UnavailableError, "within 0.5 s", id="body"
        ),
        pytest.param([b"HTTP/1.1 100 C\r\n\r\n"] * 400, UnavailableError, "within 0.5 s", id="continue"),
        pytest.param([b"H"] * 100, UnavailableError, "within 0.5 s", id="status"),
        pytest.param([], UnavailableError, "no whole answer", id="silence"),
    ],
)
def test_a_slow_loris_is_let_go_of(parts: list[bytes], error: type[Exception], words: str) -> None:
    with Raw([parts or [b""]], pause=0.05 if parts else 30) as raw, pytest.raises(error, match=words):
        ask(raw, LORIS)


@pytest.mark.parametrize(
    ("sent", "error", "words"),
    [
        (answer(200, b"x" * (2 << 20)), DamagedError, "longer than"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 << 20), DamagedError, "longer than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nx", DamagedError, "longer than"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n" + b"x" * (2 << 20),
         DamagedError, "longer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", UnavailableError, "ends early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", UnavailableError, "ends early"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", DamagedError, "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * 100_000, DamagedError, "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", DamagedError, "no HTTP answer"),
        (b"", UnavailableError, "without an answer"),
        (answer(200, b"x", Content_Encoding="br"), DamagedError, "was not asked for"),
        (answer(301, Location="https://elsewhere.example/"), UnreachableError, "redirects.*elsewhere"),
        (answer(401), UnauthenticatedError, "401"),
        (answer(403), UnreachableError, "403"),
        (answer(404), NotFoundError, "404"),
        (answer(500), UnreachableError, "500"),
        (answer(503), UnavailableError, "503"),
        (answer(429, Retry_After="3"), OverloadedError, "429"),
        (problem(403, "FORBIDDEN"), ForbiddenError, "told"),
        (problem(404, "OUT_OF_RANGE"), NotFoundError, "told"),
        (problem(404, "UNKNOWN_LOG"), UnknownLogError, "told"),
        (problem(409, "IDEMPOTENCY_KEY_REUSED"), ConflictError, "told"),
        (problem(500, "INTERNAL", "\x1b[31m" + "x" * 9_000), UnreachableError, r"\\x1b\[31mx{300,400}\.\.\.$"),
        (problem(400, "NEVER_HEARD_OF"), UsageError, "told"),
        (answer(400, b"[" * 60_000, Content_Type="application/problem+json"), UsageError, "400"),
        (answer(400, b"[]", Content_Type="application/problem+json"), UsageError, "400"),
    ],
)  # fmt: skip
def test_what_a_server_may_answer(sent: bytes, error: type[Exception], words: str) -> None:
    with Raw([[sent]]) as raw, pytest.raises(error, match=words) as caught:
        ask(raw)
    assert type(caught.value) is error
    assert raw.url in str(caught.value)


def test_what_comes_right_is_asked_for_again() -> None:
    busy = answer(503), problem(429, "OVERLOADED"), b"", answer(200, b"note")
    with Raw([[each] for each in busy]) as raw:
        assert ask(raw, PATIENT) == b"note"
    assert len(raw.asked) == 4
    with Raw([[answer(404)]]) as raw, pytest.raises(NotFoundError):
        ask(raw)
    assert len(raw.asked) == 1


def test_a_kept_connection_that_was_closed_is_opened_anew() -> None:
    keeps = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    with Raw([[keeps]]) as raw, contextlib.closing(open_target(raw.url, ONCE)) as source:
        assert [source.checkpoint() for _ in range(3)] == [b"x"] * 3
    assert len(raw.asked) == 3


def test_a_token_goes_along_and_is_not_shown() -> None:
    access = Access(token="secret-token", retry=ONCE.retry)
    assert "secret" not in repr(access)
    with Raw([[answer(401)]]) as raw, pytest.raises(UnauthenticatedError) as caught:
        ask(raw, access)
    assert b"\r\nAuthorization: Bearer secret-token\r\n" in raw.asked[0]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "access", "words"),
    [
        ("http://", {}, "want http"),
        ("http:///x", {}, "want http"),
        ("http://me:pass@x/", {}, "a token is given apart"),
        ("http://x/?q", {}, "nothing behind it"),
        ("http://x/#f", {}, "nothing behind it"),
        ("http://x:99999/", {}, "want http"),
        ("http://x:0/", {}, "want http"),
        ("http://x/b\u00fccher", {}, "as %XX"),
        ("http://x y/", {}, "want http"),
        ("http://x\ny/", {}, "want http"),
        (f"http://{'a' * 70}.example/", {}, "want http"),
        ("http://example.com/", {"token": "abc"}, "in the clear"),
        ("http://127.0.0.1/", {"ca": "x"}, "certificates are for"),
        ("https://x/", {"ca": "/no/such/file"}, "ca /no/such/file: No such file"),
        ("https://x/", {"cert": "/no/such/file"}, "cert /no/such/file: No such file"),
    ],
)
def test_a_target_or_access_that_can_not_be(target: str, access: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_target(target, Access(**access))  # type: ignore[arg-type]


def test_access_that_can_not_be(tmp_path: Path) -> None:
    for token in ("", "a b", "a\r\nb", "é"):
        with pytest.raises(UsageError, match="token"):
            Access(token=token)
    with pytest.raises(UsageError, match="key"):
        Access(key="x")
    (tmp_path / "x").write_text("no PEM")
    for name in ("ca", "cert"):
        with pytest.raises(UsageError, match=f"{name} .*no PEM file"):
            open_target("https://x/", Access(**{name: tmp_path / "x"}))  # type: ignore[arg-type]
    open_target("http://example.com/", Access(token="abc", token_in_clear=True)).close()
    open_target("http://[::1]:80/", Access(token="abc")).close()


def test_retry_after_is_read_strictly() -> None:
    for value, want in (
        ("3", 3.0),
        ("0", 0.0),
        ("1_0", None),
        ("-1", None),
        ("", None),
        ("99999", None),
        ("٣", None),
    ):
        assert retry_after(value) == want
    assert retry_after(None) is None


def test_every_reason_of_the_servers_is_known_here() -> None:
    assert {row.reason for row in TABLE} <= REASONS.keys()
    assert issubclass(REASONS["OUT_OF_RANGE"], RangeError)
