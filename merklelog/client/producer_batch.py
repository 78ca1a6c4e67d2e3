"""A batch of entries on its way to the log, and the handle that a caller holds for one of them."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from types import SimpleNamespace

from merklelog.errors import ClosedError, MerklelogError
from merklelog.log.receipt import BatchReceipt, Receipt
from merklelog.tree import Hash, leaf_hashes

# What an entry costs beside its bytes while it waits: its object, its handle and its leaf hash; and in a message.
OVERHEAD_BYTES = 200
WIRE_BYTES = 8


class Batch:
    """Entries that travel together: they keep their idempotency key and their company however often they are sent.

    `number` says its place among all of its producer; `created` is the monotonic time of its first entry. Its
    buffer fills it, settles it once and, where the log has publish targets, ends it when it is published.
    `indexes` and `epoch` are where the log put it, as it last said, in a verified `note` where it is not empty.
    """

    __slots__ = (
        "__weakref__",
        "_hashes",
        "_original",
        "callbacks",
        "count",
        "created",
        "done",
        "ended",
        "entries",
        "epoch",
        "error",
        "failure",
        "indexes",
        "key",
        "note",
        "number",
        "published",
        "receipts",
        "size",
        "stored",
    )

    def __init__(self, key: bytes, number: int, created: float) -> None:
        self.key = key
        self.number = number
        self.created = created
        self.entries: list[bytes] = []
        self.count = 0
        self.size = 0  # bytes as a message
        self.done = threading.Event()
        self.receipts: BatchReceipt | None = None
        self.error: MerklelogError | None = None
        self.ended = threading.Event()  # published, or given up
        self.published: BatchReceipt | None = None
        self.failure: MerklelogError | None = None
        self.indexes: Sequence[int] | None = None
        self.epoch = 0
        self.note = b""
        self.stored = False  # in an outbox on disk
        self.callbacks: deque[tuple[int, Callable[[Sent], object]]] = deque()
        self._hashes: list[Hash] | None = None
        self._original: Callable[[], Batch | None] | None = None

    @property
    def hashes(self) -> list[Hash]:
        """The leaf hash of each entry; only once the batch is full grown."""
        if self._hashes is None:
            self._hashes = leaf_hashes(self.entries)
        return self._hashes

    def take_entries(self, entries: list[bytes]) -> None:
        """The entries again, for their hashes, where they had left the memory."""
        self._hashes = leaf_hashes(entries)

    def forget_hashes(self) -> None:
        """They are made anew when they are needed."""
        self._hashes = None

    @property
    def cost(self) -> int:
        """Bytes of memory that its entries take."""
        return self.size + self.count * (OVERHEAD_BYTES - WIRE_BYTES)

    def twin(self) -> Batch:
        """What is kept of a settled batch whose entries are on disk: it tells this one, if anybody has it."""
        twin = Batch(self.key, self.number, self.created)
        twin.count, twin.size, twin.stored = self.count, self.size, self.stored
        twin.indexes, twin.epoch, twin.note = self.indexes, self.epoch, self.note
        twin.done.set()
        twin._original = weakref.ref(self)
        return twin

    def end(self, outcome: BatchReceipt | MerklelogError) -> None:
        """Published, or given up: who waits for that is woken."""
        told: list[Batch | None] = [self, self._original() if self._original is not None else None]
        for batch in told:
            if batch is None:
                continue
            if isinstance(outcome, MerklelogError):
                batch.failure = outcome
            else:
                batch.published = outcome
            batch.ended.set()

    def tell(self) -> None:
        """Wake who waits and run the callbacks, after it was settled."""
        self.done.set()
        self.run_callbacks()

    def run_callbacks(self) -> None:
        """Run each callback once, whoever comes first: the one that settles, or the one that adds it too late."""
        while True:
            try:
                position, callback = self.callbacks.popleft()
            except IndexError:
                return
            _call(callback, Sent(self, position))


class Sent:
    """One entry that a producer took: a future, of threads and of event loops (`await sent`).

    It has its receipt once the entry is durable in the log and the log was seen to hold it: a signed note whose
    tree has this very leaf hash at that index, and extends every tree that was verified before. The note is a
    checkpoint; that of a log with publish targets is a receipt note, until the entry is `published`.
    """

    __slots__ = ("_batch", "_position")

    def __init__(self, batch: Batch, position: int) -> None:
        self._batch = batch
        self._position = position

    def __repr__(self) -> str:
        state = "failed" if self._batch.error else "done" if self.done() else "on its way"
        return f"<Sent: {state}>"

    def done(self) -> bool:
        """Whether its outcome is known."""
        return self._batch.done.is_set()

    def exception(self, timeout: float | None = None) -> MerklelogError | None:
        """The error it failed with, None when it did not; waits for it. Raises TimeoutError after `timeout` s."""
        if not self._batch.done.wait(timeout):
            raise TimeoutError(f"no outcome within {timeout} s; the entry may still be stored")
        return self._batch.error

    def result(self, timeout: float | None = None) -> Receipt:
        """The receipt; waits for it.

        Raises TimeoutError after `timeout` seconds, and what the entry failed with: UnreachableError or
        OverloadedError when the deadline had passed (it may be stored or not), a refusal of the log,
        VerificationError when the log's answer was disproven, ClosedError.
        """
        error = self.exception(timeout)
        receipts = self._batch.receipts
        if error is not None:
            raise fresh(error)
        if receipts is None:
            raise ClosedError("the batch was settled without an outcome")
        return receipts[self._position]

    def published(self, timeout: float | None = None) -> Receipt:
        """The receipt that leads to a published checkpoint; waits for it.

        For a log without publish targets that is `result`. Raises as `result` does: the producer sends again what
        a log lost with its disk, so an error here says that it gave up, or was closed.
        """
        if not self._batch.ended.wait(timeout):
            raise TimeoutError(f"not published within {timeout} s")
        receipts = self._batch.published
        if receipts is None:
            raise fresh(self._batch.failure or ClosedError("the producer was closed before it was published"))
        return receipts[self._position]

    def add_done_callback(self, callback: Callable[[Sent], object]) -> None:
        """Call `callback(self)` once the outcome is known, in the producer's thread; at once if it is known.

        It must not take long: everything behind it waits. What it raises is reported and harms nobody else.
        """
        self._batch.callbacks.append((self._position, callback))
        if self._batch.done.is_set():
            self._batch.run_callbacks()

    def __await__(self) -> Generator[object, None, Receipt]:
        return self._wait().__await__()

    async def _wait(self) -> Receipt:
        loop = asyncio.get_running_loop()
        known = loop.create_future()

        def set_known() -> None:
            if not known.done():  # cancelled by who waits
                known.set_result(None)

        def wake(_sent: Sent) -> None:
            try:
                loop.call_soon_threadsafe(set_known)
            except RuntimeError:  # the loop was closed: nobody waits any more
                return

        self.add_done_callback(wake)
        await known
        return self.result(0)


def _call(callback: Callable[[Sent], object], sent: Sent) -> None:
    """Run a caller's callback; what it raises is said and goes no further, for this thread is not the caller's."""
    try:
        callback(sent)
    except BaseException as error:  # noqa: BLE001 - SystemExit included: it would end the delivery of all others
        said = SimpleNamespace(
            exc_type=type(error),
            exc_value=error,
            exc_traceback=error.__traceback__,
            err_msg="Exception in a callback of a producer",
            object=callback,
        )
        sys.unraisablehook(said)  # it takes anything with these names


def fresh(error: MerklelogError) -> MerklelogError:
    """The same error for one more caller: one object would gather the tracebacks of them all."""
    copied = type(error).__new__(type(error), *error.args)
    copied.args = error.args
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied
