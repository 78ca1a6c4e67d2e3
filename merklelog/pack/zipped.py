"""A ZIP written from beginning to end, the same bytes for the same files.

Python's zipfile goes back in its file to fill in sizes, or leaves them out when it can not; here a file is packed
before its header is written, so that a pack can go into a pipe. Times are all 1 January 1980. Source: PKWARE
APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Callable
from typing import Final

from merklelog.pack.archive import (
    CENTRAL,
    DEFLATED,
    END,
    END64,
    FIRST_BYTES,
    FULL_16,
    FULL_32,
    LOCAL,
    LOCATOR64,
    ZIP64_FIELD,
)

_VERSION: Final = 20
_VERSION64: Final = 45
_UNIX: Final = 3 << 8
_DATE: Final = 1 << 5 | 1  # 1 January 1980
_MODE: Final = (stat.S_IFREG | 0o644) << 16
_LEVEL: Final = 6


class ZipWriter:
    """Files into a ZIP, each given whole and under 4 GiB; the archive may be of any length."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._entries: list[bytes] = []  # of the directory: some 70 bytes a file
        self.length = 0

    def add(self, name: str, data: bytes) -> None:
        """Write one file. Raises what `write` raises."""
        title = name.encode("ascii")
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(data) + packer.flush()
        told = (0, DEFLATED, 0, _DATE, zlib.crc32(data), len(packed), len(data), len(title))
        version, offset, extra = _VERSION, self.length, b""
        if offset >= FULL_32:
            version, offset, extra = _VERSION64, FULL_32, struct.pack("<2HQ", ZIP64_FIELD, 8, offset)
        entry = CENTRAL.pack(
            b"PK\x01\x02", _UNIX | version, version, *told, len(extra), 0, 0, 0, _MODE, offset
        )
        self._put(LOCAL.pack(FIRST_BYTES, _VERSION, *told, 0) + title)
        self._put(packed)
        self._entries.append(entry + title + extra)

    def close(self) -> None:
        """Write the directory and the end. Raises what `write` raises."""
        offset, count = self.length, len(self._entries)
        for entry in self._entries:
            self._put(entry)
        size, end = self.length - offset, self.length
        if offset >= FULL_32 or count >= FULL_16 or size >= FULL_32:
            told = (_UNIX | _VERSION64, _VERSION64, 0, 0, count, count, size, offset)
            self._put(END64.pack(b"PK\x06\x06", END64.size - 12, *told))
            self._put(LOCATOR64.pack(b"PK\x06\x07", 0, end, 1))
        count, size, offset = min(count, FULL_16), min(size, FULL_32), min(offset, FULL_32)
        self._put(END.pack(b"PK\x05\x06", 0, 0, count, count, size, offset, 0))

    def _put(self, data: bytes) -> None:
        self._write(data)
        self.length += len(data)
