"""Threads that verify and sign: nearly all that a witness computes, and none of it needs the event loop.

`cryptography` lets the interpreter go while it computes a signature, so these threads use the other cores. What
they are given is worked off some at a time, and told about once for all of these: waking another thread for each
would cost as much as an Ed25519 signature.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

Result = TypeVar("Result")

_AT_ONCE: Final = 8
_MOST_THREADS: Final = 8


class Job(Generic[Result]):
    """Something to compute; once it was run, it has a result or the error that came instead."""

    __slots__ = ("_work", "error", "result")

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self.result: Result | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Compute it; raises nothing."""
        try:
            self.result = self._work()
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits for it is told
            self.error = error


class _Answering(Job[Result]):
    __slots__ = ("done",)

    def __init__(self, work: Callable[[], Result], done: asyncio.Future[Result]) -> None:
        super().__init__(work)
        self.done = done


class Crew:
    """Threads, begun with the first job: as many as there are cores, and not more than eight.

    Jobs to sign go before jobs to verify, for they are nearer to their answer. Each kind is begun in its order.
    """

    def __init__(self, threads: int = 0) -> None:
        """`threads`: how many; 0: as many as there are cores."""
        self._count = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._wake = threading.Condition()
        self._signing: deque[tuple[Job[Any], Callable[[], None]]] = deque()
        self._verifying: deque[_Answering[Any]] = deque()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def compute(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """What `work` gives or raises, for the event loop that calls this; the future may be cancelled."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        with self._wake:
            self._verifying.append(_Answering(work, done))
            self._woken()
        return done

    def sign(self, job: Job[Any], signed: Callable[[], None]) -> None:
        """Run that job; `signed` is called in a thread of the crew after some were run, this one among them."""
        with self._wake:
            self._signing.append((job, signed))
            self._woken()

    def close(self) -> None:
        """Work off what was given, and end the threads; safe to call twice."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _woken(self) -> None:
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name="witness-crew", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._signing and not self._verifying:
                    if self._closing:
                        return
                    self._wake.wait()
                signing = _some(self._signing, self._count)
                verifying = [] if signing else _some(self._verifying, self._count)
            for job, _ in signing:
                job.run()
            for signed in {each for _, each in signing}:
                signed()
            for answering in verifying:
                answering.run()
            if verifying:
                _tell(verifying)


def _some(jobs: deque[Result], threads: int) -> list[Result]:
    """One thread's share of what waits."""
    return [jobs.popleft() for _ in range(min(_AT_ONCE, -(-len(jobs) // threads)))]


def _tell(jobs: list[_Answering[Any]]) -> None:
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
