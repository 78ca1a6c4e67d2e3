"""The lines of a partition's file: each an entry, as JSON that Athena, DuckDB and Spark read alike.

    {"index":17,"leaf_hash":"<64 hex digits>","text":"...","base64":null}

An entry that is UTF-8 stands in `text`, every other one in `base64`. Both are always there, and always strings or
null: whatever entries hold, the columns of all files are the same four, so that no reader has to guess them from
the first lines. An entry that is JSON is a string too, which every engine takes apart (`text::JSON` in DuckDB,
`json_extract` in Athena, `from_json` in Spark): its exact bytes are what the tree has the hash of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from merklelog.errors import FormatError
from merklelog.formats import MAX_ENTRY
from merklelog.formats.wire import decode_base64, encode_base64
from merklelog.tree.hashing import Hash, leaf_hashes

# What one file holds at most, so that it is written and read in bounded memory: in the worst case, every byte
# escaped, its lines take three times MAX_BYTES.
MAX_ENTRIES: Final = 65_536
MAX_BYTES: Final = 16 << 20
MAX_LINES_BYTES: Final = 64 << 20

# Control characters but tab, line feed and carriage return would be six bytes each as JSON, and no text.
_NO_TEXT: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One line, its fields in their order."""

    index: int
    leaf_hash: str
    text: str | None
    base64: str | None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Line)


def format_lines(first: int, entries: Sequence[bytes]) -> bytes:
    """The lines of entries from index `first` on, each with its newline."""
    hashes = leaf_hashes(list(entries))
    lines = [
        _Line(index, leaf.hex(), *_columns(entry))
        for index, (entry, leaf) in enumerate(zip(entries, hashes, strict=True), first)
    ]
    return _ENCODER.encode_lines(lines)


def _columns(entry: bytes) -> tuple[str | None, str | None]:
    """An entry as text, or as base64, which holds every byte, where it is none."""
    text: str | None = None
    if _NO_TEXT.search(entry) is None:
        try:
            text = entry.decode("utf-8")
        except UnicodeDecodeError:
            text = None
    return text, encode_base64(entry).decode("ascii") if text is None else None


def parse_lines(data: bytes, first: int) -> tuple[list[bytes], list[Hash]]:
    """The entries of lines that begin with index `first`, and their leaf hashes, computed and compared.

    Exactly what `format_lines` writes is taken. Raises FormatError naming the entry.
    """
    rows = data.split(b"\n")
    if rows.pop():
        raise FormatError("the last line does not end in a newline")
    entries = [_entry(row, index) for index, row in enumerate(rows, first)]
    if format_lines(first, entries) != data:
        for index, (row, entry) in enumerate(zip(rows, entries, strict=True), first):
            if format_lines(index, [entry]) != row + b"\n":
                raise FormatError(f"the line of entry {index} is not as this version writes it")
    return entries, leaf_hashes(entries)


def _entry(row: bytes, index: int) -> bytes:
    try:
        line = _DECODER.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"the line of entry {index}: {error}") from None
    if line.index != index:
        raise FormatError(f"the line of entry {index} says that it is entry {line.index}")
    if line.text is not None and line.base64 is None:
        entry = line.text.encode("utf-8", "surrogatepass")
    elif line.base64 is not None and line.text is None:
        entry = decode_base64(line.base64.encode("utf-8"), f"the line of entry {index}: base64")
    else:
        raise FormatError(f"the line of entry {index}: want either text or base64")
    if len(entry) > MAX_ENTRY:
        raise FormatError(f"the line of entry {index}: {len(entry)} bytes, want at most {MAX_ENTRY}")
    if leaf_hashes([entry])[0].hex() != line.leaf_hash:
        raise FormatError(f"the line of entry {index}: its leaf hash is not that of its bytes")
    return entry
