"""One filter for all that is young: the parts in memory and the short runs that they become.

A probe costs the same for a short run as for a long one, and most runs are short. So what a tail becomes is put
into a cover as well, which goes on growing until it is full, and only what passes there is looked for in the
young runs and parts one by one. Merging does not change what a cover holds. It is of no use any more when its
entries stand in one run, which has a filter of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .fingerprint_filter import Filter, Words, empty_words, filter_words


@dataclass(frozen=True, slots=True)
class Cover:
    """The fingerprints of the indexes from `start` to where the next cover starts, or of all so far."""

    start: int
    count: int
    filter: Filter


def extended(
    covers: tuple[Cover, ...], start: int, count: int, portions: Iterable[Words], capacity: int
) -> tuple[Cover, ...]:
    """The covers with `count` more fingerprints, of the indexes from `start` on, which follow theirs.

    A cover is for `capacity` fingerprints, or for the first that came when those are more. One caller at a time:
    the filter of the last cover is written to, while others may probe it.
    """
    if not covers or covers[-1].count + count > capacity:
        covers = (*covers, Cover(start, 0, Filter(empty_words(filter_words(max(capacity, count))))))
    last = covers[-1]
    for portion in portions:
        last.filter.add_sparse(portion)
    return (*covers[:-1], replace(last, count=last.count + count))


def still_of_use(covers: tuple[Cover, ...], runs: Sequence[int], parts: Sequence[int]) -> tuple[Cover, ...]:
    """The covers without the oldest that at most one run begins in, and no part, which has no other filter.

    `runs` and `parts` are the indexes that those begin at. The last cover stays: the next part goes into it.
    """
    while len(covers) > 1:
        first, second = covers[0].start, covers[1].start
        if sum(first <= start < second for start in runs) > 1 or any(start < second for start in parts):
            break
        covers = covers[1:]
    return covers
