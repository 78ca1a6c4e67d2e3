"""What waits for the one writer: appends, bounded by their bytes, and rows that no append asked for.

The writer sleeps here while nothing waits. It is woken by a lock that whoever brings work releases: a condition
variable costs five times as much an append.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from merklelog.errors import (
    ClosedError,
    EntryError,
    FrozenError,
    MerklelogError,
    OverloadedError,
    StoppedError,
    UnavailableError,
)
from merklelog.protocol.commit import Commit

from .request import Request, Source

RETRY_AFTER = 1.0  # seconds
Make = Callable[[], Commit]
Beside = tuple[Make, Future[None]]


class Fate:
    """What became of a writer, as its threads share it: running, closing or stopped by a failure."""

    __slots__ = ("closing", "failure")

    def __init__(self) -> None:
        self.closing = False
        self.failure: BaseException | None = None

    def refusal(self) -> MerklelogError:
        """Why nothing more is taken."""
        if self.failure is None:
            return ClosedError("the log was closed")
        error = StoppedError(f"the log stopped after a failure; open it again: {self.failure}")
        error.__cause__ = self.failure
        return error


class Inbox:
    """The queue of one writer: any thread submits, one thread waits and drains.

    With `is_open` False appends are refused as not yet to be had, until `admit`.
    """

    def __init__(self, source: Source, max_pending_bytes: int, fate: Fate, *, is_open: bool) -> None:
        self._source = source
        self._max_pending_bytes = max_pending_bytes
        self._fate = fate
        self._shut = not is_open  # no appends are taken
        self._refused = False  # nor ever again
        self._frozen = ""  # why no appends are taken ever again
        self.why = "none has answered"  # what appends are told before `admit`
        self._queue: deque[Request] = deque()
        self._beside: deque[Beside] = deque()
        self._mutex = allocate_lock()
        self._wake = allocate_lock()
        self._wake.acquire()
        self._idle = False
        self._pending = 0
        self._told: tuple[Callable[[MerklelogError], None], ...] = ()

    # --- any thread --------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request; it is settled later, from another thread.

        Raises OverloadedError, StoppedError, ClosedError, UnavailableError before `admit`, or EntryError for a
        batch that could never fit; then nothing of it is stored.
        """
        cost = request.cost
        with self._mutex:
            if self._shut:
                raise self._refusal()
            if self._pending + cost > self._max_pending_bytes:
                raise self._too_much(cost)
            self._pending += cost
            request.source = self._source
            self._queue.append(request)
            if not self._idle:
                return
            self._idle = False
        self._wake.release()

    def check(self) -> None:
        """Raise what `submit` would of any request, while no appends are taken."""
        with self._mutex:
            if self._shut:
                raise self._refusal()

    def _refusal(self) -> MerklelogError:
        if self._fate.failure is not None or self._refused:
            return self._fate.refusal()
        if self._frozen:
            return FrozenError(self._frozen)
        return UnavailableError(
            f"the log takes no appends yet, it waits for its targets and witnesses: {self.why}", RETRY_AFTER
        )

    def _too_much(self, cost: int) -> MerklelogError:
        limit = self._max_pending_bytes
        if cost > limit:
            return EntryError(f"a batch of {cost:,} bytes: log.max_pending_bytes is {limit:,}")
        return OverloadedError(
            f"{self._pending:,} bytes wait to be stored: log.max_pending_bytes is {limit:,}"
        )

    def write(self, make: Make) -> Future[None]:
        """Have rows written that are no append's; the future resolves when they are durable.

        `make` is called in the writer's thread. Raises StoppedError, ClosedError; the future has StoppedError when
        the log stopped before.
        """
        future: Future[None] = Future()
        with self._mutex:
            if self._fate.failure is not None or self._fate.closing:
                raise self._fate.refusal()
            self._beside.append((make, future))
            idle, self._idle = self._idle, False
        if idle:
            self._wake.release()
        return future

    def admit(self) -> None:
        """Let appends in, unless the log was closed or stopped meanwhile."""
        with self._mutex:
            self._shut = self._refused or bool(self._frozen) or self._fate.failure is not None

    def freeze(self, why: str, last: Request | None = None) -> None:
        """Take no more appends: they raise FrozenError. What waits stays, with `last` behind it.

        Raises as `submit` where no appends are taken, if there is a last one; then nothing is frozen.
        """
        with self._mutex:
            if last is not None:
                if self._shut:
                    raise self._refusal()
                self._pending += last.cost
                last.source = self._source
                self._queue.append(last)
            self._frozen, self._shut = why, True
            idle, self._idle = self._idle, False
        if idle:
            self._wake.release()

    def refuse(self) -> None:
        """Take no more appends: they raise ClosedError. What waits stays, and rows are still taken."""
        with self._mutex:
            self._shut = self._refused = True

    def close(self) -> bool:
        """Take nothing more. What waits stays; whether this was the first call."""
        with self._mutex:
            already, self._fate.closing = self._fate.closing, True
            self._shut = self._refused = True
            idle, self._idle = self._idle, False
        if idle:
            self._wake.release()
        return not already

    def stop(self, error: BaseException) -> list[Request]:
        """Take nothing more, because of this or an earlier failure; gives the appends that waited."""
        with self._mutex:
            self._fate.failure = self._fate.failure or error  # what follows from the first says less
            self._shut = True
            waiting = list(self._queue)
            self._queue.clear()
            beside = list(self._beside)
            self._beside.clear()
            idle, self._idle = self._idle, False
        if idle:
            self._wake.release()
        for _, future in beside:
            future.set_exception(self._fate.refusal())
        for tell in self._told:
            tell(self._fate.refusal())
        return waiting

    def when_stopped(self, tell: Callable[[MerklelogError], None]) -> None:
        """Have `tell` called with why nothing more is taken, once a failure has stopped the writer.

        It is called from the thread that failed, perhaps several times, and must be quick and not raise; from this
        thread where it has stopped already.
        """
        with self._mutex:
            self._told = (*self._told, tell)
        if self._fate.failure is not None:
            tell(self._fate.refusal())

    def paid(self, cost: int) -> None:
        """So many bytes no longer wait."""
        with self._mutex:
            self._pending -= cost

    @property
    def pending(self) -> tuple[int, int]:
        """How many appends no commit has taken yet, and the cost in bytes of all that are not durable yet."""
        return len(self._queue), self._pending

    # --- the writer's thread -----------------------------------------------------------------------------------

    @property
    def has_appends(self) -> bool:
        """Whether an append waits."""
        return bool(self._queue)

    @property
    def has_rows(self) -> bool:
        """Whether rows beside the appends wait."""
        return bool(self._beside)

    def waits(self) -> bool:
        """Whether anything waits."""
        return bool(self._queue or self._beside)

    def sleep(self, seconds: Callable[[], float]) -> None:
        """Wait for something to do, at most so long (asked only when nothing waits; negative: for ever)."""
        with self._mutex:
            if self._queue or self._beside or self._fate.closing:
                return
            self._idle = True
        if self._wake.acquire(timeout=seconds()):
            return
        with self._mutex:
            woken, self._idle = not self._idle, False
        if woken:  # a caller saw us idle just as the time ran out: take its release, or the next sleep would
            self._wake.acquire()

    def drain(self, max_entries: int, max_bytes: int) -> tuple[list[Request], int]:
        """Everything that waits, up to the size of one commit; a single larger batch is taken whole.

        A statement of the log's own is alone in its commit.
        """
        requests: list[Request] = []
        entries = cost = 0
        queue = self._queue
        with self._mutex:  # or a failure of the syncer could empty it under our eyes, and lose what we hold
            while queue:
                count, more = len(queue[0].entries), queue[0].cost
                if requests and (
                    entries + count > max_entries
                    or cost + more > max_bytes
                    or queue[0].make is not None
                    or requests[0].make is not None
                ):
                    break
                requests.append(queue.popleft())
                entries += count
                cost += more
        return requests, cost

    def next_rows(self) -> Beside | None:
        """The rows that waited longest; None when a failure took them."""
        with self._mutex:
            return self._beside.popleft() if self._beside else None
