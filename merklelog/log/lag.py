"""How long the oldest entry that is not published has been there."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

MARK_SECONDS: Final = 1.0  # entries that come within such a time are as old as the first of them
MAX_MARKS: Final = 4_096  # then every other one goes, and entries count as a little older than they are


class Lag:
    """The times at which a log grew, from its published size on, in bounded memory. Safe for threads.

    `now` gives seconds of a clock that never goes back. What is there already, up to `size`, is as old as this.
    """

    def __init__(self, shown: int, size: int, now: Callable[[], float]) -> None:
        self._mutex = threading.Lock()
        self._now = now
        self._size = size
        self._marks: deque[tuple[int, float]] = (
            deque()
        )  # from this index on entries came at this time or later
        if size > shown:
            self._marks.append((shown, now()))

    def grew(self, size: int) -> None:
        """The log has this size now."""
        with self._mutex:
            if size <= self._size:
                return
            now = self._now()
            if not self._marks or now - self._marks[-1][1] >= MARK_SECONDS:
                self._marks.append((self._size, now))
            self._size = size
            if len(self._marks) > MAX_MARKS:
                self._marks = deque(list(self._marks)[::2])

    def seconds(self, shown: int) -> float:
        """How long the entry after the first `shown` has been there; 0.0 for none. `shown` never falls."""
        with self._mutex:
            marks = self._marks
            while len(marks) > 1 and marks[1][0] <= shown:
                marks.popleft()
            if shown >= self._size:
                marks.clear()
            return max(0.0, self._now() - marks[0][1]) if marks else 0.0


__all__ = ["Lag"]
