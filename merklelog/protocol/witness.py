"""A witness' one decision: cosign this checkpoint, or say why not.

What a witness promises is that it never cosigns two trees of one log of which neither begins the other. So it
keeps one checkpoint a log, the newest it cosigned, and takes another only with a proof from exactly that one.
Deciding and recording must be one step for a log: two decisions from one recorded checkpoint could both say yes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from merklelog.errors import FormatError, PolicyUnmetError, ProofError, SignatureError
from merklelog.formats.checkpoint import Checkpoint, SignedCheckpoint
from merklelog.formats.keys import VerifierKey
from merklelog.formats.note import Note, parse_note
from merklelog.formats.policy import Policy
from merklelog.formats.wire import quote
from merklelog.formats.witness import AddCheckpoint
from merklelog.protocol.verdict import evaluate_policy
from merklelog.tree.hashing import EMPTY_ROOT, Hash, TreeSize
from merklelog.tree.verify import verify_consistency


class Refusal(Enum):
    """Why a witness does not cosign; the value is the HTTP status that tlog-witness names."""

    BAD_REQUEST = 400
    NOT_SIGNED = 403
    UNKNOWN_LOG = 404
    CONFLICT = 409
    INCONSISTENT = 422


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The newest tree of a log that a witness cosigned; one that it never cosigned has size 0."""

    size: TreeSize
    root: Hash


@dataclass(frozen=True, slots=True)
class Refused:
    """No cosignature, and the reason in words. `size` is the recorded one, for a conflict."""

    why: Refusal
    message: str
    size: int = 0


NOTHING = Witnessed(TreeSize(0), EMPTY_ROOT)


def judge_signatures(policy: Policy | None, request: AddCheckpoint) -> Note | Refused:
    """Whether the log itself says this checkpoint, by the witness' policy for it.

    Gives the note with the lines of the policy's keys alone, all of them verified. The policy is None for an
    origin that the witness does not know. This part needs no recorded state, and comes before the part that
    does. Source: tlog-witness, "add-checkpoint".
    """
    checkpoint = request.checkpoint
    if policy is None:
        return unknown_log(checkpoint.origin)
    try:
        signed = SignedCheckpoint(request.checkpoint, parse_note(request.note))
        evaluate_policy(policy, signed)
    except (FormatError, SignatureError, PolicyUnmetError) as error:
        return Refused(Refusal.NOT_SIGNED, f"invalid signature: {error}")
    if request.old > checkpoint.size:
        text = f"old size {request.old} is larger than the checkpoint's, {checkpoint.size}"
        return Refused(Refusal.BAD_REQUEST, text)
    known = {(key.name, key.key_id) for key in policy_keys(policy)}
    lines = tuple(line for line in signed.note.signatures if (line.name, line.key_id) in known)
    return Note(signed.note.text, lines)


def unknown_log(origin: str) -> Refused:
    """What is said to a log that the witness does not know."""
    return Refused(Refusal.UNKNOWN_LOG, f"unknown log {quote(origin)}")


def policy_keys(policy: Policy) -> Iterator[VerifierKey]:
    """Every key that a policy lists."""
    yield from (log.key for log in policy.logs)
    yield from (witness.key for witness in policy.witnesses)


def judge_growth(recorded: Witnessed, request: AddCheckpoint) -> Refused | None:
    """Whether this checkpoint extends the recorded one; None when it does, and may be cosigned.

    Source: tlog-witness, "add-checkpoint".
    """
    checkpoint = request.checkpoint
    if request.old != recorded.size:
        text = f"old size is {request.old}, the newest cosigned one is {recorded.size}"
        return Refused(Refusal.CONFLICT, text, recorded.size)
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        return Refused(Refusal.INCONSISTENT, f"size 0 with root {checkpoint.root.hex()}")
    try:
        verify_consistency(recorded.size, checkpoint.size, recorded.root, checkpoint.root, request.proof)
    except ProofError as error:
        return Refused(Refusal.INCONSISTENT, f"invalid consistency proof: {error}")
    return None


def is_equivocation(recorded: Witnessed, checkpoint: Checkpoint) -> bool:
    """Whether this checkpoint, signed by the log, and the recorded one can not both be true."""
    return checkpoint.size == recorded.size > 0 and checkpoint.root != recorded.root
