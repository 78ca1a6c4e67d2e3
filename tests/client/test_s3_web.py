"""A bucket behind a web server that knows nothing of logs: what a CDN passes on is enough for clients.

The server gives each object with the headers that were stored with it, as S3's own website and CDNs do.
"""

from __future__ import annotations

import gzip
import http.server
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from merklelog.audit import audit
from merklelog.client import connect
from merklelog.formats import parse_bundle, single_log_policy
from merklelog.protocol.publication import EpochHead
from merklelog.publish import publish_copy
from merklelog.publish.layout import HEAD_KEY, HEAD_KIND, STAGING_KIND
from merklelog.publish.pointer import format_head
from merklelog.publish.s3 import Retention
from merklelog.tree import EMPTY_ROOT
from tests.publish.memory_log import MemoryLog
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

FOR_EVER = "public, max-age=31536000, immutable"
PASSED_ON = ("ContentType", "ContentEncoding", "CacheControl")
NAMES = ("Content-Type", "Content-Encoding", "Cache-Control")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog().grow(700)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket, log: MemoryLog) -> Bucket:
    made = s3_bucket(s3_server)
    store = made.store(retention=Retention("GOVERNANCE", 1))
    publish_copy(log, store, verifiers=log.vkeys, bundle_encoding="gzip")
    store.put(HEAD_KEY, format_head(EpochHead(3, 0, 0, EMPTY_ROOT, "0f" * 16)), HEAD_KIND)
    store.put("staging/1-x", b"staged", STAGING_KIND)
    return made


@pytest.fixture
def web(bucket: Bucket) -> Iterator[str]:
    """The bucket, object for object, as a plain web server."""

    class Passing(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            key = self.path.removeprefix("/unpacked").removeprefix("/")
            try:
                found = bucket.client.get_object(Bucket=bucket.name, Key=key)
            except bucket.client.exceptions.NoSuchKey:
                self.send_error(404)
                return
            body = found["Body"].read()
            if self.path.startswith("/unpacked/") and found.pop("ContentEncoding", "").startswith("gzip"):
                body = gzip.decompress(body)
            self.send_response(200)
            for stored, name in zip(PASSED_ON, NAMES, strict=True):
                # One server under test stores the transfer's own coding with the object's.
                if value := found.get(stored, "").removesuffix("aws-chunked").removesuffix(","):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Passing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/log"
        server.shutdown()
        thread.join()


def test_a_client_and_an_audit_read_it(web: str, log: MemoryLog) -> None:
    with connect(web, log.vkeys[0]) as client:
        assert list(client.entries(0, 700)) == log.entries
        assert client.checkpoint().checkpoint.size == 700
    report = audit(web, single_log_policy(log.vkeys), processes=1)
    assert (report.findings, report.entries, report.size) == ((), 700, 700)


@pytest.mark.parametrize(
    ("key", "kind", "encoding", "caching"),
    [
        ("tile/0/000", "application/octet-stream", None, FOR_EVER),
        ("tile/entries/000", "application/octet-stream", "gzip", FOR_EVER),
        ("tile/entries/002.p/188", "application/octet-stream", "gzip", "public, max-age=3600"),
        ("tile/0/002.p/188", "application/octet-stream", None, "public, max-age=3600"),
        ("checkpoints/700", "text/plain; charset=utf-8", None, FOR_EVER),
        ("checkpoint", "text/plain; charset=utf-8", None, "no-cache"),
        ("head", "application/json", None, "no-cache"),
        ("merklelog.json", "application/json", None, "no-cache"),
        ("staging/1-x", "application/octet-stream", None, "no-store"),
    ],
)
def test_headers_say_what_an_object_is(
    web: str, log: MemoryLog, key: str, kind: str, encoding: str | None, caching: str
) -> None:
    with urllib.request.urlopen(f"{web}/{key}") as answer:
        told = tuple(answer.headers.get(name) for name in NAMES)
        body = answer.read()
    assert told == (kind, encoding, caching)
    if encoding == "gzip":
        width = 256 if key.endswith("/000") else 188
        assert parse_bundle(gzip.decompress(body), width)[0] in log.entries


def test_a_server_that_unpacks_what_it_passes_on(web: str, log: MemoryLog) -> None:
    """And leaves the header out: the bytes tell, whatever the copy says of its bundles."""
    unpacked = web.replace("/log", "/unpacked/log")
    with urllib.request.urlopen(f"{unpacked}/tile/entries/000") as answer:
        assert answer.headers.get("Content-Encoding") is None
        assert parse_bundle(answer.read(), 256) == log.entries[:256]
    with connect(unpacked, log.vkeys[0]) as client:
        assert list(client.entries(0, 700)) == log.entries
    assert audit(unpacked, single_log_policy(log.vkeys), processes=1).findings == ()
