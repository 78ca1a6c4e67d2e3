"""One thread that writes what waits and makes it durable, all at once, as often as there is something.

What waits is written in the order in which it was added, a row that is still to be signed holding up those behind
it: so whatever a decision was built on is durable when the decision is.

An error ends it: nothing is written any more, and every wait raises StoppedError.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter

from merklelog.errors import MerklelogError, StoppedError, StorageError
from merklelog.store.witness_rows import WitnessRows

from .answer import Answer

Row = tuple[bytes, bytes | None]
Step = Callable[[str], None]
Done = asyncio.Future[Answer]  # of the event loop; may be cancelled


def _nothing() -> None:
    pass


class Waiting:
    """Rows that are to be written, once they are there, and what is answered once they are durable."""

    __slots__ = ("after", "answer", "done", "error", "rows")

    def __init__(self, done: Done, after: Callable[[], None]) -> None:
        self.done = done
        self.after = after
        self.rows: list[Row] = []
        self.answer: Answer | None = None
        self.error: Exception | None = None

    @property
    def is_there(self) -> bool:
        """Whether its rows are known, or why they never will be."""
        return self.answer is not None or self.error is not None


class Syncer:
    """The thread. Its methods may be called by any other.

    `step` hears "written" and "synced", in the thread in which it happened.
    """

    def __init__(self, rows: WitnessRows, step: Step) -> None:
        self._rows = rows
        self._step = step
        self._waiting: deque[Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._unsynced = 0  # what was added and is not durable yet
        self.failure: MerklelogError | None = None
        self.syncs = self.waits = 0
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="witness-syncer", daemon=True)
        self._thread.start()

    def add(self, done: Done, after: Callable[[], None] = _nothing) -> Waiting:
        """A place behind all before, for rows that `there` or `failed` is told of: one of the two has to follow.

        `done` gets the answer once they are durable, when `after` is called in the event loop's thread. Raises
        StoppedError.
        """
        waiting = Waiting(done, after)
        with self._wake:
            if self.failure is not None or self._closing:
                raise _stopped(self.failure)
            self._waiting.append(waiting)
            self._unsynced += 1
        return waiting

    def there(self, waiting: Waiting, rows: list[Row], answer: Answer) -> None:
        """These are the rows to write, and that is to be answered."""
        waiting.rows, waiting.answer = rows, answer
        self._look()

    def failed(self, waiting: Waiting, error: Exception) -> None:
        """There will be none: it stops."""
        waiting.error = error
        self._look()

    def settled(self, done: Done, answer: Answer) -> bool:
        """`done` gets the answer when all that was added is durable; False, and it gets none, when it is already.

        Raises StoppedError when it is not known to be.
        """
        with self._wake:
            if self.failure is None and not self._closing and not self._unsynced:
                return False
        self.there(self.add(done), [], answer)
        return True

    def close(self) -> None:
        """Write what waits, and end; the crew is still at work."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _look(self) -> None:
        with self._wake:
            if self._waiting and self._waiting[0].is_there:
                self._wake.notify()

    def _take(self) -> list[Waiting]:
        """What is there of the oldest that wait, in their order; nothing when it is to end."""
        with self._wake:
            while not (self._waiting and self._waiting[0].is_there):
                if self._closing and not self._waiting:
                    return []
                self._wake.wait()
            batch = []
            while self._waiting and self._waiting[0].is_there:
                batch.append(self._waiting.popleft())
            return batch

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._write(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                self._fail(error, batch)
                return
            with self._wake:
                self._unsynced -= len(batch)
            _tell(batch, None)

    def _fail(self, error: Exception, batch: list[Waiting]) -> None:
        cause = error if isinstance(error, MerklelogError) else StorageError(f"syncing: {error!r}")
        if cause is not error:
            cause.__cause__ = error
        with self._wake:
            self.failure = cause
            batch += self._waiting
            self._waiting.clear()
        _tell(batch, cause)

    def _write(self, batch: list[Waiting]) -> None:
        began = perf_counter()
        for each in batch:
            if each.error is not None:
                raise each.error
        self._rows.put(row for each in batch for row in each.rows)
        self._step("written")
        self._rows.sync()
        self._step("synced")
        self.syncs += 1
        self.waits += len(batch)
        self.seconds += perf_counter() - began


def _tell(batch: list[Waiting], error: MerklelogError | None) -> None:
    loop = batch[0].done.get_loop()

    def resolve() -> None:
        for each in batch:
            if error is None:
                each.after()
            if each.done.done():
                continue  # its client left
            if error is None and each.answer is not None:
                each.done.set_result(each.answer)
            else:
                each.done.set_exception(_stopped(error))

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:
        return  # the loop has ended, and everybody who waited in it


def _stopped(cause: MerklelogError | None) -> StoppedError:
    error = StoppedError(f"the witness stopped: {cause}" if cause is not None else "the witness was closed")
    error.__cause__ = cause
    return error
