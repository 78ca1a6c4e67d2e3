"""What a verifier concludes offline, from bytes it was given and a policy it already had.

Keys come from the policy and never from what is verified. A signature by a key the policy does not list is
ignored; one that claims a listed key and is wrong condemns the whole note.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from merklelog.errors import PolicyError, PolicyUnmetError, ProofError, SignatureError
from merklelog.formats.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from merklelog.formats.keys import VerifierKey
from merklelog.formats.note import VerifiedSignature, verify_note
from merklelog.formats.policy import QUORUM_NONE, Policy, PolicyWitness
from merklelog.formats.proof import ProofFile
from merklelog.formats.wire import quote
from merklelog.tree.hashing import Hash, LeafIndex
from merklelog.tree.verify import verify_inclusion


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness of the policy that cosigned, and the earliest time it signed at (POSIX seconds, never 0)."""

    witness: PolicyWitness
    timestamp: int


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """A policy is met: by which log key, with which cosigners, and since when at the latest.

    `existed_by` is in POSIX seconds: at that time a quorum had already signed. None with `quorum none`.
    """

    log_key: VerifierKey
    cosigners: tuple[Cosigner, ...]
    existed_by: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """An entry is in a log: at `index` of the tree of `checkpoint`, which meets the policy."""

    checkpoint: Checkpoint
    index: LeafIndex
    log_key: VerifierKey
    cosigners: tuple[Cosigner, ...]
    existed_by: int | None


def evaluate_policy(policy: Policy, signed: SignedCheckpoint) -> PolicyVerdict:
    """Decides whether a signed checkpoint is valid under a policy.

    It is when any one listed log key whose name is the origin signed it and the quorum's witnesses cosigned
    it. A witness cosignature with timestamp 0 makes no statement that the tree is the largest one seen, so it
    counts toward nothing. Extension lines are covered by signatures of types 0x01 and 0x04 only.

    Raises SignatureError for a wrong signature under a listed key or none by any, PolicyUnmetError when
    others are wanted, PolicyError for a policy without logs. Source: tlog-policy; tlog-proof, "Verifying a
    tlog proof", 2 and 3.
    """
    origin = signed.checkpoint.origin
    if not policy.logs:
        raise PolicyError("policy: it lists no log, so no checkpoint meets it")
    if all(log.key.name != origin for log in policy.logs):
        listed = ", ".join(quote(log.key.name) for log in policy.logs[:4])
        raise PolicyUnmetError(
            f"checkpoint of {quote(origin)}: the policy lists no log of that name, only {listed}"
        )
    listed_keys = [log.key for log in policy.logs] + [witness.key for witness in policy.witnesses]
    verified = verify_note(signed.note, listed_keys)
    log_key = _log_key(policy, origin, verified)
    cosigners = _cosigners(policy, verified)
    if not is_quorum(policy, [cosigner.witness.name for cosigner in cosigners]):
        names = ", ".join(quote(cosigner.witness.name) for cosigner in cosigners) or "none"
        raise PolicyUnmetError(
            f"checkpoint of {quote(origin)}: cosigned by {names}, want the quorum {quote(policy.quorum)}"
        )
    return PolicyVerdict(log_key, cosigners, _existed_by(policy, cosigners))


def is_signed_by_log(policy: Policy, signed: SignedCheckpoint) -> bool:
    """Whether a checkpoint meets all of a policy but its quorum: its log says so, whoever else does."""
    try:
        evaluate_policy(replace(policy, quorum=QUORUM_NONE), signed)
    except (SignatureError, PolicyUnmetError):
        return False
    return True


def _log_key(policy: Policy, origin: str, verified: tuple[VerifiedSignature, ...]) -> VerifierKey:
    # The name MUST correspond to the origin: a listed log can not speak for another one.
    keys = {log.key for log in policy.logs if log.key.name == origin}
    for signature in verified:
        if signature.key in keys:
            return signature.key
    raise PolicyUnmetError(f"checkpoint of {quote(origin)}: no listed key of that log signed it")


def _cosigners(policy: Policy, verified: tuple[VerifiedSignature, ...]) -> tuple[Cosigner, ...]:
    earliest: dict[VerifierKey, int] = {}
    for signature in verified:
        if signature.timestamp:
            before = earliest.get(signature.key, signature.timestamp)
            earliest[signature.key] = min(before, signature.timestamp)
    return tuple(Cosigner(w, earliest[w.key]) for w in policy.witnesses if w.key in earliest)


def is_quorum(policy: Policy, names: Collection[bytes]) -> bool:
    """Whether witnesses of these policy names are enough. Source: tlog-policy, "Defining a witness group"."""
    if policy.quorum == QUORUM_NONE:
        return True
    met = set(names)
    for group in policy.groups:  # each comes after the groups it is made of
        if sum(member in met for member in group.members) >= group.threshold:
            met.add(group.name)
    return policy.quorum in met


def _existed_by(policy: Policy, cosigners: tuple[Cosigner, ...]) -> int | None:
    if policy.quorum == QUORUM_NONE:
        return None
    # More cosigners never unmake a quorum, so the first time that is enough is the earliest.
    for time in sorted({cosigner.timestamp for cosigner in cosigners}):
        if is_quorum(policy, [c.witness.name for c in cosigners if c.timestamp <= time]):
            return time
    return None


def verify_proof_file(proof: ProofFile, leaf: Hash, policy: Policy) -> Verdict:
    """Verifies that the entry with that leaf hash is in a log, as the policy wants it proven.

    Raises FormatError for a checkpoint that is none, what `evaluate_policy` raises, and ProofError when the
    index is not in the tree or the hashes do not lead to its root. `proof.extra` is not looked at.
    Source: tlog-proof, "Verifying a tlog proof".
    """
    signed = parse_checkpoint(proof.checkpoint)
    verdict = evaluate_policy(policy, signed)
    checkpoint = signed.checkpoint
    if proof.index >= checkpoint.size:
        raise ProofError(f"proof index: got {proof.index}, want less than the tree size {checkpoint.size}")
    index = LeafIndex(proof.index)
    verify_inclusion(leaf, index, checkpoint.size, proof.hashes, checkpoint.root)
    return Verdict(checkpoint, index, verdict.log_key, verdict.cosigners, verdict.existed_by)
