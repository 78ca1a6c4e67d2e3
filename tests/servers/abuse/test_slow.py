"""Clients that take too long, send too much or come in too great a number: bounded, and their places are freed."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import hostile as h
import pytest
from conftest import Make
from victim import Victim

import merklelog
from merklelog.v1 import log_pb2 as pb

SERVICE = "/merklelog.v1.LogService/"
CALL = h.message(pb.AppendRequest(entry=pb.NewEntry(data=b"x" * 200)).SerializeToString())
WIDE = h.settings(window=2**31 - 1) + h.frame(h.WINDOW, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server with the limits it has by itself, for tests that append one entry each."""
    path = tmp_path_factory.mktemp("slow") / "log"
    merklelog.create_log(path, "abuse.example/log", settings={"store.min_free_bytes": 0})
    server = Victim(path)
    yield server
    server.process.kill()
    server.process.communicate()


def opened(stream: int, method: str, *data: bytes, end: bool = False) -> bytes:
    """The beginning of a call."""
    return h.frame(h.HEADERS, h.END_HEADERS, stream, h.block(SERVICE + method)) + b"".join(
        h.frame(h.DATA, h.END_STREAM * (end and i + 1 == len(data)), stream, each)
        for i, each in enumerate(data)
    )


def test_calls_that_do_not_go_on_are_ended(victim: Make) -> None:
    server = victim(body_idle_seconds=0.5)
    with h.Peer(server.port) as peer:
        calls = [opened(1 + 2 * i, "Append", CALL[: i % 20]) for i in range(50)]
        peer.send(*calls)
        assert len(peer.statuses(50, 60)) == 50
    assert server.well() == 0


def test_a_stream_may_be_silent(victim: Make) -> None:
    """The same time, for a call that may wait as long as it likes."""
    server = victim(body_idle_seconds=0.5, idle_seconds=0.5)
    request = h.message(pb.AppendStreamRequest(entries=[pb.NewEntry(data=b"x")]).SerializeToString())
    with h.Peer(server.port) as peer:
        peer.send(opened(1, "AppendStream"))
        time.sleep(2)
        peer.send(h.frame(h.DATA, h.END_STREAM, 1, request))
        assert peer.statuses(1, 60) == {1: "0"}


@pytest.mark.parametrize("method", ["Append", "AppendBatch", "AppendStream", "GetEntries"])
def test_a_message_that_is_announced_too_long_is_refused_at_once(usual: Victim, method: str) -> None:
    before = usual.well()
    with h.Peer(usual.port) as peer:
        peer.send(opened(1, method, h.message(b"", length=2**32 - 1)))
        assert peer.statuses(1, 60) == {1: "8"}
        assert usual.well() == before + 1


def test_more_than_one_message_is_not_read_on(usual: Victim) -> None:
    before = usual.well()
    with h.Peer(usual.port) as peer:
        peer.send(opened(1, "Append", CALL, CALL))
        assert peer.statuses(1, 60) == {1: "12"}
    assert usual.well() == before + 1


