"""Waiting for RocksDB where it would make a writer wait, but without the GIL.

When flushing falls behind (a disk that is busy or slow), RocksDB holds writers back inside write(). rocksdict has
the GIL meanwhile, and so no other thread of the program would run until the disk has caught up: readers, an event
loop, the answer to a health check. Asking costs 0.2 us.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

STOPPED: Final = "rocksdb.is-write-stopped"
SLOWED: Final = "rocksdb.actual-delayed-write-rate"
FAILED: Final = "rocksdb.background-errors"
# Slowed is not stopped: RocksDB still takes some megabytes a second, and so do we after this many seconds.
SLOWED_SECONDS: Final = 0.25
_STEP: Final = 0.002


class Properties(Protocol):
    """What a database says of itself: rocksdict's Rdict."""

    def property_int_value(self, name: str) -> int | None:
        """The value of a RocksDB property; None for a name that it does not know."""
        ...


def await_room(database: Properties) -> None:
    """Return when a write is taken at once, or is slowed only; at once when flushing has failed, so that the write
    itself says why.
    """
    asked = database.property_int_value
    if not asked(STOPPED) and not asked(SLOWED):
        return
    end = time.monotonic() + SLOWED_SECONDS
    while not asked(FAILED) and (asked(STOPPED) or (asked(SLOWED) and time.monotonic() < end)):
        time.sleep(_STEP)
