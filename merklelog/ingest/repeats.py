"""Records that come again: found by their ID for good (`ids`), and without one by their content, for a while.

What has no ID is remembered in memory, as long as the log's setting says; what the log got of it before a start is
read from its end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Protocol

import msgspec

from merklelog.errors import FormatError
from merklelog.formats import parse_bundle
from merklelog.log import Log
from merklelog.tree import TILE_WIDTH

from .canonical import record_identity
from .entry import Entry, parse_entry
from .ids import Added, Known, conflict_key
from .ready import Special

# So many records without an ID are remembered at most; beyond it the oldest are forgotten before their time.
MAX_REMEMBERED: Final = 1_000_000
# How far back the newest record is looked for behind entries that were appended otherwise.
LOOK_BACK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """An entry with the same ID or identity: its index, and whether its record is the same."""

    index: int
    same: bool


class Stored(msgspec.Struct, frozen=True):
    """A record that is durable now: what is special about it, its index, and the entry that it conflicts with."""

    special: Special
    index: int
    conflict_with: int | None


class Ids(Protocol):
    """The index of record IDs of one log; `ids.RecordIds` is one."""

    @property
    def behind(self) -> int:
        """See RecordIds."""
        ...

    @property
    def trouble(self) -> str:
        """See RecordIds."""
        ...

    def check(self) -> None:
        """See RecordIds."""
        ...

    def look_up(self, keys: Sequence[bytes]) -> dict[int, Known]:
        """See RecordIds."""
        ...

    def add(self, added: Sequence[Added], start: int, end: int) -> None:
        """See RecordIds."""
        ...

    def close(self) -> None:
        """See RecordIds."""
        ...


class Window:
    """Records without an ID that came within the last `nanoseconds`, by identity."""

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds
        self._rows: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def find(self, identity: bytes, now_ns: int) -> int | None:
        """The index of the newest entry with this record, when it is not too old."""
        found = self._rows.get(identity)
        return found[0] if found is not None and found[1] >= now_ns - self.nanoseconds else None

    def add(self, rows: Iterable[tuple[bytes, int]], time_ns: int) -> None:
        """Records of that intake time, as (identity, index); times do not decrease."""
        kept = self._rows
        for identity, index in rows:
            kept[identity] = (index, time_ns)
            kept.move_to_end(identity)
        while kept:
            oldest = next(iter(kept.values()))
            if oldest[1] >= time_ns - self.nanoseconds and len(kept) <= MAX_REMEMBERED:
                return
            kept.popitem(last=False)


class Repeats:
    """What an intake asks before it stores records, and tells afterwards.

    `find` is called by one thread at a time. Without a `window` records without an ID are not looked for.
    """

    def __init__(self, ids: Ids, window: Window | None = None) -> None:
        self._ids = ids
        self._window = window

    def find(self, asked: dict[int, Special], now_ns: int) -> dict[int, Found]:
        """Of those records, by position, that the log has: where.

        Raises UnavailableError while the log's IDs are still being read, StorageError while that fails.
        """
        found: dict[int, Found] = {}
        positions = [at for at, special in asked.items() if special.record_id is not None]
        others: list[int] = []
        for number, known in self._ids.look_up([asked[at].key or b"" for at in positions]).items():
            at = positions[number]
            same = known[1] == asked[at].identity
            found[at] = Found(known[0], same)
            if not same:
                others.append(at)
        if others:  # one that conflicts may be a repeat of one that conflicted
            keys = [conflict_key(asked[at].record_id or "", asked[at].identity) for at in others]
            for number, known in self._ids.look_up(keys).items():
                found[others[number]] = Found(known[0], same=True)
        if self._window is not None:
            for at, special in asked.items():
                if special.record_id is None:
                    index = self._window.find(special.identity, now_ns)
                    if index is not None:
                        found[at] = Found(index, same=True)
        return found

    def check(self) -> None:
        """Raise what `find` would of a record with an ID."""
        self._ids.check()

    def add(self, stored: Sequence[Stored], indexes: Sequence[int], time_ns: int) -> None:
        """Entries at these indexes, ascending, are durable, with these records of which something is special."""
        if self._window is not None:
            rows = ((each.special.identity, each.index) for each in stored if each.special.record_id is None)
            self._window.add(rows, time_ns)
        added = [_added(each) for each in stored if each.special.record_id is not None]
        runs = list(_runs(indexes))
        for start, end in runs:
            here = added if len(runs) == 1 else [each for each in added if start <= each[1] < end]
            self._ids.add(here, start, end)

    @property
    def behind(self) -> int:
        """Entries whose IDs are not known yet."""
        return self._ids.behind

    @property
    def trouble(self) -> str:
        """Why IDs can not be read at present; "" for nothing."""
        return self._ids.trouble

    def close(self) -> None:
        """Let go of the index's files."""
        self._ids.close()


def _added(stored: Stored) -> Added:
    special = stored.special
    key = special.key or b""
    if stored.conflict_with is not None:
        key = conflict_key(special.record_id or "", special.identity)
    return key, stored.index, special.identity


def _runs(indexes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending indexes as ranges [start, end)."""
    if indexes and indexes[-1] - indexes[0] == len(indexes) - 1:
        yield indexes[0], indexes[-1] + 1
        return
    for _, group in groupby(enumerate(indexes), lambda pair: pair[1] - pair[0]):
        run = [index for _, index in group]
        yield run[0], run[-1] + 1


def read_end(log: Log, window: Window | None) -> int:
    """The intake time of a log's newest record, 0 where it has none; what is as new as that goes into `window`.

    The newest record is looked for among the newest 2**20 entries: others were appended otherwise.
    """
    newest = 0
    rows: list[tuple[int, bytes, int]] = []
    passed = 0
    for index, entry in _backwards(log):
        if entry is None or entry.part is None:
            passed += 1
            if passed >= LOOK_BACK:
                break
            continue
        newest = newest or entry.part.time
        if window is None or entry.part.time < newest - window.nanoseconds or len(rows) >= MAX_REMEMBERED:
            break
        if (
            entry.part.split is None
        ):  # a split one's identity is in none of its entries' bytes, but named there
            rows.append((entry.part.time, record_identity(entry.record_bytes), index))
        elif not entry.part.split.part:
            rows.append((entry.part.time, entry.part.split.hash, index))
    if window is not None:
        for time_ns, identity, index in reversed(rows):
            window.add([(identity, index)], time_ns)
    return newest


def _backwards(log: Log) -> Iterator[tuple[int, Entry | None]]:
    """The entries of a log from its end on; None for one that is none of a record."""
    tiles = log.integrated_tiles()
    end = int(tiles.head.size)
    while end:
        number, width = divmod(end, TILE_WIDTH)
        if not width:
            number, width = number - 1, TILE_WIDTH
        first = number * TILE_WIDTH
        for at, data in reversed(list(enumerate(parse_bundle(tiles.bundle(number, width), width), first))):
            try:
                yield at, parse_entry(data)
            except FormatError:
                yield at, None  # it begins like an entry of ours: whoever may append can write such
        end = first


__all__ = ["LOOK_BACK", "MAX_REMEMBERED", "Found", "Ids", "Repeats", "Stored", "Window", "read_end"]
