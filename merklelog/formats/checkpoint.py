"""Checkpoints: signed notes whose text is a tree head."""

from __future__ import annotations

from dataclasses import dataclass

from merklelog.errors import FormatError
from merklelog.formats.checkpoint_text import Checkpoint, format_checkpoint_text, parse_checkpoint_text
from merklelog.formats.cosignature import encode_timestamped, signed_message
from merklelog.formats.keys import SigningKey
from merklelog.formats.note import Note, NoteSignature, parse_note

__all__ = [
    "Checkpoint",
    "SignedCheckpoint",
    "format_checkpoint_text",
    "parse_checkpoint",
    "parse_checkpoint_text",
    "sign_checkpoint",
]


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and the note that says it. Nothing is verified yet: that takes keys or a policy."""

    checkpoint: Checkpoint
    note: Note

    def __post_init__(self) -> None:
        """Raises FormatError when the two differ, since signatures are checked on the note alone."""
        if format_checkpoint_text(self.checkpoint) != self.note.text:
            raise FormatError("signed checkpoint: its note says something else than its checkpoint")


def parse_checkpoint(data: bytes) -> SignedCheckpoint:
    """Reads a signed checkpoint; `format_note` of its note gives the same bytes back.

    Raises FormatError. Source: tlog-checkpoint.
    """
    note = parse_note(data)
    return SignedCheckpoint(parse_checkpoint_text(note.text), note)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey, timestamp: int = 0) -> NoteSignature:
    """Signs a checkpoint, each key type in its own way: 0x01 the note text, 0x04 and 0x06 with a time.

    `timestamp` is POSIX seconds; a log's own 0x06 signature has 0. Raises FormatError for a checkpoint that
    can not be written, a time outside 0..2**63-1, or a time with a 0x01 key, which can not carry one.
    Source: signed-note, "Ed25519 signatures"; tlog-cosignature.
    """
    message = signed_message(key.type, key.name, timestamp, checkpoint)
    if key.type.is_timestamped:
        blob = encode_timestamped(timestamp, key.sign(message))
    elif timestamp:
        raise FormatError(f"timestamp: got {timestamp}, want 0: a signature of type 0x01 carries none")
    else:
        blob = key.sign(message)
    return NoteSignature(key.name, key.verifier.key_id, blob)
