"""Reading ahead: objects that will be asked for are fetched by threads before they are.

A bucket answers in milliseconds what a directory answers in microseconds, but it answers many at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(slots=True, eq=False)
class _Fetch:
    """A request that waits for a thread, is under way or is over; it is given up at more than `most` bytes.

    `held` is the most that it may hold: all that it may read until it is over, and then what it did. `is_kept`:
    somebody may ask for it yet.
    """

    key: str
    most: int
    held: int
    is_begun: bool = False
    is_over: bool = False
    is_kept: bool = True
    found: StoredObject | None = None  # and no problem either where it was called off
    problem: BaseException | None = None
    waiter: threading.Lock | None = None  # of who has asked for it; released when it is over


class ReadAhead:
    """The objects of `reads`, which is safe for threads; those that were expected are fetched `threads` at a time.

    What is fetched and not asked for yet is at most twice as many objects as there are threads, and 64 MiB,
    whatever the store answers: what is under way counts with the most bytes that it is read to. That is twice
    the largest object so far, and not the object's own limit, or few could be under way; a larger one is read
    again, alone, once it is asked for. An expected object that is never asked for costs its request and no more.
    Safe for threads.

    Each object costs a few steps under one lock, and no futures: there are a thousand a second, and the threads
    that fetch them share the interpreter with who hashes them.
    """

    def __init__(self, reads: ObjectReads, threads: int) -> None:
        self._reads = reads
        self._width = threads
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._plan: Iterator[Wanted] = iter(())
        self._next: Wanted | None = None  # of the plan, when there was no room for it
        self._broken: Exception | None = None  # what the plan ended with
        self._ahead: dict[str, _Fetch] = {}  # in the order of the plan
        self._queue: deque[_Fetch] = deque()
        self._held = 0
        self._most = MOST_BYTES // _FIRST_OBJECTS
        self._largest = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)

    @property
    def location(self) -> str:
        """See ObjectStore.location."""
        return self._reads.location

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """These will be asked for, in about this order; what was expected before is not any more.

        What the iteration raises ends the plan, and is raised once, by the next `get`.
        """
        with self._lock:
            self._forget(list(self._ahead))
            self._plan, self._next, self._broken = iter(wanted), None, None
            self._fill()

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get."""
        with self._lock:
            if self._broken is not None:
                broken, self._broken = self._broken, None
                raise broken
            fetch = self._take(key)
            if fetch is None and self._next is not None and self._next.key == key:
                self._next = None
            if fetch is None or fetch.found is not None:
                self._fill()  # else once it is known what came of it
        if fetch is None:
            return self._reads.get(key, limit=limit)
        if fetch.waiter is not None:
            fetch.waiter.acquire()
        found, fetch.found = fetch.found, None  # the thread that fetched it may have nothing else to do
        if found is None:
            return self._again(fetch, limit)
        if len(found.data) > limit:
            raise DamagedError(f"{self.location}/{key}: {len(found.data)} bytes, want at most {limit}")
        return found

    def close(self) -> None:
        """Stop fetching; what runs is waited for. Objects can still be asked for, one at a time."""
        with self._lock:
            self._is_closed = True
            self._plan, self._next = iter(()), None
            self._forget(list(self._ahead))
            while self._queue:
                self._end(self._queue.popleft())
            threads, self._threads = self._threads, []
            self._work.notify_all()
        for thread in threads:
            thread.join()

    def _again(self, fetch: _Fetch, limit: int) -> StoredObject:
        """What to give for a fetch that brought nothing."""
        problem, fetch.problem = fetch.problem, None  # its traceback holds what would hold it
        try:
            # It may only be larger than those before it, or was called off.
            if problem is not None and not (isinstance(problem, DamagedError) and fetch.most < limit):
                raise problem
            found = self._reads.get(fetch.key, limit=limit)
            with self._lock:
                self._learn(len(found.data))
            return found
        finally:
            del problem
            with self._lock:
                self._fill()

    # --- what is expected; with the lock ----------------------------------------------------------------------

    def _take(self, key: str) -> _Fetch | None:
        """What is fetched for this key; what stood well before it in the plan was passed over by its reader."""
        if key not in self._ahead:
            return None
        before = []
        for known in self._ahead:
            if known == key:
                break
            before.append(known)
        self._forget(before[:-_PASSED])
        fetch = self._ahead.pop(key)
        if fetch.is_over:
            self._held -= fetch.held
        else:
            fetch.waiter = threading.Lock()
            fetch.waiter.acquire()
        fetch.is_kept = False
        return fetch

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            fetch = self._ahead.pop(key)
            fetch.is_kept = False
            if fetch.is_over or not fetch.is_begun:  # what is under way counts until it is over
                self._held -= fetch.held
                fetch.is_over, fetch.found = True, None

    def _fill(self) -> None:
        while len(self._ahead) < 2 * self._width:
            try:
                wanted = self._next or next(self._plan, None)
            except Exception as error:  # noqa: BLE001 - it is raised in who asks for an object
                self._plan, self._broken = iter(()), error
                return
            self._next = wanted
            if wanted is None:
                return
            most = min(wanted.limit, self._most)
            if (self._held and self._held + most > MOST_BYTES) or not self._staff():
                return
            self._next = None
            if wanted.key not in self._ahead:
                fetch = self._ahead[wanted.key] = _Fetch(wanted.key, most, most)
                self._queue.append(fetch)
                self._held += most

    def _learn(self, size: int) -> None:
        self._largest = max(self._largest, size)
        self._most = max(MOST_BYTES // (2 * self._width), _GROWTH * self._largest)

    # --- the threads --------------------------------------------------------------------------------------------

    def _staff(self) -> bool:
        """With the lock: have somebody take what is queued next; False where nobody ever will."""
        if self._is_closed:
            return False
        if self._idle:
            self._work.notify()
        elif len(self._threads) < self._width:
            thread = threading.Thread(target=self._run, name="merklelog-ahead", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads than there are: those do it, or who asks does
                return bool(self._threads)
            self._threads.append(thread)
        return True

    def _run(self) -> None:
        fetch: _Fetch | None = None
        while (fetch := self._following(fetch)) is not None:
            try:
                fetch.found = self._reads.get(fetch.key, limit=fetch.most)
            except BaseException as error:  # noqa: BLE001 - it is raised in who asks for the object
                fetch.problem = error

    def _following(self, done: _Fetch | None) -> _Fetch | None:
        """Note what was fetched, and wait for the next one to fetch; None: there will be none."""
        with self._lock:
            if done is not None:
                self._end(done)
                if done.problem is None:
                    self._fill()
            while not self._is_closed:
                while self._queue:
                    fetch = self._queue.popleft()
                    if not fetch.is_over:  # called off before its turn
                        fetch.is_begun = True
                        return fetch
                self._idle += 1
                self._work.wait()
                self._idle -= 1
            return None

    def _end(self, fetch: _Fetch) -> None:
        """With the lock: it is over, whatever came of it."""
        if fetch.is_over:
            return
        size = 0
        if fetch.found is not None:
            size = len(fetch.found.data)
            self._learn(size)
        self._held += (size if fetch.is_kept else 0) - fetch.held
        fetch.held, fetch.is_over = size, True
        if fetch.waiter is not None:
            fetch.waiter.release()
        elif not fetch.is_kept:
            fetch.found = None
