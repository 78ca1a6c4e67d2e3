"""The identity index: which entries may have a given 32-byte identity.

It serves exact dedupe and the lookup by leaf hash, and it is *derived*: no part of a commit, always
rebuildable from the log. An answer is a list of candidates, and whoever asks compares the 32 bytes with those
in the log. So a false positive only costs time (about one new identity in a hundred costs one read of 2 KB,
and only one whose 8 bytes of fingerprint are another's comes back as a candidate). What must never happen is
a miss, and the design is about that:

- The newest identities, the *tail*, are a dict in memory. When it is full, a thread in the background sorts
  it into a *part*, several parts become a *run*, a sorted file with a filter in memory, and runs are merged,
  so that about a dozen are left at 10^7 entries, most of them young and short. A *cover* is one filter for the
  young ones, so that a new identity is looked for in half as many filters. The oldest indexes stand in the
  first run, the newest in the tail.
- The index covers the indexes below `end`: what the runs on the disk hold (`watermark`) and what was fed
  since. After opening it the owner feeds [watermark, size of the log) again.
- A run that is missing or damaged is dropped, at opening or by the lookup or merge that finds out, and with
  it all that follows: `end` falls back to where it began, and the owner feeds from there. `search` says up to
  where its answer is complete.

So an owner asks like this, and feeds what a commit adds once it is written:

    found, end = index.search(keys)
    while end < size:                       # after opening, or when a run was lost
        feed(end, min(end + 65_536, size))  # index.add(leaf hashes, first index, given identities)
        found, end = index.search(keys)

Keys may be any 32 bytes, also such as somebody chose to be a nuisance: see `fingerprint_hash`. One thread,
the owner, calls `add`, `add_extra`, `settle` and `close`; any thread may look up at any time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ClosedError, EntryError, RangeError

from .fingerprint_background import Background, Shape
from .fingerprint_filter import Words
from .fingerprint_folder import Confirm, open_runs
from .fingerprint_hash import KEY_BYTES, SEED_BYTES, Fingerprinter
from .fingerprint_run import RunDamagedError, Step
from .fingerprint_view import Tail, View

TAIL_LIMIT: Final = 1 << 14
PARTS_A_RUN: Final = 4
YOUNG_RUNS: Final = 16
FAN_IN: Final = 4

_KEY_LENGTHS = frozenset((KEY_BYTES,))


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What the index is made of now.

    Bytes are those of the runs; `failure` says why the last write failed, and is empty when it did not.
    """

    runs: int
    entries_in_runs: int
    entries_in_memory: int
    resident_bytes: int
    disk_bytes: int
    failure: str


def _confirm_any(_index: int, _key: bytes) -> bool:
    return True


def _no_step(_name: str) -> None:
    """Nobody listens."""


