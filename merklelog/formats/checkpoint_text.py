"""The text of a checkpoint: the three lines a log signs, and any extension lines."""

from __future__ import annotations

from dataclasses import dataclass

from merklelog.errors import FormatError
from merklelog.formats.wire import (
    decode_base64,
    decode_text,
    encode_base64,
    encode_text,
    format_decimal,
    parse_decimal,
    quote,
    split_lines,
)
from merklelog.tree.hashing import HASH_SIZE, Hash, TreeSize


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: `size` leaves of the log `origin` have the 32-byte root hash `root`.

    `extensions` are opaque lines without their newlines; an ML-DSA-44 signature does not cover them.
    """

    origin: str
    size: TreeSize
    root: Hash
    extensions: tuple[str, ...] = ()


def parse_checkpoint_text(text: bytes) -> Checkpoint:
    """Reads the note text of a checkpoint.

    Any non-empty origin is taken; a size is below 2**63. Raises FormatError.
    Source: tlog-checkpoint, "Note text".
    """
    decode_text(text, "checkpoint")
    lines = split_lines(text, "checkpoint")
    if len(lines) < 3 or b"" in lines:
        raise FormatError(f"checkpoint: got {quote(text)}, want three or more lines, none of them empty")
    root = parse_hash(lines[2], "checkpoint root")
    size = TreeSize(parse_decimal(lines[1], "checkpoint size"))
    return Checkpoint(lines[0].decode("utf-8"), size, root, tuple(line.decode("utf-8") for line in lines[3:]))


def format_checkpoint_text(checkpoint: Checkpoint) -> bytes:
    """The note text, its last newline included. Raises FormatError for what can not be read back."""
    if len(checkpoint.root) != HASH_SIZE:
        raise FormatError(f"checkpoint root: got {len(checkpoint.root)} bytes, want {HASH_SIZE}")
    lines = [
        encode_text(checkpoint.origin, "checkpoint origin"),
        format_decimal(checkpoint.size, "checkpoint size"),
        encode_base64(checkpoint.root),
    ]
    lines += [encode_text(line, "checkpoint extension line") for line in checkpoint.extensions]
    if any(not line or b"\n" in line for line in lines):
        raise FormatError(f"checkpoint of {quote(checkpoint.origin)}: a line is empty or holds a newline")
    return b"\n".join(lines) + b"\n"


def parse_hash(line: bytes, what: str) -> Hash:
    """A SHA-256 hash as a line of base64. Raises FormatError unless it is exactly 32 bytes."""
    data = decode_base64(line, what)
    if len(data) != HASH_SIZE:
        raise FormatError(f"{what}: got {len(data)} bytes, want {HASH_SIZE}")
    return Hash(data)
