"""Threads that verify, decide and sign: nearly all that a witness computes, and none of it needs the event loop.

`cryptography` lets the interpreter go while it verifies and signs, so these threads use the other cores. A request
stays with one of them from its log's signature to the witness' own: waking another thread costs as much as an
Ed25519 signature.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from merklelog.errors import StoppedError

Result = TypeVar("Result")

_AT_ONCE: Final = 8
_MOST_THREADS: Final = 8


class _Job(Generic[Result]):
    """Something to compute, and who waits for it."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[], Result | None], done: asyncio.Future[Result]) -> None:
        self.work = work
        self.done = done
        self.result: Result | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits for it is told
            self.error = error


class Crew:
    """Threads, begun with the first job: as many as there are cores, and not more than eight.

    Jobs are begun in their order, each thread taking its share of those that wait. `compute` is called by the
    event loop's thread, `close` by any.
    """

    def __init__(self, threads: int = 0) -> None:
        """`threads`: how many; 0: as many as there are cores."""
        self._count = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._one = threading.Lock()
        self._closed = False

    def compute(self, work: Callable[[], Result | None], done: asyncio.Future[Result]) -> None:
        """Give `done` what `work` gives or raises; when that is None, somebody else does.

        `done` belongs to the event loop that calls this, and may be cancelled; it gets StoppedError once this was
        closed.
        """
        with self._one:
            if not self._closed:
                self._jobs.put(_Job(work, done))
                if len(self._threads) < self._count:
                    thread = threading.Thread(target=self._run, name="witness-crew", daemon=True)
                    self._threads.append(thread)
                    thread.start()
                return
        done.set_exception(StoppedError("the witness was closed"))

    def close(self) -> None:
        """Work off what was given, and end the threads; safe to call twice."""
        with self._one:
            self._closed = True  # nothing comes behind these
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            share = [job, *self._share()]
            for each in share:
                each.run()
            told = [each for each in share if each.result is not None or each.error is not None]
            if told:
                _tell(told)

    def _share(self) -> list[_Job[Any]]:
        """One thread's part of what waits, without the first."""
        found: list[_Job[Any]] = []
        try:
            for _ in range(min(_AT_ONCE - 1, self._jobs.qsize() // self._count)):
                job = self._jobs.get_nowait()
                if job is None:  # the end, for whoever takes it next
                    self._jobs.put(None)
                    break
                found.append(job)
        except Empty:
            return found  # others were quicker
        return found


def _tell(jobs: list[_Job[Any]]) -> None:
    def resolve() -> None:
        for job in jobs:
            if job.done.done():
                continue  # its client left
            if job.error is None:
                job.done.set_result(job.result)
            else:
                job.done.set_exception(job.error)

    try:
        jobs[0].done.get_loop().call_soon_threadsafe(resolve)
    except RuntimeError:
        return  # the loop has ended, and everybody who waited in it
