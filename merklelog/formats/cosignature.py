"""What each signature type signs, and the timestamp in front of a cosignature.

A 0x01 key signs the note text, and so does a receipt key (0xff), of receipts alone. A 0x04 key signs a header, a
time and the note text. A 0x06 key signs a binary structure made of the checkpoint's first three lines, so it says
nothing about extension lines.
Everything is bound to one purpose by its first bytes: no message of one type is a message of another.
"""

from __future__ import annotations

import struct
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats.algorithms import SignatureType
from merklelog.formats.checkpoint_text import Checkpoint, format_checkpoint_text
from merklelog.formats.wire import MAX_INT63, quote

_TIMESTAMP: Final = struct.Struct(">Q")
_SUBTREE_LABEL: Final = b"subtree/v1\n\0"
_MAX_VECTOR: Final = 255


def cosignature_message(text: bytes, timestamp: int) -> bytes:
    """What a 0x04 key signs over the note text of a checkpoint at a POSIX time in seconds.

    Source: tlog-cosignature, "Ed25519 signed message".
    """
    return b"cosignature/v1\ntime %d\n%s" % (timestamp, text)


def subtree_message(cosigner: str, timestamp: int, checkpoint: Checkpoint) -> bytes:
    """What a 0x06 key signs over a whole tree: start 0, end the tree size.

    Raises FormatError when the cosigner's name or the origin is longer than the structure's 255 bytes.
    Source: tlog-cosignature, "ML-DSA-44 signed message".
    """
    name = _vector(cosigner, "cosigner name")
    origin = _vector(checkpoint.origin, "origin")
    bounds = struct.pack(">QQ", 0, checkpoint.size)
    return _SUBTREE_LABEL + name + _TIMESTAMP.pack(timestamp) + origin + bounds + checkpoint.root


def _vector(text: str, what: str) -> bytes:
    data = text.encode("utf-8")
    if not 1 <= len(data) <= _MAX_VECTOR:
        raise FormatError(f"{what} {quote(text)}: got {len(data)} bytes, want 1 to {_MAX_VECTOR}")
    return bytes([len(data)]) + data


def signed_message(
    kind: SignatureType, name: str, timestamp: int, checkpoint: Checkpoint, text: bytes | None = None
) -> bytes:
    """What a key of that type and name signs over a checkpoint, whose note text is `text` when it is at hand.

    Raises FormatError when the type can not sign it.
    """
    if kind is SignatureType.RECEIPT:
        raise FormatError(f"checkpoint of {quote(checkpoint.origin)}: a receipt key signs receipts alone")
    if kind.is_mldsa:
        return subtree_message(name, timestamp, checkpoint)
    text = format_checkpoint_text(checkpoint) if text is None else text
    return cosignature_message(text, timestamp) if kind.is_timestamped else text


def encode_timestamped(timestamp: int, signature: bytes) -> bytes:
    """A `timestamped_signature`: eight bytes of POSIX seconds, big-endian, then the signature.

    Raises FormatError for a time outside 0..2**63-1. Source: tlog-cosignature, "Format".
    """
    if not 0 <= timestamp <= MAX_INT63:
        raise FormatError(f"cosignature timestamp: got {timestamp}, want 0 to {MAX_INT63}")
    return _TIMESTAMP.pack(timestamp) + signature


def decode_timestamped(kind: SignatureType, blob: bytes) -> tuple[int, bytes]:
    """The timestamp and the signature of a `timestamped_signature` of that type.

    Raises FormatError for a wrong length or a time over 2**63-1. Source: tlog-cosignature, "Format".
    """
    want = _TIMESTAMP.size + kind.signature_size
    if len(blob) != want:
        raise FormatError(f"cosignature of type 0x{kind.value:02x}: got {len(blob)} bytes, want {want}")
    timestamp: int = _TIMESTAMP.unpack_from(blob)[0]
    if timestamp > MAX_INT63:
        raise FormatError(f"cosignature timestamp: got {timestamp}, want at most {MAX_INT63}")
    return timestamp, blob[_TIMESTAMP.size :]
