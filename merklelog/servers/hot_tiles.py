"""Answers with full tiles, kept while they are asked for: the upper ones belong to nearly every proof there is.

A full tile never changes, so nothing here ever grows stale.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final
from weakref import ref

from merklelog.log import Log

from .http_values import Response

# About 8.5 KiB each.
MOST: Final = 1_024


class HotTiles:
    """The answers with the last MOST full tiles that were read, of any log. Safe for threads."""

    def __init__(self, read: Callable[[Log, int, int], Response], most: int = MOST) -> None:
        self._read = read
        self._most = most
        # By a weak reference, which no other log is ever equal to, so that a closed log is not kept alive.
        self._kept: dict[tuple[ref[Log], int, int], Response] = {}
        self._changing = threading.Lock()

    def get(self, log: Log, level: int, index: int) -> Response:
        """The answer with that tile. Raises what reading it raises; that is not kept."""
        key = (ref(log), level, index)
        found = self._kept.get(key)
        if found is not None:
            return found
        found = self._read(log, level, index)
        with self._changing:
            self._kept[key] = found
            if len(self._kept) > self._most:
                # The one that came first: should it be hot, it is back with the next request.
                del self._kept[next(iter(self._kept))]
        return found
