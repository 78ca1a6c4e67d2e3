"""Telling somebody of records that deserve it: a content hash that is wrong, a record ID that has other content.

Each is a line of the server's log. Where the log's configuration names a program (`ingest.alert`), that is started
too, one at a time, with one line of JSON on its standard input. Both are done in threads of their own: nobody who
reads the server's log, and no program that is slow or broken, holds up a log. What they can not keep up with is
left out, and how many that were is said.
"""

from __future__ import annotations

import logging
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

import msgspec

from merklelog.ingest.placed import Alert, Finding
from merklelog.ingest.verdict import Verdict
from merklelog.log import Log

from .logging import event

MAX_WAITING: Final = 1_000
# What of a record's ID is told: it may be as long as a record.
MAX_ID_CHARS: Final = 1_000
PROGRAM_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 5.0
_log: Final = logging.getLogger("merklelog.ingest")
_T = TypeVar("_T")


class _Worker(Generic[_T]):
    """A thread that does something with each that is `put`, begun with the first; at most MAX_WAITING wait.

    `leave_out` is called, in the thread, with how many found no room since it was called last.
    """

    def __init__(self, name: str, do: Callable[[_T], None], leave_out: Callable[[int], None]) -> None:
        self._name = name
        self._do = do
        self._leave_out = leave_out
        self._changed = threading.Condition()
        self._waiting: deque[_T] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lost = 0
        self.left_out = 0

    def put(self, each: _T) -> None:
        """Never waits."""
        with self._changed:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                self.left_out += 1
                self._lost += 1
                return
            self._waiting.append(each)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, *, at_once: bool) -> None:
        """Take no more, and wait a little for what waits, or with `at_once` for what is being done alone."""
        with self._changed:
            self._closed = True
            if at_once:
                self._drop()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS)
        with self._changed:
            self._drop()
            lost, self._lost = self._lost, 0
        if lost and (thread is None or not thread.is_alive()):
            self._leave_out(lost)

    def _drop(self) -> None:
        self.left_out += len(self._waiting)
        self._lost += len(self._waiting)
        self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._lost or self._closed)
                lost, self._lost = self._lost, 0
                each = self._waiting.popleft() if self._waiting else None
                done = self._closed and each is None
            if lost:
                self._leave_out(lost)
            if each is not None:
                self._do(each)
            elif done:
                return


class Alerts:
    """The alerts of one server; called from the logs' own threads, which wait for nothing here."""

    def __init__(self, *, seconds: float = PROGRAM_SECONDS) -> None:
        self._seconds = seconds
        self._findings: _Worker[tuple[Sequence[str], Finding]] = _Worker(
            "merklelog-alerts", self._tell, self._untold
        )
        self._programs: _Worker[tuple[Sequence[str], Finding]] = _Worker(
            "merklelog-alert-programs", self._start, self._unstarted
        )

    @property
    def left_out(self) -> int:
        """Findings that nobody was told of, and programs that were not started."""
        return self._findings.left_out + self._programs.left_out

    def of(self, log: Log) -> Alert:
        """What hears of the findings of that log."""
        program = log.config.ingest.alert

        def alert(finding: Finding) -> None:
            if finding.record_id is not None and len(finding.record_id) > MAX_ID_CHARS:
                finding = replace(finding, record_id=finding.record_id[:MAX_ID_CHARS])
            self._findings.put((program, finding))

        return alert

    def close(self) -> None:
        """Say what is still to be said, start no more programs, and wait a little for the one that runs."""
        self._findings.close(at_once=False)
        self._programs.close(at_once=True)

    def _tell(self, told: tuple[Sequence[str], Finding]) -> None:
        _say(told[1])
        if told[0]:
            self._programs.put(told)

    def _untold(self, count: int) -> None:
        message = f"{count:,} findings were left out here: their entries' verdicts say what they were"
        event(_log, logging.ERROR, message, all=self.left_out)

    def _unstarted(self, count: int) -> None:
        message = f"{count:,} alerts were left out: their program is too slow, or the server stops"
        event(_log, logging.ERROR, message, all=self.left_out)

    def _start(self, told: tuple[Sequence[str], Finding]) -> None:
        program, finding = told
        line = msgspec.json.encode(finding) + b"\n"
        try:
            done = subprocess.run(program, input=line, timeout=self._seconds, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            event(_log, logging.ERROR, f"ingest.alert: {error}", program=program[0])
            return
        if done.returncode:
            event(_log, logging.ERROR, "ingest.alert failed", program=program[0], status=done.returncode)


def _say(finding: Finding) -> None:
    if finding.verdict is Verdict.MISMATCH:
        message = "the content hash of a record is wrong"
    else:
        message = "a record has the ID of an earlier one, and other content"
    details: dict[str, object] = {"index": finding.index}
    if finding.record_id is not None:
        details["record_id"] = finding.record_id
    if finding.conflict_with is not None:
        details["conflict_with"] = finding.conflict_with
    event(_log, logging.WARNING, message, origin=finding.origin, **details)


__all__ = ["Alerts"]
