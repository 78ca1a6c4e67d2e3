"""Where the identity index keeps its entries at one moment, and how a lookup goes through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from .fingerprint_cover import Cover
from .fingerprint_filter import PROBE_MAX, WORDS, Filter, Probe, Words
from .fingerprint_hash import KEY_BYTES, Fingerprinter
from .fingerprint_run import OFFSETS, Offsets, Run, find_sorted

_FEW_KEYS = 8  # up to here plain integers are faster than numpy
_PORTION_KEYS = 4096  # keys taken from a tail before other threads can have the GIL


class Tail:
    """Identities of the indexes [start, end), in memory: key -> smallest index. Only the owner writes to it.

    `fingerprints` are those of each index, in order; None when they were not given for all, or when some key is
    not that of one index alone: then what `keys` has is all there is to go by.
    """

    __slots__ = ("end", "fingerprints", "keys", "last_key", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.keys: dict[bytes, int] = {}
        self.fingerprints: list[Words] | None = []
        self.last_key = bytes(KEY_BYTES)

    @property
    def fullness(self) -> int:
        """What is held against the limit: indexes, or keys when entries have more than one."""
        return max(self.end - self.start, len(self.keys))

    def put(self, keys: Sequence[bytes], fingerprints: Words | None = None) -> None:
        """The keys of the next entries. `end` moves last: who read it before finds all below it."""
        end = self.end + len(keys)
        before = len(self.keys)
        # Of a key that is here the smaller index stays. A deque of no length is the loop: no line of Python runs.
        deque(map(self.keys.setdefault, keys, range(self.end, end)), maxlen=0)
        if fingerprints is None or len(self.keys) - before != len(keys):
            self.fingerprints = None
        elif self.fingerprints is not None:
            self.fingerprints.append(fingerprints)
        self.last_key = keys[-1]
        self.end = end

    def put_extra(self, key: bytes, index: int) -> None:
        """One more key of an entry that is here."""
        if self.keys.get(key, self.end) > index:
            self.keys[key] = index
            self.fingerprints = None

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

    __slots__ = ("_offsets", "count", "end", "fingerprints", "last_key", "start")

    def __init__(self, tail: Tail, fingerprinter: Fingerprinter) -> None:
        """Nobody writes to the tail any more."""
        self.start, self.end, self.last_key = tail.start, tail.end, tail.last_key
        self.count = len(tail.keys)
        if tail.fingerprints:
            fingerprints = np.concatenate(tail.fingerprints)
            order = np.argsort(fingerprints)
            self.fingerprints, self._offsets = fingerprints[order], order.astype(OFFSETS)
            return
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
        self.fingerprints, self._offsets = fingerprints[order], offsets[order]

    def find(self, fingerprint: int) -> list[int]:
        """Indexes of the entries with this fingerprint, in increasing order."""
        return sorted(set(find_sorted(self.fingerprints, self._offsets, np.uint64(fingerprint), self.start)))

    def sorted_from(self, start: int) -> tuple[Words, Offsets]:
        """Fingerprints in order, and offsets counted from `start`."""
        return self.fingerprints, self._offsets + np.uint32(self.start - start)


@dataclass(frozen=True, slots=True)
class View:
    """Runs on the disk, parts and full tails that wait to become one, and the tail that grows: oldest first.

    Swapped whole, so that a lookup sees each entry in one place. What begins in a cover is asked only for what
    passes there: all parts, and the runs that are made of them until they are long.
    """

    runs: tuple[Run, ...]
    parts: tuple[Part, ...]
    full: tuple[Tail, ...]
    tail: Tail
    covers: tuple[Cover, ...] = ()

    def find(
        self, keys: Sequence[bytes], fingerprinter: Fingerprinter
    ) -> tuple[dict[int, list[int]], Words | None]:
        """For positions in `keys`, the indexes of entries that may have that key, in increasing order.

        Beside it the fingerprints of all keys, when they were needed. Raises RunDamagedError.
        """
        found: dict[int, list[int]] = {}
        fingerprints = None
        if len(keys) > _FEW_KEYS:
            fingerprints = self._find_many(keys, fingerprinter, found)
        elif self.runs or self.parts:
            self._find_few(keys, fingerprinter, found)
        for tail in (*self.full, self.tail):
            tail.find(keys, found)
        return found, fingerprints

    def _holders(self) -> tuple[list[Run], list[Run | Part]]:
        """The runs to be probed each for itself, and what the covers stand for; oldest first."""
        edge = self.covers[0].start if self.covers else self.tail.end
        old = [run for run in self.runs if run.start < edge]
        return old, [*self.runs[len(old) :], *self.parts]

    def _find_few(
        self, keys: Sequence[bytes], fingerprinter: Fingerprinter, found: dict[int, list[int]]
    ) -> None:
        old, young = self._holders()
        for position, key in enumerate(keys):
            fingerprint = fingerprinter.one(key)
            for run in old:
                if run.filter.may_hold(fingerprint) and (indexes := run.find(fingerprint)):
                    found.setdefault(position, []).extend(indexes)
            if any(cover.filter.may_hold(fingerprint) for cover in self.covers):
                _find_each(young, fingerprint, position, found)

    def _find_many(
        self, keys: Sequence[bytes], fingerprinter: Fingerprinter, found: dict[int, list[int]]
    ) -> Words:
        old, young = self._holders()
        starts = range(0, len(keys), PROBE_MAX)
        portions = [fingerprinter.many(keys[start : start + PROBE_MAX]) for start in starts]
        fingerprints = np.concatenate(portions)
        probes = [(start, Probe(portion)) for start, portion in zip(starts, portions, strict=True)]
        # One filter after the other, and one file: what the processor keeps near is used again at once.
        for run in old:
            for position in _passing(run.filter, probes):
                if indexes := run.find(fingerprints.item(position)):
                    found.setdefault(position, []).extend(indexes)
        for position in {at for cover in self.covers for at in _passing(cover.filter, probes)}:
            _find_each(young, fingerprints.item(position), position, found)
        return fingerprints


def _passing(words: Filter, probes: Sequence[tuple[int, Probe]]) -> list[int]:
    return [start + at for start, probe in probes for at in words.passing(probe)]


def _find_each(
    holders: Sequence[Run | Part], fingerprint: int, position: int, found: dict[int, list[int]]
) -> None:
    for holder in holders:
        if (isinstance(holder, Part) or holder.filter.may_hold(fingerprint)) and (
            indexes := holder.find(fingerprint)
        ):
            found.setdefault(position, []).extend(indexes)
