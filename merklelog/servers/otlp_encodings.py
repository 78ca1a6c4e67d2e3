"""How OTLP's requests may be compressed: gzip, and zstd where the package for it is installed.

What is compressed says nothing that is believed of how long it will be: as much is made of it as a request may
have, and then it is refused.

Source: RFC 1952 (gzip); RFC 8878 (zstd), section 3.1.1.1.2 for the window, of which decoders should take 8 MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import zstandard

from merklelog.errors import FormatError

from .grpc_wire import Decoder, gunzip, too_large

_WINDOW: Final = 8 << 20
# A block of three bytes and one may stand for 128 KiB, so this much never becomes more than 8 MiB at once.
_PIECE: Final = 256


def unzstd(data: bytes, most: int) -> bytes:
    """A Decoder of zstd, one frame."""
    engine = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    parts, length = [], 0
    try:
        for at in range(0, len(data), _PIECE):
            part = engine.decompress(data[at : at + _PIECE])
            length += len(part)
            if length > most:
                raise too_large(length, most)
            parts.append(part)
            if engine.eof:
                if engine.unused_data or len(data) > at + _PIECE:
                    raise FormatError(f"a message of {len(data)} bytes that is more than one zstd frame")
                return b"".join(parts)
    except zstandard.ZstdError as error:
        raise FormatError(f"a message of {len(data)} bytes that is not zstd: {error}") from error
    raise FormatError(f"a message of {len(data)} bytes that ends within its zstd frame")


DECODERS: Final[Mapping[bytes, Decoder]] = {b"gzip": gunzip, b"zstd": unzstd}

__all__ = ["DECODERS", "unzstd"]
