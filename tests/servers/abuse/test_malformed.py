"""Ten thousand requests that are not what they should be: half of them in gRPC's frames, half in HTTP/1.1.

Of those in HTTP one half goes to the native front, one to the lean one.
Each is answered or its connection closed, none is the server's fault, and the server's log has no trace of any.
"""

from __future__ import annotations

import gzip
import random
import socket
from collections import Counter
from collections.abc import Iterator

import hostile as h
import pytest
from victim import LeanVictim, Victim

import merklelog
from merklelog.servers import handlers
from merklelog.v1 import log_pb2 as pb

COUNT = 5_000
STREAMS = 250
PATHS = [method.path for method in handlers.METHODS if not method.attribute.startswith("watch")]
ENTRY = pb.AppendRequest(entry=pb.NewEntry(data=b"x" * 40, idempotency_key=b"k")).SerializeToString()
# OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, RESOURCE_EXHAUSTED, FAILED_PRECONDITION,
# OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL (of the wire: compressed without an encoding)
CODES = {"0", "3", "4", "5", "6", "8", "9", "11", "12", "13"}
TIMEOUTS = ["", "1", "S", "1s", "-1S", "123456789S", "1 S", "0n", "\u0661S", "1e3S", "5S"]
ENCODINGS = ["gzip", "identity", "br", "", "gzip, identity", "deflate"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    path = tmp_path_factory.mktemp("malformed") / "log"
    merklelog.create_log(path, "abuse.example/log", settings={"store.min_free_bytes": 0})
    victim = Victim(path)
    yield victim
    try:
        victim.well()
        status, out, err = victim.end()
        assert (status, out) == (0, "drained 0\n")
        assert "Traceback" not in err
        assert "secret" not in err
    finally:
        victim.process.kill()
        victim.process.communicate()


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeanVictim]:
    path = tmp_path_factory.mktemp("malformed") / "log"
    merklelog.create_log(path, "abuse.example/log", settings={"store.min_free_bytes": 0})
    victim = LeanVictim(path)
    yield victim
    try:
        victim.well()
        assert victim.end() == ""
    finally:
        victim.process.kill()
        victim.process.wait()


def mangled(chance: random.Random, data: bytes) -> bytes:
    """A few bytes changed, taken away or added."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(changed) + 1)
        what = chance.randrange(3)
        if what == 0 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif what == 1:
            del changed[at : at + chance.randrange(1, 8)]
        else:
            changed[at:at] = chance.randbytes(chance.randrange(1, 8))
    return bytes(changed)


def framed(chance: random.Random) -> bytes:
    data = mangled(chance, ENTRY)
    kind = chance.randrange(8)
    if kind == 0:
        return mangled(chance, h.message(ENTRY))
    if kind == 1:
        return h.message(data, flag=chance.randrange(256))
    if kind == 2:
        return h.message(data, length=max(0, len(data) + chance.randrange(-5, 6)))
    if kind == 3:
        return h.message(mangled(chance, gzip.compress(data)), flag=1)
    if kind == 4:
        return h.message(ENTRY) + h.message(data)[: chance.randrange(10)]
    if kind == 5:
        return h.message(data)[: chance.randrange(6)]
    if kind == 6:
        return chance.randbytes(chance.randrange(30))
    return h.message(data)


def head(chance: random.Random) -> bytes:
    extra = []
    if chance.random() < 0.3:
        extra.append(("grpc-timeout", chance.choice(TIMEOUTS)))
    if chance.random() < 0.5:
        extra.append(("grpc-encoding", chance.choice(ENCODINGS)))
    if chance.random() < 0.1:
        extra.append(("x-more", "y" * chance.randrange(20_000)))
    path = chance.choice(PATHS) if chance.random() < 0.9 else "/" + "".join(chance.choices("a./%?", k=8))
    method = "POST" if chance.random() < 0.95 else chance.choice(["GET", "PUT", "OPTIONS"])
    kinds = [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
        "application/grpc;x",
        "a/b",
    ]
    return h.block(
        path, *extra, method=method, kind=chance.choice(kinds) if chance.random() < 0.1 else kinds[0]
    )


def test_frames_of_grpc(server: Victim) -> None:
    chance = random.Random(11)
    outcomes: Counter[str] = Counter()
    for _ in range(COUNT // STREAMS):
        with h.Peer(server.port) as peer:
            frames = []
            for stream in range(1, 2 * STREAMS, 2):
                cut = framed(chance)
                at = chance.randrange(len(cut) + 1)
                frames += [
                    h.frame(h.HEADERS, h.END_HEADERS, stream, head(chance)),
                    h.frame(h.DATA, 0, stream, cut[:at]),
                    h.frame(h.DATA, h.END_STREAM, stream, cut[at:]),
                ]
            assert peer.send(*frames)
            found = peer.statuses(STREAMS, 60)
            assert len(found) == STREAMS
            outcomes.update(found.values())
    print(outcomes)
    wrong = {how for how in outcomes if how not in CODES and not how.startswith(("http 4", "reset"))}
    assert not wrong
    assert outcomes["3"] > COUNT // 4, "most were no messages"
    server.well()


# Closed without an answer, and of RFC 9110: a transfer coding, and a version, that nobody knows.
REFUSED = {"", "reset", "501", "505"}
LINES = (b"POST /add HTTP/1.1\r\n", b"GET /checkpoint HTTP/1.1\r\n", b"GET /tile/0/000.p/1 HTTP/1.1\r\n")
FIELDS = (
    b"Host: localhost\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Idempotency-Key: a\r\n",
    b"merklelog-wait: integrated\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Content-Type: application/grpc\r\nTE: trailers\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n",
)


def malformed(chance: random.Random) -> bytes:
    fields = b"".join(chance.sample(FIELDS, chance.randrange(5)))
    body = chance.choice([b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n"])
    return mangled(chance, chance.choice(LINES) + b"Host: localhost\r\n" + fields + b"\r\n" + body)


@pytest.mark.parametrize("front", ["server", "lean"])
def test_requests_of_http(front: str, request: pytest.FixtureRequest) -> None:
    server: Victim | LeanVictim = request.getfixturevalue(front)
    chance = random.Random(front)
    outcomes: Counter[str] = Counter()
    for _ in range(COUNT // 2):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
            answer = b""
            try:
                sock.sendall(malformed(chance))
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(1 << 16):
                    answer += data
            except ConnectionError:
                outcomes["reset"] += 1
            status = answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else answer[:12].hex()
            outcomes[status] += 1
    print(outcomes)
    wrong = {how for how in outcomes if how not in REFUSED and not how.startswith(("1", "2", "4"))}
    assert not wrong
    assert outcomes["400"] > COUNT // 40
    server.well()
