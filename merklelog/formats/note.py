"""Signed notes: a text and the signature lines under it.

Reading a note proves nothing. Its text means something only after `verify_note` with keys that the caller
trusted before it saw the note.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from merklelog.errors import FormatError, SignatureError
from merklelog.formats.algorithms import RECEIPT_PURPOSE, SignatureType
from merklelog.formats.checkpoint_text import parse_checkpoint_text
from merklelog.formats.cosignature import decode_timestamped, signed_message
from merklelog.formats.keys import KEY_ID_SIZE, VerifierKey
from merklelog.formats.names import key_name_fault
from merklelog.formats.wire import decode_base64, decode_text, encode_base64, encode_text, quote

MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 128  # signed-note, "Format": a limit SHOULD be applied, and 16 MUST be accepted

_DASH: Final = "— ".encode()


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the key's name, its 4-byte ID, and what follows the ID (a timestamp included)."""

    name: str
    key_id: bytes
    blob: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text, its last newline included, and one or more signatures in the order of their lines."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that verified: the key, and the POSIX seconds it carries (None for type 0x01)."""

    key: VerifierKey
    timestamp: int | None


def parse_note(data: bytes, *, max_bytes: int = MAX_NOTE_BYTES, max_signatures: int = MAX_SIGNATURES) -> Note:
    """Splits a signed note into its text and its signatures, and verifies none of them.

    Raises FormatError. Source: signed-note, "Format".
    """
    if len(data) > max_bytes:
        raise FormatError(f"note: got {len(data)} bytes, want at most {max_bytes}")
    decode_text(data, "note")
    # The text may hold empty lines of its own: the last one is the separator.
    split = data.rfind(b"\n\n")
    if split < 0:
        raise FormatError("note: no empty line between a text and its signatures")
    text, below = data[: split + 1], data[split + 2 :]
    if not below.endswith(b"\n"):
        raise FormatError(
            "note: want one or more signature lines under the last empty line, each ending in a newline"
        )
    if (count := below.count(b"\n")) > max_signatures:
        raise FormatError(f"note: got {count} signature lines, want at most {max_signatures}")
    return Note(text, tuple(parse_signature_line(line) for line in below[:-1].split(b"\n")))


def parse_signature_line(line: bytes) -> NoteSignature:
    """Reads a signature line, given without its newline.

    Raises FormatError. Source: signed-note, "Format".
    """
    decode_text(line, "signature line")
    if not line.startswith(_DASH):
        raise FormatError(f"signature line: got {quote(line)}, want an em dash and a space first")
    name, _, encoded = line[len(_DASH) :].partition(b" ")
    signature = decode_base64(encoded, f"signature of {quote(name)}")
    if len(signature) <= KEY_ID_SIZE:
        raise FormatError(
            f"signature of {quote(name)}: got {len(signature)} bytes, want a key ID and a signature"
        )
    text = name.decode("utf-8")
    _check_name(text)
    return NoteSignature(text, signature[:KEY_ID_SIZE], signature[KEY_ID_SIZE:])


def _check_name(name: str) -> None:
    if fault := key_name_fault(name):
        raise FormatError(f"signature line: key name {quote(name)}: {fault}")


def format_signature_line(signature: NoteSignature) -> bytes:
    """The signature line, its newline included. Raises FormatError for what can not be read back."""
    _check_name(signature.name)
    if len(signature.key_id) != KEY_ID_SIZE or not signature.blob:
        raise FormatError(f"signature of {quote(signature.name)}: want a key ID of 4 bytes and a signature")
    encoded = encode_base64(signature.key_id + signature.blob)
    return b"%s%s %s\n" % (_DASH, encode_text(signature.name, "key name"), encoded)


def format_note(note: Note) -> bytes:
    """The note's bytes. Raises FormatError for what `parse_note` would not read back."""
    decode_text(note.text, "note text")
    if not note.text.endswith(b"\n"):
        raise FormatError("note text: it does not end in a newline")
    if not note.signatures:
        raise FormatError("note: it has no signature")
    return b"".join([note.text, b"\n", *map(format_signature_line, note.signatures)])


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifiedSignature, ...]:
    """Verifies every signature by one of `keys`; lines of other keys are ignored.

    Returns what verified in the order of the lines, the same key and time once. Raises SignatureError when a
    line bears a known key's name and ID and is not its signature, when two of `keys` share a name and ID that
    a line bears, or when no line is by any of them. Source: signed-note, "Signatures".
    """
    known: dict[tuple[str, bytes], list[VerifierKey]] = {}
    for key in keys:
        known.setdefault((key.name, key.key_id), []).append(key)
    verified: dict[VerifiedSignature, None] = {}  # a dict for its order
    for signature in note.signatures:
        matching = known.get((signature.name, signature.key_id), [])
        if len(matching) > 1:
            raise SignatureError(
                f"{_shown(signature)}: {len(matching)} of the trusted keys have this name and ID"
            )
        if matching:
            verified[VerifiedSignature(matching[0], _verify(note.text, signature, matching[0]))] = None
    if not verified:
        raise SignatureError(f"no trusted key signed this note: got {_signers(note)}, want {_wanted(known)}")
    return tuple(verified)


def _verify(text: bytes, signature: NoteSignature, key: VerifierKey) -> int | None:
    """The signature's timestamp, once it verified."""
    timestamp, bare, message = None, signature.blob, text
    if key.type is SignatureType.RECEIPT and not text.startswith(b"%s\n" % RECEIPT_PURPOSE.encode()):
        raise SignatureError(f"{_shown(signature)}: a receipt key signs receipts alone, and this is none")
    if key.type.is_timestamped:
        try:
            timestamp, bare = decode_timestamped(key.type, signature.blob)
            message = signed_message(key.type, key.name, timestamp, parse_checkpoint_text(text), text)
        except FormatError as error:
            # The line claims to be this key's and can not be: that is a bad signature, not a bad note.
            raise SignatureError(f"{_shown(signature)}: {error}") from error
    if not key.is_signature(bare, message):
        raise SignatureError(f"{_shown(signature)}: it is not this key's signature of the text")
    return timestamp


def _shown(signature: NoteSignature) -> str:
    return f"signature of {quote(signature.name)} (key ID {signature.key_id.hex()})"


def _signers(note: Note) -> str:
    return ", ".join(f"{quote(s.name)}+{s.key_id.hex()}" for s in note.signatures[:4])


def _wanted(known: dict[tuple[str, bytes], list[VerifierKey]]) -> str:
    return ", ".join(f"{quote(name)}+{identifier.hex()}" for name, identifier in list(known)[:4]) or "none"
