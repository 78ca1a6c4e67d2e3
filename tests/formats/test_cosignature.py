from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, SignatureError
from merklelog.formats.checkpoint import Checkpoint, parse_checkpoint_text, sign_checkpoint
from merklelog.formats.checkpoint_text import format_checkpoint_text
from merklelog.formats.cosignature import (
    cosignature_message,
    decode_timestamped,
    encode_timestamped,
    subtree_message,
)
from merklelog.formats.keys import SignatureType, SigningKey, parse_vkey
from merklelog.formats.note import Note, NoteSignature, parse_note, verify_note
from merklelog.tree.hashing import Hash, TreeSize

COSIGNERS = [SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44]
TEXT = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
HEAD = parse_checkpoint_text(TEXT)


def witness(kind: SignatureType) -> SigningKey:
    return SigningKey("witness.example.com/w1", kind, bytes([6]) * 32)


def test_spec_message_of_type_4() -> None:
    assert cosignature_message(TEXT, 1679315147) == b"cosignature/v1\ntime 1679315147\n" + TEXT


def test_spec_message_of_type_6() -> None:
    message = subtree_message("oid/1.2.3", 1679315147, HEAD)
    expected = b"subtree/v1\n\0" + b"\x09oid/1.2.3" + bytes.fromhex("00000000641850cb")
    expected += b"\x1bexample.com/behind-the-sofa" + bytes(8) + bytes.fromhex("00000000013e2dc3") + HEAD.root
    assert message == expected
    assert len(b"subtree/v1\n\0") == 12


def test_type_6_does_not_cover_extension_lines() -> None:
    longer = Checkpoint(HEAD.origin, HEAD.size, HEAD.root, ("extension",))
    assert subtree_message("w", 1, HEAD) == subtree_message("w", 1, longer)


@pytest.mark.parametrize("kind", COSIGNERS)
@given(timestamp=st.integers(0, 2**63 - 1))
def test_timestamped_round_trip(kind: SignatureType, timestamp: int) -> None:
    signature = bytes(kind.signature_size)
    blob = encode_timestamped(timestamp, signature)
    assert blob[:8] == struct.pack(">Q", timestamp)
    assert decode_timestamped(kind, blob) == (timestamp, signature)


@pytest.mark.parametrize("kind", COSIGNERS)
def test_timestamp_bounds(kind: SignatureType) -> None:
    for timestamp in (-1, 2**63, 2**64):
        with pytest.raises(FormatError, match="timestamp"):
            encode_timestamped(timestamp, bytes(kind.signature_size))
    for timestamp in (2**63, 2**64 - 1):
        with pytest.raises(FormatError, match="timestamp"):
            decode_timestamped(kind, struct.pack(">Q", timestamp) + bytes(kind.signature_size))


@pytest.mark.parametrize("kind", COSIGNERS)
def test_lengths(kind: SignatureType) -> None:
    want = 8 + kind.signature_size
    for size in {0, 7, 8, 64, want - 1, want + 1, 72, 2428} - {want}:
        with pytest.raises(FormatError, match=f"got {size} bytes, want {want}"):
            decode_timestamped(kind, bytes(size))


@pytest.mark.parametrize("kind", COSIGNERS)
@pytest.mark.parametrize("timestamp", [0, 1, 1679315147, 2**63 - 1])
def test_signed_and_verified(kind: SignatureType, timestamp: int) -> None:
    key = witness(kind)
    line = sign_checkpoint(HEAD, key, timestamp)
    (found,) = verify_note(Note(TEXT, (line,)), [key.verifier])
    assert found.timestamp == timestamp


@pytest.mark.parametrize("kind", COSIGNERS)
def test_what_a_cosignature_covers(kind: SignatureType) -> None:
    key = witness(kind)
    line = sign_checkpoint(HEAD, key, 1679315147)
    others = {
        "origin": Checkpoint("example.com/other", HEAD.size, HEAD.root),
        "size": Checkpoint(HEAD.origin, TreeSize(20852164), HEAD.root),
        "root": Checkpoint(HEAD.origin, HEAD.size, Hash(bytes(32))),
    }
    for other in others.values():
        with pytest.raises(SignatureError):
            verify_note(Note(format_checkpoint_text(other), (line,)), [key.verifier])
    later = NoteSignature(line.name, line.key_id, struct.pack(">Q", 1679315148) + line.blob[8:])
    with pytest.raises(SignatureError):
        verify_note(Note(TEXT, (later,)), [key.verifier])


def test_type_6_covers_the_cosigners_name() -> None:
    key = witness(SignatureType.COSIGNATURE_MLDSA44)
    twin = SigningKey("witness.example.com/w2", key.type, key.seed)
    line = sign_checkpoint(HEAD, key, 1)
    renamed = NoteSignature(twin.name, twin.verifier.key_id, line.blob)
    with pytest.raises(SignatureError):
        verify_note(Note(TEXT, (renamed,)), [twin.verifier])


@pytest.mark.parametrize("kind", COSIGNERS)
def test_the_bare_text_is_not_a_cosignature(kind: SignatureType) -> None:
    key = witness(kind)
    blob = bytes(8) + key.sign(TEXT)
    with pytest.raises(SignatureError):
        verify_note(Note(TEXT, (NoteSignature(key.name, key.verifier.key_id, blob),)), [key.verifier])


def test_an_origin_too_long_for_type_6() -> None:
    key = witness(SignatureType.COSIGNATURE_MLDSA44)
    sign_checkpoint(Checkpoint("o" * 255, TreeSize(1), HEAD.root), key, 1)
    long = Checkpoint("o" * 256, TreeSize(1), HEAD.root)
    with pytest.raises(FormatError, match="want 1 to 255"):
        sign_checkpoint(long, key, 1)
    blob = encode_timestamped(1, bytes(2420))
    note = Note(format_checkpoint_text(long), (NoteSignature(key.name, key.verifier.key_id, blob),))
    with pytest.raises(SignatureError, match="want 1 to 255"):
        verify_note(note, [key.verifier])


@pytest.mark.parametrize("label", ["cosigv1", "mldsa"])
def test_foreign_cosignatures_verify(typed_notes: dict[str, tuple[str, bytes]], label: str) -> None:
    vkey, data = typed_notes[label]
    key, note = parse_vkey(vkey), parse_note(data)
    assert verify_note(note, [key])[0].timestamp == 1785511504
    blob = bytearray(note.signatures[0].blob)
    for at in (0, 7, 8, len(blob) - 1):
        changed = bytearray(blob)
        changed[at] ^= 1
        line = NoteSignature(key.name, key.key_id, bytes(changed))
        with pytest.raises(SignatureError):
            verify_note(Note(note.text, (line,)), [key])
