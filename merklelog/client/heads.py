"""Which of a log's checkpoints a reader believes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from merklelog.client.source import Pointing, TileSource
from merklelog.errors import (
    DamagedError,
    ForkError,
    FormatError,
    NotFoundError,
    PolicyUnmetError,
    SignatureError,
)
from merklelog.formats.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from merklelog.formats.policy import QUORUM_NONE, Policy
from merklelog.formats.wire import quote
from merklelog.protocol.verdict import PolicyVerdict, evaluate_policy, is_signed_by_log
from merklelog.publish.layout import WITNESSED_KEY, cosigned_key


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """A checkpoint that meets the reader's policy, why it does, and the signed note byte for byte."""

    checkpoint: Checkpoint
    verdict: PolicyVerdict
    note: bytes = field(repr=False)


def head_of_size(source: TileSource, policy: Policy, size: int) -> VerifiedHead:
    """The stored checkpoint of that size, verified.

    Raises NotFoundError when none is stored; PolicyUnmetError, SignatureError and DamagedError for one that
    does not meet the policy, that nobody trusted signed, or that is damaged.
    """
    note = source.checkpoint(size)
    name = f"checkpoints/{size}"
    signed = _parse(note, name)
    if signed.checkpoint.size != size:
        raise DamagedError(f"{name}: it is for size {signed.checkpoint.size}")
    try:
        return _verify(signed, note, policy, name)
    except PolicyUnmetError:
        found = _cosigned(source, policy, size)
        if found is None:
            raise
        refuse_fork(policy, note, found)
        return found


def refuse_fork(policy: Policy, note: bytes, head: VerifiedHead) -> None:
    """Raises ForkError where the log signed `note` too, for the same size as `head` and with another root."""
    try:
        signed = parse_checkpoint(note)
    except FormatError:
        return  # whoever read it has said so
    one, other = signed.checkpoint, head.checkpoint
    if (one.origin, one.size) != (other.origin, other.size) or one.root == other.root:
        return
    if is_signed_by_log(policy, signed):
        text = f"two histories of {one.origin!r}: two roots for size {one.size}"
        raise ForkError(text, note, head.note)


def _cosigned(source: TileSource, policy: Policy, size: int) -> VerifiedHead | None:
    """The checkpoint of that size as it is kept apart, with its cosignatures; None without one that meets."""
    if policy.quorum == QUORUM_NONE or not isinstance(source, Pointing):
        return None
    for name in (cosigned_key(size), WITNESSED_KEY):
        note = source.pointer(name)
        signed = None if note is None else _parse(note, name)
        if note is None or signed is None or signed.checkpoint.size != size:
            continue
        with suppress(PolicyUnmetError):  # what was stored under the size says why
            return _verify(signed, note, policy, name)
    return None


def newest_head(source: TileSource, policy: Policy) -> VerifiedHead:
    """The newest stored checkpoint that meets the policy.

    One that a listed key signed wrongly, or that is no checkpoint, is an error and not passed over, and so is
    a newer one by another name than the log's: SignatureError and DamagedError, naming the file. ForkError, with
    both notes, when one that lacks its quorum alone has another root for the same size. Raises NotFoundError
    when no checkpoint meets the policy (design, "Formats": a reader then could not tell).
    """
    passed: list[tuple[str, SignedCheckpoint, bytes]] = []
    last: Exception | None = None
    for name, note in _candidates(source, policy):
        signed = _parse(note, name)
        try:
            head = _verify(signed, note, policy, name)
        except (PolicyUnmetError, SignatureError) as error:
            if _claims_listed_key(signed, policy) and isinstance(error, SignatureError):
                raise
            passed.append((name, signed, note))
            last = error
            continue
        for other_name, other, other_note in passed:
            if other.checkpoint.origin != head.checkpoint.origin:
                origin = quote(other.checkpoint.origin)
                raise DamagedError(f"{other_name}: got origin {origin}, want {quote(head.checkpoint.origin)}")
            refuse_fork(policy, other_note, head)
        return head
    raise NotFoundError(
        f"none of {len(passed)} stored checkpoints meets the policy; the last one: {last}"
    ) from last


def _candidates(source: TileSource, policy: Policy) -> Iterator[tuple[str, bytes]]:
    """The newest checkpoint, then every stored one from the newest on (its note may have other signatures).

    Where witnesses are asked for, the newest cosigned one comes before those: a log whose readers do not wait for
    them (`witness.mode = continue`) shows it apart.
    """
    yield "checkpoint", source.checkpoint()
    asks = policy.quorum != QUORUM_NONE
    if asks and isinstance(source, Pointing) and (note := source.pointer(WITNESSED_KEY)) is not None:
        yield WITNESSED_KEY, note
    for size in source.stored_sizes():
        yield f"checkpoints/{size}", source.checkpoint(size)


def _parse(note: bytes, name: str) -> SignedCheckpoint:
    try:
        return parse_checkpoint(note)
    except FormatError as error:
        raise DamagedError(f"{name}: {error}") from error


def _verify(signed: SignedCheckpoint, note: bytes, policy: Policy, name: str) -> VerifiedHead:
    try:
        return VerifiedHead(signed.checkpoint, evaluate_policy(policy, signed), note)
    except (PolicyUnmetError, SignatureError) as error:
        raise type(error)(f"{name}: {error}") from error


def _claims_listed_key(signed: SignedCheckpoint, policy: Policy) -> bool:
    keys = [log.key for log in policy.logs] + [witness.key for witness in policy.witnesses]
    listed = {(key.name, key.key_id) for key in keys}
    return any((line.name, line.key_id) in listed for line in signed.note.signatures)
