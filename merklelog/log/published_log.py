"""What a publisher sees of the log (`publish.publisher.PublishedLog`), and the rows that it has the log keep.

Its methods are called from the publisher's thread. Rows go through the sequencer's thread and are durable when a
method returns, so that they stand in the same order as the commits around them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from merklelog.errors import DamagedError, RangeError
from merklelog.formats import VerifierKey, parse_checkpoint
from merklelog.protocol.commit import Commit
from merklelog.protocol.publication import TreeHead
from merklelog.publish.publishing import Witnessed
from merklelog.store import StoreReader
from merklelog.tree import Hash, TreeSize

from .head import Epoch, Head, Signers, read_epoch, read_witnessed
from .reader import IntegratedTiles

if TYPE_CHECKING:
    from .sequencer import Sequencer


class Integrated(Protocol):
    """The part of a log that its publication reads: see LogReader."""

    @property
    def origin(self) -> str:
        """See LogReader."""

    @property
    def vkeys(self) -> tuple[VerifierKey, ...]:
        """See LogReader."""

    @property
    def integrated(self) -> Head:
        """See LogReader."""

    def integrated_tiles(self) -> IntegratedTiles:
        """See LogReader."""


class PublishedRows:
    """The log as its publisher sees it. `head` is the one that readers see; it only ever grows.

    `moved` is called with each new one, when it is durable.
    """

    def __init__(
        self,
        log: Integrated,
        store: StoreReader,
        sequencer: Sequencer,
        signers: Signers,
        shown: Head,
        seconds: Callable[[], int],
        places: Sequence[str] = (),
        *,
        mode: Witnessed = Witnessed.NOBODY,
    ) -> None:
        """`places` are the locations of the log's targets: `record_epoch` adds them to those it knows.

        With `mode` HOLD `head` moves when a quorum has cosigned. `offered` hears of each head that witnesses may
        be asked for, with its note as the log signed it.
        """
        self.head = shown
        self.witnessed = read_witnessed(store, log.origin)
        self.offered: Callable[[TreeHead, bytes], None] = _unasked
        self._mode = mode
        self.moved: Callable[[Head], None] = _unheard
        self.begun: int | None = None  # the epoch of this start, once it is recorded
        self._log = log
        self.store = store
        self._sequencer = sequencer
        self._signers = signers
        self._seconds = seconds
        self._places = places
        self.origin = log.origin
        self.verifiers: tuple[VerifierKey, ...] = log.vkeys

    def epoch(self) -> int:
        """The newest epoch that this disk knows; 0 for none."""
        begun = read_epoch(self.store, self.origin)
        return 0 if begun is None else begun.number

    def integrated(self) -> TreeHead:
        """The newest durable tree."""
        head = self._log.integrated
        return TreeHead(head.size, head.root)

    def tiles(self) -> IntegratedTiles:
        """Its tiles and bundles."""
        return self._log.integrated_tiles()

    def signed(self, size: int) -> bytes | None:
        """The checkpoint stored for a size, signed by all keys; None when there is none."""
        return self.store.checkpoint(size)

    def shown(self) -> TreeHead | None:
        """What readers of this log are shown; None for nothing but the empty tree."""
        return TreeHead(self.head.size, self.head.root) if self.head.size else None

    def sign(self, head: TreeHead) -> bytes:
        """The checkpoint of a head of this log, signed by all keys, stored and synced; the stored one if there is.

        Invariant 2 is held here: the head is of this log's tree, and so is the newest that was signed before.
        Raises DamagedError when one of them is not, StoppedError, ClosedError.
        """
        self._check(head.size, head.root, "to be signed")
        stored = self.signed(head.size)
        if stored is not None:
            self._check_note(stored)
            return stored
        self._check(self.head.size, self.head.root, "shown to readers")
        newest = next(iter(self.store.stored_sizes()), None)
        if newest is not None and (last := self.signed(newest)) is not None:
            self._check_note(last)
        note = self._signers.sign(head.size, head.root, both=True)
        self._sequencer.write(lambda: Commit(filed=(head.size, note))).result()
        return note

    def _check_note(self, note: bytes) -> None:
        said = parse_checkpoint(note).checkpoint
        self._check(said.size, said.root, "signed before")

    def _check(self, size: int, root: Hash, what: str) -> None:
        try:
            own = self._log.integrated_tiles().root_at(size)
        except RangeError as error:
            raise DamagedError(f"{self.origin}: size {size}, {what}: {error}") from error
        if own != root:
            raise DamagedError(
                f"{self.origin}: the tree of size {size} has root {own.hex()}, that {what} is {root.hex()}: "
                f"nothing is signed"
            )

    def record_epoch(self, epoch: int, head: TreeHead) -> None:
        """Sign receipts of this epoch from now on. Durable when it returns."""
        before = read_epoch(self.store, self.origin)
        places = dict.fromkeys([*(before.places if before else ()), *self._places])
        row = Epoch(epoch, TreeSize(head.size), head.root, tuple(places)).row()

        def rows(newest: Head) -> Commit:
            # The checkpoint of a log that had no target until now would be gone: its readers go on seeing it.
            return Commit(epoch=row, published=self.head.note if newest.epoch is None else None)

        self._sequencer.begin(epoch, self._signers.receipts(epoch, self._seconds), rows).result()
        self.begun = epoch

    def record_shown(self, head: TreeHead, note: bytes) -> None:
        """Show this head to readers from now on, unless they see a newer one. Durable when it returns.

        Where that waits for witnesses, they are asked for it instead.
        """
        if head.size < self.head.size:
            return
        if head.size > self._log.integrated.size:
            raise DamagedError(
                f"{self.origin}: size {head.size} was published of {self._log.integrated.size}"
            )
        if self._mode is not Witnessed.HOLD:
            self._sequencer.write(lambda: Commit(published=note)).result()
            self._show(Head(TreeSize(head.size), head.root, note, ()))
        self.offered(head, note)

    def record_witnessed(self, head: TreeHead, note: bytes) -> None:
        """Keep the note with its cosignatures, and show it where that waits for them. Durable when it returns."""
        self._check(head.size, head.root, "cosigned")
        if self.witnessed is not None and head.size < self.witnessed.size:
            return
        shown = note if self._mode is Witnessed.HOLD and head.size >= self.head.size else None
        self._sequencer.write(lambda: Commit(witnessed=note, published=shown)).result()
        witnessed = Head(TreeSize(head.size), head.root, note, ())
        if shown is not None:
            self._show(witnessed)
        self.witnessed = witnessed  # never ahead of what is shown: proofs are asked for up to here

    def hold(self, held: bool) -> None:
        """Have what readers are shown of a log without targets wait for witnesses from now on, or not any more."""
        note = self.head.note if held else None
        self._sequencer.write(lambda: Commit(published=note, held=b"1" if held else b"0")).result()

    def _show(self, head: Head) -> None:
        self.head = head
        self.moved(head)


def _unasked(_head: TreeHead, _note: bytes) -> None:
    """No witness is asked."""


def _unheard(_head: Head) -> None:
    """Nobody listens yet."""


__all__ = ["PublishedRows"]
