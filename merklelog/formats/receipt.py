"""Receipts: what a log with publish targets signs in each commit, in place of a checkpoint.

A checkpoint is forever; what a lost disk can take back is only a receipt. It says which epoch of the log (one
start of one writer) had which root at which size, so that two roots for one size in one epoch are a fork, and a
receipt of an epoch that is over, whose entry is not in the published tree, is a loss.

A receipt is a signed note of six lines: `merklelog/receipt/v1`, origin, epoch, size, root, time. It is signed by
the log's receipt key, whose name is `<origin>/receipt` and whose type is 0xff with the same purpose, and no key
signs both receipts and checkpoints. Its second line is no decimal unless an origin is, and its third no hash, so
that no receipt reads as a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from merklelog.errors import FormatError, SignatureError
from merklelog.formats.algorithms import RECEIPT_PURPOSE, SignatureType
from merklelog.formats.checkpoint_text import parse_hash
from merklelog.formats.keys import SigningKey, VerifierKey
from merklelog.formats.note import Note, NoteSignature, format_note, parse_note, verify_note
from merklelog.formats.wire import (
    decode_text,
    encode_base64,
    encode_text,
    format_decimal,
    parse_decimal,
    quote,
    split_lines,
)
from merklelog.tree.hashing import HASH_SIZE, Hash, TreeSize

__all__ = [
    "ReceiptNote",
    "format_receipt_text",
    "is_receipt",
    "parse_receipt",
    "parse_receipt_text",
    "receipt_key_name",
    "sign_receipt",
    "verify_receipt",
]

_FIRST: Final = RECEIPT_PURPOSE.encode() + b"\n"
_LINES: Final = 6


@dataclass(frozen=True, slots=True)
class ReceiptNote:
    """What a receipt says: in this epoch (from 1), the log had this root at this size, at this POSIX second."""

    origin: str
    epoch: int
    size: TreeSize
    root: Hash
    time: int


def receipt_key_name(origin: str) -> str:
    """The name of a log's receipt key."""
    return f"{origin}/receipt"


def is_receipt(data: bytes) -> bool:
    """Whether a signed note claims to be a receipt, by its first line. Nothing is parsed or verified."""
    return data.startswith(_FIRST)


def parse_receipt_text(text: bytes) -> ReceiptNote:
    """Reads the note text of a receipt. Raises FormatError."""
    decode_text(text, "receipt")
    lines = split_lines(text, "receipt")
    if len(lines) != _LINES or b"" in lines or not is_receipt(text):
        raise FormatError(
            f"receipt: got {quote(text)}, want {_LINES} lines, the first {RECEIPT_PURPOSE!r}, none of them empty"
        )
    epoch = parse_decimal(lines[2], "receipt epoch")
    if epoch == 0:
        raise FormatError("receipt epoch: got 0, want 1 or more")
    return ReceiptNote(
        lines[1].decode("utf-8"),
        epoch,
        TreeSize(parse_decimal(lines[3], "receipt size")),
        parse_hash(lines[4], "receipt root"),
        parse_decimal(lines[5], "receipt time"),
    )


def format_receipt_text(receipt: ReceiptNote) -> bytes:
    """The note text, its last newline included. Raises FormatError for what can not be read back."""
    if len(receipt.root) != HASH_SIZE:
        raise FormatError(f"receipt root: got {len(receipt.root)} bytes, want {HASH_SIZE}")
    if receipt.epoch < 1:
        raise FormatError(f"receipt epoch: got {receipt.epoch}, want 1 or more")
    origin = encode_text(receipt.origin, "receipt origin")
    if not origin or b"\n" in origin:
        raise FormatError(f"receipt origin {quote(receipt.origin)}: it is empty or holds a newline")
    return b"%s%s\n%s\n%s\n%s\n%s\n" % (
        _FIRST,
        origin,
        format_decimal(receipt.epoch, "receipt epoch"),
        format_decimal(receipt.size, "receipt size"),
        encode_base64(receipt.root),
        format_decimal(receipt.time, "receipt time"),
    )


def parse_receipt(data: bytes) -> tuple[ReceiptNote, Note]:
    """Reads a signed receipt; `format_note` of its note gives the same bytes back. Nothing is verified.

    Raises FormatError.
    """
    note = parse_note(data)
    return parse_receipt_text(note.text), note


def verify_receipt(data: bytes, key: VerifierKey) -> ReceiptNote:
    """A receipt that this receipt key signed; its origin is the one that the key's name says.

    Raises FormatError for what is no receipt, SignatureError when `key` is no receipt key, is another log's, or
    did not sign this.
    """
    receipt, note = parse_receipt(data)
    if key.type is not SignatureType.RECEIPT:
        raise SignatureError(
            f"key {quote(key.name)} of type 0x{key.type.value:02x}: want a receipt key (0xff) for a receipt"
        )
    if key.name != receipt_key_name(receipt.origin):
        raise SignatureError(
            f"receipt of {quote(receipt.origin)}: got the key {quote(key.name)}, "
            f"want {quote(receipt_key_name(receipt.origin))}"
        )
    verify_note(note, [key])
    return receipt


def sign_receipt(receipt: ReceiptNote, key: SigningKey) -> bytes:
    """The signed receipt. Raises FormatError for what can not be read back or a key of another type or name."""
    if key.type is not SignatureType.RECEIPT or key.name != receipt_key_name(receipt.origin):
        raise FormatError(
            f"receipt of {quote(receipt.origin)}: got the key {quote(key.name)} of type 0x{key.type.value:02x}, "
            f"want {quote(receipt_key_name(receipt.origin))} of type 0xff"
        )
    text = format_receipt_text(receipt)
    return format_note(Note(text, (NoteSignature(key.name, key.verifier.key_id, key.sign(text)),)))
