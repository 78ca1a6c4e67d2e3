"""The body of an HTTP/1.1 request as it comes: its length told, or in chunks (RFC 9112, sections 6 and 7)."""

from __future__ import annotations

import re
from typing import Final

from merklelog.formats.wire import quote

from .lean_head import parse_field, refusal

_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,8})(?:[ \t]*;[\t -~\x80-\xff]*)?")
_MAX_LINE: Final = 256
_MAX_TRAILERS: Final = 4 << 10
# A chunk costs some microseconds, however short it is. So many may be short; of more, most may not be.
_ANY_CHUNKS: Final = 4_096
_MEAN_BYTES: Final = 64


class Counted:
    """A body of so many bytes; `done` once they came. `missing` is how many have not."""

    __slots__ = ("missing",)

    def __init__(self, length: int) -> None:
        self.missing = length

    @property
    def done(self) -> bool:
        """Whether all of it came."""
        return not self.missing

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The body's bytes among these, and what is behind the body's end."""
        body = data[: self.missing]
        self.missing -= len(body)
        return body, data[len(body) :]


class Chunks:
    """A body in chunks, read strictly; `done` once the last one and the trailers behind it came.

    `most` bounds the body's own bytes. Extensions and trailers are not kept.
    """

    __slots__ = ("_chunks", "_in_trailers", "_left", "_length", "_most", "_raw", "_trailers", "done")

    def __init__(self, most: int) -> None:
        self._most = most
        self._raw = b""
        self._left = 0  # of this chunk, with the line end behind it; 0: a size comes next
        self._length = 0
        self._chunks = 0
        self._in_trailers = False
        self._trailers = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The body's bytes among these, and what is behind the body's end. Raises RefusedError."""
        raw = self._raw + data if self._raw else data
        parts: list[bytes] = []
        at = 0
        while not self.done:
            if self._left:
                at = self._chunk(raw, at, parts)
                if self._left:
                    break
                continue
            end = raw.find(b"\r\n", at, at + _MAX_LINE + 2)
            if end < 0:
                if len(raw) - at > _MAX_LINE:
                    raise refusal(400, "BAD_CHUNK", f"a line between chunks has more than {_MAX_LINE} bytes")
                break
            self._line(raw[at:end])
            at = end + 2
        rest = raw[at:]
        self._raw = b"" if self.done else rest
        return b"".join(parts), rest if self.done else b""

    def _chunk(self, raw: bytes, at: int, parts: list[bytes]) -> int:
        """Take what is there of a chunk; gives where it ends. The line end behind it is taken whole."""
        data = min(self._left - 2, len(raw) - at)
        if data > 0:
            parts.append(raw[at : at + data])
            self._left -= data
            at += data
        if self._left == 2 and len(raw) - at >= 2:
            if raw[at : at + 2] != b"\r\n":
                raise refusal(400, "BAD_CHUNK", f"a chunk is followed by {quote(raw[at : at + 2])}")
            self._left = 0
            at += 2
        return at

    def _line(self, line: bytes) -> None:
        if self._in_trailers:
            self._trailers += len(line) + 2
            if self._trailers > _MAX_TRAILERS:
                raise refusal(431, "TRAILERS", f"the trailers have more than {_MAX_TRAILERS:,} bytes")
            self.done = not line
            if line:
                parse_field(line, _MAX_LINE)
            return
        match = _SIZE.fullmatch(line)
        if match is None:
            raise refusal(400, "BAD_CHUNK", f"a chunk's size is {quote(line[:40])}")
        size = int(match[1], 16)  # matched above: hex digits of ASCII and nothing else
        self._length += size
        if self._length > self._most:
            raise refusal(413, "BODY_TOO_LARGE", f"the body has more than {self._most:,} bytes")
        self._chunks += 1
        if self._chunks > _ANY_CHUNKS + self._length // _MEAN_BYTES:
            told = f"the body's first {self._length:,} bytes came in {self._chunks:,} chunks"
            raise refusal(400, "BAD_CHUNK", f"{told}: of more than {_ANY_CHUNKS:,}, most must be longer")
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True


__all__ = ["Chunks", "Counted"]
