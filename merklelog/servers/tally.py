"""Counting that costs next to nothing: numbers that one thread writes and any thread reads.

A request at full load has 30 microseconds for everything, so what is counted for each of them takes no lock: every
tally belongs to one thread, and where several threads do the same, each has its own and the sum is made by whoever
asks. A reader may see a request counted in one number and not yet in the next.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

from merklelog.log.observer import Observer

# Seconds from a request to its answer.
REQUEST_SECONDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
# Seconds that a stage of a commit takes: hashing one entry to a disk that has stalled.
STAGE_SECONDS: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
COMMIT_ENTRIES: Final = (0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)


class Tally:
    """A histogram: how many values fell at or below each bound and above the one before it, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One value more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class RequestTally:
    """The requests of one method at one door; belongs to the thread of that door's event loop."""

    __slots__ = ("codes", "door", "method", "seconds", "under_way")

    def __init__(self, door: str, method: str) -> None:
        self.door = door
        self.method = method
        self.under_way = 0
        self.codes: dict[str | int, int] = {}
        self.seconds = Tally(REQUEST_SECONDS)

    def begin(self) -> float:
        """A request came; gives the time to call `end` with."""
        self.under_way += 1
        return perf_counter()

    def end(self, began: float, code: str | int) -> None:
        """That request was answered with this status code, or left."""
        self.under_way -= 1
        self.codes[code] = self.codes.get(code, 0) + 1
        self.seconds.add(perf_counter() - began)


# The step that ends each stage, and from which step on it is timed.
_SEQUENCER: Final = {"planned": "plan", "hashed": "hash", "signed": "sign", "written": "write"}
_SYNCER: Final = {"synced": "sync", "settled": "tell"}
STAGES: Final = (*_SEQUENCER.values(), *_SYNCER.values())


class LogTally:
    """The commits of one log: a `merklelog.log.observer.Observer`."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._planning: float | None = None  # when the sequencer's last step was; None between commits
        self._syncing: float | None = None
        self.stages = {stage: Tally(STAGE_SECONDS) for stage in STAGES}
        self.commit_entries = Tally(COMMIT_ENTRIES)
        self.requests = 0
        self.entry_bytes = 0

    def step(self, name: str) -> None:
        """See Observer."""
        stage = _SEQUENCER.get(name)
        if stage is not None:
            self._planning = self._timed(stage, self._planning, last=name == "written")
        elif name == "drained":
            self._planning = self._clock()
        elif name == "gathered":
            self._syncing = self._clock()
        elif name in _SYNCER:
            self._syncing = self._timed(_SYNCER[name], self._syncing, last=name == "settled")

    def _timed(self, stage: str, since: float | None, *, last: bool) -> float | None:
        now = self._clock()
        if since is not None:
            self.stages[stage].add(now - since)
        return None if last else now

    def committed(self, requests: int, entries: Sequence[bytes]) -> None:
        """See Observer."""
        self.requests += requests
        self.entry_bytes += sum(map(len, entries))
        self.commit_entries.add(len(entries))


class Both:
    """Two observers of one log, told in this order."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._first = first
        self._second = second

    def step(self, name: str) -> None:
        """See Observer."""
        self._first.step(name)
        self._second.step(name)

    def committed(self, requests: int, entries: Sequence[bytes]) -> None:
        """See Observer."""
        self._first.committed(requests, entries)
        self._second.committed(requests, entries)


def merged(tallies: Sequence[Tally]) -> Tally:
    """The sum of one or more, which have the same bounds."""
    whole = Tally(tallies[0].bounds)
    for tally in tallies:
        whole.counts = [mine + more for mine, more in zip(whole.counts, tally.counts, strict=True)]
        whole.total += tally.total
    return whole
