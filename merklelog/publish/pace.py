"""Making room: a publication works in small pieces, and rests between them while appends take the processor.

Appending and publishing share the processor, and the interpreter's lock. What is appended is waited for, and what
is published is late by a second anyway. So while a log is appended to, a publication rests the longer the more the
others of its process take: not at all beside a fifth of a core, four times as long as it works beside a whole one,
with the square of what they take, so that it keeps up with a log of medium load. It never stops, and takes all it
can once nothing is appended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

FREE: Final = 0.2  # of a core, that other threads of this process may take without anybody resting
WORK: Final = 0.002  # seconds of work at least between two looks
REST: Final = 7.0  # times as long as was worked, beside one core beyond that; beside two four times as long
LONGEST: Final = 0.1  # seconds of one rest

Object = TypeVar("Object")


class Pace:
    """The pace of one thread's work; to be called from that thread alone, between two pieces of it.

    `size` tells how many entries the log has. The clocks give seconds: those that pass, and those of the processor
    that the process and the thread took.
    """

    def __init__(
        self,
        size: Callable[[], int],
        *,
        clock: Callable[[], float] = time.perf_counter,
        process: Callable[[], float] = time.process_time,
        thread: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._size = size
        self._clock = clock
        self._process = process
        self._thread = thread
        self._sleep = sleep
        self._since = -math.inf
        self._others = 0.0
        self._seen = 0

    def __call__(self) -> None:
        """Rest, if others were busy since the last time that was looked, and some of it was appending."""
        now = self._clock()
        worked = now - self._since
        if worked < WORK:
            return
        others, size = self._process() - self._thread(), self._size()
        beyond = others - self._others - FREE * worked
        if size > self._seen and beyond > 0:
            self._sleep(min(LONGEST, REST * beyond * beyond / worked))
            now, others, size = self._clock(), self._process() - self._thread(), self._size()
        self._since, self._others, self._seen = now, others, size

    def over(self, objects: Iterable[Object]) -> Iterator[Object]:
        """The objects, with a look between each two."""
        for each in objects:
            self()
            yield each


__all__ = ["Pace"]
