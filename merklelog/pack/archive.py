"""A ZIP read so that every other tool must see the same files.

A ZIP says what it holds twice, in its central directory and before each file, and tools differ in which of the two
they believe, in what they make of bytes between files, and of doubled names. Here both must agree, files must
follow each other without a gap from the first byte to the directory, and nothing may follow the end. Source:
PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from merklelog.errors import FormatError
from merklelog.formats.wire import quote

FIRST_BYTES: Final = b"PK\x03\x04"
STORED: Final = 0
DEFLATED: Final = 8
FULL_16: Final = 0xFFFF
FULL_32: Final = 0xFFFFFFFF
ZIP64_FIELD: Final = 0x0001

LOCAL: Final = struct.Struct("<4s5H3L2H")
CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
END: Final = struct.Struct("<4s4H2LH")
END64: Final = struct.Struct("<4sQ2H2L4Q")
LOCATOR64: Final = struct.Struct("<4sLQL")
_FIELD: Final = struct.Struct("<2H")

_UNICODE_NAME: Final = 0x7075  # another name for a file, which some tools prefer
_NAME_IS_UTF8: Final = 1 << 11
_COMPRESSION_BITS: Final = 0b110  # how hard a tool tried; says nothing of the content
_MAX_EXTRA: Final = 1024
_NEWEST: Final = 63  # the highest version of the format that a reader can need


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive: where its bytes are, as they are packed, and what they must come to."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int


class Archive:
    """A ZIP in a file that can be sought in. Names are ASCII; nothing is held but one file at a time.

    Every method raises FormatError for what is no ZIP or not one that all tools read alike, and OSError.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        length = file.seek(0, io.SEEK_END)
        if length < END.size:
            raise FormatError(f"{length} bytes are no ZIP archive")
        end = length - END.size
        sign, disk, first_disk, here, count, size, offset, comment = END.unpack(self._at(end, END.size))
        if sign != b"PK\x05\x06" or comment:
            raise FormatError("it does not end as a ZIP archive: it was cut off, or bytes were added to it")
        if FULL_16 in (here, count) or FULL_32 in (size, offset):
            end, disk, first_disk, here, count, size, offset = self._end64(end)
        if disk or first_disk or here != count or offset + size != end:
            raise FormatError("its directory does not stand before its end: it was cut off or put together")
        self._directory, self._end, self._count = offset, end, count

    def _end64(self, end: int) -> tuple[int, int, int, int, int, int, int]:
        place = end - LOCATOR64.size - END64.size
        if place < 0:
            raise FormatError("it does not end as a large ZIP archive does")
        data = self._at(place, END64.size + LOCATOR64.size)
        sign, length, _, _, disk, first_disk, here, count, size, offset = END64.unpack_from(data)
        locator = LOCATOR64.unpack_from(data, END64.size)
        if (sign, length, locator) != (b"PK\x06\x06", END64.size - 12, (b"PK\x06\x07", 0, place, 1)):
            raise FormatError("it does not end as a large ZIP archive does")
        return place, disk, first_disk, here, count, size, offset

    def names(self) -> Iterator[str]:
        """Every name in the directory, in its order."""
        at = self._directory
        for _ in range(self._count):
            _, name, extra = self._entry(at)
            at += CENTRAL.size + len(name) + len(extra)
            yield name.decode("ascii", "backslashreplace")
        if at != self._end:
            raise FormatError("its directory has bytes that name no file")

    def members(self) -> Iterator[Member]:
        """Every file in the order of the directory, which is the order of their bytes."""
        at, place = self._directory, 0
        for _ in range(self._count):
            entry, name, extra = self._entry(at)
            at += CENTRAL.size + len(name) + len(extra)
            member = self._member(place, entry, name, extra)
            place = member.start + member.packed
            yield member
        if at != self._end or place != self._directory:
            raise FormatError("it has bytes that belong to none of its files")

    def read(self, member: Member, limit: int) -> bytes:
        """A file's bytes, at most `limit`, checked against its length and CRC-32."""
        if member.size > limit or member.packed > limit + (limit >> 8) + 64:
            raise FormatError(
                f"{member.name}: got {max(member.size, member.packed)} bytes, want at most {limit}"
            )
        packed = self._at(member.start, member.packed)
        if member.method == STORED:
            data, whole = packed, True
        else:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflate.decompress(packed, member.size + 1)  # one more shows that there is more
            except zlib.error as error:
                raise FormatError(f"{member.name}: it can not be decompressed: {error}") from None
            whole = inflate.eof and not inflate.unused_data
        if len(data) != member.size or not whole:
            raise FormatError(
                f"{member.name}: it does not decompress to the {member.size} bytes that it should"
            )
        if zlib.crc32(data) != member.crc:
            raise FormatError(f"{member.name}: it was changed: its CRC-32 is not the one in the archive")
        return data

    def _entry(self, at: int) -> tuple[tuple[int, ...], bytes, bytes]:
        """One entry of the directory: its numbers, its name and its extra fields."""
        numbers = CENTRAL.unpack(self._at(at, CENTRAL.size))
        name_size, extra_size, comment_size = numbers[10:13]
        if numbers[0] != b"PK\x01\x02" or name_size > FULL_16 >> 8 or extra_size > _MAX_EXTRA or comment_size:
            raise FormatError("its directory can not be read")
        data = self._at(at + CENTRAL.size, name_size + extra_size)
        return numbers, data[:name_size], data[name_size:]

    def _member(self, place: int, entry: tuple[int, ...], raw: bytes, extra: bytes) -> Member:
        _, made_by, needed, flags, method, _, _, crc, packed, size, _, _, _, disk, _, attributes, offset = (
            entry
        )
        name = raw.decode("ascii", "backslashreplace")
        if offset == FULL_32:
            offset = _offset64(name, extra)
        # Links, folders and what else a system can make of the upper half; 3 is Unix.
        kind = stat.S_IFMT(attributes >> 16) if made_by >> 8 == 3 else 0
        if flags & ~(_NAME_IS_UTF8 | _COMPRESSION_BITS) or method not in (STORED, DEFLATED) or disk:
            raise FormatError(f"{quote(name)}: encrypted, streamed or of method {method}, want deflate")
        if kind not in (0, stat.S_IFREG) or FULL_32 in (packed, size) or needed > _NEWEST:
            raise FormatError(f"{quote(name)}: want a plain file of less than 4 GiB")
        if offset != place:
            raise FormatError(
                f"{quote(name)}: it begins at byte {offset}, want {place}, after the file before it"
            )
        head = LOCAL.unpack(self._at(place, LOCAL.size))
        length = LOCAL.size + len(raw) + head[10]
        data = self._at(place + LOCAL.size, len(raw) + head[10]) if head[10] <= _MAX_EXTRA else b""
        told = (FIRST_BYTES, flags, method, crc, packed, size, len(raw), raw)
        if (head[0], head[2], head[3], *head[6:10], data[: len(raw)]) != told:
            raise FormatError(f"{quote(name)}: the directory says something else than stands before the file")
        if _UNICODE_NAME in (*_fields(extra), *(local := _fields(data[len(raw) :]))) or ZIP64_FIELD in local:
            raise FormatError(f"{quote(name)}: it has a second name or size")
        return Member(name, method, crc, packed, size, place + length)

    def _at(self, place: int, length: int) -> bytes:
        self._file.seek(place)
        data = self._file.read(length)
        if len(data) != length:
            raise FormatError(f"it ends at byte {place + len(data)}, want {length} bytes from {place} on")
        return data


def _fields(extra: bytes) -> dict[int, bytes]:
    """The extra fields of a file; what is no field is left out, as it means nothing to any tool."""
    found = {}
    at = 0
    while at + _FIELD.size <= len(extra):
        kind, length = _FIELD.unpack_from(extra, at)
        at += _FIELD.size
        found[kind] = extra[at : at + length]
        at += length
    return found


def _offset64(name: str, extra: bytes) -> int:
    field = _fields(extra).get(ZIP64_FIELD, b"")
    if len(field) != 8:
        raise FormatError(f"{quote(name)}: its place in the archive can not be read")
    return int.from_bytes(field, "little")