def test_a_body_without_an_end_is_not_taken(victim: Make) -> None:
    server = victim(body_bytes=1 << 20)
    before = server.memory()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        sock.sendall(b"POST /add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        with pytest.raises(OSError):
            sock.sendall(chunk * 10_000)
    assert server.memory() - before < 64 << 20
    assert server.well() == 0


def test_what_has_not_come_whole_is_bounded_together(victim: Make) -> None:
    """Sixty messages of 10 MB of which 200 KB come, on six connections: the server keeps 4 MB of them."""
    server = victim(unread_bytes=4 << 20, body_idle_seconds=30.0)
    part = bytes(10_000)
    peers = [h.Peer(server.port) for _ in range(6)]
    for peer in peers:
        assert any(got.kind == h.WINDOW for got in peer.frames(30)), "room for more than 64 KB"
        for stream in range(1, 20, 2):
            peer.send(opened(stream, "AppendBatch", h.message(b"", length=10 << 20), *[part] * 20))
    refused: list[str] = []
    end = time.monotonic() + 20  # before those that are kept are ended as idle
    while len(refused) < 30 and time.monotonic() < end:
        refused += [how for peer in peers for how in peer.statuses(10, 1).values()]
    assert set(refused) == {"8"}
    assert 30 <= len(refused) < 60
    assert server.well() == 0
    for peer in peers:
        peer.sock.close()
    request = pb.AppendBatchRequest(entries=[pb.NewEntry(data=bytes(60_000))] * 60).SerializeToString()
    with server.channel() as channel:  # and what they held was let go of
        channel.unary_unary(SERVICE + "AppendBatch")(request, timeout=60)


@pytest.mark.parametrize("kind", ["no window", "no reading"])
def test_who_does_not_read_is_not_waited_for(victim: Make, kind: str) -> None:
    """18 MB of entries, asked for thirty times: the server holds less than 2 of each, and lets go."""
    server = victim(stall_seconds=1.0, write_seconds=1.0)
    entries = [pb.NewEntry(data=bytes(60_000))] * 100
    with server.channel() as channel:
        for _ in range(3):
            call = channel.unary_unary(SERVICE + "AppendBatch")
            call(pb.AppendBatchRequest(entries=entries).SerializeToString(), timeout=60)
    before = server.memory()
    first = h.settings(window=0) if kind == "no window" else WIDE
    asked = h.message(pb.GetEntriesRequest().SerializeToString())
    with h.Peer(server.port, first, receive_buffer=4_096) as peer:
        peer.send(*(opened(1 + 2 * i, "GetEntries", asked, end=True) for i in range(30)))
        most = 0
        for _ in range(20):
            most = max(most, server.memory() - before)
            time.sleep(0.1)
        assert most < 100 << 20, f"{most:,}"
        if kind == "no window":
            assert set(peer.statuses(30, 30).values()) <= {"reset 8", "reset 11", "reset 2"}
        else:
            assert peer.closed(60)
    assert server.well() == 300
    assert server.end()[:2] == (0, "drained 0\n")


def test_who_reads_nothing_over_http_1_is_let_go_of(victim: Make) -> None:
    """15 MB of entries, asked for by one who reads them late: he does not get all of them."""
    server = victim(write_seconds=0.5)
    entries = [pb.NewEntry(data=bytes(60_000))] * 256
    with server.channel() as channel:
        call = channel.unary_unary(SERVICE + "AppendBatch")
        call(pb.AppendBatchRequest(entries=entries).SerializeToString(), timeout=60)
    taken = whole = 256 * 60_002
    for late in (1, 4, 16, 60):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(b"GET /tile/entries/000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            time.sleep(late)
            taken = 0
            while data := client.recv(1 << 20):
                taken += len(data)
        if taken < whole:
            break
    assert 0 < taken < whole
    assert server.end()[:2] == (0, "drained 0\n")


def test_silent_connections_make_room(victim: Make) -> None:
    server = victim(connections=50, handshake_seconds=1.0, idle_seconds=1.0, header_seconds=1.0)
    held = []
    for i in range(150):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        sock.sendall((b"", h.PREFACE + h.settings(), b"GET / HTTP/1.1\r\nHost")[i % 3])
        held.append(sock)
    assert server.well() == 0, "as soon as the silent ones were closed"
    for sock in held:
        sock.close()
    assert server.well() == 1


def test_a_stop_does_not_wait_for_who_never_ends(victim: Make) -> None:
    server = victim(drain_seconds=1.0, grace=1.0)
    with (
        h.Peer(server.port) as peer,
        h.Peer(server.port),
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        peer.send(
            opened(1, "Append", CALL[:9]), opened(3, "AppendStream", CALL[:3]), opened(5, "AppendStream")
        )
        server.well()
        status, out, _ = server.end()
    assert status == 0
    assert out.startswith("drained")
