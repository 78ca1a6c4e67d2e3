"""A trusted head that only ever advances.

Signatures come first: what is given here already met the caller's policy (`verdict.evaluate_policy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from merklelog.errors import ForkError, ProofError, StaleError
from merklelog.formats.checkpoint import SignedCheckpoint
from merklelog.formats.note import format_note
from merklelog.formats.wire import quote
from merklelog.tree.hashing import EMPTY_ROOT, Hash, TreeSize
from merklelog.tree.verify import verify_consistency


@dataclass(frozen=True, slots=True)
class TrustedHead:
    """The newest head a verifier believes, and the signed note that says it, byte for byte."""

    origin: str
    size: TreeSize
    root: Hash
    note: bytes


def advance(trusted: TrustedHead | None, new: SignedCheckpoint, proof: Sequence[Hash]) -> TrustedHead:
    """Moves from a trusted head to a verified newer one; the first one is believed as it is.

    `proof` is the consistency proof between the two sizes, empty from nothing, from size 0 and for the same
    size. At the same size the newer note is kept, since it may carry more cosignatures.

    Raises ForkError with both notes for two roots of one size; ProofError for another origin, an empty tree
    with a root of its own or a proof that does not hold (which may be the proof's fault and accuses nobody);
    StaleError for a smaller size. Source: RFC 9162, section 2.1.4.2.
    """
    checkpoint = new.checkpoint
    head = TrustedHead(checkpoint.origin, checkpoint.size, checkpoint.root, format_note(new.note))
    if head.size == 0 and head.root != EMPTY_ROOT:
        raise ProofError(f"checkpoint of {quote(head.origin)}: size 0 with root {head.root.hex()}")
    if trusted is None:
        return head
    if head.origin != trusted.origin:
        raise ProofError(f"checkpoint: got origin {quote(head.origin)}, want {quote(trusted.origin)}")
    if head.size < trusted.size:
        raise StaleError(
            f"checkpoint of {quote(head.origin)}: got size {head.size}, trusted is {trusted.size}"
        )
    if head.size == trusted.size and head.root != trusted.root:
        raise ForkError(
            f"two roots for size {head.size} of {quote(head.origin)}: "
            f"{trusted.root.hex()} and {head.root.hex()}",
            trusted.note,
            head.note,
        )
    verify_consistency(trusted.size, head.size, trusted.root, head.root, proof)
    return head
