"""Content hashes checked again, long after: of every record among a log's entries, against what each claims.

A tree proves that an entry is what the log took. Whether what it took was what the sender had hashed is another
question, which the log answered on arrival, in the entry. Here anybody answers it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from merklelog.errors import FormatError, MerklelogError

from .canonical import decode_record
from .content_hash import judge_content
from .entry import Entry, parse_entry
from .model import content_hash_of, record_id_of
from .split import join_entries
from .verdict import Verdict, content_verdict, touches_content

Indexed = tuple[int, bytes]


class Outcome(StrEnum):
    """What became of one entry."""

    OK = "ok"
    MISMATCH = "mismatch"
    NOT_CHECKABLE = "not checkable"
    PROTECTED = "protected"  # what the hash was made of was dropped or replaced before the entry was made
    UNHASHED = "unhashed"  # a record that claims no content hash
    RAW = "raw"  # an entry that is no record, and claims to be none
    MALFORMED = "malformed"  # an entry that begins as a record's and is none
    CONTINUED = "continued"  # parts of a record that began before the range


@dataclass(frozen=True, slots=True)
class Checked:
    """One record, or one entry that is none: `entries` of them from `index` on.

    `stored` is what the log found on arrival; None where it did not look, or nobody could.
    """

    index: int
    entries: int
    outcome: Outcome
    record_id: str | None = None
    stored: Verdict | None = None
    reason: str = ""

    @property
    def contradicts(self) -> bool:
        """Whether the log says that it found something else on arrival."""
        if self.stored is None or self.outcome is Outcome.PROTECTED:
            return False
        return self.stored.value != self.outcome.value


_JUDGED: Final = {
    Verdict.OK: Outcome.OK,
    Verdict.MISMATCH: Outcome.MISMATCH,
    Verdict.NOT_CHECKABLE: Outcome.NOT_CHECKABLE,
}


def recheck(
    entries: Iterable[Indexed], start: int, size: int, read: Callable[[int], bytes]
) -> Iterator[Checked]:
    """Each record among `entries`, which follow each other from `start` on in a log of `size`, in order.

    A record that begins among them is checked whole: `read` gives what of it lies behind them, and of one that
    began before them what lies there. Raises what reading raises, and nothing for what an entry says.
    """
    ahead = _Ahead(entries, size, read)
    while (found := ahead.take()) is not None:
        try:
            checked = _checked(found, start, ahead)
        except FormatError as error:
            yield Checked(found[0], 1, Outcome.MALFORMED, reason=str(error))
            continue
        except _ReadError as error:
            raise error.reason from error.reason.__cause__
        ahead.drop(checked.entries - 1)
        yield checked


def _checked(found: Indexed, start: int, ahead: _Ahead) -> Checked:
    index, data = found
    entry = parse_entry(data)
    if entry is None:
        return Checked(index, 1, Outcome.RAW)
    split = None if entry.part is None else entry.part.split
    if split is None:
        return _check(index, 1, entry)
    if split.part and not 0 <= index - split.part < start:
        raise FormatError(f"entry {index}: part {split.part} of a record that does not begin before it")

    def read(at: int) -> bytes:
        return data if at == index else ahead.read(at)

    whole = join_entries(read, index)
    if split.part:
        return Checked(index, split.parts - split.part, Outcome.CONTINUED)
    return _check(index, split.parts, whole)


def _check(index: int, count: int, entry: Entry) -> Checked:
    record = decode_record(entry.record_bytes)
    record_id, claimed = record_id_of(record), content_hash_of(record)
    stored = None if entry.part is None else content_verdict(entry.part.verdicts)
    outcome, reason = Outcome.UNHASHED, ""
    if claimed is not None:
        judged = judge_content(record, claimed)
        outcome, reason = _JUDGED[judged.verdict], judged.reason
    protected = () if entry.part is None else entry.part.protected
    if stored is Verdict.MISMATCH and touches_content(protected):
        outcome, reason = Outcome.MISMATCH, "it was one before its content was protected"
    elif outcome is not Outcome.OK and (claimed or stored) and touches_content(protected):
        outcome, reason = Outcome.PROTECTED, ", ".join(protected)
    return Checked(index, count, outcome, record_id, stored, reason)


class _ReadError(Exception):
    """Reading failed: not a word against the entry that was being checked. Never leaves this module."""

    def __init__(self, reason: MerklelogError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Ahead:
    """Entries in order, of which a few may be looked at before their turn."""

    def __init__(self, entries: Iterable[Indexed], size: int, read: Callable[[int], bytes]) -> None:
        self._entries = iter(entries)
        self._size = size
        self._read = read
        self._looked: dict[int, bytes] = {}  # in the order of their indexes
        self._taken = -1

    def take(self) -> Indexed | None:
        """The next entry; None after the last."""
        if self._looked:
            first = next(iter(self._looked))
            found: Indexed | None = first, self._looked.pop(first)
        else:
            found = next(self._entries, None)
        self._taken = self._taken if found is None else found[0]
        return found

    def read(self, index: int) -> bytes:
        """An entry that is still to come, or one from before or behind all of them.

        Raises FormatError behind the log's end, and _ReadError.
        """
        if index >= self._size:
            raise FormatError(f"entry {index}: the log ends before it, within a record")
        try:
            while (
                index > self._taken
                and index not in self._looked
                and (following := next(self._entries, None)) is not None
            ):
                self._looked[following[0]] = following[1]
            if index in self._looked:
                return self._looked[index]
            return self._read(index)
        except MerklelogError as error:
            raise _ReadError(error) from error

    def drop(self, count: int) -> None:
        """The next entries belong to the one before; fewer are there when the range ends within it."""
        for index in list(self._looked)[:count]:
            del self._looked[index]
