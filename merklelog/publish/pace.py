"""Making room: a publication works in small pieces, and rests between them while the rest of the process is busy.

Appending and publishing share the processor, and the interpreter's lock. What is appended is waited for, and what
is published is late by a second anyway; so as long as others of this process take most of a core, a publication
takes no more than a quarter of its time, and it takes all it can once they do not. It never stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

BUSY: Final = 0.7  # of a core, taken by other threads of this process
WORK: Final = 0.002  # seconds of work at least between two looks
REST: Final = 3.0  # times as long as was worked
LONGEST: Final = 0.05  # seconds of one rest

Object = TypeVar("Object")


class Pace:
    """The pace of one thread's work; to be called from that thread alone, between two pieces of it.

    The clocks give seconds: those that pass, and those of the processor that the process and the thread took.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        process: Callable[[], float] = time.process_time,
        thread: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._process = process
        self._thread = thread
        self._sleep = sleep
        self._since: float | None = None
        self._others = 0.0

    def __call__(self) -> None:
        """Rest, if others were busy since the last time that was looked."""
        now = self._clock()
        if self._since is not None and now - self._since < WORK:
            return
        others = self._process() - self._thread()
        if self._since is not None:
            worked = now - self._since
            if others - self._others > BUSY * worked:
                self._sleep(min(LONGEST, REST * worked))
                now, others = self._clock(), self._process() - self._thread()
        self._since, self._others = now, others

    def over(self, objects: Iterable[Object]) -> Iterator[Object]:
        """The objects, with a look between each two."""
        for each in objects:
            self()
            yield each


__all__ = ["Pace"]
