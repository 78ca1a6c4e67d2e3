"""A record longer than an entry may be: cut into consecutive entries, and joined again.

Each of the entries carries the next 36,000 bytes of the record's canonical bytes in base64 and says which of how
many it is, with the length and the hash of the whole; the first also carries verdicts and what was protected.
Source: docs/record.md, "A record of several entries".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import blake3

from merklelog.errors import EntryError, FormatError

from .canonical import record_identity
from .entry import MAX_ENTRY_BYTES, Entry, LogPart, Split, encode_entry, parse_entry

PIECE_BYTES: Final = 36_000
# What is split and joined at most: far above what a receiver lets in, and bounded.
MAX_RECORD_BYTES: Final = 256 * 2**20
PART_CONTEXT: Final = "merklelog 2026-11 ingest record part identity v1"


def split_entry(part: LogPart | None, record_bytes: bytes) -> list[bytes]:
    """The entries of a record, in the order in which they must follow each other: one where it fits.

    Raises EntryError for a record over 256 MiB, for one that does not fit and has no log part, and as
    `encode_entry`.
    """
    if len(record_bytes) < MAX_ENTRY_BYTES:
        whole = encode_entry(part, record_bytes)
        if len(whole) <= MAX_ENTRY_BYTES:
            return [whole]
    if part is None:
        raise EntryError(
            f"record: {len(record_bytes)} bytes do not fit an entry; only a receiver splits them"
        )
    if len(record_bytes) > MAX_RECORD_BYTES:
        raise EntryError(f"record: {len(record_bytes)} bytes, want at most {MAX_RECORD_BYTES}")
    count = _parts_of(len(record_bytes))
    split = Split(0, count, len(record_bytes), record_identity(record_bytes))
    later = LogPart(part.time, part.submitter)
    return [
        encode_entry(
            replace(later if number else part, split=replace(split, part=number)),
            record_bytes[number * PIECE_BYTES : (number + 1) * PIECE_BYTES],
        )
        for number in range(count)
    ]


def _parts_of(size: int) -> int:
    return -(-size // PIECE_BYTES)


def part_identity(identity: bytes, number: int) -> bytes:
    """The dedupe identity of part `number` of a record: its own for the first, 32 bytes derived from it after.

    So a record that is split and comes again is found again as a whole.
    """
    if not number:
        return identity
    return blake3.blake3(identity + number.to_bytes(8, "big"), derive_key_context=PART_CONTEXT).digest()


def join_entries(read: Callable[[int], bytes], index: int) -> Entry:
    """The entry at `index`, and if it is one of a split record's the whole record, whichever of them it is.

    `read` gives an entry's bytes by its index. The first part's log part is the record's, its `split` included.
    Raises FormatError for an entry that is none of this format, or whose parts do not make the record that each of
    them names; and what `read` raises.
    """
    entry = _entry(read, index)
    if entry.part is None or entry.part.split is None:
        return entry
    split = entry.part.split
    if split.parts != _parts_of(split.size) or split.size > MAX_RECORD_BYTES or split.part > index:
        raise FormatError(
            f"entry {index}: part {split.part} of {split.parts} for a record of {split.size} bytes"
        )
    start = index - split.part
    first = entry if not split.part else _entry(read, start)
    head = first.part if first.part is not None else entry.part
    pieces = []
    for number in range(split.parts):
        at = start + number
        found = first if not number else (entry if at == index else _entry(read, at))
        _check_part(found, replace(split, part=number), head, at)
        pieces.append(found.record_bytes)
    record_bytes = b"".join(pieces)
    if record_identity(record_bytes) != split.hash:
        raise FormatError(
            f"entries {start}:{start + split.parts}: the record they make is not the one they name"
        )
    return Entry(head, record_bytes)


def _entry(read: Callable[[int], bytes], index: int) -> Entry:
    try:
        entry = parse_entry(read(index))
    except FormatError as error:
        raise FormatError(f"entry {index}: {error}") from None
    if entry is None:
        raise FormatError(f"entry {index}: it holds no record: a raw entry")
    return entry


def _check_part(found: Entry, want: Split, first: LogPart, index: int) -> None:
    """One part of a record, against what the first said. Raises FormatError."""
    if found.part is None or found.part.split != want:
        raise FormatError(f"entry {index}: it is not part {want.part} of {want.parts} of the record there")
    if (found.part.time, found.part.submitter) != (first.time, first.submitter):
        raise FormatError(f"entry {index}: another time or submitter than the record's first part has")
    size = min(PIECE_BYTES, want.size - want.part * PIECE_BYTES)
    if len(found.record_bytes) != size:
        raise FormatError(f"entry {index}: a piece of {len(found.record_bytes)} bytes, want {size}")
