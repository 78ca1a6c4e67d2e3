"""Reading ahead: objects that will be asked for are fetched by threads before they are.

A bucket answers in milliseconds what a directory answers in microseconds, but it answers many at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from merklelog.errors import DamagedError
from merklelog.publish.objects import MAX_OBJECT_BYTES, ObjectReads, StoredObject

_MOST_BYTES: Final = 64 << 20
_FIRST_OBJECTS: Final = 4  # as long as nobody knows how large they are
_PASSED: Final = 8  # expected objects that are asked for in a somewhat other order than was said


class Wanted(NamedTuple):
    """An object that will be asked for, and the most bytes that it may have."""

    key: str
    limit: int


class ReadAhead:
    """The objects of `reads`, which is safe for threads; those that were expected are fetched `threads` at a time.

    What is fetched and not asked for yet is at most twice as many objects as there are threads, and about 64 MiB.
    An expected object that is never asked for costs its request and no more. Safe for threads.
    """

    def __init__(self, reads: ObjectReads, threads: int) -> None:
        self._reads = reads
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._plan: Iterator[Wanted] = iter(())
        self._ahead: dict[str, Future[StoredObject]] = {}  # in the order of the plan
        self._largest = _MOST_BYTES // _FIRST_OBJECTS
        self._learned = False
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """See ObjectStore.location."""
        return self._reads.location

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """These will be asked for, in about this order; what was expected before is not any more."""
        with self._lock:
            self._forget(list(self._ahead))
            self._plan = iter(wanted)
            self._fill()

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get."""
        with self._lock:
            future = self._take(key)
        if future is None:
            return self._reads.get(key, limit=limit)
        try:
            found = future.result()
        finally:
            with self._lock:
                self._fill()
        if len(found.data) > limit:
            raise DamagedError(f"{self.location}/{key}: {len(found.data)} bytes, want at most {limit}")
        with self._lock:
            known = self._largest if self._learned else 1
            self._largest, self._learned = max(known, len(found.data)), True
        return found

    def close(self) -> None:
        """Stop fetching; what runs is waited for. Objects can still be asked for, one at a time."""
        with self._lock:
            self._plan = iter(())
            self._forget(list(self._ahead))
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _take(self, key: str) -> Future[StoredObject] | None:
        """What was fetched for this key; what stood well before it in the plan was passed over by its reader."""
        if key not in self._ahead:
            return None
        keys = list(self._ahead)
        self._forget(keys[: max(0, keys.index(key) - _PASSED)])
        return self._ahead.pop(key)

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            self._ahead.pop(key).cancel()

    def _fill(self) -> None:
        most = max(1, min(2 * self._threads, _MOST_BYTES // self._largest))
        while len(self._ahead) < most:
            wanted = next(self._plan, None)
            if wanted is None:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="merklelog-ahead")
            if wanted.key not in self._ahead:
                self._ahead[wanted.key] = self._pool.submit(self._reads.get, wanted.key, limit=wanted.limit)