class FingerprintIndex:
    """Entry indexes by 32-byte identity; see the module's text for what it promises.

    `confirm(index, key)` tells whether `key` is what `add` would be fed for this index today (False when the log
    is shorter): asked once a run at opening, so that an index that outlived a rolled-back log is not believed.
    A `read_only` index never changes its folder; its tail only grows, so open a new one now and then.
    `step` hears the name of each step towards the disk (tests kill the process there).

    Raises StorageError when the folder can not be used. Damaged files only make it shorter; `dropped` names them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tail_limit: int = TAIL_LIMIT,
        parts_a_run: int = PARTS_A_RUN,
        young_runs: int = YOUNG_RUNS,
        fan_in: int = FAN_IN,
        read_only: bool = False,
        confirm: Confirm = _confirm_any,
        step: Step = _no_step,
    ) -> None:
        self._directory = directory
        self._read_only = read_only
        runs, dropped = open_runs(directory, confirm, read_only=read_only)
        view = View(runs, (), (), Tail(runs[-1].end if runs else 0))
        self._fingerprinter = Fingerprinter(runs[0].seed if runs else secrets.token_bytes(SEED_BYTES))
        shape = Shape(tail_limit, parts_a_run, young_runs, fan_in)
        self._background = Background(directory, view, shape, self._fingerprinter, step)
        self._background.dropped.extend(dropped)
        self._fed = view.tail.end  # the highest end ever reached
        # The newest keys looked for, and their fingerprints: mostly what is fed next.
        self._asked: tuple[list[bytes], Words | None] = ([], None)

    @property
    def watermark(self) -> int:
        """Every index below this one is in a run on the disk, and needs no feeding after the next opening."""
        runs = self._background.view.runs
        return runs[-1].end if runs else 0

    @property
    def end(self) -> int:
        """Every index below this one was fed or is in a run. It falls back when a run proves to be damaged."""
        return self._background.view.tail.end

    @property
    def dropped(self) -> tuple[str, ...]:
        """The files dropped so far, each with the reason."""
        return tuple(self._background.dropped)

    def stats(self) -> IndexStats:
        """Sizes and counts, for metrics."""
        view = self._background.view
        return IndexStats(
            runs=len(view.runs),
            entries_in_runs=sum(run.count for run in view.runs),
            entries_in_memory=sum(part.count for part in view.parts)
            + sum(len(tail.keys) for tail in (*view.full, view.tail)),
            resident_bytes=sum(run.resident_bytes for run in view.runs),
            disk_bytes=sum(run.disk_bytes for run in view.runs),
            failure=self._background.failure,
        )

    # --- looking up: any thread --------------------------------------------------------------------------------

    def candidates(self, keys: Sequence[bytes]) -> dict[int, list[int]]:
        """For positions in `keys`, the indexes of entries that may have that key, in increasing order.

        Positions without any are absent. Complete for indexes below what `end` was when nothing fell back
        meanwhile; `search` tells. Raises EntryError for a key that is not 32 bytes, ClosedError.
        """
        return self.search(keys)[0]

    def search(self, keys: Sequence[bytes]) -> tuple[dict[int, list[int]], int]:
        """The candidates, and the index up to which this very answer is complete.

        An owner that finds this to be less than the log's size feeds the rest with `add` and asks again.
        """
        _check_keys(keys)
        while True:
            view = self._background.view
            if self._background.closing:  # asked after taking the view: closing empties it
                raise ClosedError(f"{self._directory}: the index was closed")
            end = view.tail.end  # before looking: the owner may add meanwhile
            try:
                found, fingerprints = view.find(keys, self._fingerprinter)
            except RunDamagedError as error:
                self._background.fall_back(error, delete=not self._read_only)
                continue
            if fingerprints is not None:
                self._asked = list(keys), fingerprints
            return found, end

    # --- feeding: the owner ------------------------------------------------------------------------------------

    def add(self, keys: Sequence[bytes], first_index: int, extras: Iterable[tuple[bytes, int]] = ()) -> None:
        """Feed the identities of consecutive entries, and further identities of some of them as (key, index).

        What lies below `end` is there already and is skipped, extras too. After a fall back, what lies beyond
        `end` is not taken: feed again from `end`. Never waits or fails for a slow or full disk.
        Raises EntryError for a key that is not 32 bytes, RangeError for a gap.
        """
        asked, fingerprints = self._asked
        if keys != asked:
            _check_keys(keys)
            fingerprints = None
        if not self._read_only:
            self._background.freeze_when_full()
        tail = self._background.view.tail
        known, end = tail.end, first_index + len(keys)
        if first_index > self._fed:
            raise RangeError(f"identities from index {first_index} on: the index was fed up to {known}")
        self._fed = max(self._fed, end)
        if first_index > known:
            return
        if end > known:
            if known > first_index:
                keys, fingerprints = keys[known - first_index :], None
            tail.put(keys, fingerprints)
        for key, index in extras:
            if index >= known:
                self.add_extra(key, index)

    def add_extra(self, key: bytes, index: int) -> None:
        """One more identity of an entry fed by the newest `add`: later it may stand in a run already.

        Raises EntryError for a key that is not 32 bytes, RangeError for an index out of reach.
        """
        _check_keys((key,))
        tail = self._background.view.tail
        if not tail.start <= index < self._fed:
            raise RangeError(
                f"an identity for entry {index}: only {tail.start} to {self._fed} can get one now"
            )
        if index < tail.end:
            tail.put_extra(key, index)

    def settle(self) -> None:
        """Wait until nothing is left to be written or merged, or a write fails."""
        if not self._read_only:
            self._background.settle()

    def close(self) -> None:
        """End the background work; what the tail holds is fed again next time. Lookups raise ClosedError."""
        self._background.close()


def _check_keys(keys: Sequence[bytes]) -> None:
    if not set(map(len, keys)) <= _KEY_LENGTHS:
        wrong = next(len(key) for key in keys if len(key) != KEY_BYTES)
        raise EntryError(f"an identity of {wrong} bytes, want {KEY_BYTES}")
