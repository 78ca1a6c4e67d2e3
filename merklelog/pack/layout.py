"""The files of a pack: their names, their order, and how entries stand in them.

Entries are in files of up to 1,024, cut where the index is a multiple of that, so that a verifier knows every name
from the range alone and holds one file at a time. Those of a file are lines where all of them are printable text,
for people to read; else each has its length before it, as in an entry bundle of tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats import LENGTHS, MAX_ENTRY

README: Final = "README.txt"
PROOF: Final = "proof.txt"
CHECKPOINT: Final = "checkpoint.txt"
POLICY: Final = "policy.txt"
ENTRIES: Final = "entries/"

FILE_ENTRIES: Final = 1024
MAX_ENTRIES_BYTES: Final = FILE_ENTRIES * (MAX_ENTRY + len(LENGTHS[0]))
MAX_NAME: Final = len(ENTRIES) + 19 + len(".txt")


def spans(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of entries that the files of [start, end) hold."""
    while start < end:
        stop = min(end, (start // FILE_ENTRIES + 1) * FILE_ENTRIES)
        yield start, stop
        start = stop


def names_at(start: int) -> tuple[str, str]:
    """What the file of the entries from `start` on may be called: with lines, or with lengths."""
    return f"{ENTRIES}{start}.txt", f"{ENTRIES}{start}.bin"


def format_entries(start: int, entries: Sequence[bytes]) -> tuple[str, bytes]:
    """The name and the bytes of the file of these entries."""
    lines, lengths = names_at(start)
    data = b"\n".join(entries) + b"\n"
    if _is_text(data) and data.count(b"\n") == len(entries):
        return lines, data
    return lengths, b"".join([part for entry in entries for part in (LENGTHS[len(entry)], entry)])


def _is_text(data: bytes) -> bool:
    try:
        return data.decode("utf-8").translate({0x0A: None, 0x09: None}).isprintable()
    except UnicodeDecodeError:
        return False


def parse_entries(name: str, data: bytes, count: int) -> list[bytes]:
    """The `count` entries of a file. Raises FormatError naming it when it has others, or more bytes."""
    if name.endswith(".txt"):
        entries = data.split(b"\n")
        if entries.pop():
            raise FormatError(f"{name}: its last line does not end in a newline")
        if len(entries) != count:
            raise FormatError(f"{name}: got {len(entries)} lines, want {count}")
        return entries
    entries = []
    at, end = 0, len(data)
    for _ in range(count):
        begin = at + 2
        at = begin + (data[at] << 8 | data[at + 1]) if begin <= end else end + 1
        if at > end:
            raise FormatError(f"{name}: entry {len(entries)} of {count} runs over its end")
        entries.append(data[begin:at])
    if at != end:
        raise FormatError(f"{name}: {end - at} bytes follow its {count} entries")
    return entries
