"""Who waits for a head of some size, and how they are told; and what a log shows that has no publish target."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import TYPE_CHECKING, Protocol

from merklelog.errors import MerklelogError, UsageError

from .head import Head
from .receipt import Receipt

if TYPE_CHECKING:
    from .publishing import PublishStatus
    from .sequencer import Sequencer
    from .witnessing import WitnessingStatus


class Outcome(Protocol):
    """Who is told what became of an append: what a request asks of a future, and no more."""

    def done(self) -> bool:
        """Whether nobody wants to know any more."""

    def set_result(self, receipt: Receipt, /) -> None:
        """The entry is durable. Must be quick and not raise."""

    def set_exception(self, error: MerklelogError, /) -> None:
        """It was refused, or the log stopped. Must be quick and not raise."""


class Waiters:
    """Futures that resolve when the head has reached a size. Safe for threads.

    A future that was cancelled is passed over; when more than half are, they are let go of.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._heap: list[tuple[int, int, Future[Head]]] = []
        self._numbers = count()  # futures are not ordered
        self._cancelled = 0  # or a few more than there are
        self._error: MerklelogError | None = None

    def wait(self, size: int, head: Head) -> Future[Head]:
        """A future of the first head from `head` on that has at least `size` entries.

        The caller looks at the head again when it has the future: it may have moved in between.
        """
        future: Future[Head] = Future()
        if head.size >= size:
            future.set_result(head)
            return future
        with self._mutex:
            if self._error is None:
                heapq.heappush(self._heap, (size, next(self._numbers), future))
                future.add_done_callback(self._ended)
                return future
        future.set_exception(self._error)
        return future

    def _ended(self, future: Future[Head]) -> None:
        """Called with each future that is done; not within the mutex, as nobody else has it while it is held."""
        if not future.cancelled():
            return
        with self._mutex:
            self._cancelled += 1
            if 2 * self._cancelled > len(self._heap):
                self._heap = [waiter for waiter in self._heap if not waiter[2].cancelled()]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def moved(self, head: Head) -> None:
        """The head is this one now: tell who waited for it."""
        due: list[Future[Head]] = []
        with self._mutex:
            while self._heap and self._heap[0][0] <= head.size:
                due.append(heapq.heappop(self._heap)[2])
        for future in due:
            if future.set_running_or_notify_cancel():
                future.set_result(head)

    def fail(self, error: MerklelogError) -> None:
        """The head moves no more: tell all who wait, and who will."""
        with self._mutex:
            self._error = error
            left = [future for _, _, future in self._heap]
            self._heap = []
        for future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


class Publication(Protocol):
    """What a log shows its readers: what its targets show (`publishing.Publishing`), or all (`Unpublished`)."""

    @property
    def head(self) -> Head:
        """The head that readers see; any thread may read it."""

    @property
    def epoch(self) -> int | None:
        """The epoch of this writer; None before it has one, and where there are none."""

    @property
    def status(self) -> PublishStatus | None:
        """How the publication stands; None without targets."""

    @property
    def is_starting(self) -> bool:
        """Whether appends are refused because a target or a witness has not answered yet."""

    @property
    def witnessed(self) -> Head | None:
        """The newest checkpoint that a quorum cosigned; None before the first, and without witnesses."""

    @property
    def witnessing(self) -> WitnessingStatus | None:
        """How the log stands with its witnesses; None without."""

    def wait_witnessed(self, size: int) -> Future[Head]:
        """A future of the first checkpoint of that size that a quorum cosigned. Raises UsageError without."""

    def listen(self, listener: Callable[[Head], None]) -> Callable[[], None]:
        """Call `listener` with each new head that readers see; gives the function that ends it."""

    def wait(self, size: int) -> Future[Head]:
        """A future of the first head that readers see with at least so many entries."""

    def publish_now(self) -> Future[Head]:
        """Publish what is integrated, at once. Raises UsageError without targets."""

    def begin(self, seconds: float | None) -> None:
        """Begin to publish, and wait so long until appends are let in; None does not wait."""

    def close(self, seconds: float) -> None:
        """Publish what is integrated, for at most so long, once nothing is appended any more."""

    def end(self, error: MerklelogError) -> None:
        """The log is closed: tell who waits."""


class Unpublished:
    """The publication of a log without targets: what is durable is what readers see."""

    epoch = None
    status = None
    is_starting = False
    witnessed = None
    witnessing = None

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._mutex = threading.Lock()
        self._waiters: Waiters | None = None  # most logs never have one, and each commit would ask it
        self.listen = sequencer.listen

    @property
    def head(self) -> Head:
        """The newest durable head."""
        return self._sequencer.head

    def wait(self, size: int) -> Future[Head]:
        """See Publication."""
        with self._mutex:
            if self._waiters is None:
                self._waiters = Waiters()
                self._sequencer.listen(self._waiters.moved)
                self._sequencer.when_stopped(self._waiters.fail)
        future = self._waiters.wait(size, self._sequencer.head)
        self._waiters.moved(self._sequencer.head)  # it may have moved before the waiter was noted
        return future

    def wait_witnessed(self, size: int) -> Future[Head]:  # noqa: ARG002 - Publication
        """See Publication."""
        raise UsageError("witness.policy is empty: nobody cosigns this log's checkpoints")

    def publish_now(self) -> Future[Head]:
        """See Publication."""
        raise UsageError("publish.targets is empty: this log has no place to be published to")

    def begin(self, seconds: float | None) -> None:
        """Appends are in."""

    def close(self, seconds: float) -> None:
        """Nothing is left to be shown."""

    def end(self, error: MerklelogError) -> None:
        """See Publication."""
        if self._waiters is not None:
            self._waiters.fail(error)


__all__ = ["Outcome", "Publication", "Unpublished", "Waiters"]
