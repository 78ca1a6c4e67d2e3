"""`.tlog-proof` files: an index, an inclusion proof and the checkpoint it leads to, in one text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats.checkpoint_text import parse_hash
from merklelog.formats.wire import decode_base64, encode_base64, format_decimal, parse_decimal, quote
from merklelog.tree.hashing import HASH_SIZE, Hash

# Twice the largest note, so that extra data has the same room again.
MAX_PROOF_BYTES: Final = 2 << 20
# The deepest leaf of a tree below 2**63 leaves has 63 hashes above it.
MAX_PROOF_HASHES: Final = 63

_HEADER: Final = b"c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class ProofFile:
    """A proof as it stands in a file; nothing in it is verified.

    `hashes` go from the leaf's sibling up. `checkpoint` is the signed note byte for byte, judged only when
    the proof is verified. `extra` is what an application put there: no signature covers it, ever.
    """

    index: int
    hashes: tuple[Hash, ...]
    checkpoint: bytes
    extra: bytes | None = None


def parse_proof(data: bytes) -> ProofFile:
    """Reads a proof file; that the index is in the checkpoint's tree is for verification to say.

    Raises FormatError. Source: tlog-proof, "Format".
    """
    if len(data) > MAX_PROOF_BYTES:
        raise FormatError(f"proof file: got {len(data)} bytes, want at most {MAX_PROOF_BYTES}")
    head, separator, checkpoint = data.partition(b"\n\n")
    if not separator or not checkpoint:
        raise FormatError("proof file: want an empty line and a checkpoint after the inclusion proof")
    lines = head.split(b"\n")
    if lines[0] != _HEADER:
        raise FormatError(f"proof file: got first line {quote(lines[0])}, want {quote(_HEADER)}")
    extra = _value_of(lines[1:2], b"extra ")
    first = 1 if extra is None else 2
    index = _value_of(lines[first : first + 1], b"index ")
    if index is None:
        raise FormatError(f"proof file: got {quote(b''.join(lines[first : first + 1]))}, want an index line")
    hashes = lines[first + 1 :]
    _check_count(len(hashes))
    return ProofFile(
        parse_decimal(index, "proof index"),
        tuple(parse_hash(line, f"proof hash {at}") for at, line in enumerate(hashes)),
        checkpoint,
        None if extra is None else _parse_extra(extra),
    )


def format_proof(proof: ProofFile) -> bytes:
    """The proof file's bytes. Raises FormatError for what `parse_proof` would not read back."""
    _check_count(len(proof.hashes))
    lines = [_HEADER]
    if proof.extra is not None:
        if not proof.extra:
            raise FormatError("proof extra data: it is empty, want None for none")
        lines.append(b"extra " + encode_base64(proof.extra))
    lines.append(b"index " + format_decimal(proof.index, "proof index"))
    for at, value in enumerate(proof.hashes):
        if len(value) != HASH_SIZE:
            raise FormatError(f"proof hash {at}: got {len(value)} bytes, want {HASH_SIZE}")
        lines.append(encode_base64(value))
    data = b"\n".join([*lines, b"", proof.checkpoint])
    if not proof.checkpoint or len(data) > MAX_PROOF_BYTES:
        raise FormatError(f"proof file: checkpoint of {len(proof.checkpoint)} bytes, file of {len(data)}")
    return data


def _value_of(line: list[bytes], keyword: bytes) -> bytes | None:
    return line[0][len(keyword) :] if line and line[0].startswith(keyword) else None


def _parse_extra(text: bytes) -> bytes:
    # "If no extra data is present, this line is omitted": an empty one would be a second way to write the
    # same.
    if not text:
        raise FormatError("proof extra data: the line is there without data, want it left out")
    return decode_base64(text, "proof extra data")


def _check_count(count: int) -> None:
    if count > MAX_PROOF_HASHES:
        raise FormatError(f"proof: got {count} hashes, want at most {MAX_PROOF_HASHES}")
