"""The second half of the one writer: makes what was written durable, moves the head, and tells the callers.

**The commit point is the return of `store.sync()` here.** One fsync serves all that was written by then; while it
runs, the sequencer hashes and writes the next commits, at most `IN_FLIGHT` ahead.

Where nothing is to be hashed meanwhile, the sequencer's thread does the same by itself (`here`), which spares a
caller who waits for each append one or two switches of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from traceback import clear_frames

from merklelog.store import Store

from .head import Head
from .inbox import Fate
from .request import Request, tell
from .world import World

IN_FLIGHT = 4
# After something came while the sequencer's thread synced, so many commits are synced by this one.
BESIDE = 64

Job = Callable[[], None]
Listener = Callable[[Head], None]


@dataclass(frozen=True, slots=True)
class Written:
    """A commit on its way to the disk: whom to tell of it, and the bytes that wait no longer then."""

    head: Head
    requests: list[Request]
    cost: int
    done: Future[None] | None = None


class Syncer:
    """One thread that syncs. `head` is the newest durable head; any thread may read it.

    `paid` hears how many bytes no longer wait, `stop` of a failure and of the appends that it takes with it.
    """

    def __init__(
        self,
        store: Store,
        head: Head,
        world: World,
        fate: Fate,
        paid: Callable[[int], None],
        stop: Callable[[BaseException, list[Request]], None],
    ) -> None:
        self.head = head
        self._store = store
        self._world = world
        self._fate = fate
        self._paid = paid
        self._stop = stop
        self._slots = threading.Semaphore(IN_FLIGHT)
        self._written: SimpleQueue[Written | Job | None] = SimpleQueue()
        self._listeners: tuple[Listener, ...] = ()
        self._mutex = threading.Lock()
        self.reserve = self._slots.acquire  # a place for one commit more; waits for it
        self._put = self._done = 0  # items; the first is the sequencer's to count, the second this thread's
        self._beside = 0
        self.thread = threading.Thread(target=self._run, name="merklelog-syncer", daemon=True)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each new durable head, from this thread: it must be quick and not raise.

        Gives the function that ends it.
        """
        with self._mutex:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._mutex:
                self._listeners = tuple(known for known in self._listeners if known is not listener)

        return end

    # --- the sequencer's thread --------------------------------------------------------------------------------

    def put(self, item: Written | Job | None) -> None:
        """Hand over a commit that was written in a place reserved, a job to do, or None: the end."""
        self._put += 1
        self._written.put(item)

    def here(self, written: Written, waits: Callable[[], bool]) -> None:
        """`put`, or the same done at once where that is sooner: nothing is under way, and nothing waits.

        Raises what the store or a listener raises; then nobody was told.
        """
        if waits() or self._put != self._done or self._beside:
            self._beside = max(0, self._beside - 1)
            self.put(written)
            return
        batches = [written]
        self._make_durable(batches)
        self._slots.release()
        self._settle(batches)
        written.requests.clear()  # they were told: what fails after this takes them not with it
        self._world.step("settled")
        if waits():  # it could have been hashed meanwhile
            self._beside = BESIDE

    # --- this thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        ended = False
        while not ended:
            batches, jobs, ended = self._gather(self._written.get())
            count = len(batches) + len(jobs)
            try:
                self._make_durable(batches)
                if batches:
                    self._slots.release(len(batches))
                    self._settle(batches)
                    batches = []
                    self._world.step("settled")
                for job in jobs:
                    job()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the log stops and every caller hears
                self._stop(error, [request for batch in batches for request in batch.requests])
                self._fail(batches)
                clear_frames(error.__traceback__)
                # the sequencer may wait for one, and must see the failure
                self._slots.release(len(batches) or 1)
            self._done += count

    def _make_durable(self, batches: list[Written]) -> None:
        if (
            self._fate.failure is not None
        ):  # a write failed: what a sync would cover now, only a new open can tell
            raise self._fate.failure
        if batches:
            self._world.step("gathered")
            self._store.sync()
            self._world.step("synced")
            if batches[-1].head is not self.head:
                self.head = batches[-1].head
                for listener in self._listeners:
                    listener(self.head)

    def _gather(self, item: Written | Job | None) -> tuple[list[Written], list[Job], bool]:
        """All that is written by now: one fsync serves it."""
        batches: list[Written] = []
        jobs: list[Job] = []
        while True:
            if item is None:
                return batches, jobs, True
            if isinstance(item, Written):
                batches.append(item)
            else:
                jobs.append(item)
            try:
                item = self._written.get_nowait()
            except Empty:
                return batches, jobs, False

    def _settle(self, batches: list[Written]) -> None:
        cost = sum(batch.cost for batch in batches)
        if cost:
            self._paid(cost)
        for batch in batches:
            for request in batch.requests:
                request.head = batch.head
            if batch.done is not None:
                batch.done.set_result(None)
        tell([request for batch in batches for request in batch.requests])

    def _fail(self, batches: list[Written]) -> None:
        for batch in batches:
            if batch.done is not None and not batch.done.done():
                batch.done.set_exception(self._fate.refusal())
