"""What a disk makes everybody wait while something else is measured: small fsyncs, one after another.

A figure that counts the slowest answers of a durable service says as much about the disk as about the service. So
the disk is asked by a thread of its own meanwhile, and beside the figure stands what the disk alone costs.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

_PAUSE = 0.01  # seconds between two of them: few beside those of what is measured


class Stalls:
    """Asks the disk below `path` from `with` to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stalls", daemon=True)
        self._seconds: list[float] = []
        self._begun = self._over = 0.0

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self._over = time.perf_counter()

    def _run(self) -> None:
        with tempfile.TemporaryFile(dir=self._path, buffering=0) as file:
            while not self._ended.wait(_PAUSE):
                file.write(b"x" * 4096)
                begun = time.perf_counter()
                os.fdatasync(file.fileno())
                self._seconds.append(time.perf_counter() - begun)

    def percentile(self, share: float) -> float:
        """Seconds that this share of requests waits at the most, if they come evenly and wait for nothing but the
        fsync that is under way when they come.
        """
        late = (1 - share) * (self._over - self._begun)
        low, high = 0.0, self.slowest
        for _ in range(40):
            middle = (low + high) / 2
            if sum(max(0.0, each - middle) for each in self._seconds) > late:
                low = middle
            else:
                high = middle
        return high

    @property
    def slowest(self) -> float:
        """Seconds."""
        return max(self._seconds, default=0.0)
