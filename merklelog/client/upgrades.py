"""From a receipt to a proof: the same entry under a published checkpoint, or what became of it.

A receipt says what a log with publish targets had in one epoch. Once the entry is under a checkpoint, its proof
leads there. When another entry stands in its place, it matters whether the receipt's epoch is over: if so, a disk
was lost and the entry with it, and whoever has it sends it again; if not, the log has two histories.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from merklelog.client.epochs import ReceiptHead
from merklelog.client.receipts import SingleProofs
from merklelog.client.retry import Attempts
from merklelog.client.steps import Ask, Logic, Steps
from merklelog.client.transport import Epoch
from merklelog.client.trust import trusted_head
from merklelog.errors import ForkError, LostError, ProofError, UnavailableError, UsageError
from merklelog.formats.proof import parse_proof
from merklelog.formats.receipt import is_receipt
from merklelog.log import Receipt
from merklelog.protocol.advance import TrustedHead
from merklelog.tree.hashing import Hash, leaf_hash
from merklelog.tree.verify import verify_inclusion


@dataclass(frozen=True, slots=True)
class Claim:
    """What a receipt says: an entry stands at `index` of the tree of `note`; `leaf` None: nobody knows which."""

    index: int
    leaf: Hash | None
    proof: tuple[Hash, ...]
    note: bytes = field(repr=False)


def claim_of(receipt: Receipt | bytes, entry: bytes | None = None) -> Claim:
    """The claim of a receipt, or of what its `to_bytes` gave and the entry if known. Raises FormatError."""
    if isinstance(receipt, Receipt):
        return Claim(receipt.index, receipt.leaf_hash, tuple(receipt.proof), receipt.note)
    found = parse_proof(receipt)
    return Claim(
        found.index, None if entry is None else leaf_hash(entry), tuple(found.hashes), found.checkpoint
    )


class Upgrades:
    """The steps of an upgrade."""

    def __init__(self, logic: Logic) -> None:
        self._logic = logic

    def upgrade(self, claim: Claim) -> Steps[Receipt]:
        """The entry under a verified checkpoint. Raises LostError, ForkError; UnavailableError, not published yet.

        ProofError: the receipt's own proof is wrong. UsageError: no receipt key is trusted.
        """
        return self._logic.retried(lambda attempts: self._upgrade(claim, attempts))

    def _upgrade(self, claim: Claim, attempts: Attempts) -> Steps[Receipt]:
        if not is_receipt(claim.note):
            return (yield from self._published(claim, attempts))
        if not self._logic.trust.epochs.keys:
            raise UsageError(
                "receipt: nobody says whose it is: trust the log's receipt key too, the third line that "
                "`merklelog vkey` prints"
            )
        receipt = self._logic.verified_receipt(claim.note)
        _check_place(claim, receipt.head.size)
        if claim.leaf is not None:
            verify_inclusion(claim.leaf, claim.index, receipt.head.size, claim.proof, receipt.head.root)
        head = self._logic.trust.head
        if head is None or head.size <= claim.index:
            head = yield from self._logic.newest_beyond(claim.index, attempts.seconds, attempts)
        if head.size <= claim.index:
            raise (yield from self._unpublished(claim, receipt, head, attempts))
        found = (yield from self._logic.included((claim.index,), head, attempts))[0]
        if not _agrees(claim, receipt, found.leaf):
            raise (yield from self._replaced(claim, receipt, head, attempts))
        yield from self._hold(receipt, head, attempts)
        return Receipt(
            SingleProofs({claim.index: found.proof}), claim.index, found.leaf, head.size, head.note
        )

    def _published(self, claim: Claim, attempts: Attempts) -> Steps[Receipt]:
        """A claim that leads to a checkpoint already, verified."""
        head = trusted_head(self._logic.verified(claim.note))
        _check_place(claim, head.size)
        leaf = claim.leaf
        if leaf is None:
            leaf = (yield from self._logic.included((claim.index,), head, attempts))[0].leaf
        verify_inclusion(leaf, claim.index, head.size, claim.proof, head.root)
        yield from self._logic.learn(head, (), attempts)
        proofs = SingleProofs({claim.index: claim.proof})
        return Receipt(proofs, claim.index, leaf, head.size, head.note)

    def _unpublished(
        self, claim: Claim, receipt: ReceiptHead, head: TrustedHead, attempts: Attempts
    ) -> Steps[Exception]:
        """What it means that the newest checkpoint does not reach the entry."""
        text = f"entry {claim.index}: the newest checkpoint has size {head.size}"
        later = self._logic.trust.epochs.newest
        if later is not None and later.epoch > receipt.epoch and later.head.size <= claim.index:
            return _lost(claim, receipt, f"epoch {later.epoch} went on from fewer entries")
        found: Epoch = yield Ask("epoch", (), attempts.seconds)
        if found.number is None or found.number <= receipt.epoch:
            return UnavailableError(f"{text}, so it is not published yet")
        if found.size is not None and found.size <= claim.index:
            return _lost(claim, receipt, f"in epoch {found.number} the log has {found.size} entries")
        return UnavailableError(
            f"{text}, and the log is in epoch {found.number}: the receipt is of epoch {receipt.epoch}, so the "
            f"entry may be lost"
        )

    def _replaced(
        self, claim: Claim, receipt: ReceiptHead, head: TrustedHead, attempts: Attempts
    ) -> Steps[Exception]:
        """What it means that another entry is published at this index."""
        later = yield from self._logic.later_epoch(receipt.epoch, attempts)
        why = f"another entry is published at index {claim.index}"
        if claim.leaf is None:
            if head.size < receipt.head.size:
                # Only with the receipt's whole tree published can a wrong file be told from another history.
                return UnavailableError(
                    f"entry {claim.index}: the receipt has size {receipt.head.size}, and the newest checkpoint "
                    f"{head.size}: not published yet"
                )
            try:
                yield from self._logic.compare(receipt.head, head, attempts)
            except ForkError as fork:
                return fork if later is None else _lost(claim, receipt, f"{why}, in epoch {later}")
            return ProofError(f"entry {claim.index}: the receipt's own proof does not lead to its root")
        if later is not None:
            return _lost(claim, receipt, f"{why}, and the log is in epoch {later}")
        return ForkError(
            f"two histories of {head.origin!r}: {why}, in the receipt's own epoch {receipt.epoch}",
            receipt.head.note,
            head.note,
        )

    def _hold(self, receipt: ReceiptHead, head: TrustedHead, attempts: Attempts) -> Steps[None]:
        """With all of the receipt's tree published, it has to be that very tree, unless its epoch is over."""
        if head.size < receipt.head.size:
            return
        try:
            yield from self._logic.compare(receipt.head, head, attempts)
        except ForkError:
            if (yield from self._logic.later_epoch(receipt.epoch, attempts)) is None:
                raise


def _check_place(claim: Claim, size: int) -> None:
    if claim.index >= size:
        raise ProofError(f"receipt: got index {claim.index}, want less than its tree size {size}")


def _agrees(claim: Claim, receipt: ReceiptHead, leaf: Hash) -> bool:
    """Whether the published leaf is the one that the receipt speaks of."""
    if claim.leaf is not None:
        return leaf == claim.leaf
    try:
        verify_inclusion(leaf, claim.index, receipt.head.size, claim.proof, receipt.head.root)
    except ProofError:
        return False
    return True


def _lost(claim: Claim, receipt: ReceiptHead, why: str) -> LostError:
    return LostError(
        f"entry {claim.index}: lost with the log's disk after epoch {receipt.epoch}: {why}; append it again"
    )
