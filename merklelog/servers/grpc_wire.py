"""The gRPC wire as bytes and values, apart from any server: frames, timeouts, statuses.

Source: gRPC over HTTP/2 (doc/PROTOCOL-HTTP2.md of grpc/grpc), "Requests" and "Responses"; compression by
doc/compression.md beside it.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats.wire import quote

from .calls import Admission
from .problems import Code, Problem
from .rich import TRAILER, rich_status

# Gives the bytes of a message as they were before they were compressed, of which there are at most so many. Raises
# CallError, FormatError.
Decoder = Callable[[bytes, int], bytes]

_PREFIX: Final = struct.Struct(">BI")
PREFIX_BYTES: Final = _PREFIX.size
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST_WAIT: Final = 30 * 86_400.0  # event loops count in milliseconds: far below what any of them can
_GZIP: Final = 16 + zlib.MAX_WBITS
_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}

NO_METHOD: Final = Problem(Code.UNIMPLEMENTED, 404, "NO_SUCH_METHOD", "no such method is served here")
NOT_ONE: Final = Problem(
    Code.UNIMPLEMENTED, 400, "NOT_ONE_MESSAGE", "this method takes exactly one message, and got none or more"
)
NO_ENCODING: Final = Problem(
    Code.INTERNAL,
    400,
    "INVALID_REQUEST",
    "a message is marked as compressed, and grpc-encoding names no encoding",
)
PAST_DEADLINE: Final = Problem(
    Code.DEADLINE_EXCEEDED, 504, "DEADLINE_EXCEEDED", "the caller's deadline has passed"
)


TOO_MUCH_METADATA: Final = Problem(
    Code.RESOURCE_EXHAUSTED, 431, "METADATA_TOO_LARGE", "the metadata are more than this server takes"
)


class CallError(Exception):
    """A call refused for a reason that only gRPC's wire has; `problem` says it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class GoneError(Exception):
    """The caller went away: nobody is there to be told anything."""


def frame(data: bytes) -> bytes:
    """A message as it travels, not compressed."""
    return _PREFIX.pack(0, len(data)) + data


def whole(body: bytes) -> bool:
    """Whether these are exactly one message, not compressed: what nearly every unary call brings at once."""
    return len(body) >= PREFIX_BYTES and _PREFIX.unpack_from(body) == (0, len(body) - PREFIX_BYTES)


class Frames:
    """Cuts what comes in pieces into messages. Call `close` at the end: `admission` counts what is held."""

    __slots__ = ("_admission", "_at", "_buffer", "_decode", "_held", "_most")

    def __init__(self, admission: Admission, most: int, decode: Decoder | None) -> None:
        """`decode` is what `check_encoding` gave."""
        self._admission = admission
        self._most = most
        self._decode = decode
        self._buffer = bytearray()
        self._at = 0
        self._held = 0

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises OverloadedError when the server holds too many of them."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._hold(len(self._buffer) + len(data))
        self._buffer += data

    def take(self) -> bytes | None:
        """The next message, None when it has not come whole. Raises CallError, FormatError."""
        start = self._at + PREFIX_BYTES
        if len(self._buffer) < start:
            return None
        flag, length = _PREFIX.unpack_from(self._buffer, self._at)
        if flag > 1:
            raise FormatError(f"a message that begins with {flag}: want 0 or 1 (compressed)")
        if length > self._most:
            raise too_large(length, self._most)
        if len(self._buffer) < start + length:
            return None
        data = bytes(memoryview(self._buffer)[start : start + length])
        self._at = start + length
        return self._inflated(data) if flag else data

    def end(self) -> None:
        """No more comes. Raises FormatError when that is in the middle of a message."""
        left = len(self._buffer) - self._at
        if left:
            raise FormatError(f"the call ended {left} bytes into a message that has more")

    def close(self) -> None:
        """Let go of what is held."""
        self._hold(0)
        self._buffer = bytearray()
        self._at = 0

    def _hold(self, size: int) -> None:
        more = size - self._held
        if more > 0:
            self._admission.hold(more)
        else:
            self._admission.unread += more
        self._held = size

    def _inflated(self, data: bytes) -> bytes:
        if self._decode is None:
            raise CallError(NO_ENCODING)
        return self._decode(data, self._most)


def gunzip(data: bytes, most: int) -> bytes:
    """A Decoder of gzip (RFC 1952), one member."""
    engine = zlib.decompressobj(_GZIP)
    try:
        plain = engine.decompress(data, most + 1)
    except zlib.error as error:
        raise FormatError(f"a message of {len(data)} bytes that is not gzip") from error
    if len(plain) > most:
        raise too_large(len(plain), most)
    if not engine.eof or engine.unused_data:
        raise FormatError(f"a message of {len(data)} bytes that is not one whole gzip member")
    return plain


GZIP: Final[Mapping[bytes, Decoder]] = {b"gzip": gunzip}


def too_large(length: int, most: int) -> CallError:
    """The refusal of a message longer than `most`: to try again would not help."""
    message = f"a message of {length:,} bytes or more: this server takes at most {most:,}"
    return CallError(Problem(Code.RESOURCE_EXHAUSTED, 413, "MESSAGE_TOO_LARGE", message))


def parse_timeout(value: bytes) -> float:
    """Seconds of a grpc-timeout. Raises FormatError."""
    unit = _UNITS.get(value[-1:])
    digits = value[:-1]
    if unit is None or not 1 <= len(digits) <= 8 or not digits.isdigit():
        raise FormatError(f"grpc-timeout: got {quote(value[:32])}, want 1 to 8 digits and one of HMSmun")
    return min(int(digits) * unit, _LONGEST_WAIT)


def check_encoding(
    value: bytes, decoders: Mapping[bytes, Decoder] = GZIP, *, header: str = "grpc-encoding"
) -> Decoder | None:
    """What decodes this encoding, None for identity, which is none. Raises CallError for one not known here."""
    if value == b"identity":
        return None
    found = decoders.get(value)
    if found is None:
        known = " or ".join(["identity", *(name.decode() for name in decoders)])
        message = f"{header}: got {quote(value[:32])}, want {known}"
        raise CallError(Problem(Code.UNIMPLEMENTED, 415, "UNKNOWN_ENCODING", message))
    return found


def status_trailers(problem: Problem) -> list[tuple[bytes, bytes]]:
    """The trailers that end a call with this problem."""
    return [
        (b"grpc-status", b"%d" % problem.code),
        (b"grpc-message", percent_encoded(problem.message)),
        (TRAILER.encode(), b64encode(rich_status(problem)).rstrip(b"=")),
    ]


def percent_encoded(message: str) -> bytes:
    """A grpc-message: UTF-8, with all but printable ASCII as %XX."""
    return b"".join(b"%c" % each if each in _PLAIN else b"%%%02X" % each for each in message.encode())
