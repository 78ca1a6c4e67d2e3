"""Many writes at a time, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Final

from merklelog.errors import ClosedError, ImmutableError
from merklelog.publish.objects import NewObject, validate_key

HELD_BYTES: Final = 32 << 20
_AHEAD: Final = 2  # so many objects wait for each thread


class Parallel:
    """Threads that are kept from call to call; they are started by the first write of more than one object."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = False

    def count(self, objects: Iterable[NewObject], write: Callable[[NewObject], bool]) -> int:
        """How many of `objects` were written, by the count of `write`; raises what a write or `objects` raised.

        When it returns or raises, no write is under way any more. Of several errors an ImmutableError goes first:
        it is the one that no repetition cures. Raises ClosedError once it is closed, or the program ends.
        """
        pending: dict[Future[bool], int] = {}
        finished: SimpleQueue[Future[bool]] = (
            SimpleQueue()
        )  # waiting for any of them costs the same for one or many
        done_count = held = 0
        try:
            for new in objects:
                validate_key(new.key)
                while pending and (held >= HELD_BYTES or len(pending) >= self._threads * _AHEAD):
                    future = finished.get()
                    held -= pending.pop(future)
                    done_count += future.result()
                future = self._submit(write, new)
                pending[future] = len(new.data)
                held += len(new.data)
                future.add_done_callback(finished.put)
            while pending:
                future = finished.get()
                del pending[future]
                done_count += future.result()
            return done_count
        except BaseException:
            _raise_worst(pending)
            raise

    def _submit(self, write: Callable[[NewObject], bool], new: NewObject) -> Future[bool]:
        try:
            return self._executor().submit(self._begin, write, new)
        except (
            RuntimeError
        ) as error:  # it was closed meanwhile, or the main thread has ended: no thread starts
            raise ClosedError(f"nothing more is written: {error}") from error

    def _begin(self, write: Callable[[NewObject], bool], new: NewObject) -> bool:
        if self._is_closed:  # futures that a pool calls off are never told, and who waits for them would hang
            raise ClosedError("the store was closed")
        return write(new)

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._is_closed:
                raise ClosedError("the store was closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="merklelog-s3")
            return self._pool

    def close(self) -> None:
        """End the threads for good; what is under way goes on to its end, and what only waits is never begun."""
        with self._lock:
            self._is_closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)


def _raise_worst(pending: Iterable[Future[bool]]) -> None:
    """Ends what is not begun, waits for the rest, and raises an ImmutableError among it."""
    futures = list(pending)
    for future in futures:
        future.cancel()
    for future in wait(futures).done:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, ImmutableError):
            raise error
