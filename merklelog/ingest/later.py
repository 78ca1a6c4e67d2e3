"""What is left of submissions, done in a thread of the intake's own.

The log's thread tells that a batch is durable, and every append of the log stands still meanwhile: it only leaves
what is to be done next here. The thread lives while there is something to do, so nobody has to end it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from merklelog.errors import OverloadedError

from .submission import Submission

# How long what found no room waits before it is tried again.
ROOM_SECONDS: Final = 0.05


class Later:
    """Calls `go_on` for each submission that is `put`, one at a time and in that order.

    `go_on` does not raise. What it gives False for is tried again, until it gives True. Any thread may `put`.
    """

    def __init__(self, go_on: Callable[[Submission], bool]) -> None:
        self._go_on = go_on
        self._lock = threading.Lock()
        self._todo: list[Submission] = []
        self._running = False

    def put(self, submissions: Iterable[Submission]) -> None:
        """Do what is left of these; never waits for it. Where no thread can be started their futures fail."""
        with self._lock:
            self._todo += submissions
            if self._running or not self._todo:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name="merklelog-intake", daemon=True).start()
        except RuntimeError as error:  # as many threads as there may be, or the interpreter ends
            with self._lock:
                lost, self._todo, self._running = self._todo, [], False
            for each in lost:
                each.fail(OverloadedError(f"no thread to go on with: {error}"))

    def _run(self) -> None:
        stuck: list[Submission] = []
        while True:
            with self._lock:
                some, self._todo = [*stuck, *self._todo], []
                if not some:
                    self._running = False
                    return
            stuck = [each for each in some if not self._go_on(each)]
            if stuck:
                time.sleep(ROOM_SECONDS)


__all__ = ["ROOM_SECONDS", "Later"]
