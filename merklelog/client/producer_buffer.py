"""What a producer holds until the log has it: batches being filled and sent, bounded in bytes."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from merklelog.errors import ClosedError, EntryError, MerklelogError, OverloadedError, UsageError
from merklelog.formats import MAX_ENTRY
from merklelog.formats.statement import RESERVED, refuse_statement
from merklelog.log.receipt import BatchReceipt

from .producer_batch import OVERHEAD_BYTES, WIRE_BYTES, Batch, Sent, fresh

MOST_ENTRIES: Final = 10_000  # what a server takes in one request
MOST_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """How a producer collects and sends. Times are in seconds.

    A batch is sent when it is full (`max_batch_entries`, `max_batch_bytes`) or `linger_seconds` old; up to
    `max_in_flight` of them are on their way at a time, in order. While `max_pending_bytes` wait, `send` blocks
    for `block_seconds` (None: for ever; 0: not at all) and then raises OverloadedError. What the log has not
    taken and proven `deadline_seconds` after it was sent fails. With `stop_on_error` the first failure ends the
    producer, so that nothing is ever stored behind an entry that was not.

    Of a log with publish targets, entries are kept until they are published, in memory (they count to
    `max_pending_bytes`), or in the directory `outbox`, up to `outbox_bytes`: from there the next producer sends
    what this one did not get published, and nothing fails at a deadline. `wait` is what a result stands for:
    "integrated", a receipt at once, or "published".
    """

    linger_seconds: float = 0.005
    max_batch_entries: int = 1_000
    max_batch_bytes: int = 1 << 20
    max_pending_bytes: int = 64 << 20
    max_in_flight: int = 16
    block_seconds: float | None = 60.0
    deadline_seconds: float = 120.0
    stop_on_error: bool = False
    wait: str = "integrated"
    outbox: str | os.PathLike[str] | None = None
    outbox_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        self._check("max_batch_entries", self.max_batch_entries, 1, MOST_ENTRIES)
        self._check("max_batch_bytes", self.max_batch_bytes, 1, MOST_BYTES)
        self._check("max_pending_bytes", self.max_pending_bytes, 1, 1 << 50)
        self._check("max_in_flight", self.max_in_flight, 1, 256)
        self._check("linger_seconds", self.linger_seconds, 0, 3_600)
        self._check("deadline_seconds", self.deadline_seconds, 0.001, 7 * 86_400)
        self._check("outbox_bytes", self.outbox_bytes, 1, 1 << 50)
        if self.wait not in {"integrated", "published"}:
            raise UsageError(f"wait: got {self.wait!r}, want 'integrated' or 'published'")
        if self.block_seconds is not None:
            self._check("block_seconds", self.block_seconds, 0, 7 * 86_400)

    @staticmethod
    def _check(name: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise UsageError(f"{name}: got {value!r}, want {least:g} to {most:,}")


class Buffer:
    """Entries of any threads in one order, cut into batches.

    `wake` is called, under the lock, when a batch is begun or full: it tells the thread that delivers.
    """

    def __init__(self, options: ProducerOptions, wake: Callable[[], None], first: int = 0) -> None:
        """`first` is the number of the first batch."""
        self._options = options
        self._wake = wake
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._open: Batch | None = None
        self._ready: deque[Batch] = deque()
        self._unsettled: dict[Batch, None] = {}
        self._kept: dict[Batch, None] = {}  # settled, and not published yet
        self._pending = 0  # bytes in memory
        self._stored = 0  # bytes in the outbox on disk
        self._ended: MerklelogError | None = None
        self._failure: MerklelogError | None = None
        self._name = secrets.token_bytes(16)
        self._made = first

    # --- the side of those who send ---------------------------------------------------------------------------

    def add(self, entry: bytes, block_seconds: float | None) -> Sent:
        """Take an entry. Raises EntryError, OverloadedError without room, and what ended the producer."""
        if type(entry) is not bytes:
            entry = _as_bytes(entry)
        size = len(entry)
        if size > MAX_ENTRY:
            raise EntryError(
                f"entry of {size:,} bytes: an entry has at most {MAX_ENTRY:,} (c2sp.org/tlog-tiles)"
            )
        if entry.startswith(RESERVED):
            refuse_statement(entry, "entry")  # or it would take its batch with it
        cost = size + OVERHEAD_BYTES
        with self._lock:
            if self._ended is not None:
                raise fresh(self._ended)
            if not self._has_room(cost):
                self._wait_for_room(cost, block_seconds)
            batch = self._open
            if batch is None or batch.size + size + WIRE_BYTES > self._options.max_batch_bytes:
                batch = self._begin()
            position = len(batch.entries)
            batch.entries.append(entry)
            batch.size += size + WIRE_BYTES
            batch.count = position + 1
            self._pending += cost
            self._stored += cost
            if position + 1 >= self._options.max_batch_entries:
                self._close_batch()
        return Sent(batch, position)

    def _has_room(self, cost: int) -> bool:
        """An entry larger than a bound passes when it is alone, or it never would."""
        options = self._options
        if options.outbox is not None and self._stored and self._stored + cost > options.outbox_bytes:
            return False
        return not self._pending or self._pending + cost <= options.max_pending_bytes

    def _wait_for_room(self, cost: int, seconds: float | None) -> None:
        def room() -> bool:
            return self._ended is not None or self._has_room(cost)

        if not self._room.wait_for(room, seconds):
            held = max(self._pending, self._stored) if self._options.outbox is not None else self._pending
            raise OverloadedError(f"{held:,} bytes wait to be stored, as many as this producer holds")
        if self._ended is not None:
            raise fresh(self._ended)

    def _begin(self) -> Batch:
        self._close_batch()
        batch = Batch(self._name + self._made.to_bytes(8, "big"), self._made, time.monotonic())
        self._made += 1
        self._open = batch
        self._unsettled[batch] = None
        self._wake()
        return batch

    def _close_batch(self) -> None:
        if self._open is not None:
            self._ready.append(self._open)
            self._open = None
            self._wake()

    def flush(self, seconds: float | None) -> bool:
        """Send what is collected and wait until all of it is settled; whether that came to be in time."""
        with self._lock:
            self._close_batch()
            waiting = list(self._unsettled)
        end = None if seconds is None else time.monotonic() + seconds
        return all(
            batch.done.wait(None if end is None else max(0.0, end - time.monotonic())) for batch in waiting
        )

    def take_failure(self) -> MerklelogError | None:
        """The first failure since this was last asked."""
        with self._lock:
            failure, self._failure = self._failure, None
        return failure

    @property
    def pending(self) -> tuple[int, int]:
        """Entries and bytes that are not settled yet."""
        with self._lock:
            return sum(batch.count for batch in self._unsettled), self._pending

    @property
    def unpublished(self) -> int:
        """Entries that the log has, and that are kept until it has published them."""
        with self._lock:
            return sum(batch.count for batch in self._kept)

    # --- the side of the one who delivers ----------------------------------------------------------------------

    def take(self, now: float) -> Batch | None:
        """The next batch that is to be sent now."""
        with self._lock:
            if self._ready:
                return self._ready.popleft()
            batch = self._open
            if batch is None or now < batch.created + self._options.linger_seconds:
                return None
            self._open = None
            return batch

    def expired(self, before: float) -> list[Batch]:
        """Takes out the batches that were begun before that time."""
        with self._lock:
            if self._open is not None and self._open.created < before:
                self._close_batch()
            batches = []
            while self._ready and self._ready[0].created < before:
                batches.append(self._ready.popleft())
        return batches

    def next(self) -> tuple[float, float] | None:
        """When the next batch was begun, and when it is to be sent; None when there is none."""
        with self._lock:
            if self._ready:
                begun = self._ready[0].created
                return begun, begun
            if self._open is None:
                return None
            return self._open.created, self._open.created + self._options.linger_seconds

    def settle(self, batch: Batch, outcome: BatchReceipt | MerklelogError, *, kept: bool = False) -> None:
        """Say what became of a batch, once; makes room for others unless it is `kept` until `release`."""
        with self._lock:
            if self._unsettled.pop(batch, self) is self:
                return
            if isinstance(outcome, MerklelogError):
                batch.error = outcome
                if not self._is_safe(batch, outcome):
                    self._failure = self._failure or outcome
            else:
                batch.receipts = outcome
            if kept:
                self._kept[batch] = None
            else:
                self._let_go(batch)
        if not kept:
            batch.end(outcome)
        batch.tell()

    def release(self, batch: Batch, outcome: BatchReceipt | MerklelogError) -> None:
        """The end of a kept batch: it is published, or given up. One that is not settled yet is so now."""
        with self._lock:
            unsettled = batch in self._unsettled
            if not unsettled:
                if self._kept.pop(batch, self) is self:
                    return
                if isinstance(outcome, MerklelogError) and not self._is_safe(batch, outcome):
                    self._failure = self._failure or outcome
                self._let_go(batch)
        if unsettled:
            self.settle(batch, outcome)
        else:
            batch.end(outcome)

    @staticmethod
    def _is_safe(batch: Batch, outcome: MerklelogError) -> bool:
        """What a producer that ends leaves in its outbox is nobody's loss."""
        return isinstance(outcome, ClosedError) and batch.stored

    def exchange(self, batch: Batch, twin: Batch) -> None:
        """Keep this instead of that."""
        with self._lock:
            if self._kept.pop(batch, self) is not self:
                self._kept[twin] = None

    def spooled(self, batch: Batch) -> None:
        """The outbox on disk has the entries, and the log took them: they leave the memory."""
        with self._lock:
            if batch.entries:
                self._pending -= batch.cost
                batch.entries = []
                self._room.notify_all()

    def adopt(self, batches: Iterable[Batch]) -> None:
        """What an earlier producer left in the outbox: kept like what this one sent, but in nobody's memory."""
        with self._lock:
            for batch in batches:
                batch.done.set()
                self._kept[batch] = None
                self._stored += batch.cost

    def is_settled(self, batch: Batch) -> bool:
        """Whether its outcome was told."""
        with self._lock:
            return batch not in self._unsettled

    def _let_go(self, batch: Batch) -> None:
        if batch.entries:
            self._pending -= batch.cost
        self._stored -= batch.cost
        batch.entries = []  # their hashes are all that a receipt needs
        self._room.notify_all()

    def wait_published(self, seconds: float | None) -> bool:
        """Wait until nothing is kept; whether that came to be in time."""
        with self._lock:
            return self._room.wait_for(lambda: not self._kept, seconds)

    def close(self, why: MerklelogError) -> None:
        """Take no more entries; what is held goes on. The first reason stays."""
        with self._lock:
            self._ended = self._ended or why
            self._close_batch()
            self._room.notify_all()
            self._wake()

    @property
    def closed(self) -> bool:
        """Whether it takes no more entries and all that it held was taken out."""
        with self._lock:
            return self._ended is not None and self._open is None and not self._ready

    def abandon(self, why: MerklelogError) -> None:
        """Settle and end everything that is not with this error, and take no more."""
        self.close(why)
        with self._lock:
            self._ready.clear()
            left = [*self._unsettled, *self._kept]
            if not isinstance(why, ClosedError):
                self._failure = self._failure or why
        for batch in left:
            self.release(batch, why)

    def forget(self) -> None:
        """In a forked child: the threads, and whoever held the lock, are the parent's."""
        self._wake = lambda: None
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._ended = ClosedError("this producer belongs to the process that made it, before a fork")
        self._open = None
        self._ready.clear()
        self._unsettled.clear()
        self._kept.clear()


def _as_bytes(entry: object) -> bytes:
    if isinstance(entry, bytes | bytearray | memoryview):
        return bytes(entry)
    raise EntryError(f"an entry of type {type(entry).__name__}: an entry is bytes")
