"""The one writer: drains what waits, commits it, and tells every caller when its entry is durable.

Two threads. The *sequencer* plans, hashes, signs and writes commits, unsynced, at most `syncer.IN_FLIGHT` ahead.
The *syncer* makes all that is written so far durable with one fsync and only then moves the head and settles
callers. **The commit point is the return of `store.sync()`**: before it nothing is acknowledged and no reader sees
the new head; after it the entry is at its index for good. While one fsync runs, the next batches are hashed and
written: batch size follows load and no timer adds latency. A commit with nothing else under way and nothing behind
it is synced by the sequencer's thread itself (`Syncer.here`).

What a commit signs is the log's matter: a checkpoint, and about one a second is kept; or, of a log with publish
targets, a receipt of the epoch that `begin` said, and no checkpoint ever. Until then such a log takes no appends.

Failures. A request that is refused (conflict, no room, too much waiting) fails alone and nothing of it is stored.
Any other error, of the store or of this code, is fatal: what is on the disk is then known only after the log was
opened anew, so the sequencer fails everything that waits with StoppedError and takes nothing more. Reads go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from traceback import clear_frames

from merklelog.errors import DamagedError, StoppedError, StorageFullError, UsageError
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.store import Store
from merklelog.tree import Frontier, Hash, TreeSize

from .head import Head, Sign, Signers
from .inbox import Fate, Inbox
from .planner import DAY, Known, Plan, commit_of, plan
from .request import Request, Source, tell
from .syncer import Syncer, Written
from .world import Limits, World

# Small enough that what waits makes more than one commit, so that one is hashed while another is synced: with all
# of it in one, four callers of 1,000 each would go in lockstep with the disk (a fifth fewer entries a second).
MAX_COMMIT_ENTRIES = 2_048
MAX_COMMIT_BYTES = 8 << 20
KEEP_INTERVAL = 1.0  # seconds from the first commit after a kept checkpoint to the next kept one
SETTLE_AFTER = 30.0  # seconds of quiet after which memtables are flushed, so that no log stays uncompressed
SETTLE_BYTES = 1 << 20
FORGET_EVERY = 60.0
FORGET_ROWS = 1_000


class Sequencer:
    """Owns a store for writing.

    With `signers` each commit signs a checkpoint, and nothing is taken before `admit` unless it `is_open`;
    without, nothing is taken before `begin` and `admit`.
    """

    def __init__(
        self,
        store: Store,
        frontier: Frontier,
        head: Head,
        signers: Signers | None,
        known: Known,
        note_identities: Callable[[Plan], None] | None,
        source: Source,
        limits: Limits,
        world: World,
        *,
        is_open: bool = True,
    ) -> None:
        """`is_open` is False for a log that is compared with its witnesses before it signs: see `admit`."""
        self._store = store
        self._frontier = frontier
        self._signed = head  # the newest head written, durable or not: what the next one must extend
        self._signers = signers
        self._sign: Sign = signers.sign_quickly if signers is not None else _unsigned
        self._epoch: int | None = None
        self._known = known
        self._note_identities = note_identities
        self._limits = limits
        self._world = world
        self._fate = Fate()
        inbox = Inbox(source, limits.max_pending_bytes, self._fate, is_open=is_open and signers is not None)
        self._inbox = inbox
        self.check, self.submit, self.write = inbox.check, inbox.submit, inbox.write
        self.admit, self.refuse, self.freeze = inbox.admit, inbox.refuse, inbox.freeze
        self.when_stopped = inbox.when_stopped
        self._syncer = Syncer(store, head, world, self._fate, inbox.paid, self._stop)
        self.listen = self._syncer.listen
        # A log that is not open yet signs nothing.
        unkept = is_open and signers is not None and store.checkpoint(head.size) is None
        self._keep_at = world.monotonic() if unkept else None
        self._forget_at = world.monotonic()
        self._settle_at: float | None = None
        self._unsettled = 0
        self._threads = [
            threading.Thread(target=self._run, name="merklelog-sequencer", daemon=True),
            self._syncer.thread,
        ]
        for thread in self._threads:
            thread.start()

    @property
    def head(self) -> Head:
        """The newest durable head; any thread may read it."""
        return self._syncer.head

    # --- the callers' side -------------------------------------------------------------------------------------

    def begin(self, epoch: int, sign: Sign, rows: Callable[[Head], Commit]) -> Future[None]:
        """Sign the newest head with `sign`, and every commit from now on. Appends are let in by `admit`.

        `rows` gives, from the newest head as it was, what to write with it. Raises as `write`.
        """

        def make() -> Commit:
            head, self._sign, self._epoch = self._signed, sign, epoch
            note = sign(head.size, head.root)
            self._signed = Head(head.size, head.root, note, head.partials, epoch)
            return replace(rows(head), checkpoint=Checkpointed(head.size, note, keep=False))

        return self.write(make)

    def wait_for(self, why: str) -> None:
        """Say why appends are not let in yet."""
        self._inbox.why = why

    def close(self) -> None:
        """Commit all that waits, keep the last checkpoint, and end both threads."""
        if self._inbox.close() or any(thread.is_alive() for thread in self._threads):
            for thread in self._threads:
                thread.join()

    def stop(self, error: BaseException) -> None:
        """Stop as after a failure of the store; from any thread. For what makes going on unsafe."""
        self._stop(error, [])

    @property
    def pending(self) -> tuple[int, int]:
        """How many appends no commit has taken yet, and the cost in bytes of all that are not durable yet."""
        return self._inbox.pending

    @property
    def failure(self) -> BaseException | None:
        """What stopped the log; None while it runs."""
        return self._fate.failure

    # --- the sequencer's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
            if self._fate.failure is None:
                self._tend(closing=True)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the log must stop and every caller must hear
            self._stop(error, [])
            # callers keep the error: its frames must not keep the database open
            clear_frames(error.__traceback__)
        finally:
            self._syncer.put(None)

    def _turn(self) -> bool:
        """Wait for work and do it; False when closing and nothing waits."""
        inbox = self._inbox
        if not inbox.has_appends and not inbox.has_rows:
            inbox.sleep(self._seconds_to_sleep)
        if self._fate.failure is not None:
            return False
        if inbox.has_rows:
            self._write_beside()
        if not inbox.has_appends:
            if self._fate.closing and not inbox.has_rows:
                return False
            self._tend()
            return True
        self._syncer.reserve()  # before draining: what comes meanwhile joins this commit
        requests, cost = inbox.drain(MAX_COMMIT_ENTRIES, MAX_COMMIT_BYTES)
        try:
            self._commit(requests, cost)
        except BaseException as error:
            self._stop(error, requests)
            raise
        self._tend()
        return True

    def _seconds_to_sleep(self) -> float:
        times = [at for at in (self._keep_at, self._settle_at) if at is not None]
        return max(0.0, min(times) - self._world.monotonic()) if times else -1.0

    def _write_beside(self) -> None:
        self._syncer.reserve()
        rows = self._inbox.next_rows()
        if rows is None:  # the syncer failed, and let go of more places than there are
            return
        make, future = rows
        try:
            self._store.write(make())
        except BaseException as error:
            self._stop(error, [])
            future.set_exception(self._fate.refusal())
            raise
        self._world.step("noted")
        self._syncer.put(Written(self._signed, [], 0, future))

    def _commit(self, requests: list[Request], cost: int) -> None:
        self._world.step("drained")
        states = requests[0].make is not None
        free = self._world.free_bytes()
        if free < self._limits.min_free_bytes and not states:  # a log may always end
            self._refuse_for_room(requests, cost, free)
            return
        if states and not self._state(requests[0]):
            self._syncer.put(Written(self._signed, requests, cost))
            return
        now = self._world.seconds()
        made = plan(requests, self._signed.size, now, self._limits.idempotency_days * DAY, self._known)
        self._world.step("planned")
        head = self._write(made, states=states) if made.entries or made.remember else self._signed
        self._world.committed(len(requests), made.entries)
        self._syncer.here(Written(head, requests, cost), self._inbox.waits)

    def _state(self, request: Request) -> bool:
        """Make a statement of the log's own, now that its index is known; False, and its error: it can not be."""
        if request.make is not None:
            try:
                request.entries = [request.make(self._signed.size)]
            except UsageError as error:
                request.error = error
        return request.error is None

    def _write(self, made: Plan, *, states: bool) -> Head:
        """`states`: it is a statement of the log's own, whose checkpoint both keys sign, and which is kept."""
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
            whole = self._signers if states else None
            note = self._sign(size, root) if whole is None else whole.sign(size, root, both=True)
            head = Head(size, root, note, self._frontier.partials(), self._epoch)
            self._world.step("signed")
        self._store.write(commit_of(made, growth, head, before, keep=states and self._signers is not None))
        self._world.step("written")
        if self._note_identities is not None:
            self._note_identities(made)
        self._signed = head
        self._unsettled += sum(map(len, made.entries))
        if states:
            self._keep_at = None  # it is kept already
        elif self._keep_at is None:
            self._keep_at = self._world.monotonic() + KEEP_INTERVAL
        return head

    def _refuse_for_room(self, requests: list[Request], cost: int, free: int) -> None:
        for request in requests:
            request.error = StorageFullError(
                f"{free:,} bytes are free on the log's disk: store.min_free_bytes is "
                f"{self._limits.min_free_bytes:,}; appends come back when there is room"
            )
        self._syncer.put(Written(self._signed, requests, cost))

    def _tend(self, *, closing: bool = False) -> None:
        """What is due beside appends: keep a checkpoint, forget old keys, flush when quiet."""
        now = self._world.monotonic()
        if self._keep_at is not None and (closing or now >= self._keep_at):
            self._keep(now)
        if self._settle_at is not None and now >= self._settle_at and not closing:
            self._settle_at = None
            self._unsettled = 0
            self._syncer.put(self._store.settle)
        elif self._unsettled >= SETTLE_BYTES:
            self._settle_at = now + SETTLE_AFTER

    def _keep(self, now: float) -> None:
        """Sign the newest head with both keys and file it under its size; forget what is over."""
        forget: list[bytes] = []
        if now >= self._forget_at:
            oldest = self._world.seconds() - self._limits.idempotency_days * DAY
            forget = self._store.remembered_before(max(0, oldest), FORGET_ROWS)
            self._forget_at = now + (FORGET_EVERY if len(forget) < FORGET_ROWS else 0)
        self._keep_at = None
        if self._signers is None and not forget:
            return
        checkpoint = None if self._signers is None else self._kept(self._signers)
        self._syncer.reserve()
        self._store.write(Commit(checkpoint=checkpoint, forget=tuple(forget)))
        self._world.step("kept")
        self._syncer.put(Written(self._signed, [], 0))

    def _kept(self, signers: Signers) -> Checkpointed:
        head = self._signed
        if self._frontier.size != head.size or self._frontier.root() != head.root:
            raise DamagedError(f"the tree in memory is not the one signed at size {head.size}")
        note = signers.sign(head.size, head.root, both=True)
        self._signed = Head(head.size, head.root, note, head.partials)
        return Checkpointed(head.size, note, keep=True)

    # --- stopping ----------------------------------------------------------------------------------------------

    def _stop(self, error: BaseException, requests: list[Request]) -> None:
        """Fail these requests and all that wait; take nothing more. What was synced stays acknowledged."""
        waiting = [*requests, *self._inbox.stop(error)]
        first = self._fate.failure
        for request in waiting:
            request.error = StoppedError(
                f"the log stopped while this append was under way; it may have been stored, so send it again "
                f"with its idempotency key once the log is open again: {first}"
            )
            request.error.__cause__ = first
        tell(waiting)


def _unsigned(size: TreeSize, _root: Hash) -> bytes:
    raise DamagedError(f"a commit of size {size} before the log's epoch began")
