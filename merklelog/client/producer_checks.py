"""Holding a log to what it answered: after each answer the tree it signed must have these very leaves.

A producer that is alone with its log needs no proof: it knows the peaks of the tree it verified last, adds its own
leaf hashes and must come to the root that was signed. Where others append too, one range proof shows all of its
entries that stand side by side, and one consistency proof that the new tree extends the last one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from merklelog.client.epochs import ReceiptHead
from merklelog.client.receipts import RangeProofs, SingleProofs, tree_before, tree_before_range
from merklelog.client.trust import Trust, trusted_head
from merklelog.errors import ForkError, ProofError, StaleError
from merklelog.formats.receipt import is_receipt
from merklelog.log.receipt import BatchReceipt, ProofSource
from merklelog.protocol.advance import TrustedHead
from merklelog.tree import CompactRange, Hash, verify_consistency, verify_inclusion, verify_range

from .producer_batch import Batch
from .producer_transport import Answer, Proofs

_KEEP_SECONDS: Final = 1.0
_PROOF_SECONDS: Final = 15.0


class Answered(NamedTuple):
    """A batch, and what the log says of it."""

    batch: Batch
    answer: Answer


class _Line:
    """One history as it grows: its newest verified head, and the peaks of that tree where they are known."""

    def __init__(self, head: TrustedHead | None) -> None:
        self.head = head
        self.tree = CompactRange() if head is None or not head.size else None


class Checker:
    """Verifies answers, in the order they were given, against a trust that only advances.

    Checkpoints are one history. Receipts of a log with publish targets are one for each epoch, which begins with
    what was published. The trust's own head is moved at most once a second, and by `keep`: where it is a file,
    that costs a sync.
    """

    def __init__(self, trust: Trust, proofs: Proofs) -> None:
        self._trust = trust
        self._proofs = proofs
        self._kept = trust.head
        self._shown = _Line(trust.head)  # verified to extend `_kept`
        self._receipts = _Line(None)
        self._epoch = 0
        self._keep_at = 0.0

    @property
    def head(self) -> TrustedHead | None:
        """The newest checkpoint that was verified."""
        return self._shown.head

    @property
    def epoch(self) -> int:
        """The newest epoch that a verified receipt was of, 0 before the first."""
        return self._epoch

    def believes(self, note: bytes) -> bool:
        """Whether there is a key to verify this note with: for a receipt note there need not be."""
        return not is_receipt(note) or bool(self._trust.epochs.keys)

    async def check(self, group: Sequence[Answered]) -> list[BatchReceipt]:
        """The receipts of these batches, all under the newest of the signed notes that came with them.

        All of them are of one epoch, or of none. Raises VerificationError and FormatError where the log is
        disproven; what the proofs raise where it could not be told, and then it may be asked again.
        """
        newest = max((each.answer for each in group), key=lambda answer: answer.size)
        if is_receipt(newest.note):
            receipt = self._trust.verify_receipt(newest.note)
            if receipt.epoch != newest.epoch:
                raise ProofError(f"answer: got epoch {newest.epoch} and a receipt of epoch {receipt.epoch}")
            return await self._check_receipts(group, newest, receipt)
        head = trusted_head(self._trust.verify(newest.note))
        _check_size(head, newest)
        receipts = await self._check(group, head, self._shown, None)
        await self._keep_now_and_then()
        return receipts

    async def _check_receipts(
        self, group: Sequence[Answered], newest: Answer, receipt: ReceiptHead
    ) -> list[BatchReceipt]:
        head = receipt.head
        _check_size(head, newest)
        if receipt.epoch < self._epoch:
            raise StaleError(f"answered in epoch {receipt.epoch}, which is over: {self._epoch} was seen")
        begins = receipt.epoch > self._epoch
        line = _Line(None) if begins else self._receipts
        if begins:
            line.tree = None  # an epoch begins with a tree, and not with an empty one
        receipts = await self._check(group, head, line, receipt.epoch)
        shown = self._shown.head
        if begins and shown is not None:
            await self._extend(*sorted((shown, head), key=lambda each: each.size))
        self._receipts, self._epoch = line, receipt.epoch
        return receipts

    async def published(self, note: bytes, batches: Sequence[Batch]) -> list[BatchReceipt]:
        """The receipts of these batches under a checkpoint whose tree is larger than all of their indexes.

        Raises as `check`; ProofError when one of them is not there.
        """
        head = trusted_head(self._trust.verify(note))
        if self._shown.head is not None and head.size < self._shown.head.size:
            raise StaleError(f"checkpoint: got size {head.size}, trusted is {self._shown.head.size}")
        group = [Answered(batch, Answer(batch.indexes or (), head.size, note)) for batch in batches]
        receipts = await self._check(group, head, self._shown, None)
        await self._keep_now_and_then()
        return receipts

    async def _check(
        self, group: Sequence[Answered], head: TrustedHead, line: _Line, epoch: int | None
    ) -> list[BatchReceipt]:
        if line.head is not None and head.size < line.head.size:
            raise StaleError(f"the log answers with size {head.size}; {line.head.size} was verified already")
        receipts: list[BatchReceipt] = []
        tree: CompactRange | None = None
        continues = False
        for run in _runs(group, head.size):
            if isinstance(run[0].answer.indexes, range):
                source, tree, follows = await self._place(run, head, line)
                continues = continues or follows
            else:
                source = await self._find(run[0], head)
            receipts += [_receipts(each, source, head, epoch) for each in run]
        if not continues:
            await self._extend(line.head, head)
        if group or line.head is None or head.size > line.head.size:
            line.head, line.tree = head, tree
        return receipts

    async def _keep_now_and_then(self) -> None:
        if time.monotonic() >= self._keep_at:
            await self.keep()

    async def keep(self) -> None:
        """Move the trust's head to the newest one; where another was quicker, prove that both are one history."""
        self._keep_at = time.monotonic() + _KEEP_SECONDS
        head = self._shown.head
        if head is None or head is self._kept:
            return
        proven = [] if self._kept is None else [self._kept]
        while (other := self._trust.settle(head, proven)) is not None:
            await self._extend(*sorted((other, head), key=lambda each: each.size))
            proven.append(other)
        self._kept = self._trust.head
        if self._kept is not None and self._kept.size > head.size:
            self._shown.head, self._shown.tree = self._kept, None

    async def _place(
        self, run: Sequence[Answered], head: TrustedHead, line: _Line
    ) -> tuple[ProofSource, CompactRange, bool]:
        """Verify that neighbours stand where the log says.

        Gives what their proofs are made of, the tree's peaks, and whether that tree was seen to extend the last.
        """
        leaves = [leaf for each in run for leaf in each.batch.hashes]
        start = run[0].answer.indexes[0]
        proof, tree = self._alone(leaves, start, head, line)
        if tree is None:
            proof = await self._proofs.range_proof(
                start, start + len(leaves), head.size, head.root, _PROOF_SECONDS
            )
            tree = verify_range(leaves, start, head.size, proof, head.root)
        follows = line.head is not None and line.head.size == start
        if follows and line.head is not None and tree_before_range(start, proof) != line.head.root:
            raise _fork(line.head, head, f"the tree of size {head.size} does not begin with that of {start}")
        return RangeProofs(leaves, start, head.size, proof), tree, follows

    @staticmethod
    def _alone(
        leaves: list[Hash], start: int, head: TrustedHead, line: _Line
    ) -> tuple[Sequence[Hash], CompactRange | None]:
        """The range proof and the tree, when these leaves are all that is new; else no tree.

        None too where they do not make the root: the proof the log then shows tells a fork from a wrong answer.
        """
        held = line.tree
        if held is None or held.end != start or start + len(leaves) != head.size:
            return (), None
        try:
            return held.hashes, verify_range(leaves, start, head.size, held.hashes, head.root)
        except ProofError:
            return (), None

    async def _find(self, answered: Answered, head: TrustedHead) -> ProofSource:
        """Verify entries that do not stand side by side: repeats in a log that dedupes."""
        batch, answer = answered
        found = await self._proofs.inclusions(answer.indexes, head.size, head.root, _PROOF_SECONDS)
        if len(found) != len(answer.indexes):
            raise ProofError(f"inclusion proofs: got {len(found)}, want {len(answer.indexes)}")
        for leaf, index, each in zip(batch.hashes, answer.indexes, found, strict=True):
            verify_inclusion(leaf, index, head.size, each.proof, head.root)
        return SingleProofs({index: each.proof for index, each in zip(answer.indexes, found, strict=True)})

    async def _extend(self, old: TrustedHead | None, new: TrustedHead) -> None:
        """Demand that the new head's tree begins with the old one's."""
        if old is None or old.size == 0:
            return
        if old.size == new.size:
            if old.root != new.root:
                raise _fork(old, new, f"two roots for size {new.size}")
            return
        proof = await self._proofs.consistency(old.size, new.size, new.root, _PROOF_SECONDS)
        try:
            verify_consistency(old.size, new.size, old.root, new.root, proof)
        except ProofError as error:
            await self._accuse(old, new, error)
            raise

    async def _accuse(self, old: TrustedHead, new: TrustedHead, fault: ProofError) -> None:
        """A wrong proof may hide a fork: it does when the new tree is shown to begin otherwise.

        The proof of leaf `old.size` leads to the new root or not; if so, all before that leaf comes out of it.
        """
        found = await self._proofs.inclusions((old.size,), new.size, new.root, _PROOF_SECONDS)
        if len(found) != 1:
            return
        try:
            verify_inclusion(found[0].leaf, old.size, new.size, found[0].proof, new.root)
        except ProofError:
            return  # two wrong proofs show no fork; the caller raises the first
        if tree_before(old.size, new.size, found[0].proof) != old.root:
            raise _fork(old, new, str(fault)) from fault


