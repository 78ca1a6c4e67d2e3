"""A server process of its own, spoken to over the network."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client import VerifiedReads
from merklelog.errors import NotFoundError
from merklelog.formats import parse_proof, single_log_policy
from merklelog.protocol.verdict import verify_proof_file
from merklelog.tree import bundle_path, leaf_hash, tile_path

TREE15 = Path(__file__).resolve().parents[2] / "vectors" / "tiles" / "tree15"
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def server(start: Start, tree15: list[bytes]) -> Any:
    """A server with the 15 entries of another implementation's log, each sent over the network."""
    running = start("solo")
    for index, entry in enumerate(tree15):
        assert running.ask("POST", "/add", entry)[::2] == (200, b"%d\n" % index)
    return running


class HttpTiles:
    """A TileSource over this server: tlog-tiles paths and nothing else."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def _get(self, path: str) -> bytes:
        status, _, body = self._server.ask("GET", f"/{path}")
        if status == 404:
            raise NotFoundError(path)
        assert status == 200, body
        return bytes(body)

    def checkpoint(self, size: int | None = None) -> bytes:
        return self._get("checkpoint" if size is None else f"checkpoints/{size}")

    def stored_sizes(self) -> Iterator[int]:
        yield int(self.checkpoint().split(b"\n")[1])

    def tile(self, level: int, index: int, width: int = 256) -> bytes:
        return self._get(tile_path(level, index, width))

    def bundle(self, index: int, width: int = 256) -> bytes:
        return self._get(bundle_path(index, width))

    def close(self) -> None:
        return


def test_the_log_of_another_implementation_is_served_byte_for_byte(server: Any) -> None:
    connection = server.connect()
    for width in range(1, 16):
        for path in (tile_path(0, 0, width), bundle_path(0, width)):
            connection.request("GET", f"/{path}")
            answer = connection.getresponse()
            assert answer.read() == (TREE15 / path).read_bytes(), path
    connection.close()


@pytest.mark.parametrize("which", [0, 1])
def test_a_stranger_reads_it_with_a_key_and_nothing_else(
    server: Any, tree15: list[bytes], which: int
) -> None:
    if which == 1:  # the ML-DSA signature comes within a second
        while HttpTiles(server).checkpoint().count("\n— ".encode()) < 2:
            time.sleep(0.05)
    key = server.vkeys["solo"][which]
    reads = VerifiedReads(HttpTiles(server), [key])
    assert list(reads.entries(0)) == tree15
    for index, entry in enumerate(tree15):
        verdict = verify_proof_file(
            parse_proof(reads.prove(index)), leaf_hash(entry), single_log_policy([key])
        )
        assert verdict.index == index


def test_head_and_conditional_requests_keep_the_connection(server: Any) -> None:
    connection = server.connect()
    for _ in range(3):
        connection.request("HEAD", "/tile/0/000.p/15")
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.getheader("content-length")) == (200, b"", "480")
        connection.request(
            "GET", "/tile/0/000.p/15", headers={"If-None-Match": answer.getheader("etag") or ""}
        )
        again = connection.getresponse()
        assert (again.status, again.read()) == (304, b"")
    connection.close()


def test_a_proof_file_from_the_server_verifies(server: Any, tree15: list[bytes]) -> None:
    status, _, body = server.ask("GET", "/proof/9.tlog-proof")
    assert status == 200
    verify_proof_file(parse_proof(body), leaf_hash(tree15[9]), single_log_policy(server.vkeys["solo"]))


def test_several_logs_stand_below_their_names(start: Start) -> None:
    server = start("north", "south.2")
    assert server.ask("POST", "/north/add", b"n")[::2] == (200, b"0\n")
    assert server.ask("POST", "/south.2/add", b"s")[::2] == (200, b"0\n")
    assert server.ask("GET", "/north/entry/0")[2] == b"n"
    assert server.ask("GET", "/south.2/entry/0")[2] == b"s"
    assert server.ask("GET", "/south.2/checkpoint")[2].startswith(b"example.com/south.2\n1\n")
    for path in ("/checkpoint", "/add", "/north", "/west/checkpoint", "/north/north/checkpoint"):
        assert server.ask("GET", path)[0] == 404, path
    assert server.ask("POST", "/add", b"x")[0] == 404
    assert server.ask("GET", "/healthz")[2] == b"ok\n"
    described = json.loads(server.ask("GET", "/openapi.json")[2])
    assert "/{log}/checkpoint" in described["paths"]
    assert server.stop() == "closed\n"


def exchange(server: Any, raw: bytes) -> bytes:
    """What comes back for these bytes until the server closes or the client said all and the answer is there."""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        except TimeoutError:
            raise
        except OSError:
            return b""  # refused by closing: as good an answer to garbage as any
    return b"".join(parts)


MALFORMED = [
    b"GARBAGE\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /checkpoint HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /checkpoint HTTP/1.1\r\n\r\n",
    b"GET /checkpoint HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
    b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    b"GET /checkpoint HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n" + b"".join(b"x-%d: y\r\n" % i for i in range(500)) + b"\r\n",
    b"GET /checkpoint HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 60_000 + b"\r\n\r\n",
    b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello",
    b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    b"",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_requests_store_nothing(server: Any, raw: bytes) -> None:
    before = server.ask("GET", "/checkpoint")[2].split(b"\n")[1]
    answer = exchange(server, raw)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5", b"\x00")) or answer == b"", answer[:200]
    assert b"Traceback" not in answer
    assert server.ask("GET", "/checkpoint")[2].split(b"\n")[1] == before


def test_thousands_of_broken_requests_leave_it_serving(server: Any) -> None:
    """Each a good request with a few bytes changed, on a connection of its own."""
    chosen = random.Random(7)
    good = (
        b"GET /proof/inclusion?index=3&size=15 HTTP/1.1\r\nHost: example.com\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    answered = 0
    for _ in range(2_000):
        raw = bytearray(good)
        for _ in range(chosen.randint(1, 4)):
            raw[chosen.randrange(len(raw))] = chosen.randrange(256)
        answer = exchange(server, bytes(raw))
        assert answer == b"" or answer.startswith((b"HTTP/1.", b"\x00")), answer[:100]
        assert not answer.startswith(b"HTTP/1.1 500"), bytes(raw)
        answered += answer.startswith(b"HTTP/1.1 200")
    assert 0 < answered < 2_000, "some changes do no harm and some do"
    assert server.ask("GET", "/healthz")[2] == b"ok\n"


def test_oversize_bodies_are_refused_on_a_real_connection(server: Any) -> None:
    before = server.ask("GET", "/checkpoint")[2].split(b"\n")[1]
    status, headers, body = server.ask("POST", "/add", bytes(70_000))
    assert (status, json.loads(body)["reason"]) == (413, "ENTRY_TOO_LARGE")
    assert headers["content-type"] == "application/problem+json"
    huge = b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    assert exchange(server, huge).startswith(b"HTTP/1.1 413")
    assert server.ask("GET", "/checkpoint")[2].split(b"\n")[1] == before


def test_a_stop_under_load_drops_nothing(start: Start) -> None:
    """Every request that the server took is answered, and every index given is in the log."""
    server = start("drained")
    acknowledged: dict[int, bytes] = {}
    cut: list[str] = []
    lock, stopped = threading.Lock(), threading.Event()

    def append(worker: int) -> None:
        with closing(server.connect()) as connection:
            send_all(worker, connection)

    def send_all(worker: int, connection: http.client.HTTPConnection) -> None:
        for i in range(100_000):
            entry = b"%d/%d" % (worker, i)
            try:
                connection.request("POST", "/add", entry)
            except OSError:
                return  # the connection was closed between two requests
            try:
                answer = connection.getresponse()
                body = answer.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                with lock:
                    cut.append("no answer" if not stopped.is_set() else "after the stop")
                return
            if answer.status != 200:
                return
            with lock:
                acknowledged[int(body)] = entry
            if answer.getheader("connection") == "close":
                return

    workers = [threading.Thread(target=append, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    while len(acknowledged) < 200:
        time.sleep(0.01)
    stopped.set()
    server.process.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.join(60)
    told, _ = server.process.communicate(timeout=60)
    assert told == "closed\n"
    assert server.process.returncode == 0
    assert "no answer" not in cut
    with merklelog.open_reader(server.folder / "drained") as log:
        for index, entry in acknowledged.items():
            assert log.entry(index) == entry
        assert log.size == len(acknowledged), "stored, and its answer never came"


def test_a_taken_port_is_said_plainly(server: Any) -> None:
    import asyncio

    from merklelog.errors import ConfigError, StorageError
    from merklelog.servers.native import serve

    async def nothing(*_: Any) -> None:
        return

    with pytest.raises(StorageError, match=str(server.port)):
        asyncio.run(serve(nothing, [f"{server.host}:{server.port}"], asyncio.Event()))
    with pytest.raises(ConfigError, match="nonsense"):
        asyncio.run(serve(nothing, ["nonsense"], asyncio.Event()))
