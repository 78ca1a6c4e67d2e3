"""The work behind the identity index: full tails become parts, parts runs, and runs fewer runs.

One thread, made when it is first needed, ended by `close`. Whatever it does, the view stays complete: what
replaces something is in place before that goes, in one assignment. Others can have the GIL: the work is done by
numpy in portions of a few milliseconds.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .fingerprint_cover import Cover, extended, still_of_use
from .fingerprint_hash import Fingerprinter
from .fingerprint_merge import fingerprints_of, merge_sorted, merged, runs_to_merge
from .fingerprint_run import MAX_SPAN, Run, RunDamagedError, RunWriter, Step
from .fingerprint_view import Part, Tail, View

_TAILS_HELD = 4  # full tails that may wait for the thread; a tail takes ten times the memory of a part
_PARTS_AT_ONCE = 16  # parts that become one run when the disk was slow: bounds the memory of sorting them
_RETRY_SECONDS = 1.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Shape:
    """Keys that fill a tail, parts that make a run, young runs that make a longer one, runs of one level that make
    one of the next.
    """

    tail_limit: int
    parts_a_run: int
    young_runs: int
    fan_in: int

    @property
    def young(self) -> int:
        """Keys in as many young runs as make one longer: also what a cover is for."""
        return self.tail_limit * self.parts_a_run * self.young_runs


class Background:
    """Keeps the view, which any thread may read at any time; it is swapped under a lock.

    `failure` says why the last write failed, and is empty when it did not. `dropped` are the files given up.
    """

    def __init__(
        self, folder: Path, view: View, shape: Shape, fingerprinter: Fingerprinter, step: Step
    ) -> None:
        self.view = view
        self.failure = ""
        self.dropped: list[str] = []
        self.closing = False
        self._folder = folder
        self._shape = shape
        self._fingerprinter = fingerprinter
        self._step = step
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._working = False
        self._retry_at = 0.0

    # --- called by others --------------------------------------------------------------------------------------

    def freeze_when_full(self) -> None:
        """Give the tail away when it is full; the owner's thread. It helps out when the other is far behind."""
        if self.view.tail.fullness < self._shape.tail_limit:
            return
        if len(self.view.full) >= _TAILS_HELD:
            self._take_tail()
        with self._changed:
            view = self.view
            if view.tail.fullness >= self._shape.tail_limit:  # else it fell back meanwhile
                self.view = replace(view, full=(*view.full, view.tail), tail=Tail(view.tail.end))
            self._wake()

    def fall_back(self, error: RunDamagedError, *, delete: bool) -> None:
        """Drop the damaged run and all that follows, the tail included: the owner feeds from its start again."""
        with self._changed:
            view, run = self.view, error.run
            if run is None or run not in view.runs:
                return  # another thread noticed before
            at = view.runs.index(run)
            self.view = View(view.runs[:at], (), (), Tail(run.start))
            self.dropped.append(str(error))
            self._changed.notify_all()
        if delete:
            for gone in view.runs[at:]:
                with suppress(OSError):  # if it stays, it is found damaged again after the next opening
                    gone.path.unlink(missing_ok=True)

    def settle(self) -> None:
        """Wait until nothing is left to do, or a write fails."""
        with self._changed:
            while (self._work_left() or self._working) and not (self.failure or self.closing):
                self._wake()
                self._changed.wait(_POLL_SECONDS)

    def close(self) -> None:
        """End the thread, which gives up a merge, and let go of the files."""
        with self._changed:
            self.closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.view = View((), (), (), Tail(0))

    def _wake(self) -> None:
        if self.closing:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="merklelog-fingerprints", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    # --- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._take_tails()
                self._merge()
                self.failure = ""
            except Exception as error:  # noqa: BLE001 - told in `failure`; a derived index must not stop the log
                if isinstance(error, RunDamagedError) and error.run is not None:
                    self.fall_back(error, delete=True)
                else:  # nothing is lost: all of it stays as it is, and is tried again a little later
                    self.failure = f"{self._folder}: {error!r}"
                    self._retry_at = time.monotonic() + _RETRY_SECONDS
            with self._changed:
                self._working = False
                self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        with self._changed:
            while True:
                pause = self._retry_at - time.monotonic() if self.failure else 0.0
                if self.closing or (pause <= 0 and self._work_left()):
                    self._working = not self.closing
                    return self._working
                self._changed.wait(pause if pause > 0 else None)

    def _work_left(self) -> bool:
        view = self.view
        enough = len(view.parts) >= self._shape.parts_a_run
        return bool(view.full) or enough or self._runs_to_merge() is not None

    def _runs_to_merge(self, beside: tuple[Run, ...] = ()) -> tuple[Run, ...] | None:
        """Runs to merge now; while others are being merged, those behind them to a run of half that length."""
        runs, shape, longest = self.view.runs, self._shape, MAX_SPAN
        if beside:
            last = beside[-1]
            runs = runs[runs.index(last) + 1 :] if last in runs else ()
            longest = (last.end - beside[0].start) // 2
        which = runs_to_merge([(run.start, run.end) for run in runs], shape.young, shape.fan_in, longest)
        return None if which is None else runs[which]

    def _take_tails(self) -> None:
        """All full tails become parts, and the parts runs when there are enough."""
        if self.view.full and not self.view.covers:
            self._cover_young()
        while self.view.full:
            self._take_tail()
        while len(parts := self.view.parts[:_PARTS_AT_ONCE]) >= self._shape.parts_a_run:
            self._write_parts(parts)

    def _cover_young(self) -> None:
        """The short runs that an opening found get a cover too, before the first part needs one."""
        runs = self.view.runs
        first = len(runs)
        while first and runs[first - 1].count <= self._shape.young // 2:
            first -= 1
        covers: tuple[Cover, ...] = ()
        for run in runs[first:]:
            covers = extended(covers, run.start, run.count, fingerprints_of(run), self._shape.young)
        with self._changed:
            view = self.view
            if view.runs == runs and not view.covers:  # else the index fell back, or the owner helped out
                self.view = replace(view, covers=covers)

    def _take_tail(self) -> None:
        if not (full := self.view.full):
            return
        part = Part(full[0], self._fingerprinter)
        with self._changed:
            view = self.view
            if full[0] in view.full:  # else the other thread was faster, or the index fell back
                portions = (part.fingerprints,)
                covers = extended(view.covers, part.start, part.count, portions, self._shape.young)
                self.view = replace(view, parts=(*view.parts, part), full=view.full[1:], covers=covers)
                self._changed.notify_all()

    def _write_parts(self, parts: tuple[Part, ...]) -> None:
        start, count = parts[0].start, sum(part.count for part in parts)
        with self._writer(start, count, parts[-1]) as writer:
            writer.add(*merge_sorted([part.sorted_from(start) for part in parts]))
            run = writer.finish(self._step)
        with self._changed:
            view = self.view
            wanted = parts[-1] in view.parts
            if wanted:
                self.view = replace(view, runs=(*view.runs, run), parts=view.parts[len(parts) :])
                self._changed.notify_all()
        self._tidy(run, (), wanted=wanted)

    def _writer(self, start: int, count: int, last: Run | Part) -> RunWriter:
        seed = self._fingerprinter.seed
        return RunWriter(self._folder, start, last.end, count, last.last_key, seed)

    def _merge(self, beside: tuple[Run, ...] = ()) -> None:
        while (olds := self._runs_to_merge(beside)) is not None:
            start, count = olds[0].start, sum(run.count for run in olds)
            with self._writer(start, count, olds[-1]) as writer:
                for portion in merged(olds):
                    if self.closing or olds[-1] not in self.view.runs:
                        return
                    writer.add(*portion)
                    # A large merge takes seconds: neither memory nor the number of runs may wait for it.
                    self._take_tails()
                    self._merge(olds)
                run = writer.finish(self._step)
            with self._changed:
                view = self.view
                wanted = olds[-1] in view.runs  # then all are: what falls back is some run and all behind it
                if wanted:
                    at = view.runs.index(olds[0])
                    runs = (*view.runs[:at], run, *view.runs[at + len(olds) :])
                    begun = [run.start for run in runs], [part.start for part in view.parts]
                    self.view = replace(view, runs=runs, covers=still_of_use(view.covers, *begun))
                    self._changed.notify_all()
            self._tidy(run, olds, wanted=wanted)

    def _tidy(self, run: Run, olds: tuple[Run, ...], *, wanted: bool) -> None:
        """Delete the runs that the new one replaces; or the new one, when the index fell back meanwhile."""
        if not wanted:
            run.path.unlink(missing_ok=True)
            return
        self._step("run installed")
        for old in olds:
            old.path.unlink(missing_ok=True)
            self._step("old run deleted")
