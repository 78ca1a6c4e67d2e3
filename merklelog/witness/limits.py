"""How much one client may ask of one log: a bucket each, filled at the configured rate.

Anybody can send a log's old checkpoint again, so a limit of the log alone would let a stranger keep the log itself
from being served. A client is its address: behind a proxy, that of the proxy.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_BUCKETS: Final = 16_384


class Rate:
    """At most `rate` requests a second for a client and a log, and twice as many at once; 0 is no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._full = max(2 * rate, 1.0)
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def refuse(self, client: str, origin: str, now: float) -> float | None:
        """Seconds to wait before the next try; None when this request may be. `now` is a steady clock's, in
        seconds.
        """
        if not self._rate:
            return None
        key = (client, origin)
        left, then = self._buckets.pop(key, (self._full, now))
        left = min(self._full, left + (now - then) * self._rate)
        allowed = left >= 1
        self._buckets[key] = (left - 1 if allowed else left, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)  # who asked least lately: its bucket is about full again
        return None if allowed else (1 - left) / self._rate
