"""The one writer: drains what waits, commits it, and tells every caller when its entry is durable.

Two threads. The *sequencer* plans, hashes, signs and writes commits, unsynced, at most `IN_FLIGHT` ahead. The
*syncer* makes all that is written so far durable with one fsync and only then moves the head and settles callers.
**The commit point is the return of `store.sync()`**: before it nothing is acknowledged and no reader sees the new
head; after it the entry is at its index for good. While one fsync runs, the next batches are hashed and written:
batch size follows load and no timer adds latency.

Failures. A request that is refused (conflict, no room, too much waiting) fails alone and nothing of it is stored.
Any other error, of the store or of this code, is fatal: what is on the disk is then known only after the log was
opened anew, so the sequencer fails everything that waits with StoppedError and takes nothing more. Reads go on.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from traceback import clear_frames

from merklelog.errors import (
    ClosedError,
    DamagedError,
    EntryError,
    MerklelogError,
    OverloadedError,
    StoppedError,
    StorageFullError,
)
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.store import Store
from merklelog.tree import Frontier, TreeSize

from .head import Head, Signers
from .planner import DAY, Known, Plan, commit_of, plan
from .receipt import ProofSource
from .request import Request, tell
from .world import Limits, World

IN_FLIGHT = 4
# Small enough that what waits makes more than one commit, so that one is hashed while another is synced: with all
# of it in one, four callers of 1,000 each would go in lockstep with the disk (a fifth fewer entries a second).
MAX_COMMIT_ENTRIES = 2_048
MAX_COMMIT_BYTES = 8 << 20
KEEP_INTERVAL = 1.0  # seconds from the first commit after a kept checkpoint to the next kept one
SETTLE_AFTER = 30.0  # seconds of quiet after which memtables are flushed, so that no log stays uncompressed
SETTLE_BYTES = 1 << 20
FORGET_EVERY = 60.0
FORGET_ROWS = 1_000
_Job = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Written:
    """A commit on its way to the disk."""

    head: Head
    requests: list[Request]
    cost: int


class Sequencer:
    """Owns a store for writing. `head` is the newest durable head; any thread may read it."""

    def __init__(
        self,
        store: Store,
        frontier: Frontier,
        head: Head,
        signers: Signers,
        known: Known,
        note_identities: Callable[[Plan], None] | None,
        source: ProofSource,
        limits: Limits,
        world: World,
    ) -> None:
        self.head = head
        self._store = store
        self._frontier = frontier
        self._signed = head  # the newest head written, durable or not: what the next one must extend
        self._signers = signers
        self._known = known
        self._note_identities = note_identities
        self._source = source
        self._limits = limits
        self._world = world
        self._queue: deque[Request] = deque()
        self._mutex = allocate_lock()
        self._wake = allocate_lock()
        self._wake.acquire()
        self._idle = False
        self._pending = 0
        self._closing = False
        self._failure: BaseException | None = None
        self._slots = threading.Semaphore(IN_FLIGHT)
        self._written: SimpleQueue[_Written | _Job | None] = SimpleQueue()
        self._listeners: tuple[Callable[[Head], None], ...] = ()
        self._keep_at = world.monotonic() if store.checkpoint(head.size) is None else None
        self._forget_at = world.monotonic()
        self._settle_at: float | None = None
        self._unsettled = 0
        self._threads = [
            threading.Thread(target=self._run, name="merklelog-sequencer", daemon=True),
            threading.Thread(target=self._sync_all, name="merklelog-syncer", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # --- the callers' side -------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request; it is settled later, from another thread.

        Raises OverloadedError, StoppedError, ClosedError, or EntryError for a batch that could never fit;
        then nothing of it is stored.
        """
        cost = request.cost
        with self._mutex:
            if self._failure is not None or self._closing:
                raise self._refusal()
            if self._pending + cost > self._limits.max_pending_bytes:
                raise self._too_much(cost)
            self._pending += cost
            request.source = self._source
            self._queue.append(request)
            if not self._idle:
                return
            self._idle = False
        self._wake.release()

    def _refusal(self) -> MerklelogError:
        if self._failure is None:
            return ClosedError("the log was closed")
        error = StoppedError(f"the log stopped after a failure; open it again: {self._failure}")
        error.__cause__ = self._failure
        return error

    def _too_much(self, cost: int) -> MerklelogError:
        limit = self._limits.max_pending_bytes
        if cost > limit:
            return EntryError(f"a batch of {cost:,} bytes: log.max_pending_bytes is {limit:,}")
        return OverloadedError(
            f"{self._pending:,} bytes wait to be stored: log.max_pending_bytes is {limit:,}"
        )

    def close(self) -> None:
        """Commit all that waits, keep the last checkpoint, and end both threads."""
        with self._mutex:
            already, self._closing = self._closing, True
            idle, self._idle = self._idle, False
        if idle:
            self._wake.release()
        if not already or any(thread.is_alive() for thread in self._threads):
            for thread in self._threads:
                thread.join()

    def listen(self, listener: Callable[[Head], None]) -> Callable[[], None]:
        """Call `listener` with each new durable head, from the syncer's thread: it must be quick and not raise.

        Gives the function that ends it.
        """
        with self._mutex:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._mutex:
                self._listeners = tuple(known for known in self._listeners if known is not listener)

        return end

    @property
    def pending(self) -> tuple[int, int]:
        """How many appends no commit has taken yet, and the cost in bytes of all that are not durable yet."""
        return len(self._queue), self._pending

    @property
    def failure(self) -> BaseException | None:
        """What stopped the log; None while it runs."""
        return self._failure

    # --- the sequencer's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
            if self._failure is None:
                self._tend(closing=True)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the log must stop and every caller must hear
            self._stop(error, [])
            # callers keep the error: its frames must not keep the database open
            clear_frames(error.__traceback__)
        finally:
            self._written.put(None)

    def _turn(self) -> bool:
        """Wait for work and do it; False when closing and nothing waits."""
        if not self._queue:
            self._sleep()
        if self._failure is not None:
            return False
        if not self._queue:
            if self._closing:
                return False
            self._tend()
            return True
        self._slots.acquire()  # before draining: what comes meanwhile joins this commit
        requests, cost = self._drain()
        try:
            self._commit(requests, cost)
        except BaseException as error:
            self._stop(error, requests)
            raise
        self._tend()
        return True

    def _sleep(self) -> None:
        with self._mutex:
            if self._queue or self._closing:
                return
            self._idle = True
        times = [at for at in (self._keep_at, self._settle_at) if at is not None]
        wait = max(0.0, min(times) - self._world.monotonic()) if times else -1.0
        if self._wake.acquire(timeout=wait):
            return
        with self._mutex:
            woken, self._idle = not self._idle, False
        if woken:  # a caller saw us idle just as the time ran out: take its release, or the next sleep would
            self._wake.acquire()

    def _drain(self) -> tuple[list[Request], int]:
        """Everything that waits, up to the size of one commit; a single larger batch is taken whole."""
        requests: list[Request] = []
        entries = cost = 0
        queue = self._queue
        with self._mutex:  # or a failure of the syncer could empty it under our eyes, and lose what we hold
            while queue:
                count, more = len(queue[0].entries), queue[0].cost
                if requests and (entries + count > MAX_COMMIT_ENTRIES or cost + more > MAX_COMMIT_BYTES):
                    break
                requests.append(queue.popleft())
                entries += count
                cost += more
        return requests, cost

    def _commit(self, requests: list[Request], cost: int) -> None:
        self._world.step("drained")
        free = self._world.free_bytes()
        if free < self._limits.min_free_bytes:
            self._refuse_for_room(requests, cost, free)
            return
        now = self._world.seconds()
        made = plan(requests, self._signed.size, now, self._limits.idempotency_days * DAY, self._known)
        self._world.step("planned")
        head = self._write(made) if made.entries or made.remember else self._signed
        self._world.committed(len(requests), made.entries)
        self._written.put(_Written(head, requests, cost))

    def _write(self, made: Plan) -> Head:
        before = self._signed
        # Invariant 2: what is signed next extends what was signed last, checked and not assumed.
        if self._frontier.size != before.size or self._frontier.root() != before.root:
            raise DamagedError(f"the tree in memory is not the one signed at size {before.size}")
        growth = self._frontier.extend(made.hashes)
        self._world.step("hashed")
        head = before
        if made.entries:
            root = self._frontier.root()
            size = TreeSize(self._frontier.size)
            note = self._signers.sign(size, root, both=False)
            head = Head(size, root, note, self._frontier.partials())
            self._world.step("signed")
        self._store.write(commit_of(made, growth, head, before))
        self._world.step("written")
        if self._note_identities is not None:
            self._note_identities(made)
        self._signed = head
        self._unsettled += sum(map(len, made.entries))
        if self._keep_at is None:
            self._keep_at = self._world.monotonic() + KEEP_INTERVAL
        return head

    def _refuse_for_room(self, requests: list[Request], cost: int, free: int) -> None:
        for request in requests:
            request.error = StorageFullError(
                f"{free:,} bytes are free on the log's disk: store.min_free_bytes is "
                f"{self._limits.min_free_bytes:,}; appends come back when there is room"
            )
        self._written.put(_Written(self._signed, requests, cost))

    def _tend(self, *, closing: bool = False) -> None:
        """What is due beside appends: keep a checkpoint, forget old keys, flush when quiet."""
        now = self._world.monotonic()
        if self._keep_at is not None and (closing or now >= self._keep_at):
            self._keep(now)
        if self._settle_at is not None and now >= self._settle_at and not closing:
            self._settle_at = None
            self._unsettled = 0
            self._written.put(self._store.settle)
        elif self._unsettled >= SETTLE_BYTES:
            self._settle_at = now + SETTLE_AFTER

    def _keep(self, now: float) -> None:
        """Sign the newest head with both keys and file it under its size."""
        forget: list[bytes] = []
        if now >= self._forget_at:
            oldest = self._world.seconds() - self._limits.idempotency_days * DAY
            forget = self._store.remembered_before(max(0, oldest), FORGET_ROWS)
            self._forget_at = now + (FORGET_EVERY if len(forget) < FORGET_ROWS else 0)
        self._keep_at = None
        head = self._signed
        if self._frontier.size != head.size or self._frontier.root() != head.root:
            raise DamagedError(f"the tree in memory is not the one signed at size {head.size}")
        note = self._signers.sign(head.size, head.root, both=True)
        self._slots.acquire()
        self._signed = Head(head.size, head.root, note, head.partials)
        self._store.write(Commit(checkpoint=Checkpointed(head.size, note, keep=True), forget=tuple(forget)))
        self._world.step("kept")
        self._written.put(_Written(self._signed, [], 0))

    # --- the syncer's thread -----------------------------------------------------------------------------------

    def _sync_all(self) -> None:
        ended = False
        while not ended:
            batches, jobs, ended = self._gather(self._written.get())
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
                clear_frames(error.__traceback__)
                # the sequencer may wait for one, and must see the failure
                self._slots.release(len(batches) or 1)

    def _make_durable(self, batches: list[_Written]) -> None:
        if self._failure is not None:  # a write failed: what a sync would cover now, only a new open can tell
            raise self._failure
        if batches:
            self._world.step("gathered")
            self._store.sync()
            self._world.step("synced")
            if batches[-1].head is not self.head:
                self.head = batches[-1].head
                for listener in self._listeners:
                    listener(self.head)

    def _gather(self, item: _Written | _Job | None) -> tuple[list[_Written], list[_Job], bool]:
        """All that is written by now: one fsync serves it."""
        batches: list[_Written] = []
        jobs: list[_Job] = []
        while True:
            if item is None:
                return batches, jobs, True
            if isinstance(item, _Written):
                batches.append(item)
            else:
                jobs.append(item)
            try:
                item = self._written.get_nowait()
            except Empty:
                return batches, jobs, False

    def _settle(self, batches: list[_Written]) -> None:
        cost = sum(batch.cost for batch in batches)
        if cost:
            with self._mutex:
                self._pending -= cost
        for batch in batches:
            for request in batch.requests:
                request.size, request.note = batch.head.size, batch.head.note
        tell([request for batch in batches for request in batch.requests])

    # --- stopping ----------------------------------------------------------------------------------------------

    def _stop(self, error: BaseException, requests: list[Request]) -> None:
        """Fail these requests and all that wait; take nothing more. What was synced stays acknowledged."""
        with self._mutex:
            first = self._failure = self._failure or error  # what follows from it says less
            waiting = [*requests, *self._queue]
            self._queue.clear()
            idle, self._idle = self._idle, False
        if idle:
            self._wake.release()
        for request in waiting:
            request.error = StoppedError(
                f"the log stopped while this append was under way; it may have been stored, so send it again "
                f"with its idempotency key once the log is open again: {first}"
            )
            request.error.__cause__ = first
        tell(waiting)
