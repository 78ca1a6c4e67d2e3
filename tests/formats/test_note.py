from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, KeyFormatError, SignatureError
from merklelog.formats.checkpoint import Checkpoint, sign_checkpoint
from merklelog.formats.checkpoint_text import format_checkpoint_text
from merklelog.formats.keys import (
    SignatureType,
    SigningKey,
    VerifierKey,
    key_id,
    parse_signing_key,
    parse_vkey,
)
from merklelog.formats.names import key_name_fault
from merklelog.formats.note import (
    Note,
    NoteSignature,
    VerifiedSignature,
    format_note,
    format_signature_line,
    parse_note,
    parse_signature_line,
    verify_note,
)
from merklelog.formats.receipt import ReceiptNote, sign_receipt
from merklelog.tree.hashing import Hash, TreeSize

KEY = SigningKey("example.com/log", SignatureType.ED25519, bytes([1]) * 32)
OTHER = SigningKey("example.com/other", SignatureType.ED25519, bytes([2]) * 32)
TEXT = b"a text\n\nwith an empty line\n"


def sign(text: bytes, *keys: SigningKey) -> Note:
    return Note(text, tuple(NoteSignature(key.name, key.verifier.key_id, key.sign(text)) for key in keys))


def line(name: str = "a", blob: bytes = b"12345") -> bytes:
    return b"\xe2\x80\x94 %s %s\n" % (name.encode(), base64.b64encode(blob))


# --- vectors -----------------------------------------------------------------------------------------------------


def test_go_note_is_signed_alike(note_vectors: dict[str, Any]) -> None:
    key = parse_signing_key(note_vectors["skey"])
    note = sign(note_vectors["text"].encode(), key)
    assert format_note(note) == note_vectors["expected_note"].encode()
    assert verify_note(note, [key.verifier]) == (VerifiedSignature(key.verifier, None),)


def test_go_cases(note_vectors: dict[str, Any]) -> None:
    tally: dict[str, int] = {}
    for case in note_vectors["cases"]:
        data = base64.b64decode(case["note_b64"])
        keys = [parse_vkey(vkey) for vkey in case["vkeys"]]
        expect = case["expect"].split(" ")[0]
        tally[expect] = tally.get(expect, 0) + 1
        if expect == "malformed":
            with pytest.raises(FormatError):  # "implementation limit 100" is that implementation's
                parse_note(data, max_signatures=100)
            continue
        note = parse_note(data, max_signatures=100)
        assert format_note(note) == data
        if expect == "ok":
            assert [found.key.name for found in verify_note(note, keys)] == case["verified"], case["name"]
        else:
            with pytest.raises(SignatureError):
                verify_note(note, keys)
    assert tally == {"ok": 4, "unverified": 1, "error-ambiguous": 1, "invalid-signature": 1, "malformed": 9}


def test_c2sp_example(c2sp_example: dict[str, str]) -> None:
    note = parse_note(c2sp_example["note"].encode())
    assert format_note(note) == c2sp_example["note"].encode()
    key = parse_vkey(c2sp_example["vkey"])
    assert verify_note(note, [key]) == (VerifiedSignature(key, None),)


def test_typed_notes(typed_notes: dict[str, tuple[str, bytes]]) -> None:
    for label, (vkey, data) in typed_notes.items():
        note = parse_note(data)
        assert format_note(note) == data
        if label in ("cosigv1", "mldsa"):
            (found,) = verify_note(note, [parse_vkey(vkey)])
            # The file's comment says 1679315147; its notes carry another time, and are signed with it.
            assert found.timestamp == 1785511504
        else:
            with pytest.raises(KeyFormatError):
                parse_vkey(vkey)
            with pytest.raises(SignatureError, match="no trusted key"):
                verify_note(note, [KEY.verifier])


# --- the format --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"\n", b"\n\n", b"a\n", b"\n\n\na\n\n", TEXT, "é\u2028\x7f\n".encode()])
def test_texts(text: bytes) -> None:
    note = sign(text, KEY, OTHER)
    data = format_note(note)
    assert data == text + b"\n" + b"".join(format_signature_line(s) for s in note.signatures)
    assert parse_note(data) == note


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"a\n",
        b"a\n\n",
        b"a\n" + line(),  # no empty line
        b"\n" + line(),  # no text
        line(),
        b"a\n\n" + line()[:-1],
        b"a\n\n" + line() + b"\n",
        b"a\n\n" + line() + b"b\n",
        b"a\n\n\n" + line() + b"\n" + b"x\n",
        b"a\r\n\r\n" + line(),
        b"a\tb\n\n" + line(),
        b"a\0\n\n" + line(),
        b"a\xff\n\n" + line(),
        b"a\n\n" + line().replace(b" ", b"  "),
        b"a\n\n" + line().replace(b" ", b"\xc2\xa0"),
        b"a\n\n" + line().replace(b"\xe2\x80\x94", b"-"),
        b"a\n\n" + line().replace(b"\xe2\x80\x94", b"\xe2\x80\x93"),  # an en dash
        b"a\n\n" + line("a b"),
        b"a\n\n" + line("a+b"),
        b"a\n\n" + line("a\u2003b"),
        b"a\n\n" + line(""),
        b"a\n\n" + line(blob=b""),
        b"a\n\n" + line(blob=b"1234"),  # an ID and no signature
        b"a\n\n" + line(blob=b"123"),
        b"a\n\n" + line().replace(b"=", b""),
        b"a\n\n" + line()[:-1] + b" \n",
        b"a\n\n" + line()[:-1] + b" c\n",
        b"a\n\n" + line().replace(b"NDU=", b"NDV="),  # unused bits set
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_note(data)


