"""Telling somebody of records that deserve it: a content hash that is wrong, a record ID that has other content.

Each is a line of the server's log. Where the log's configuration names a program (`ingest.alert`), that is started
too, one at a time, with one line of JSON on its standard input. A program that is slow or broken holds up nothing:
what it can not keep up with is left out, and that is said.
"""

from __future__ import annotations

import logging
import queue
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from merklelog.ingest.placed import Alert, Finding
from merklelog.ingest.verdict import Verdict
from merklelog.log import Log

from .logging import event

MAX_WAITING: Final = 1_000
PROGRAM_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 5.0
_log: Final = logging.getLogger("merklelog.ingest")
Waiting = tuple[Sequence[str], bytes]


class Alerts:
    """The alerts of one server; called from the logs' own threads."""

    def __init__(self, *, seconds: float = PROGRAM_SECONDS) -> None:
        self._seconds = seconds
        self._queue: queue.Queue[Waiting | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.left_out = 0

    def of(self, log: Log) -> Alert:
        """What hears of the findings of that log."""
        program = log.config.ingest.alert

        def alert(finding: Finding) -> None:
            _say(finding)
            if program:
                self._put(program, finding)

        return alert

    def close(self) -> None:
        """Start no more programs, and wait a little for the one that runs."""
        with self._lock:
            self._stop.set()
            thread, self._thread = self._thread, None
        if thread is not None:
            # Where the queue is full it has one in hand, and sees after that one that it is to stop.
            with suppress(queue.Full):
                self._queue.put_nowait(None)
            thread.join(CLOSE_SECONDS)
        while not self._queue.empty():
            if self._queue.get() is not None:
                self._leave_out("the server stops")

    def _put(self, program: Sequence[str], finding: Finding) -> None:
        with self._lock:
            if self._stop.is_set():
                self._leave_out("the server stops")
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="merklelog-alerts", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait((program, msgspec.json.encode(finding) + b"\n"))
        except queue.Full:
            self._leave_out("its program is too slow")

    def _leave_out(self, why: str) -> None:
        self.left_out += 1
        event(_log, logging.ERROR, f"an alert was left out: {why}", all=self.left_out)

    def _run(self) -> None:
        while (waiting := self._queue.get()) is not None and not self._stop.is_set():
            program, line = waiting
            try:
                done = subprocess.run(program, input=line, timeout=self._seconds, check=False)
            except (OSError, subprocess.SubprocessError) as error:
                event(_log, logging.ERROR, f"ingest.alert: {error}", program=program[0])
                continue
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
