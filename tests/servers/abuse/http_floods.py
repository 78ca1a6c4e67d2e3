"""Floods of HTTP/1.1, without end: heads, chunks and pipelines that nobody means, and clients that leave."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from floods import Frames

POST = b"POST /add HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
APPEND = POST + b"Content-Length: 200\r\n\r\n" + b"f" * 200
MOST = 32 << 20
LEAVE = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


def empty_lines() -> Frames:
    """Where a request should begin."""
    while True:
        yield b"\r\n" * 30_000


def head_without_end() -> Frames:
    """One field after the other."""
    yield POST
    while True:
        yield b"x-more: y\r\n" * 100


def line_without_end() -> Frames:
    """A request line that goes on."""
    yield b"GET /"
    while True:
        yield b"a" * 10_000


def many_fields() -> Frames:
    """Whole requests of thousands of small fields."""
    while True:
        yield POST + b"x: y\r\n" * 3_000 + b"\r\n"


def short_chunks() -> Frames:
    """A body of single bytes."""
    yield CHUNKED
    while True:
        yield b"1\r\na\r\n" * 5_000


def chunk_extensions() -> Frames:
    """A chunk that is only talked about."""
    yield CHUNKED
    yield b"1"
    while True:
        yield b";a=b" * 5_000


def trailers() -> Frames:
    """Fields behind a body, without end."""
    yield CHUNKED + b"1\r\na\r\n0\r\n"
    while True:
        yield b"x-more: y\r\n" * 1_000


def body_without_end() -> Frames:
    """Far more than an entry may have."""
    yield CHUNKED
    while True:
        yield b"10000\r\n" + bytes(0x10000) + b"\r\n"


def announced_bodies() -> Frames:
    """Bodies too long by their own length, and they come."""
    while True:
        yield POST + b"Content-Length: 1000000\r\n\r\n" + bytes(1_000_000)


def unread_appends() -> Frames:
    """Appends, one behind the other, by a client that reads no answer."""
    while True:
        yield APPEND * 20


def unread_entries() -> Frames:
    """The same of reads: each answer is longer than its request."""
    while True:
        for path in (b"/tile/0/000.p/1", b"/openapi.json"):
            yield b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path * 20


def refused_requests() -> Frames:
    """What is not there, with bodies."""
    while True:
        yield b"PUT /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + bytes(1_000)


def behind_a_stream() -> Frames:
    """An answer that never ends, and requests that wait for it to."""
    yield b"GET /events/entries?start=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    while True:
        yield APPEND * 20


def http2() -> Frames:
    """The preface of HTTP/2, and frames of it."""
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    while True:
        yield bytes(9) * 1_000


def noise() -> Frames:
    """Bytes."""
    while True:
        yield bytes(range(256)) * 100


HTTP_FLOODS: tuple[Callable[[], Frames], ...] = (
    empty_lines,
    head_without_end,
    line_without_end,
    many_fields,
    short_chunks,
    chunk_extensions,
    trailers,
    body_without_end,
    announced_bodies,
    unread_appends,
    unread_entries,
    refused_requests,
    behind_a_stream,
    http2,
    noise,
)


def flood(port: int, attack: Callable[[], Frames], seconds: float) -> int:
    """Send for so long, on a new connection whenever the server has closed one; gives the bytes sent."""
    end = time.monotonic() + seconds
    sent = 0
    while time.monotonic() < end and sent < MOST:
        with suppress(OSError), connected(port) as client:
            client.settimeout(max(0.01, end - time.monotonic()))
            for each in attack():
                client.sendall(each)
                sent += len(each)
                if time.monotonic() > end or sent > MOST:
                    break
    return sent


def leave(port: int, seconds: float) -> int:
    """Connect, say something or half of it, and reset the connection at once; gives how often."""
    end = time.monotonic() + seconds
    count = 0
    for said in _again([b"", b"POST", POST, POST + b"Content-Length: 200\r\n\r\nhalf", APPEND, APPEND * 3]):
        if time.monotonic() > end:
            break
        with suppress(OSError), connected(port) as client:
            client.sendall(said)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVE)
        count += 1
    return count


def connected(port: int) -> socket.socket:
    """A client that has said nothing yet; the caller closes it."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def _again(what: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from what
