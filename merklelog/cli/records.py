"""The records that entries hold, for `merklelog get --record`: joined where one stands in several entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from merklelog.errors import FormatError, UsageError

if TYPE_CHECKING:
    from merklelog.cli.sources import Reads
    from merklelog.client import VerifiedHead

# How many entries are asked for at once where the parts of a record are read.
_AHEAD: Final = 64


def record_lines(reads: Reads, head: VerifiedHead, start: int, end: int, *, otlp: bool) -> Iterator[bytes]:
    """The records of the entries [start, end), a line each: canonical, or as OTLP/JSON export requests.

    A record of several entries comes once and whole, also where the range holds only some of them. Raises
    UsageError for an entry that holds no record, FormatError for a broken one, and what reading raises.
    """
    from merklelog.ingest.canonical import decode_record
    from merklelog.ingest.entry import parse_entry
    from merklelog.ingest.otlp_json import record_to_json
    from merklelog.ingest.split import join_entries

    read = _reader(reads, head)
    done = start
    for index, data in reads.entries(head, start, end):
        if index < done:
            continue
        try:
            entry = parse_entry(data)
        except FormatError as error:
            raise FormatError(f"entry {index}: {error}") from None
        if entry is None:
            raise UsageError(f"entry {index} holds no record: it is a raw entry; leave --record out")
        done = index + 1
        if entry.part is not None and (split := entry.part.split) is not None:
            entry = join_entries(read, index)
            done = index - split.part + split.parts
        record = entry.record_bytes
        yield (record_to_json(decode_record(record)) if otlp else record) + b"\n"


def _reader(reads: Reads, head: VerifiedHead) -> Callable[[int], bytes]:
    """One verified entry by its index, with those after it fetched along."""
    ahead: dict[int, bytes] = {}
    size = head.checkpoint.size

    def read(index: int) -> bytes:
        if index not in ahead:
            if index >= size:
                raise FormatError(f"entry {index}: the log ends before the record does")
            ahead.clear()
            ahead.update(reads.entries(head, index, min(index + _AHEAD, size)))
        return ahead[index]

    return read
