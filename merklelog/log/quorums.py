"""What the thread that publishes a log does with its witnesses: the start check, cosigned heads, who waits.

Every method but `wait` and `status` is that thread's.
"""

from __future__ import annotations

from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from merklelog.errors import MerklelogError
from merklelog.protocol.publication import TreeHead
from merklelog.tree import EMPTY_ROOT, TreeSize

from .head import Head
from .lag import Lag
from .waiting import Waiters
from .witnessing import Witnesses, Witnessing, WitnessingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from merklelog.publish.publishing import PublicationReport

    from .published_log import PublishedRows
    from .sequencer import Sequencer


class Publishes(Protocol):
    """Who brings heads to targets: see Publisher, and Alone where there are none."""

    @property
    def behind(self) -> tuple[str, ...]:
        """See Publisher."""

    @property
    def unwritten(self) -> str | None:
        """See Publisher."""

    def compare(self) -> None:
        """See Publisher."""

    def start(self) -> int:
        """See Publisher."""

    def publish(self) -> PublicationReport | None:
        """See Publisher."""

    def confirm(self, tree: TreeHead, note: bytes) -> bool:
        """See Publisher."""


class Quorums:
    """The witnesses of one open log, for its publishing thread. `wake` is called when there is something to do."""

    def __init__(
        self,
        witnesses: Witnesses,
        rows: PublishedRows,
        publisher: Publishes,
        sequencer: Sequencer,
        wake: Callable[[], None],
    ) -> None:
        self._rows = rows
        self._publisher = publisher
        self._sequencer = sequencer
        self._witnessing = Witnessing(
            witnesses,
            rows.store,
            lambda old, size: rows.tiles().consistency_proof(old, size),
            wake=wake,
            stop=sequencer.stop,
        )
        if rows.witnessed is not None and not self._witnessing.meets(rows.witnessed.note):
            rows.witnessed = None  # the policy was another one then
        if rows.witnessed is not None:
            self._witnessing.remember(rows.witnessed)
        self._waiters = Waiters()
        self._lag = Lag(self.size, sequencer.head.size, monotonic)
        self._quorum = witnesses.policy.quorum.decode("utf-8", "backslashreplace")
        self.patience = witnesses.config.timeout
        rows.offered = self._witnessing.offer
        sequencer.listen(lambda head: self._lag.grew(head.size))
        sequencer.when_stopped(self._waiters.fail)

    @property
    def head(self) -> Head | None:
        """The newest checkpoint that a quorum cosigned."""
        return self._rows.witnessed

    @property
    def size(self) -> int:
        """How many entries it has."""
        return 0 if self.head is None else self.head.size

    @property
    def status(self) -> WitnessingStatus:
        """As it is now."""
        asked = self._witnessing
        lag = max(0, self._sequencer.head.size - self.size)
        return WitnessingStatus(
            asked.mode.value,
            self._quorum,
            None if self.head is None else self.size,
            asked.offered,
            lag,
            self._lag.seconds(self.size),
            asked.status,
        )

    def wait(self, size: int) -> Future[Head]:
        """A future of the first cosigned checkpoint with so many entries."""
        future = self._waiters.wait(size, self.head or _NOTHING)
        if self.head is not None and not future.done():
            self._waiters.moved(self.head)  # it may have moved before the waiter was noted
        return future

    def end(self, error: MerklelogError) -> None:
        """The log is closed: tell who waits."""
        self._waiters.fail(error)

    # --- the publishing thread -----------------------------------------------------------------------------------

    def compare(self) -> None:
        """The start check: targets first, which say how to recover, then the witnesses."""
        self._publisher.compare()
        self._witnessing.compare()

    def begin(self) -> None:
        """The log has started: what was published before is offered."""
        asked = self._witnessing
        asked.resume(self.size, None if self.head is None else self.head.note)
        newest = max(self._rows.head.size, self.size)
        if (note := self._rows.signed(newest)) is not None:
            asked.prime(note)

    def beat(self) -> float | None:
        """Offer an unchanged head again when it is due; seconds until then, None for never."""
        return self._witnessing.beat()

    @property
    def has_more(self) -> bool:
        """Whether a quorum has cosigned what is not filed yet."""
        return self._witnessing.has_more

    @property
    def is_asking(self) -> bool:
        """Whether the newest that was offered has no quorum yet."""
        return self._witnessing.is_asking

    def work(self) -> None:
        """File and show what a quorum cosigned. Raises as `Publisher.publish`; then it is done the next time."""
        taken = self._witnessing.take()
        if taken is None:
            return
        checkpoint = taken.offer.signed.checkpoint
        is_done = False
        try:
            is_done = self._publisher.confirm(TreeHead(checkpoint.size, checkpoint.root), taken.note)
        finally:
            if not is_done:
                self._witnessing.give_back(taken)
        if not is_done:
            return  # a target is being brought up to it: after that
        self._witnessing.settle(checkpoint.size)
        self._lag.seconds(self.size)  # what is witnessed is no longer remembered
        if self.head is not None:
            self._waiters.moved(self.head)

    def close(self) -> None:
        """Ask nobody any more."""
        self._witnessing.close()


# Before the first quorum: fewer entries than anybody waits for.
_NOTHING = Head(TreeSize(-1), EMPTY_ROOT, b"", ())


__all__ = ["Publishes", "Quorums"]
