"""Programs that forget to close their logs still get the last checkpoints stored and files flushed."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

from merklelog.errors import StoppedError


class Open(Protocol):
    """See Log."""

    def close(self, *, publish_seconds: float) -> None:
        """See Log."""


_OPEN: weakref.WeakKeyDictionary[Open, int] = weakref.WeakKeyDictionary()  # and the process that opened it


def remember(log: Open) -> None:
    """Close it at the end of this process."""
    _OPEN[log] = os.getpid()


def forget(log: Open) -> None:
    """It was closed."""
    _OPEN.pop(log, None)


@atexit.register
def _close_all() -> None:
    for log, process in list(_OPEN.items()):
        if process != os.getpid():
            continue  # a fork's copy: it has none of the threads, and the database is its parent's
        try:
            log.close(publish_seconds=0.0)  # threads can not be started any more, and the next open goes on
        except StoppedError:
            continue  # its appends were told; an exit has nobody else to tell


__all__ = ["forget", "remember"]
