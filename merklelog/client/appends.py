"""Appending to a log that is not trusted: what it answers, as far as the caller wants to wait.

A log with publish targets answers with a receipt note. Who has its receipt key gets that at once, held against all
receipts of the same epoch and against the newest checkpoint; who has none waits until the entry is published, as
there is nothing else to believe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from merklelog.client.epochs import ReceiptHead
from merklelog.client.receipts import RangeProofs, SingleProofs, tree_before, tree_before_range
from merklelog.client.retry import Attempts
from merklelog.client.steps import Ask, Logic, Result, Steps
from merklelog.client.transport import Appended, Batch
from merklelog.client.trust import trusted_head
from merklelog.errors import (
    ForbiddenError,
    PolicyUnmetError,
    ProofError,
    UnauthenticatedError,
    UnavailableError,
)
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.receipt import is_receipt, parse_receipt
from merklelog.log import BatchReceipt, Receipt
from merklelog.log.receipt import ProofSource, Upgrade
from merklelog.protocol.advance import TrustedHead
from merklelog.protocol.verdict import is_signed_by_log
from merklelog.tree.hashing import Hash, leaf_hash, leaf_hashes
from merklelog.tree.verify import verify_inclusion, verify_range


@dataclass(frozen=True, slots=True)
class Under:
    """A verified signed note that an answer leads to; `epoch` is that of a receipt note, None of a checkpoint."""

    head: TrustedHead
    receipt: ReceiptHead | None = None

    @property
    def epoch(self) -> int | None:
        return None if self.receipt is None else self.receipt.epoch


class Appends:
    """The steps of every append. `upgrade` is what receipts that are not published yet are given."""

    def __init__(self, logic: Logic, upgrade: Upgrade | None = None) -> None:
        self._logic = logic
        self._upgrade = upgrade

    def append(self, batch: Batch) -> Steps[Receipt]:
        """One entry, durable and proven under a verified note."""
        leaf = leaf_hash(batch.entries[0])

        def once(attempts: Attempts) -> Steps[Receipt]:
            answer = yield from _appended(batch, attempts)
            proven = self._prove_one(leaf, answer, batch, attempts)
            return (yield from _reading(answer.indexes, self._unless_lost(answer, proven, attempts)))

        return self._logic.retried(once)

    def _prove_one(self, leaf: Hash, answer: Appended, batch: Batch, attempts: Attempts) -> Steps[Receipt]:
        index = answer.indexes[0]
        under = self._under(answer, published=batch.published)
        if under is None or answer.proof is None:
            under = under or (yield from self._published(index, attempts))
            found = yield from self._logic.included((index,), under.head, attempts)
            if found[0].leaf != leaf:
                raise ProofError(f"entry {index}: got leaf hash {found[0].leaf.hex()}, want {leaf.hex()}")
            proof = found[0].proof
        else:
            proof = answer.proof
            verify_inclusion(leaf, index, under.head.size, proof, under.head.root)
        before = tree_before(index, under.head.size, proof)
        yield from self._learn(under, index, before, attempts)
        return Receipt(
            SingleProofs({index: proof}),
            index,
            leaf,
            under.head.size,
            under.head.note,
            epoch=under.epoch,
            upgrade=self._upgrade,
        )

    def append_batch(self, batch: Batch) -> Steps[BatchReceipt]:
        """Entries together, all durable and proven under one verified note."""
        leaves = leaf_hashes(batch.entries)

        def once(attempts: Attempts) -> Steps[BatchReceipt]:
            answer = yield from _appended(batch, attempts)
            proven = self._prove_many(leaves, answer, batch.published, attempts)
            return (yield from _reading(answer.indexes, self._unless_lost(answer, proven, attempts)))

        return self._logic.retried(once)

    def append_each(self, entries: Sequence[bytes], key: bytes, *, wait: str) -> Steps[BatchReceipt]:
        """Entries one after the other, for a log that takes them so only; proven together at the end."""
        leaves = leaf_hashes(entries)
        indexes = []
        for position, entry in enumerate(entries):
            own = hashlib.sha256(b"%d\0%b" % (position, key)).hexdigest().encode("ascii")
            # Only the last needs to wait: it is published with all before it.
            last = position + 1 == len(entries)
            batch = Batch((entry,), own, wait=wait if last else "integrated")
            answer = yield from self._logic.retried(partial(_appended, batch))
            indexes.append(answer.indexes[0])

        def once(attempts: Attempts) -> Steps[BatchReceipt]:
            return (yield from self._prove_many(leaves, Appended(indexes), wait != "integrated", attempts))

        return (yield from _reading(indexes, self._logic.retried(once)))

    def _prove_many(
        self, leaves: list[Hash], answer: Appended, published: bool, attempts: Attempts
    ) -> Steps[BatchReceipt]:
        indexes = list(answer.indexes)
        under = self._under(answer, published=published) or (
            yield from self._published(max(indexes), attempts)
        )
        head = under.head
        if max(indexes) >= head.size:
            raise ProofError(f"append: got index {max(indexes)} under a note of size {head.size}")
        start, end = indexes[0], indexes[0] + len(indexes)
        source: ProofSource
        before: Hash | None = None
        if indexes == list(range(start, end)):
            asked = (start, end, head.size, head.root)
            proof: tuple[Hash, ...] = yield Ask("range_proof", asked, attempts.seconds)
            verify_range(leaves, start, head.size, proof, head.root)
            before = tree_before_range(start, proof)
            source = RangeProofs(leaves, start, head.size, proof)
        else:
            found = yield from self._logic.included(indexes, head, attempts)
            for index, leaf, each in zip(indexes, leaves, found, strict=True):
                if each.leaf != leaf:
                    raise ProofError(f"entry {index}: got leaf hash {each.leaf.hex()}, want {leaf.hex()}")
            source = SingleProofs({index: each.proof for index, each in zip(indexes, found, strict=True)})
        yield from self._learn(under, start, before, attempts)
        return BatchReceipt(
            source, indexes, leaves, head.size, head.note, epoch=under.epoch, upgrade=self._upgrade
        )

    def _unless_lost(self, answer: Appended, steps: Steps[Result], attempts: Attempts) -> Steps[Result]:
        """The steps; what they disprove because a disk was lost meanwhile is to be appended again."""
        try:
            return (yield from steps)
        except ProofError as error:
            if not is_receipt(answer.note):
                raise
            epoch = parse_receipt(answer.note)[0].epoch
            later = yield from self._logic.later_epoch(epoch, attempts)
            if later is None:
                raise
            text = f"entry {answer.indexes[0]}: stored in epoch {epoch} and lost, the log is in epoch {later}"
            raise UnavailableError(text) from error

    # --- which note, and what it is held against ----------------------------------------------------------------

    def _under(self, answer: Appended, *, published: bool) -> Under | None:
        """The note of an answer, verified; None where the caller has to wait for a checkpoint."""
        if not answer.note:
            return None
        if not is_receipt(answer.note):
            try:
                return Under(trusted_head(self._logic.verified(answer.note)))
            except PolicyUnmetError:
                if not is_signed_by_log(self._logic.trust.policy, parse_checkpoint(answer.note)):
                    raise
                return None  # it lacks the policy's quorum alone, which may come
        if published or not self._logic.trust.epochs.keys:
            return None
        receipt = self._logic.verified_receipt(answer.note)
        return Under(receipt.head, receipt)

    def _published(self, index: int, attempts: Attempts) -> Steps[Under]:
        """The checkpoint that readers see, once it covers the entry."""
        try:
            new = yield from self._logic.newest_beyond(index, attempts.seconds, attempts)
        except UnavailableError as error:
            raise UnavailableError(f"entry {index} is stored: {error}", error.retry_after) from error
        if new.size <= index:
            raise UnavailableError(
                f"entry {index} is stored and not published yet: the newest checkpoint has size {new.size}"
            )
        return Under(new)

    def _learn(self, under: Under, size: int, before: Hash | None, attempts: Attempts) -> Steps[None]:
        """Hold a note against all that was seen before; `before` is the root of the first `size` of its leaves."""
        if under.receipt is not None:
            yield from self._logic.learn_receipt(under.receipt, size, before, attempts)
            return
        proven = () if before is None else self._logic.begins(size, before, under.head)
        yield from self._logic.learn(under.head, proven, attempts)


def _reading(indexes: Sequence[int], steps: Steps[Result]) -> Steps[Result]:
    """The proof of what was appended; says what is missing to a caller who may append and not read."""
    try:
        return (yield from steps)
    except (ForbiddenError, UnauthenticatedError) as error:
        text = f"stored from index {indexes[0]} on and not proven, which takes the scope read: {error}"
        raise type(error)(text) from error


def _appended(batch: Batch, attempts: Attempts) -> Steps[Appended]:
    answer: Appended = yield Ask("append", (batch,), attempts.seconds)
    if len(answer.indexes) != len(batch.entries):
        raise ProofError(f"append: got {len(answer.indexes)} indexes for {len(batch.entries)} entries")
    return answer
