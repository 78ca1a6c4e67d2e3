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
from typing import Final

from merklelog.errors import MerklelogError, StoppedError, StorageError
from merklelog.store.witness_rows import WitnessRows

from .crew import Crew, Job

Row = tuple[bytes, bytes | None]
Step = Callable[[str], None]
Written = tuple[list[Row], bytes]  # rows, and what is answered once they are durable


def _nothing() -> None:
    pass


class _Waiting(Job[Written]):
    """Rows that are to be written, once they are there."""

    __slots__ = ("after", "done")

    def __init__(
        self, work: Callable[[], Written], done: asyncio.Future[bytes], after: Callable[[], None]
    ) -> None:
        super().__init__(work)
        self.done = done
        self.after = after

    @property
    def is_there(self) -> bool:
        """Whether its rows are known, or why they never will be."""
        return self.result is not None or self.error is not None


_NOTHING: Final[Written] = ([], b"")


class Syncer:
    """The thread. `add`, `add_signed` and `settled` are called by the event loop's thread alone.

    `step` hears "signed", "written" and "synced", in the thread in which it happened.
    """

    def __init__(self, rows: WitnessRows, crew: Crew, step: Step) -> None:
        self._rows = rows
        self._crew = crew
        self._step = step
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._unsynced = 0  # what was added and is not durable yet
        self.failure: MerklelogError | None = None
        self.syncs = self.waits = 0
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="witness-syncer", daemon=True)
        self._thread.start()

    def add(self, rows: list[Row], after: Callable[[], None] = _nothing) -> asyncio.Future[bytes]:
        """Rows to write after all before; done once they are durable, when `after` is called in the loop's
        thread.
        """
        waiting = self._add(lambda: (rows, b""), after)
        waiting.run()
        self._look()
        return waiting.done

    def add_signed(
        self, sign: Callable[[], Written], after: Callable[[], None] = _nothing
    ) -> asyncio.Future[bytes]:
        """As `add`, of rows that are signed first, by the crew; gives what `sign` gives beside them."""

        def signing() -> Written:
            written = sign()
            self._step("signed")
            return written

        waiting = self._add(signing, after)
        if not waiting.done.done():
            self._crew.sign(waiting, self._look)
        return waiting.done

    def settled(self) -> asyncio.Future[bytes]:
        """Done when all that was added is durable; at once when it is."""
        with self._wake:
            if self.failure is None and not self._closing and not self._unsynced:
                done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                done.set_result(b"")
                return done
        return self.add([])

    def close(self) -> None:
        """Write what waits, and end; the crew is still at work."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _add(self, work: Callable[[], Written], after: Callable[[], None]) -> _Waiting:
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(work, done, after)
        with self._wake:
            if self.failure is not None or self._closing:
                done.set_exception(_stopped(self.failure))
            else:
                self._waiting.append(waiting)
                self._unsynced += 1
        return waiting

    def _look(self) -> None:
        with self._wake:
            if self._waiting and self._waiting[0].is_there:
                self._wake.notify()

    def _take(self) -> list[_Waiting]:
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

    def _fail(self, error: Exception, batch: list[_Waiting]) -> None:
        cause = error if isinstance(error, MerklelogError) else StorageError(f"syncing: {error!r}")
        if cause is not error:
            cause.__cause__ = error
        with self._wake:
            self.failure = cause
            batch += self._waiting
            self._waiting.clear()
        _tell(batch, cause)

    def _write(self, batch: list[_Waiting]) -> None:
        began = perf_counter()
        for each in batch:
            if each.error is not None:
                raise each.error
        self._rows.put(row for each in batch for row in (each.result or _NOTHING)[0])
        self._step("written")
        self._rows.sync()
        self._step("synced")
        self.syncs += 1
        self.waits += len(batch)
        self.seconds += perf_counter() - began


def _tell(batch: list[_Waiting], error: MerklelogError | None) -> None:
    loop = batch[0].done.get_loop()

    def resolve() -> None:
        for each in batch:
            if error is None:
                each.after()
            if each.done.done():
                continue  # its client left
            if error is None:
                each.done.set_result((each.result or _NOTHING)[1])
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
