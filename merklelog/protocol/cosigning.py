"""A log asks its witnesses: what their answers mean, whether it may start, and the note that its policy takes.

What a witness says in words or with a status is not signed, so nothing here is evidence of a fork. It is reason to
stop and look: a witness is of the log's own choosing, and who answers "409, I have more" has seen this log's
signature on more than this disk knows of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from merklelog.errors import FormatError, PolicyUnmetError, SignatureError
from merklelog.formats.checkpoint import SignedCheckpoint, parse_checkpoint
from merklelog.formats.keys import VerifierKey
from merklelog.formats.note import Note, NoteSignature, format_note, verify_note
from merklelog.formats.policy import QUORUM_NONE, Policy, PolicyWitness
from merklelog.formats.wire import quote
from merklelog.formats.witness import SIZE_TYPE, parse_cosignatures, parse_size
from merklelog.protocol.verdict import evaluate_policy, is_quorum

_OK: Final = 200
_CONFLICT: Final = 409
_INCONSISTENT: Final = 422
_LINES: Final = 16
_RETRIED: Final = frozenset((408, 429, 500, 502, 503, 504))


class Means(Enum):
    """What an answer to add-checkpoint means for who asked."""

    COSIGNED = "cosignatures that verify"
    OTHER_SIZE = "the witness is at another size, not beyond the checkpoint's: ask again from there"
    AHEAD = "the witness has cosigned more of this log than the checkpoint has"
    FORKED = "the witness has another tree"
    LATER = "it may answer later"
    REFUSED = "it does not cosign this, however often it is asked"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, understood: `size` for OTHER_SIZE and AHEAD, `lines` for COSIGNED, why in `message` for others.

    `later` is in seconds, None where the witness did not say.
    """

    means: Means
    message: str = ""
    size: int = 0
    lines: tuple[NoteSignature, ...] = ()
    later: float | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One witness as it is reached: a URL, and the lines of the policy that name it (a key each)."""

    url: str
    witnesses: tuple[PolicyWitness, ...]

    @property
    def name(self) -> str:
        """What a person calls it: the names of its lines."""
        return ", ".join(witness.name.decode("utf-8", "backslashreplace") for witness in self.witnesses)

    @property
    def names(self) -> tuple[bytes, ...]:
        """The names of its lines, as the policy's groups have them."""
        return tuple(witness.name for witness in self.witnesses)

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """Its keys."""
        return tuple(witness.key for witness in self.witnesses)


def peers(policy: Policy) -> tuple[Peer, ...]:
    """The witnesses of a policy that can be asked, in its order; lines of one URL are one witness."""
    found: dict[str, list[PolicyWitness]] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            url = witness.url.decode("utf-8", "backslashreplace").rstrip("/")
            found.setdefault(url, []).append(witness)
    return tuple(Peer(url, tuple(lines)) for url, lines in found.items())


def understand(
    peer: Peer,
    signed: SignedCheckpoint,
    old: int,
    status: int,
    content_type: str,
    body: bytes,
    later: float | None = None,
) -> Reply:
    """What a witness' answer means to an add-checkpoint from `old` to `signed`; cosignatures are verified.

    No other status than 200, 409 and 422 says what the witness has of the log, as it may be that of a proxy in
    between; a witness cosigns an empty tree as any other. Source: tlog-witness, "add-checkpoint".
    """
    size = signed.checkpoint.size
    if status == _OK:
        return _cosigned(peer, signed, body)
    if status == _CONFLICT:
        return _conflict(size, old, content_type, body)
    said = f"{status}: {_shown(body)}"
    if status in _RETRIED:
        return Reply(Means.LATER, f"it answered {said}", later=later)
    if status == _INCONSISTENT and size > 0:
        return Reply(Means.FORKED, f"it has another tree than this log's of size {old}: it answered {said}")
    return Reply(Means.REFUSED, f"it answered {said}")