def test_the_line_those_are_made_of_is_good() -> None:
    assert line() == "— a MTIzNDU=\n".encode()
    assert parse_note(b"a\n\n" + line()).signatures == (NoteSignature("a", b"1234", b"5"),)


def test_limits() -> None:
    sixteen = b"a\n\n" + line(blob=bytes(4 + 8 + 2420)) * 16
    assert len(parse_note(sixteen).signatures) == 16  # MUST be accepted
    assert len(parse_note(b"a\n\n" + line() * 128).signatures) == 128
    with pytest.raises(FormatError, match="got 129 signature lines, want at most 128"):
        parse_note(b"a\n\n" + line() * 129)
    with pytest.raises(FormatError, match="want at most 1048576"):
        parse_note(b"a" * (1 << 20) + b"\n\n" + line())
    with pytest.raises(FormatError, match="got 3 signature lines, want at most 2"):
        parse_note(b"a\n\n" + line() * 3, max_signatures=2)
    with pytest.raises(FormatError, match="want at most 10"):
        parse_note(b"a\n\n" + line(), max_bytes=10)


NAMES = st.text(min_size=1, max_size=12).filter(lambda name: key_name_fault(name) is None)
SIGNATURES = st.builds(
    NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(
    lambda text: not any(c < " " and c != "\n" for c in text)
)


@given(TEXTS, st.lists(SIGNATURES, min_size=1, max_size=5))
def test_round_trip(text: str, signatures: list[NoteSignature]) -> None:
    note = Note(text.encode() + b"\n", tuple(signatures))
    assert parse_note(format_note(note)) == note


@given(SIGNATURES)
def test_signature_line_round_trip(signature: NoteSignature) -> None:
    data = format_signature_line(signature)
    assert data.endswith(b"\n")
    assert parse_signature_line(data[:-1]) == signature


@pytest.mark.parametrize(
    "data", [line(), line()[:-1] + b"\n\n", b"x" + line()[:-1], b"", b"a\n" + line()[:-1]]
)
def test_a_signature_line_is_one_line(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_signature_line(data)


@pytest.mark.parametrize(
    "note",
    [
        Note(b"a", (NoteSignature("a", b"1234", b"5"),)),
        Note(b"", (NoteSignature("a", b"1234", b"5"),)),
        Note(b"a\n", ()),
        Note(b"a\r\n", (NoteSignature("a", b"1234", b"5"),)),
        Note(b"\xff\n", (NoteSignature("a", b"1234", b"5"),)),
        Note(b"a\n", (NoteSignature("a b", b"1234", b"5"),)),
        Note(b"a\n", (NoteSignature("", b"1234", b"5"),)),
        Note(b"a\n", (NoteSignature("a\ud800", b"1234", b"5"),)),
        Note(b"a\n", (NoteSignature("a", b"123", b"5"),)),
        Note(b"a\n", (NoteSignature("a", b"1234", b""),)),
    ],
)
def test_not_written(note: Note) -> None:
    with pytest.raises(FormatError):
        format_note(note)


# --- verification ------------------------------------------------------------------------------------------------


def test_unknown_keys_are_ignored() -> None:
    note = sign(TEXT, OTHER, KEY)
    assert verify_note(note, [KEY.verifier]) == (VerifiedSignature(KEY.verifier, None),)
    assert [s.key for s in verify_note(note, [KEY.verifier, OTHER.verifier])] == [
        OTHER.verifier,
        KEY.verifier,
    ]
    with pytest.raises(SignatureError, match=r"got 'example.com/other'\+[0-9a-f]{8}, want 'example.com/log'"):
        verify_note(sign(TEXT, OTHER), [KEY.verifier])
    with pytest.raises(SignatureError, match="want none"):
        verify_note(note, [])


def test_sharing_only_a_name_or_only_an_id_is_unknown() -> None:
    same_name = NoteSignature(KEY.name, bytes(4), b"garbage")
    same_id = NoteSignature("example.com/else", KEY.verifier.key_id, b"garbage")
    good = sign(TEXT, KEY).signatures[0]
    assert len(verify_note(Note(TEXT, (same_name, same_id, good)), [KEY.verifier])) == 1
    for alone in (same_name, same_id):
        with pytest.raises(SignatureError, match="no trusted key"):
            verify_note(Note(TEXT, (alone,)), [KEY.verifier])


def test_one_wrong_signature_by_a_known_key_condemns_the_note() -> None:
    good = sign(TEXT, KEY, OTHER)
    wrong = NoteSignature(KEY.name, KEY.verifier.key_id, KEY.sign(b"another text\n"))
    for signatures in ((wrong,), (*good.signatures, wrong), (wrong, *good.signatures)):
        with pytest.raises(SignatureError, match=f"example.com/log.*{KEY.verifier.key_id.hex()}"):
            verify_note(Note(TEXT, signatures), [KEY.verifier, OTHER.verifier])
    # To one who does not know that key it is just a line.
    assert len(verify_note(Note(TEXT, (*good.signatures, wrong)), [OTHER.verifier])) == 1


def test_two_keys_of_one_name_and_id() -> None:
    kind = SignatureType.ED25519
    one, two = (hashlib.sha256(b"%d" % n).digest() for n in (7160, 12277))  # found by trying
    assert key_id("example.com/log", kind, one) == key_id("example.com/log", kind, two) == b"\xb9\xc0\x3e\x9f"
    keys = [VerifierKey("example.com/log", b"\xb9\xc0\x3e\x9f", kind, public) for public in (one, two)]
    note = Note(TEXT, (NoteSignature("example.com/log", b"\xb9\xc0\x3e\x9f", bytes(64)),))
    with pytest.raises(SignatureError, match="2 of the trusted keys have this name and ID"):
        verify_note(note, keys)


def test_one_key_given_twice() -> None:
    with pytest.raises(SignatureError, match="2 of the trusted keys"):
        verify_note(sign(TEXT, KEY), [KEY.verifier, KEY.verifier])
    # Unused, they do no harm.
    assert len(verify_note(sign(TEXT, OTHER), [KEY.verifier, KEY.verifier, OTHER.verifier])) == 1


def test_a_name_and_an_id_prove_nothing() -> None:
    note = sign(TEXT, OTHER)
    forged = Note(TEXT, (NoteSignature(KEY.name, KEY.verifier.key_id, note.signatures[0].blob),))
    with pytest.raises(SignatureError):
        verify_note(forged, [KEY.verifier])


@pytest.mark.parametrize("kind", [SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44])
def test_cosignatures_of_what_is_no_checkpoint(kind: SignatureType) -> None:
    key = SigningKey("witness.example", kind, bytes([3]) * 32)
    blob = bytes(7) + b"\x01" + key.sign(b"cosignature/v1\ntime 1\n" + TEXT)
    with pytest.raises(SignatureError, match="checkpoint"):
        verify_note(Note(TEXT, (NoteSignature(key.name, key.verifier.key_id, blob),)), [key.verifier])


def test_two_times_of_one_key_are_two_statements() -> None:
    witness = SigningKey("witness.example", SignatureType.COSIGNATURE_ED25519, bytes([3]) * 32)
    head = Checkpoint("example.com/log", TreeSize(3), Hash(bytes(32)))
    lines = [sign_checkpoint(head, witness, time) for time in (20, 10, 20)]
    found = verify_note(Note(format_checkpoint_text(head), tuple(lines)), [witness.verifier])
    assert [signature.timestamp for signature in found] == [20, 10]


@pytest.mark.parametrize("kind", list(SignatureType))
def test_every_changed_byte(kind: SignatureType) -> None:
    """A changed byte is refused by the parser or by the verifier: nothing in a note of one signature is free."""
    size, root = TreeSize(20852163), Hash(bytes(range(32)))
    if kind is SignatureType.RECEIPT:
        key = SigningKey("example.com/log/receipt", kind, bytes([4]) * 32)
        data = sign_receipt(ReceiptNote("example.com/log", 1, size, root, 1_700_000_000), key)
    else:
        key = SigningKey("example.com/log", kind, bytes([4]) * 32)
        head = Checkpoint("example.com/log", size, root)
        data = format_note(Note(format_checkpoint_text(head), (sign_checkpoint(head, key),)))
    assert verify_note(parse_note(data), [key.verifier])
    refused = {FormatError: 0, SignatureError: 0}
    for at, old in enumerate(data):
        for new in {old ^ 1, old ^ 0x20, ord("A"), ord("\n")} - {old}:
            with pytest.raises((FormatError, SignatureError)) as caught:
                verify_note(parse_note(data[:at] + bytes([new]) + data[at + 1 :]), [key.verifier])
            refused[SignatureError if caught.type is SignatureError else FormatError] += 1
    assert min(refused.values()) > 50


def test_a_vkey_of_another_type_knows_nothing() -> None:
    """The same Ed25519 key under another type byte has another ID: the purposes do not mix."""
    ed = KEY.verifier
    kind = SignatureType.COSIGNATURE_ED25519
    as_witness = VerifierKey(ed.name, key_id(ed.name, kind, ed.public), kind, ed.public)
    with pytest.raises(SignatureError, match="no trusted key"):
        verify_note(sign(TEXT, KEY), [as_witness])
