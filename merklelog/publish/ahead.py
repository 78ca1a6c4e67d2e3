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

MOST_BYTES: Final = 64 << 20
_FIRST_OBJECTS: Final = 4  # as long as nobody knows how large they are
_GROWTH: Final = 2  # how much larger than all before it an object may be and still be fetched ahead
_PASSED: Final = 8  # expected objects that are asked for in a somewhat other order than was said


class Wanted(NamedTuple):
    """An object that will be asked for, and the most bytes that it may have."""

    key: str
    limit: int


class _Fetch(NamedTuple):
    """A request under way, or what came of it; it is given up at more than `most` bytes."""

    future: Future[StoredObject]
    most: int

    def bytes(self) -> int:
        """The most that it may hold: all that it may read until it is done, and then what it did."""
        if not self.future.done():
            return self.most
        if self.future.cancelled() or self.future.exception() is not None:
            return 0
        return len(self.future.result().data)


class ReadAhead:
    """The objects of `reads`, which is safe for threads; those that were expected are fetched `threads` at a time.

    What is fetched and not asked for yet is at most twice as many objects as there are threads, and 64 MiB,
    whatever the store answers: what is under way counts with the most bytes that it is read to. That is twice
    the largest object so far, and not the object's own limit, or few could be under way; a larger one is read
    again, alone, once it is asked for. An expected object that is never asked for costs its request and no more.
    Safe for threads.
    """

    def __init__(self, reads: ObjectReads, threads: int) -> None:
        self._reads = reads
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._plan: Iterator[Wanted] = iter(())
        self._next: Wanted | None = None  # of the plan, when there was no room for it
        self._ahead: dict[str, _Fetch] = {}  # in the order of the plan
        self._passed: list[_Fetch] = []  # under way, and for nobody
        self._most = MOST_BYTES // _FIRST_OBJECTS
        self._largest = 0
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """See ObjectStore.location."""
        return self._reads.location

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """These will be asked for, in about this order; what was expected before is not any more."""
        with self._lock:
            self._forget(list(self._ahead))
            self._plan, self._next = iter(wanted), None
            self._fill()

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get."""
        with self._lock:
            fetch = self._take(key)
            if fetch is None:
                if self._next is not None and self._next.key == key:
                    self._next = None
                self._fill()
        if fetch is None:
            return self._reads.get(key, limit=limit)
        try:
            found = self._result(fetch, key, limit)
            with self._lock:
                self._learn(len(found.data))
        finally:
            with self._lock:
                self._fill()
        if len(found.data) > limit:
            raise DamagedError(f"{self.location}/{key}: {len(found.data)} bytes, want at most {limit}")
        return found

    def close(self) -> None:
        """Stop fetching; what runs is waited for. Objects can still be asked for, one at a time."""
        with self._lock:
            self._plan, self._next = iter(()), None
            self._forget(list(self._ahead))
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _result(self, fetch: _Fetch, key: str, limit: int) -> StoredObject:
        try:
            return fetch.future.result()
        except DamagedError:
            if fetch.most >= limit:
                raise
        return self._reads.get(key, limit=limit)  # it may only be larger than those before it

    def _learn(self, size: int) -> None:
        self._largest = max(self._largest, size)
        self._most = max(MOST_BYTES // (2 * self._threads), _GROWTH * self._largest)

    def _take(self, key: str) -> _Fetch | None:
        """What was fetched for this key; what stood well before it in the plan was passed over by its reader."""
        if key not in self._ahead:
            return None
        keys = list(self._ahead)
        self._forget(keys[: max(0, keys.index(key) - _PASSED)])
        return self._ahead.pop(key)

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            fetch = self._ahead.pop(key)
            if not fetch.future.cancel() and not fetch.future.done():
                self._passed.append(fetch)

    def _fill(self) -> None:
        self._passed = [fetch for fetch in self._passed if not fetch.future.done()]
        held = sum(fetch.bytes() for fetch in (*self._ahead.values(), *self._passed))
        while len(self._ahead) < 2 * self._threads:
            wanted = self._next or next(self._plan, None)
            self._next = wanted
            if wanted is None:
                return
            most = min(wanted.limit, self._most)
            if held and held + most > MOST_BYTES:
                return
            self._next = None
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="merklelog-ahead")
            if wanted.key not in self._ahead:
                future = self._pool.submit(self._reads.get, wanted.key, limit=most)
                self._ahead[wanted.key] = _Fetch(future, most)
                held += most
