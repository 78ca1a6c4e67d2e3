"""Which URL an object has: by path or by the host's name, whatever its key begins with."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from merklelog.errors import NotFoundError
from merklelog.publish.s3 import S3Options, S3Store, open_s3

BUCKET = "acme-log"
HOST = "s3.localhost"


class Service(ThreadingHTTPServer):
    """One bucket, under both of its addresses; `objects` by their whole keys, `asked` by agent, method and key."""

    daemon_threads = True
    objects: dict[str, bytes]
    asked: list[tuple[str, str, str]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length", "0")))
        path, _, query = self.path.partition("?")
        if not self.headers["host"].startswith(f"{BUCKET}."):
            assert f"{path}/".startswith(f"/{BUCKET}/")
            path = path.removeprefix(f"/{BUCKET}")
        key = path.removeprefix("/")
        agent = self.headers["user-agent"].split("/")[0]
        self.server.asked.append((agent, self.command, key))
        self._answer(*self._judge(key, query, data))

    def _judge(self, key: str, query: str, data: bytes) -> tuple[int, bytes]:
        objects = self.server.objects
        if "list-type" in query:
            return 200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        if "object-lock" in query:
            return 404, b"<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"
        if self.command == "PUT":
            there = key in objects
            if (
                there
                if self.headers.get("if-none-match") == "*"
                else self.headers.get("if-match") and not there
            ):
                return 412, b"<Error><Code>PreconditionFailed</Code></Error>"
            objects[key] = data
            return 200, b""
        if key in objects:
            return 200, objects[key]
        return 404, b"<Error><Code>NoSuchKey</Code></Error>"

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def service(s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    known = socket.getaddrinfo

    def find(host: Any, *rest: Any, **named: Any) -> Any:
        return known("127.0.0.1" if str(host).endswith(HOST) else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", find)
    server = Service(("127.0.0.1", 0), _Handler)
    server.objects, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def opened(service: Service, prefix: str, addressing: str) -> S3Store:
    options = S3Options(f"http://{HOST}:{service.server_port}", "us-east-1", addressing=addressing)
    return open_s3(f"s3://{BUCKET}/{prefix}", options)


def missing(store: S3Store) -> None:
    with pytest.raises(NotFoundError):
        store.get("head")


FIRST: dict[str, Callable[[S3Store], object]] = {
    "a read": missing,
    "a listing": lambda store: list(store.list_keys()),
}


@pytest.mark.parametrize("addressing", ["virtual", "path"])
@pytest.mark.parametrize("prefix", ["", "log", BUCKET, f"{BUCKET}/{BUCKET}"])
def test_whatever_is_asked_first_the_objects_are_the_same(
    service: Service, prefix: str, addressing: str
) -> None:
    """Two that took `head` under different keys would both be its writer."""
    stores = {name: opened(service, prefix, addressing) for name in FIRST}
    for name, first in FIRST.items():
        first(stores[name])
    taken = [name for name in FIRST if stores[name].put_if_version("head", name.encode(), None) is not None]
    head = f"{prefix}/head".removeprefix("/")
    assert service.objects == {head: taken[0].encode()}
    assert len(taken) == 1
    for store in stores.values():
        assert store.get("head").data == taken[0].encode()  # each has learned the place by now
        service.asked.clear()
        assert store.get("head").data == taken[0].encode()
        store.put("head", taken[0].encode())
        assert service.asked == [("merklelog", "GET", head), ("merklelog", "PUT", head)]
        store.close()


def test_a_host_that_is_named_like_the_bucket_is_no_place_of_it(service: Service) -> None:
    """Endpoint http://BUCKET.HOST with path style, and somebody asks for another bucket first."""
    store = opened(service, "log", "path")
    assert store.put_if_version("head", b"1", None) is not None
    place = store._transfer._place
    assert place is not None
    assert (place.host, place.path) == (f"{HOST}:{service.server_port}", f"/{BUCKET}/")
    store._transfer._place = None
    store.client.meta.events.emit(
        "before-send.s3.GetObject", request=_Request(f"http://{BUCKET}.{HOST}/other-bucket/log/head")
    )
    assert store._transfer._place is None  # not this store's own request: its key is not known
    store.close()


class _Request:
    def __init__(self, url: str) -> None:
        self.url = url
        self.headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host"
        }
