"""Entries in their order, to documents: the entries of a record that was split become one document.

Who may append may append what looks like a part of a split record and is none: it is then taken for itself, and
what comes after it does not wait for more than the next entry, or the end of what is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from merklelog.errors import MerklelogError
from merklelog.ingest.entry import Entry, Split, parse_entry
from merklelog.ingest.split import join_entries

from .document import Document, document


class Assembler:
    """Makes documents of the entries from `start` on."""

    def __init__(self, start: int) -> None:
        self._next = start
        self._waiting: list[bytes] = []
        self._split: Split | None = None

    @property
    def size(self) -> int:
        """How many entries of the log have become documents."""
        return self._next - len(self._waiting)

    def add(self, data: bytes) -> Iterator[Document]:
        """The documents that are whole with the next entry."""
        index, self._next = self._next, self._next + 1
        entry = _parsed(data)
        split = None if entry is None or entry.part is None else entry.part.split
        if self._split is not None and not self._continues(split):
            yield from self._alone(index)
        if split is None:
            yield document(index, entry, data)
        elif split.part == len(self._waiting) < split.parts:
            self._waiting.append(data)
            self._split = split
            if len(self._waiting) == split.parts:
                yield self._joined()
        else:
            yield document(index, None, data)

    def flush(self) -> Iterator[Document]:
        """The documents of what still waits: no log ends within a split record, whose entries are one batch."""
        yield from self._alone(self._next)

    def _continues(self, split: Split | None) -> bool:
        known = self._split
        return (
            known is not None
            and split is not None
            and split.part == len(self._waiting)
            and (split.parts, split.hash, split.size) == (known.parts, known.hash, known.size)
        )

    def _alone(self, end: int) -> Iterator[Document]:
        waiting, self._waiting, self._split = self._waiting, [], None
        for index, data in enumerate(waiting, end - len(waiting)):
            yield document(index, None, data)

    def _joined(self) -> Document:
        first = self._next - len(self._waiting)
        waiting, self._waiting, self._split = self._waiting, [], None
        try:
            entry = join_entries(lambda index: waiting[index - first], first)
        except (MerklelogError, IndexError):
            return Document(first, len(waiting))
        return document(first, entry, waiting[0], len(waiting))


def _parsed(data: bytes) -> Entry | None:
    try:
        return parse_entry(data)
    except MerklelogError:
        return None  # it begins as an entry and is none: then it is what it says, as text


__all__ = ["Assembler"]
