"""What became of records: where each stands, and what deserves somebody's attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import msgspec

from .verdict import Verdict


class Placed(msgspec.Struct, frozen=True):
    """Where a record stands: the index of its entry (of the first, where it is split).

    `duplicate`: it was there, and nothing was stored. `conflict_with` is the entry with the same record ID and
    other content. `time_ns` is the intake time, None for a duplicate; `entries` how many entries it has.
    """

    index: int
    duplicate: bool = False
    conflict_with: int | None = None
    verdict: Verdict | None = None
    time_ns: int | None = None
    entries: int = 1


class Placements(Sequence[Placed]):
    """Where the records of one call stand, in their order. Few are ever asked for: they are made when they are."""

    __slots__ = ("_placed", "_plain")

    def __init__(self, count: int) -> None:
        self._placed: list[Placed | None] = [None] * count
        self._plain: list[tuple[int, Sequence[int], int]] = []

    def put(self, position: int, placed: Placed) -> None:
        """That record stands there."""
        self._placed[position] = placed

    def put_plain(self, position: int, indexes: Sequence[int], time_ns: int) -> None:
        """The records from that position on, of which nothing is special, are the entries at these indexes."""
        self._plain.append((position, indexes, time_ns))

    def __len__(self) -> int:
        return len(self._placed)

    @overload
    def __getitem__(self, at: int) -> Placed: ...

    @overload
    def __getitem__(self, at: slice) -> list[Placed]: ...

    def __getitem__(self, at: int | slice) -> Placed | list[Placed]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        placed = self._placed[at]
        if placed is not None:
            return placed
        position = at if at >= 0 else at + len(self)
        for first, indexes, time_ns in self._plain:
            if first <= position < first + len(indexes):
                return Placed(indexes[position - first], time_ns=time_ns)
        raise IndexError(at)


@dataclass(frozen=True, slots=True)
class Finding:
    """What deserves somebody's attention: a content hash that is wrong, or a conflict of record IDs."""

    origin: str
    index: int
    record_id: str | None
    verdict: Verdict | None
    conflict_with: int | None


Alert = Callable[[Finding], None]

__all__ = ["Alert", "Finding", "Placed", "Placements"]