def _cosigned(peer: Peer, signed: SignedCheckpoint, body: bytes) -> Reply:
    keys = {(key.name, key.key_id) for key in peer.keys}
    try:
        lines = tuple(line for line in parse_cosignatures(body) if (line.name, line.key_id) in keys)
        if not lines:
            return Reply(Means.REFUSED, "it answered with cosignatures of other keys than the policy's")
        counted = {}  # one a key, and none without a time: it would stand where one that counts has to
        for line in lines:
            if any(each.timestamp for each in verify_note(Note(signed.note.text, (line,)), peer.keys)):
                counted[line.name, line.key_id] = line
    except (FormatError, SignatureError) as error:
        return Reply(Means.REFUSED, f"its cosignature is none: {error}")
    if not counted:
        return Reply(Means.REFUSED, "its cosignature has no time, so it does not count")
    return Reply(Means.COSIGNED, lines=tuple(counted.values()))


def _conflict(size: int, old: int, content_type: str, body: bytes) -> Reply:
    try:
        there = parse_size(body)
    except FormatError as error:
        return Reply(Means.REFUSED, f"it answered 409 without a size: {error}")
    if content_type.partition(";")[0].strip().lower() != SIZE_TYPE:
        return Reply(
            Means.REFUSED, f"it answered 409 with Content-Type {quote(content_type)}, want {SIZE_TYPE}"
        )
    if there > size:
        text = f"it has cosigned size {there} of this log, and {size} is the newest that was signed here"
        return Reply(Means.AHEAD, text, there)
    if there != old:
        return Reply(Means.OTHER_SIZE, f"it is at size {there}", there)
    if old == size:
        return Reply(Means.FORKED, f"it is at size {there} as well, with another root", there)
    return Reply(Means.REFUSED, f"it answered 409 with the size that was asked from, {there}")


def _shown(body: bytes) -> str:
    return quote(body[:200].strip())


# --- who is enough -----------------------------------------------------------------------------------------------


def unreached(policy: Policy, reached: Iterable[Peer], missing: Iterable[Peer]) -> bool:
    """Whether a log must wait: the witnesses not reached could form a quorum by themselves.

    Then they may have cosigned a tree that nobody who was reached knows of. A line without a URL can not be asked,
    so it is told apart from both. Source: the design, "Heads, receipts, publication".
    """
    known = {name for peer in reached for name in peer.names}
    away = {name for peer in missing for name in peer.names}
    return is_quorum(policy, [w.name for w in policy.witnesses if w.name in away and w.name not in known])


def can_be_met(policy: Policy) -> bool:
    """Whether the witnesses that have a URL can make the quorum, and it is one."""
    return policy.quorum != QUORUM_NONE and is_quorum(policy, [n for p in peers(policy) for n in p.names])


def with_cosignatures(policy: Policy, note: bytes, by_name: Mapping[bytes, NoteSignature]) -> bytes | None:
    """The note with these cosignatures, by their lines' names in the policy; None when it does not meet it.

    Every reader takes 16 lines of a note (signed-note, "Signatures"): where there are more, those the quorum does
    without are left out, the last ones of the policy first. Raises FormatError, SignatureError for a note that is
    no checkpoint.
    """
    chosen = [witness.name for witness in policy.witnesses if witness.name in by_name]
    if not is_quorum(policy, chosen):
        return None
    signed = parse_checkpoint(note)
    room = _LINES - len(signed.note.signatures)
    for name in reversed(chosen[:]):
        if len(chosen) <= room:
            break
        if is_quorum(policy, rest := [each for each in chosen if each != name]):
            chosen = rest
    lines = tuple(by_name[name] for name in chosen)
    whole = Note(signed.note.text, (*signed.note.signatures, *lines))
    try:
        evaluate_policy(policy, SignedCheckpoint(signed.checkpoint, whole))
        return format_note(whole)
    except PolicyUnmetError:
        return None


def line_names(peer: Peer, lines: Sequence[NoteSignature]) -> dict[bytes, NoteSignature]:
    """The lines by the name that the policy gives to their key."""
    keys = {(witness.key.name, witness.key.key_id): witness.name for witness in peer.witnesses}
    return {keys[line.name, line.key_id]: line for line in lines if (line.name, line.key_id) in keys}


__all__ = [
    "Means",
    "Peer",
    "Reply",
    "can_be_met",
    "line_names",
    "peers",
    "understand",
    "unreached",
    "with_cosignatures",
]
