"""What a sequencer is told of the world outside: its limits, clocks and free disk space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a log takes: bytes that may wait, bytes that must stay free on its disk, days it remembers keys."""

    max_pending_bytes: int
    min_free_bytes: int
    idempotency_days: int


def unseen(_requests: int, _entries: Sequence[bytes]) -> None:
    """What `committed` does where nobody observes."""


@dataclass(frozen=True, slots=True)
class World:
    """What the sequencer knows of the world outside: clocks and the free bytes of the log's disk.

    `step` is called with the name of each step of a commit as it is passed; tests kill the process there.
    `committed` is told of each commit. See `observer` for both.
    """

    monotonic: Callable[[], float]
    seconds: Callable[[], int]
    free_bytes: Callable[[], int]
    step: Callable[[str], None]
    committed: Callable[[int, Sequence[bytes]], None] = unseen
