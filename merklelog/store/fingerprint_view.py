"""Where the identity index keeps its entries at one moment, and how a lookup goes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from .fingerprint_filter import PROBE_MAX, WORDS, Filter, Probe, Words, filter_words
from .fingerprint_hash import KEY_BYTES, Fingerprinter
from .fingerprint_run import OFFSETS, Offsets, Run, find_sorted

_FEW_KEYS = 8  # up to here plain integers are faster than numpy
_PORTION_KEYS = 4096  # keys taken from a tail before other threads can have the GIL


class Tail:
    """Identities of the indexes [start, end), in memory: key -> smallest index. Only the owner writes to it."""

    __slots__ = ("end", "keys", "last_key", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.keys: dict[bytes, int] = {}
        self.last_key = bytes(KEY_BYTES)

    @property
    def fullness(self) -> int:
        """What is held against the limit: indexes, or keys when entries have more than one."""
        return max(self.end - self.start, len(self.keys))

    def put(self, keys: Sequence[bytes]) -> None:
        """The keys of the next entries. `end` moves last: who read it before finds all below it."""
        end = self.end + len(keys)
        if self.keys.keys().isdisjoint(keys):
            # Backwards, so that of a key that comes twice the smaller index stays.
            self.keys.update(zip(reversed(keys), range(end - 1, self.end - 1, -1), strict=True))
        else:
            for index, key in enumerate(keys, self.end):
                self.keys.setdefault(key, index)
        self.last_key = keys[-1]
        self.end = end

    def find(self, keys: Sequence[bytes], found: dict[int, list[int]]) -> None:
        """Add what is here to `found`: position in `keys` -> indexes."""
        known = self.keys
        if known.keys().isdisjoint(keys):
            return
        for position, key in enumerate(keys):
            if (index := known.get(key)) is not None:
                found.setdefault(position, []).append(index)


class Part:
    """A former tail as sorted arrays, a tenth of the memory; several become one run."""

    __slots__ = ("_fingerprints", "_offsets", "count", "end", "filter", "last_key", "start")

    def __init__(self, tail: Tail, fingerprinter: Fingerprinter) -> None:
        """Nobody writes to the tail any more."""
        self.start, self.end, self.last_key = tail.start, tail.end, tail.last_key
        self.count = len(tail.keys)
        keys, indexes = iter(tail.keys), iter(tail.keys.values())
        fingerprints = np.empty(self.count, WORDS)
        offsets = np.empty(self.count, OFFSETS)
        for at in range(0, self.count, _PORTION_KEYS):
            part = fingerprinter.many(list(islice(keys, _PORTION_KEYS)))
            fingerprints[at : at + len(part)] = part
            offsets[at : at + len(part)] = (
                np.fromiter(islice(indexes, _PORTION_KEYS), np.int64, len(part)) - self.start
            )
        order = np.argsort(fingerprints)
        self._fingerprints, self._offsets = fingerprints[order], offsets[order]
        self.filter = Filter(np.zeros(filter_words(self.count), WORDS))
        self.filter.add(self._fingerprints)

    def find(self, fingerprint: int) -> list[int]:
        """Indexes of the entries with this fingerprint, in increasing order."""
        return sorted(set(find_sorted(self._fingerprints, self._offsets, np.uint64(fingerprint), self.start)))

    def sorted_from(self, start: int) -> tuple[Words, Offsets]:
        """Fingerprints in order, and offsets counted from `start`."""
        return self._fingerprints, self._offsets + np.uint32(self.start - start)


@dataclass(frozen=True, slots=True)
class View:
    """Runs on the disk, parts and full tails that wait to become one, and the tail that grows: oldest first.

    Swapped whole, so that a lookup sees each entry in one place.
    """

    runs: tuple[Run, ...]
    parts: tuple[Part, ...]
    full: tuple[Tail, ...]
    tail: Tail

    def find(self, keys: Sequence[bytes], fingerprinter: Fingerprinter) -> dict[int, list[int]]:
        """For positions in `keys`, the indexes of entries that may have that key, in increasing order.

        Raises RunDamagedError.
        """
        found: dict[int, list[int]] = {}
        if self.runs or self.parts:
            if len(keys) <= _FEW_KEYS:
                self._find_few(keys, fingerprinter, found)
            else:
                self._find_many(keys, fingerprinter, found)
        for tail in (*self.full, self.tail):
            tail.find(keys, found)
        return found

    def _find_few(
        self, keys: Sequence[bytes], fingerprinter: Fingerprinter, found: dict[int, list[int]]
    ) -> None:
        holders: tuple[Run | Part, ...] = (*self.runs, *self.parts)
        for position, key in enumerate(keys):
            fingerprint = fingerprinter.one(key)
            for holder in holders:
                if holder.filter.may_hold(fingerprint) and (indexes := holder.find(fingerprint)):
                    found.setdefault(position, []).extend(indexes)

    def _find_many(
        self, keys: Sequence[bytes], fingerprinter: Fingerprinter, found: dict[int, list[int]]
    ) -> None:
        holders: tuple[Run | Part, ...] = (*self.runs, *self.parts)
        for start in range(0, len(keys), PROBE_MAX):
            probe = Probe(fingerprinter.many(keys[start : start + PROBE_MAX]))
            for holder in holders:
                for position in holder.filter.passing(probe):
                    if indexes := holder.find(int(probe.fingerprints[position])):
                        found.setdefault(start + position, []).extend(indexes)