def _receipts(answered: Answered, source: ProofSource, head: TrustedHead, epoch: int | None) -> BatchReceipt:
    batch, answer = answered
    return BatchReceipt(source, answer.indexes, batch.hashes, head.size, head.note, epoch=epoch)


def _check_size(head: TrustedHead, answer: Answer) -> None:
    if head.size != answer.size:
        raise ProofError(f"answer: got a signed note of size {head.size}, want {answer.size}")


def _fork(old: TrustedHead, new: TrustedHead, why: str) -> ForkError:
    return ForkError(f"two histories of {old.origin!r}: {why}", old.note, new.note)


def _runs(group: Sequence[Answered], size: int) -> list[list[Answered]]:
    """The batches, neighbours in the log together; those whose entries are not neighbours alone.

    Raises ProofError for another number of indexes than entries, and for one outside the tree.
    """
    runs: list[list[Answered]] = []
    end: int | None = None
    for each in group:
        indexes = each.answer.indexes
        if len(indexes) != len(each.batch.hashes):
            raise ProofError(f"answer: got {len(indexes)} indexes, want {len(each.batch.hashes)}")
        if max(indexes) >= size:
            raise ProofError(f"answer: got index {max(indexes)}, want less than the tree size {size}")
        if isinstance(indexes, range) and indexes.start == end:
            runs[-1].append(each)
        else:
            runs.append([each])
        end = indexes.stop if isinstance(indexes, range) else None
    return runs
