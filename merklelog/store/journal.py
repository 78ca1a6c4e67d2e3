"""What RocksDB's own reader lets pass in the files it keeps as records: write-ahead logs and manifests.

Both are rows of 32 KiB blocks of records (checksum, length, type, payload). At the end of a file, a record that
claims more bytes than are there counts as one whose writing a crash cut off, and the file ends before it: without
a word. One flipped bit in a length makes such a record of one that was synced long ago, and it is gone with all
that follows it in its block; one flipped bit in a type makes RocksDB read the same record for ever. Both are
looked for here, before RocksDB opens anything: a record that a crash cut off has no checksum that fits a shorter
length, one whose length was changed has. Payloads are RocksDB's to check, and it does.

Source: RocksDB 9.8, db/log_format.h and db/log_reader.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from merklelog.errors import DamagedError

from .problems import os_problem

BLOCK: Final = 32 * 1024
_CHUNK = 32 * BLOCK  # read at a time: a log of 64 MiB must not become 64 MiB of memory
_HEADER = struct.Struct("<IHB")  # masked CRC-32C of type and payload, length of the payload, type
_TYPES = frozenset((1, 2, 3, 4))  # a whole record, or the first, a middle or the last piece of one
_MASK_DELTA = 0xA282EAD8


def check_journals(database: Path, called: Path | None = None) -> None:
    """Look through every write-ahead log and manifest. Raises DamagedError naming the file and the byte.

    Reads only; a file that is deleted meanwhile is passed over. `called` is the database's path for messages.
    """
    for path in sorted([*database.glob("*.log"), *database.glob("MANIFEST-*")]):
        try:
            with path.open("rb", buffering=0) as file:
                _check((called or database) / path.name, file.read)
        except FileNotFoundError:
            continue  # its rows are in tables now
        except OSError as error:
            raise os_problem(error, path) from error


def _check(path: Path, read: Callable[[int], bytes | None]) -> None:
    base = 0
    while chunk := read(_CHUNK):
        while len(chunk) % BLOCK and (more := read(_CHUNK - len(chunk))):
            chunk += more  # a read may be short in the middle of a file; only its end may be uneven
        _check_chunk(path, base, chunk)
        if len(chunk) % BLOCK:
            return  # the end as it was; what a writer has added since does not begin at a block's border
        base += len(chunk)


def _check_chunk(path: Path, base: int, data: bytes) -> None:
    """Walk the records of some whole blocks, and of the one the file ends in; no record crosses a block."""
    at, total = 0, len(data)
    unpack, types, header = _HEADER.unpack_from, _TYPES, _HEADER.size
    while at + header <= total:
        left = BLOCK - at % BLOCK
        if left < header:  # too little for a header: filled with zeros
            at += left
            continue
        checksum, length, kind = unpack(data, at)
        if kind not in types:
            if not any(data[at:]):  # space that the file system gave and nobody wrote to
                return
            raise _damaged(path, base + at, f"it is of type {kind}")
        if header + length > left:
            raise _damaged(path, base + at, f"with {length} bytes it would leave its block")
        if at + header + length > total:
            _check_torn(path, base, data, at, checksum)
            return
        at += header + length


def _check_torn(path: Path, base: int, data: bytes, at: int, checksum: int) -> None:
    """The last record claims more bytes than the file has: did a crash cut it off, or is its length wrong?"""
    want = checksum - _MASK_DELTA & 0xFFFFFFFF
    want = (want >> 17 | want << 15) & 0xFFFFFFFF
    start = at + _HEADER.size
    crc = 0xFFFFFFFF
    for end in range(start - 1, len(data)):  # what the checksum is over begins with the type
        crc = _TABLE[(crc ^ data[end]) & 0xFF] ^ crc >> 8
        if crc ^ 0xFFFFFFFF == want:
            raise _damaged(
                path, base + at, f"its checksum is that of {end + 1 - start} bytes, its length not"
            )


def _damaged(path: Path, at: int, why: str) -> DamagedError:
    return DamagedError(f"{path}: the record at byte {at:,} is damaged: {why}")


def _crc_table() -> tuple[int, ...]:
    """CRC-32C (Castagnoli's polynomial, reflected: 0x82F63B78), one byte at a time."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _crc_table()
