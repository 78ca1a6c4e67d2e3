"""How entry bundles are stored, as they are or as gzip: all that is between stored and hashed bytes."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha512
from typing import Final

from isal import isal_zlib
from isal.igzip_lib import IsalError

from merklelog.errors import ConfigError, FormatError

GZIP_MAGIC: Final = b"\x1f\x8b"
_LEVEL: Final = 3
_UNLIMITED: Final = 1 << 40
_GZIP_WINDOW: Final = 31  # zlib.h, "inflateInit2": 15 bits of window, plus 16 for the gzip header and trailer


class BundleEncoding(StrEnum):
    """What the entry bundles of a published copy are stored as; one for the whole copy."""

    IDENTITY = "identity"
    GZIP = "gzip"


def parse_bundle_encoding(name: str) -> BundleEncoding:
    """The encoding of that name. Raises ConfigError."""
    try:
        return BundleEncoding(name)
    except ValueError:
        raise ConfigError(f"bundle encoding: got {name[:40]!r}, want identity or gzip") from None


def compress(data: bytes) -> bytes:
    """One gzip member without a time or a name (RFC 1952), so that equal bytes are stored as equal bytes.

    That holds for one version of the library on one kind of processor; for others compare what decompresses.
    """
    made = isal_zlib.compress(data, _LEVEL, _GZIP_WINDOW)
    _clear_registers()
    return made


def decompress(data: bytes, limit: int) -> bytes:
    """What one gzip member holds, at most `limit` bytes, its checksum verified and nothing after it.

    More than `limit` bytes are never made. A series of members, which RFC 1952 (section 2.2) allows a file, is
    refused: nobody writes a bundle so, and thousands of empty ones would cost their square to read. Raises
    FormatError.
    """
    if not data.startswith(GZIP_MAGIC):
        raise FormatError(f"gzip: got {data[:2].hex() or 'nothing'}, want a member, {GZIP_MAGIC.hex()} first")
    member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        # One byte more than is allowed tells "too long" from "just fits" (and 0 would mean no limit).
        content = member.decompress(data, limit + 1)
    except IsalError as error:  # type: ignore[misc]  # its stub says instance, not class
        raise FormatError(f"gzip: {error}") from None
    finally:
        _clear_registers()
    if len(content) > limit:
        raise FormatError(f"gzip: it holds more than {limit} bytes")
    if not member.eof:
        raise FormatError("gzip: it ends before its checksum")
    if member.unused_data:
        raise FormatError(f"gzip: {len(member.unused_data)} bytes follow its end")
    return content


def same_content(there: bytes, new: bytes) -> bool:
    """Whether two compressed bundles hold the same bytes; `new` is ours."""
    if there == new:
        return True
    content = decompress(new, _UNLIMITED)
    try:
        return decompress(there, len(content)) == content
    except FormatError:
        return False


def _clear_registers() -> None:
    """Undo what igzip leaves behind: the upper halves of the vector registers marked as in use.

    As long as they are, every SHA-256 of the thread takes a tenth longer (x86 with AVX-512, isal 1.8). OpenSSL's
    SHA-512 clears them on its way out, and is the cheapest thing at hand that does: 0.4 us.
    """
    sha512(b"").digest()
