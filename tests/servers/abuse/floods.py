"""Floods of HTTP/2 frames, without end. The names in brackets are those under which they became known."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

import hostile as h

from merklelog.v1 import log_pb2 as pb

SERVICE = "/merklelog.v1.LogService/"
APPEND = SERVICE + "Append"
STREAM = SERVICE + "AppendStream"
SECONDS = 1.0
CALL = h.message(pb.AppendRequest(entry=pb.NewEntry(data=b"x" * 200)).SerializeToString())

Frames = Iterator[bytes]


def streams() -> Iterator[int]:
    return iter(range(1, 2**31, 2))


def rapid_reset() -> Frames:
    """Calls begun and cancelled at once (CVE-2023-44487)."""
    head, cancel = h.block(APPEND), struct.pack(">I", 8)
    for stream in streams():
        yield h.frame(h.HEADERS, h.END_HEADERS, stream, head) + h.frame(h.RESET, 0, stream, cancel)


def rapid_reset_of_whole_calls() -> Frames:
    """The same, with all that the server needs to begin the work."""
    head, cancel = h.block(APPEND), struct.pack(">I", 8)
    for stream in streams():
        yield (
            h.frame(h.HEADERS, h.END_HEADERS, stream, head)
            + h.frame(h.DATA, h.END_STREAM, stream, CALL)
            + h.frame(h.RESET, 0, stream, cancel)
        )


def made_resets() -> Frames:
    """Whole calls, each followed by a frame that makes the server reset it (CVE-2025-8671)."""
    head = h.block(APPEND)
    for stream in streams():
        yield (
            h.frame(h.HEADERS, h.END_HEADERS, stream, head)
            + h.frame(h.DATA, h.END_STREAM, stream, CALL)
            + h.frame(h.WINDOW, 0, stream, bytes(4))
        )


def continuations() -> Frames:
    """A head that never ends (CVE-2024-27316)."""
    yield h.frame(h.HEADERS, 0, 1, h.block(APPEND))
    more = h.literal(b"x-more", b"y" * 1_000)
    while True:
        yield h.frame(h.CONTINUATION, 0, 1, more)


def empty_continuations() -> Frames:
    """The same, of frames without anything in them."""
    yield h.frame(h.HEADERS, 0, 1, h.block(APPEND))
    while True:
        yield h.frame(h.CONTINUATION, 0, 1) * 100


def header_bomb() -> Frames:
    """One long field kept in the table, then named again and again (CVE-2016-6581)."""
    kept = b"\x40" + h.integer(6, 7) + b"x-bomb" + h.integer(4_000, 7) + b"z" * 4_000
    for stream in streams():
        yield h.frame(h.HEADERS, h.END_HEADERS, stream, h.block(APPEND) + kept + b"\xbe" * 12_000)


def many_fields() -> Frames:
    """Heads of thousands of small fields."""
    fields = h.literal(b"x", b"y") * 3_000
    for stream in streams():
        yield h.frame(h.HEADERS, h.END_HEADERS, stream, h.block(APPEND) + fields)


def nameless_fields() -> Frames:
    """Fields without names or values (CVE-2019-9516)."""
    for stream in streams():
        yield h.frame(h.HEADERS, h.END_HEADERS, stream, h.block(APPEND) + h.literal(b"", b"") * 500)


def pings() -> Frames:
    """Each wants an answer (CVE-2019-9512)."""
    while True:
        yield h.frame(h.PING, 0, 0, bytes(8)) * 100


def settings() -> Frames:
    """Each wants an acknowledgement (CVE-2019-9515)."""
    while True:
        yield h.settings(window=65_535) * 100


def empty_data() -> Frames:
    """A body of nothing, for ever (CVE-2019-9518)."""
    yield h.frame(h.HEADERS, h.END_HEADERS, 1, h.block(STREAM))
    while True:
        yield h.frame(h.DATA, 0, 1) * 100


def priorities() -> Frames:
    """Frames that nobody obeys any more (CVE-2019-9513)."""
    while True:
        yield b"".join(h.frame(h.PRIORITY, 0, stream, bytes(5)) for stream in range(1, 200, 2))


def window_updates() -> Frames:
    """A window that grows by one byte at a time."""
    yield h.frame(h.HEADERS, h.END_HEADERS, 1, h.block(STREAM))
    while True:
        yield h.frame(h.WINDOW, 0, 1, struct.pack(">I", 1)) * 100


def unknown_frames() -> Frames:
    """Frames of a kind that nobody knows."""
    while True:
        yield h.frame(0xBB, 0, 0, b"?" * 100) * 20


def unknown_methods() -> Frames:
    """Calls of methods that are not there, their bodies never ended."""
    for stream in streams():
        yield h.frame(h.HEADERS, h.END_HEADERS, stream, h.block("/no.Service/Method")) + h.frame(
            h.DATA, 0, stream, bytes(1_000)
        )


FLOODS: tuple[Callable[[], Frames], ...] = (
    rapid_reset,
    rapid_reset_of_whole_calls,
    made_resets,
    continuations,
    empty_continuations,
    header_bomb,
    many_fields,
    nameless_fields,
    pings,
    settings,
    empty_data,
    priorities,
    window_updates,
    unknown_frames,
    unknown_methods,
)
# What these are must be noticed: to go on would cost more than a request each.
NOTICED = {rapid_reset, rapid_reset_of_whole_calls, continuations}


def flood(port: int, frames: Frames) -> tuple[int, int]:
    """Send without reading, on one connection; the code of the GOAWAY it brought (0: none), and the bytes sent."""
    sent = 0
    end = time.monotonic() + SECONDS
    with h.Peer(port) as peer:
        for each in frames:
            peer.sock.settimeout(1)
            if not peer.send(each):
                break
            sent += len(each)
            if time.monotonic() > end or sent > 32 << 20:
                break
        for got in peer.frames(0.5):
            if got.kind == h.GOAWAY:
                return int.from_bytes(got.payload[4:8], "big"), sent
        return 0, sent
