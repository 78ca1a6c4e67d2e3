"""What goes between a log and a witness: add-checkpoint's request, its answer, and the size of a conflict.

A request is bytes from a stranger, so its length is bounded before anything in it is looked at, and reading it
verifies nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.checkpoint_text import Checkpoint, parse_checkpoint_text, parse_hash
from merklelog.formats.note import MAX_SIGNATURES, NoteSignature, format_signature_line, parse_signature_line
from merklelog.formats.wire import encode_base64, format_decimal, parse_decimal, quote, split_lines
from merklelog.tree.hashing import HASH_SIZE, Hash, TreeSize

ADD_CHECKPOINT: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"  # the Content-Type of a 409, to the letter
MAX_PROOF_LINES: Final = 63
# Sixteen ML-DSA-44 signature lines, which every reader of notes must take, are 53 KB.
MAX_REQUEST_BYTES: Final = 128 << 10
MAX_ANSWER_BYTES: Final = 128 << 10

_OLD: Final = b"old "


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: the tree of `old` leaves begins that of the checkpoint, by this consistency proof.

    `note` is the checkpoint's signed note, byte for byte, whose signature lines nobody has read yet: a witness
    that does not know the log need not, and lines that can not be read are no log's signatures (403, not 400).
    """

    old: TreeSize
    proof: tuple[Hash, ...]
    checkpoint: Checkpoint
    note: bytes


def parse_add_checkpoint(data: bytes, *, max_bytes: int = MAX_REQUEST_BYTES) -> AddCheckpoint:
    """Reads the body of an add-checkpoint request; no proof is verified, and no signature line is read.

    Raises FormatError. Source: tlog-witness, "add-checkpoint".
    """
    if len(data) > max_bytes:
        raise FormatError(f"add-checkpoint: got {len(data)} bytes, want at most {max_bytes}")
    head, separator, note = data.partition(b"\n\n")
    if not separator:
        raise FormatError("add-checkpoint: no empty line between the consistency proof and a checkpoint")
    first, *lines = head.split(b"\n")
    if not first.startswith(_OLD):
        raise FormatError(f"add-checkpoint: got {quote(first)} as the first line, want 'old' and a size")
    old = TreeSize(parse_decimal(first[len(_OLD) :], "add-checkpoint old size"))
    if len(lines) > MAX_PROOF_LINES:
        raise FormatError(f"add-checkpoint: got {len(lines)} proof lines, want at most {MAX_PROOF_LINES}")
    proof = tuple(parse_hash(line, "add-checkpoint proof line") for line in lines)
    text, separator, _ = note.rpartition(b"\n\n")
    if not separator:
        raise FormatError("add-checkpoint: no empty line between the checkpoint and its signatures")
    return AddCheckpoint(old, proof, parse_checkpoint_text(text + b"\n"), note)


def format_add_checkpoint(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of an add-checkpoint request; `note` is a signed checkpoint.

    Raises FormatError for what `parse_add_checkpoint` would not read back. Source: tlog-witness, "add-checkpoint".
    """
    if len(proof) > MAX_PROOF_LINES or any(len(each) != HASH_SIZE for each in proof):
        raise FormatError(f"add-checkpoint: want at most {MAX_PROOF_LINES} hashes of {HASH_SIZE} bytes")
    lines = [_OLD + format_decimal(old, "add-checkpoint old size"), *map(encode_base64, proof)]
    data = b"\n".join(lines) + b"\n\n" + note
    parse_checkpoint(note)
    return data


def parse_cosignatures(data: bytes) -> tuple[NoteSignature, ...]:
    """Reads the answer to add-checkpoint: one or more signature lines, of any keys. Nothing is verified.

    Raises FormatError. Source: tlog-witness, "add-checkpoint".
    """
    if len(data) > MAX_ANSWER_BYTES:
        raise FormatError(f"cosignatures: got {len(data)} bytes, want at most {MAX_ANSWER_BYTES}")
    lines = split_lines(data, "cosignatures")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"cosignatures: got {len(lines)} lines, want at most {MAX_SIGNATURES}")
    return tuple(map(parse_signature_line, lines))


def format_cosignatures(signatures: Sequence[NoteSignature]) -> bytes:
    """The answer to add-checkpoint. Raises FormatError for none, or one that can not be read back."""
    if not signatures:
        raise FormatError("cosignatures: there is none")
    return b"".join(map(format_signature_line, signatures))


def parse_size(data: bytes) -> TreeSize:
    """Reads the body of a 409: the size of the newest checkpoint that the witness cosigned.

    Raises FormatError. Source: tlog-witness, "add-checkpoint".
    """
    if not data.endswith(b"\n"):
        raise FormatError(f"size of a witness: got {quote(data)}, want a decimal number and a newline")
    return TreeSize(parse_decimal(data[:-1], "size of a witness"))


def format_size(size: int) -> bytes:
    """The body of a 409. Raises FormatError for a size outside 0..2**63-1."""
    return format_decimal(size, "size of a witness") + b"\n"


def origin_hash(origin: str) -> str:
    """The name of a log in a witness' monitoring paths. Source: tlog-witness, "Monitor Retrieval Mechanism"."""
    return hashlib.sha256(origin.encode("utf-8")).hexdigest()


def checkpoint_path(origin: str) -> str:
    """Where below its monitoring prefix a witness serves its newest checkpoint of that log."""
    return f"/{origin_hash(origin)}/checkpoint"
