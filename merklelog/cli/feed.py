"""Batches into a log, several in flight, with an account of what is durable when something stops it."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from merklelog.cli.inputs import BATCH_BYTES
from merklelog.errors import MerklelogError, OverloadedError
from merklelog.log import BatchReceipt, Log

IN_FLIGHT: Final = 16
SHOWN_RUNS: Final = 4


@dataclass
class Tally:
    """What was acknowledged: how many entries of the input, the last receipt, and which are at which indexes.

    A run is (position in the input, index, count), positions from 0.
    """

    entries: int = 0
    last: BatchReceipt | None = None
    runs: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, position: int, receipt: BatchReceipt) -> None:
        """Count a batch that is durable; `position` is that of its first entry in the input."""
        self.entries += len(receipt)
        self.last = receipt
        indexes = receipt.indexes
        if len(self.runs) > SHOWN_RUNS or indexes[-1] - indexes[0] + 1 != len(indexes):
            return  # repeats among them: the runs would be many, and nobody resumes by them
        run = (position, indexes[0], len(indexes))
        if self.runs and _end(self.runs[-1]) == run[:2]:
            first, index, count = self.runs.pop()
            run = (first, index, count + len(indexes))
        self.runs.append(run)

    def __str__(self) -> str:
        runs = [f"input {at + 1}-{at + count} at {index}:{index + count}" for at, index, count in self.runs]
        more = ["..."] if len(runs) > SHOWN_RUNS else []
        what = "1 entry" if self.entries == 1 else f"{self.entries} entries"
        return "; ".join([what, *([", ".join([*runs[:SHOWN_RUNS], *more])] if runs else [])])


def _end(run: tuple[int, int, int]) -> tuple[int, int]:
    return run[0] + run[2], run[1] + run[2]


def feed(
    log: Log,
    batches: Iterable[list[bytes]],
    tally: Tally,
    key: bytes | None,
    landed: Callable[[], object],
) -> None:
    """Append all batches; `landed` is called after each that is durable, which `tally` then counts.

    Without a key several are in flight. With one they go one at a time, each under a key made of it and the
    batch's number: the same input again appends only what is missing, and after a refusal nothing follows.

    Every error of the log and of the input comes through, when what was in flight is settled and counted.
    """
    room = log.config.max_pending_bytes // (2 * BATCH_BYTES)
    most = 1 if key is not None else max(1, min(IN_FLIGHT, room))
    flying: deque[tuple[int, Future[BatchReceipt]]] = deque()

    def land() -> None:
        position, future = flying[0]
        receipt = future.result()
        flying.popleft()  # only now: an interrupt while waiting must not lose count of it
        tally.add(position, receipt)
        landed()

    position = 0
    try:
        for number, batch in enumerate(batches):
            while len(flying) >= most:
                land()
            own = None if key is None else batch_key(key, number)
            while (future := _submit(log, batch, own, wait=not flying)) is None:
                land()
            flying.append((position, future))
            position += len(batch)
        while flying:
            land()
    except BaseException:
        _settle(flying, tally)
        raise


def _submit(log: Log, batch: list[bytes], key: bytes | None, *, wait: bool) -> Future[BatchReceipt] | None:
    """The batch in flight; None when the log has no room and the caller can make some by waiting for others."""
    while True:
        try:
            return log.submit_batch(batch, idempotency_key=key)
        except OverloadedError as error:
            if not wait:
                return None
            time.sleep(error.retry_after)


def _settle(flying: Iterable[tuple[int, Future[BatchReceipt]]], tally: Tally) -> None:
    """Wait for what is in flight: it may be stored although something else failed, and has to be counted."""
    for position, future in flying:
        try:
            tally.add(position, future.result())
        except MerklelogError:
            continue  # not stored, so not counted; the error that stopped the feed is the one to tell


def batch_key(key: bytes, number: int) -> bytes:
    """A batch's idempotency key: the caller's own for the first, as an input of one batch is one append."""
    if number == 0:
        return key
    return hashlib.sha256(b"merklelog append\0%d\0%s" % (number, key)).digest()
