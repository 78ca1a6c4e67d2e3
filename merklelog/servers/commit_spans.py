"""Spans of commits through the OpenTelemetry API; only `tracing` imports this, where the API is installed.

A log has two kinds, each a trace of its own, as one serves the requests of many: `merklelog.commit` for what the
sequencer does, from the queue to the database, and `merklelog.sync` for what one sync made durable, until callers
were told. Their events are the stages that the metrics time. A span has numbers and the log's origin, never bytes
of an entry. Commits overlap; what the two threads of a log keep here is kept apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from .spans import tracer

COMMIT: Final = "merklelog.commit"
SYNC: Final = "merklelog.sync"
_LOG: Final = "merklelog.log"
_COMMIT_STEPS: Final = frozenset(("planned", "hashed", "signed", "written"))


def configured(origin: str) -> CommitSpans | None:
    """The spans of that log's commits; None where traces are not configured."""
    found = tracer()
    return None if found is None else CommitSpans(origin, found)


class CommitSpans:
    """Makes the spans of one log's commits: a `merklelog.log.observer.Observer`."""

    def __init__(self, origin: str, tracer: trace.Tracer) -> None:
        self._origin = origin
        self._tracer = tracer
        self._began = 0
        self._steps: list[tuple[str, int]] = []
        self._gathered = 0
        self._synced = 0

    def step(self, name: str) -> None:
        """See Observer."""
        now = time.time_ns()
        if name in _COMMIT_STEPS:
            self._steps.append((name, now))
        elif name == "drained":
            self._began, self._steps = now, []  # one that was refused for want of room ends without a span
        elif name == "gathered":
            self._gathered = now
        elif name == "synced":
            self._synced = now
        elif name == "settled":
            self._end(SYNC, self._gathered, [("synced", self._synced)], now, {})

    def committed(self, requests: int, entries: Sequence[bytes]) -> None:
        """See Observer."""
        sizes = {
            "merklelog.requests": requests,
            "merklelog.entries": len(entries),
            "merklelog.entry_bytes": sum(map(len, entries)),
        }
        steps, self._steps = self._steps, []
        self._end(COMMIT, self._began, steps, time.time_ns(), sizes)

    def _end(
        self, name: str, began: int, steps: Sequence[tuple[str, int]], ended: int, sizes: dict[str, int]
    ) -> None:
        """One whole span, in the time of the system's clock. What another thread has current is not its parent."""
        attributes: dict[str, AttributeValue] = {_LOG: self._origin, **sizes}
        root = trace.set_span_in_context(trace.INVALID_SPAN)
        span = self._tracer.start_span(name, root, attributes=attributes, start_time=began)
        for step, at in steps:
            span.add_event(step, timestamp=at)
        span.end(ended)
