"""One filter for all that is young: the parts in memory and the short runs that they become.

A probe costs the same for a short run as for a long one, and most runs are short. So what a tail becomes is put
into a cover as well, which goes on growing until it is full, and only what passes there is looked for in the
young runs and parts one by one. Merging does not change what a cover holds. It is of no use any more when its
entries stand in one run, which has a filter of its own; a run that was there at opening is in no cover.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .fingerprint_filter import Filter, Words, empty_words, filter_words


@dataclass(frozen=True, slots=True)
class Cover:
    """All fingerprints of the indexes [start, end), among others: a later one of the same filter holds more."""

    start: int
    end: int
    count: int
    filter: Filter


def extended(
    covers: tuple[Cover, ...], start: int, end: int, fingerprints: Words, capacity: int
) -> tuple[Cover, ...]:
    """The covers with the sorted fingerprints of the indexes [start, end), which follow theirs.

    A cover is for `capacity` fingerprints, or for the first that came when those are more. One caller at a time:
    the filter of the last cover is written to, while others may probe it.
    """
    count = len(fingerprints)
    if not covers or covers[-1].count + count > capacity:
        covers = (*covers, Cover(start, end, 0, Filter(empty_words(filter_words(max(capacity, count))))))
    last = covers[-1]
    last.filter.add_sparse(fingerprints)
    return (*covers[:-1], replace(last, end=end, count=last.count + count))


def still_of_use(covers: tuple[Cover, ...], starts: Iterable[int]) -> tuple[Cover, ...]:
    """The covers without the oldest, while at most one of what begins at these indexes begins in that.

    The last one always stays: it is what the next part goes into.
    """
    begun = sorted(starts)
    while len(covers) > 1 and sum(covers[0].start <= start < covers[1].start for start in begun) <= 1:
        covers = covers[1:]
    return covers
