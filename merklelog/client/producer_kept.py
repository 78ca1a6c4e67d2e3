"""What a producer keeps of a log with publish targets: the batches that were answered and are not published yet.

What such a log acknowledged may be lost with its disk, until readers of its targets see it. So the batches stay
here, and in the outbox on disk where there is one, until a published checkpoint was seen to hold them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from merklelog.client.retry import Attempts, Retry
from merklelog.errors import (
    ForkError,
    MerklelogError,
    OverloadedError,
    ProofError,
    UnavailableError,
    UnreachableError,
)
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.log.receipt import BatchReceipt

from .producer_batch import Batch
from .producer_buffer import Buffer, ProducerOptions
from .producer_checks import Checker
from .producer_outbox import Outbox
from .producer_transport import Proofs

# Whoever did not answer may have stored it: to go on before that is known would break the order.
TEMPORARY: Final = (OverloadedError, UnreachableError)
WATCH_SECONDS: Final = 10.0
ASK_SECONDS: Final = 15.0


class Kept:
    """The batches between their answer and their publication, in the order they were sent in."""

    def __init__(
        self,
        buffer: Buffer,
        options: ProducerOptions,
        proofs: Proofs,
        checker: Checker,
        outbox: Outbox | None,
        *,
        lost: Callable[[list[Batch]], None],
        doubt: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """`lost` takes batches to send again; `doubt` is told when no publication was heard of for a while,
        `changed` when something was.
        """
        self._buffer = buffer
        self._options = options
        self._proofs = proofs
        self._checker = checker
        self._outbox = outbox
        self._lost = lost
        self._doubt = doubt
        self._changed = changed
        self._batches: dict[int, Batch] = {}
        self._more = asyncio.Event()
        self._moved = asyncio.Event()  # what is waited for is not to come
        self._alone = asyncio.Lock()
        self._ended = False

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def epochs(self) -> set[int]:
        """The epochs that the log answered them in."""
        return {batch.epoch for batch in self._batches.values()}

    def add(self, batch: Batch, receipts: BatchReceipt | None) -> None:
        """A batch that was answered; `receipts` are None where its receipt note could not be verified."""
        batch.note = b"" if receipts is None else receipts.note
        if self._outbox is not None:
            self._outbox.note_place(batch)
            self._buffer.spooled(batch)
        if receipts is not None and self._options.wait == "integrated":
            self._buffer.settle(batch, receipts, kept=True)
        if self._outbox is not None:
            batch.forget_hashes()
            if batch.receipts is not None:  # settled just now, and not a twin that was sent again
                twin = batch.twin()
                self._buffer.exchange(batch, twin)
                batch = twin
        self._batches[batch.number] = batch
        self._more.set()

    def hold(self, batch: Batch) -> None:
        """A batch whose answer could not be verified, as its epoch is over: `recheck` decides."""
        self._batches[batch.number] = batch
        self._more.set()

    def adopt(self, batches: Iterable[Batch]) -> None:
        """What an earlier producer left, and the log answered already."""
        self._batches.update((batch.number, batch) for batch in batches)
        self._more.set()

    def end(self, batch: Batch, outcome: BatchReceipt | MerklelogError) -> None:
        """Published, or refused: it is kept no longer."""
        self._batches.pop(batch.number, None)
        if self._outbox is not None:
            self._outbox.remove(batch)
        self._buffer.release(batch, outcome)
        self._changed()

    def give_up(self, before: float) -> list[Batch]:
        """Take out those begun before that time whose publication somebody waits for; only without an outbox."""
        late = [
            batch
            for batch in self._batches.values()
            if batch.created < before and not self._buffer.is_settled(batch)
        ]
        for batch in late:
            del self._batches[batch.number]
        return late

    def oldest_awaited(self) -> float | None:
        """When the first of them was begun whose publication somebody waits for."""
        return min(
            (batch.created for batch in self._batches.values() if not self._buffer.is_settled(batch)),
            default=None,
        )

    # --- publications --------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look for publications until `stop`. Raises what ends the producer."""
        attempts = Attempts(Retry(total=1e12, attempt=1e12, first=0.05, most=2.0))
        while not self._ended:
            if not self._batches:
                self._more.clear()
                await self._more.wait()
                continue
            try:
                note = await self._grown()
                if note is not None and not await self.settle(note):
                    self._doubt()
            except TEMPORARY as error:
                await asyncio.sleep(attempts.pause(as_temporary(error)))
            else:
                attempts = Attempts(Retry(total=1e12, attempt=1e12, first=0.05, most=2.0))

    async def _grown(self) -> bytes | None:
        """A checkpoint that covers the first batch, or the newest after a while; None: another is first now."""
        self._moved.clear()
        first = self._batches[min(self._batches)]
        grown = asyncio.create_task(self._proofs.grown(max(first.indexes or (0,)), WATCH_SECONDS))
        moved = asyncio.create_task(self._moved.wait())
        try:
            await asyncio.wait({grown, moved}, return_when=asyncio.FIRST_COMPLETED)
            return grown.result() if grown.done() else None
        finally:
            for each in (grown, moved):
                each.cancel()
            await asyncio.gather(grown, moved, return_exceptions=True)

    def stop(self) -> None:
        """End `watch`."""
        self._ended = True
        self._more.set()

    async def settle(self, note: bytes) -> bool:
        """End what this checkpoint covers; send again what is not under it though it should be. Whether any was.

        Raises what a checkpoint does that is not to be believed; ForkError for another entry in the place of one
        whose epoch goes on.
        """
        async with self._alone:
            size = parse_checkpoint(note).checkpoint.size
            covered = [
                self._batches[number]
                for number in sorted(self._batches)
                if max(self._batches[number].indexes or (size,)) < size
            ]
            await self._load(covered)
            try:
                found = await self._checker.published(note, covered)
            except ProofError as error:
                if not covered:
                    raise
                await self._settle_each(note, covered, error)
            else:
                for batch, receipts in zip(covered, found, strict=True):
                    self.end(batch, receipts)
            return bool(covered)

    async def _settle_each(self, note: bytes, covered: list[Batch], fault: ProofError) -> None:
        """One by one, as some of them are not where the log said."""
        lost: list[Batch] = []
        for batch in covered:
            try:
                found = await self._checker.published(note, [batch])
            except ProofError:
                if not await self.is_over(batch.epoch):
                    raise self._accusation(batch, note, fault) from fault
                lost.append(batch)
            else:
                self.end(batch, found[0])
        self.take_back(lost)

    @staticmethod
    def _accusation(batch: Batch, note: bytes, fault: ProofError) -> ProofError | ForkError:
        if not batch.note:
            return fault  # its receipt note was not verified
        first = min(batch.indexes or (0,))
        text = f"two histories: from entry {first} on, others are published than epoch {batch.epoch} answered with"
        return ForkError(text, batch.note, note)

    async def _load(self, batches: list[Batch]) -> None:
        """Their hashes, where only the disk has their entries."""
        outbox = self._outbox
        if outbox is None:
            return
        for batch in batches:
            batch.take_entries(await asyncio.to_thread(outbox.entries, batch))

    # --- epochs --------------------------------------------------------------------------------------------------

    async def is_over(self, epoch: int) -> bool:
        """Whether the log is in a later epoch, so far as it says."""
        if not epoch:
            return False
        if self._checker.epoch > epoch:
            return True
        found = (await self._proofs.epoch(ASK_SECONDS)).number
        return found is not None and found > epoch

    async def recheck(self) -> None:
        """After a lost connection: in a new epoch, send again whatever is not published. Raises TEMPORARY."""
        try:
            epoch = (await self._proofs.epoch(ASK_SECONDS)).number
        except TEMPORARY:
            raise
        except MerklelogError:
            epoch = None  # it will not say: what it has already, it takes once
        if epoch is not None and self.epochs == {epoch}:
            return
        await self.settle(await self._proofs.grown(-1, ASK_SECONDS))
        async with self._alone:
            self.take_back(list(self._batches.values()))

    def take_back(self, batches: list[Batch]) -> None:
        """Send these again."""
        for batch in batches:
            self._batches.pop(batch.number, None)
        if batches:
            self._moved.set()
            self._lost(batches)


def as_temporary(error: OverloadedError | UnreachableError) -> OverloadedError | UnavailableError:
    """As one of the errors after which `retry` knows a pause."""
    return error if isinstance(error, OverloadedError | UnavailableError) else UnavailableError(str(error))
