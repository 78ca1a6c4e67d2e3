"""Which runs become one, and their entries in order, a portion at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .fingerprint_filter import Words
from .fingerprint_run import MAX_SPAN, Offsets, Run

# About 40,000 entries: some 5 MB while it is merged. Smaller ones ask for the GIL more often, and where other
# threads hold it each time costs up to 5 ms.
PORTION_BLOCKS = 256


def runs_to_merge(
    spans: Sequence[tuple[int, int]], shortest: int, fan_in: int, longest: int = MAX_SPAN
) -> slice | None:
    """The adjacent runs to merge now, as a slice; None when there is nothing to do.

    Spans are the half-open index ranges of the runs, in order. A run shorter than `shortest` is of level 0, else
    of level n when it is at least shortest * fan_in**(n-1) long. Neighbours of at most some level become one as
    soon as that one is of a higher level (and shorter than `longest`): so an entry is rewritten at most once a
    level, and about `fan_in - 1` runs of a level stay. The highest such level is taken, which saves merging what
    would be merged again at once.
    """
    best = None
    whole = spans[-1][1] - spans[0][0] if spans else 0
    ceiling = shortest
    while ceiling <= whole:
        first = total = 0
        for at, (start, end) in enumerate(spans):
            length = end - start
            if length >= ceiling:
                first, total = at + 1, 0
                continue
            if total + length >= longest:
                first, total = at, 0
            total += length
            if total >= ceiling:
                best = slice(first, at + 1)
        ceiling *= fan_in
    return best


def merged(runs: Sequence[Run]) -> Iterator[tuple[Words, Offsets]]:
    """The entries of adjacent runs in fingerprint order; offsets count from the first run's start.

    Reads a portion of about `PORTION_BLOCKS` blocks at a time, whatever the keys look like.
    Raises RunDamagedError.
    """
    low = 0
    while True:
        high = _next_border(runs, low)
        parts = [run.read(*run.blocks_within(low, high)) for run in runs]
        for run, (_, offsets) in zip(runs, parts, strict=True):
            offsets += np.uint32(run.start - runs[0].start)
        fingerprints, offsets = merge_sorted(parts)
        # The blocks reach beyond the portion on both sides.
        start = int(fingerprints.searchsorted(np.uint64(low)))
        end = len(fingerprints) if high is None else int(fingerprints.searchsorted(np.uint64(high)))
        yield fingerprints[start:end], offsets[start:end]
        if high is None:
            return
        low = high


def fingerprints_of(run: Run) -> Iterator[Words]:
    """All fingerprints of a run, in order, a portion at a time. Raises RunDamagedError."""
    for at in range(0, run.blocks, PORTION_BLOCKS):
        yield run.read(at, min(at + PORTION_BLOCKS, run.blocks))[0]


def merge_sorted(parts: Sequence[tuple[Words, Offsets]]) -> tuple[Words, Offsets]:
    """Sorted sequences as one."""
    fingerprints = np.concatenate([part[0] for part in parts])
    order = np.argsort(fingerprints, kind="stable")  # finds the sorted stretches and merges them
    return fingerprints[order], np.concatenate([part[1] for part in parts])[order]


def _next_border(runs: Sequence[Run], low: int) -> int | None:
    """Where a portion that begins at the fingerprint `low` ends; None when it reaches the end."""
    ahead = max(1, PORTION_BLOCKS // len(runs))
    firsts = [run.blocks_within(low, None)[0] for run in runs]
    while True:
        borders = [
            run.sample(at + ahead) for run, at in zip(runs, firsts, strict=True) if at + ahead < run.blocks
        ]
        if not borders:
            return None
        if min(borders) > low:
            return min(borders)
        ahead *= 2  # one fingerprint fills all these blocks
