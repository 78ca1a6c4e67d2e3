"""A client that speaks HTTP/2 by hand, so that it can speak it badly (RFC 9113; HPACK by RFC 7541)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW = 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    known = {"window": INITIAL_WINDOW}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", known[k], v) for k, v in values.items()))


def block(path: str, *extra: tuple[str, str], method: str = "POST", kind: str = "application/grpc") -> bytes:
    """The head of a request, its fields not indexed, so that it may be sent again and again."""
    fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", kind),
        ("te", "trailers"),
        *extra,
    ]
    return b"".join(literal(name.encode(), value.encode()) for name, value in fields)


def literal(name: bytes, value: bytes) -> bytes:
    """A header field without indexing (RFC 7541, section 6.2.2), without Huffman."""
    return b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value


def integer(value: int, bits: int, high: int = 0) -> bytes:
    """RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([high | value])
    out, value = [high | most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def message(data: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A gRPC frame."""
    return struct.pack(">BI", flag, len(data) if length is None else length) + data


class Got(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Peer:
    """One connection."""

    def __init__(self, port: int, first: bytes = b"", *, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(60)
        self.sock.connect(("127.0.0.1", port))
        self._buffer = b""
        self._decoder = hpack.Decoder()
        self.sock.sendall(PREFACE + (first or settings()))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *frames: bytes) -> bool:
        """False when the server has closed, or takes nothing any more."""
        try:
            self.sock.sendall(b"".join(frames))
        except OSError:
            return False
        return True

    def frames(self, seconds: float) -> Iterator[Got]:
        """What comes until the server closes or the time is over."""
        end = time.monotonic() + seconds
        while True:
            while len(self._buffer) >= 9:
                length = int.from_bytes(self._buffer[:3], "big")
                if len(self._buffer) < 9 + length:
                    break
                head, payload = self._buffer[:9], self._buffer[9 : 9 + length]
                self._buffer = self._buffer[9 + length :]
                yield Got(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
            left = end - time.monotonic()
            if left <= 0:
                return
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 16)
            except OSError:
                return
            finally:
                self.sock.settimeout(60)
            if not data:
                return
            self._buffer += data

    def fields(self, got: Got) -> dict[str, str]:
        """The header fields of a HEADERS frame; each must be given here once, in order."""
        return {str(name): str(value) for name, value in self._decoder.decode(got.payload)}

    def closed(self, seconds: float) -> bool:
        """Whether the server closes within the time; what it says meanwhile is thrown away."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(1 << 16):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def statuses(self, streams: int, seconds: float) -> dict[int, str]:
        """How each of so many streams ended: a grpc-status, "http N" without one, or "reset N"."""
        ended: dict[int, str] = {}
        for got in self.frames(seconds):
            if got.kind == HEADERS:
                fields = self.fields(got)
                if "grpc-status" in fields:
                    ended[got.stream] = fields["grpc-status"]
                elif got.flags & END_STREAM or fields.get(":status") != "200":
                    ended[got.stream] = "http " + fields.get(":status", "?")
            elif got.kind == RESET and got.stream not in ended:
                ended[got.stream] = f"reset {int.from_bytes(got.payload, 'big')}"
            elif got.kind == SETTINGS and not got.flags & ACK:
                self.send(frame(SETTINGS, ACK, 0))
            if len(ended) == streams:
                break
        return ended
