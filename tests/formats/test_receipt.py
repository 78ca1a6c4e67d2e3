"""Receipts: the codec is a bijection, only the log's receipt key signs them, and none reads as a checkpoint."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, KeyFormatError, SignatureError
from merklelog.formats import (
    Checkpoint,
    Note,
    NoteSignature,
    ReceiptNote,
    SignatureType,
    SigningKey,
    format_checkpoint_text,
    format_note,
    format_signing_key,
    format_vkey,
    is_receipt,
    parse_checkpoint,
    parse_note,
    parse_receipt,
    parse_signing_key,
    parse_vkey,
    receipt_key_name,
    sign_checkpoint,
    sign_receipt,
    single_log_policy,
    verify_note,
    verify_receipt,
)
from merklelog.formats.names import key_name_fault
from merklelog.formats.receipt import format_receipt_text, parse_receipt_text
from merklelog.tree import Hash, TreeSize

ORIGIN = "example.com/log"
KEY = SigningKey(receipt_key_name(ORIGIN), SignatureType.RECEIPT, bytes([7]) * 32)
LOG_KEY = SigningKey(ORIGIN, SignatureType.ED25519, bytes([8]) * 32)
RECEIPT = ReceiptNote(ORIGIN, 3, TreeSize(257), Hash(bytes(range(32))), 1_763_746_000)
ROOT_LINE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
TEXT = f"merklelog/receipt/v1\n{ORIGIN}\n3\n257\n{ROOT_LINE}\n1763746000\n"

RECEIPTS = st.builds(
    ReceiptNote,
    st.text(min_size=1, max_size=40).filter(lambda name: key_name_fault(name) is None),
    st.integers(1, 2**63 - 1),
    st.integers(0, 2**63 - 1).map(TreeSize),
    st.binary(min_size=32, max_size=32).map(Hash),
    st.integers(0, 2**63 - 1),
)


def test_the_text_is_six_lines() -> None:
    assert format_receipt_text(RECEIPT) == TEXT.encode()
    assert parse_receipt_text(TEXT.encode()) == RECEIPT


@given(receipt=RECEIPTS)
def test_round_trip(receipt: ReceiptNote) -> None:
    key = SigningKey(receipt_key_name(receipt.origin), SignatureType.RECEIPT, bytes(32))
    data = sign_receipt(receipt, key)
    assert is_receipt(data)
    assert verify_receipt(data, key.verifier) == receipt
    parsed, note = parse_receipt(data)
    assert (parsed, format_note(note)) == (receipt, data)
    with pytest.raises(FormatError):
        parse_checkpoint(data)


@given(text=st.binary(max_size=300))
def test_garbage_raises_only_this(text: bytes) -> None:
    for data in (text, b"merklelog/receipt/v1\n" + text):
        try:
            receipt = parse_receipt_text(data)
        except FormatError:
            continue
        assert format_receipt_text(receipt) == data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("receipt/v1", "receipt/v2"),
        ("merklelog/receipt/v1\n", "merklelog/receipt/v1 \n"),
        (ORIGIN, ""),
        ("\n3\n", "\n0\n"),
        ("\n3\n", "\n03\n"),
        ("\n3\n", "\n-3\n"),
        ("257", "9223372036854775808"),
        ("257", "+257"),
        (ROOT_LINE, ROOT_LINE[:-1]),
        (ROOT_LINE, "AAAA"),
        ("1763746000", "1763746000.5"),
        ("1763746000\n", "1763746000\nmore\n"),
        ("1763746000\n", ""),
        ("1763746000\n", "1763746000"),
        ("1763746000", "\u0663"),
        ("com", "c\rm"),
    ],
)
def test_a_text_with_one_thing_wrong(old: str, new: str) -> None:
    with pytest.raises(FormatError):
        parse_receipt_text(TEXT.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    "receipt",
    [
        ReceiptNote("", 1, TreeSize(0), Hash(bytes(32)), 0),
        ReceiptNote("a\nb", 1, TreeSize(0), Hash(bytes(32)), 0),
        ReceiptNote(ORIGIN, 0, TreeSize(0), Hash(bytes(32)), 0),
        ReceiptNote(ORIGIN, 2**63, TreeSize(0), Hash(bytes(32)), 0),
        ReceiptNote(ORIGIN, 1, TreeSize(-1), Hash(bytes(32)), 0),
        ReceiptNote(ORIGIN, 1, TreeSize(0), Hash(bytes(31)), 0),
        ReceiptNote(ORIGIN, 1, TreeSize(0), Hash(bytes(32)), -1),
    ],
)
def test_what_can_not_be_read_back_is_not_written(receipt: ReceiptNote) -> None:
    with pytest.raises(FormatError):
        format_receipt_text(receipt)


def test_the_key_is_named_and_told_apart_by_its_purpose() -> None:
    public = KEY.verifier.public
    material = b"\xffmerklelog/receipt/v1" + public
    assert KEY.verifier.key_id == hashlib.sha256(b"example.com/log/receipt\n" + material).digest()[:4]
    text = format_vkey(KEY.verifier)
    assert b64decode(text.split("+", 2)[2]) == material
    assert parse_vkey(text) == KEY.verifier
    again = parse_signing_key(format_signing_key(KEY))
    assert (again, again.seed) == (KEY, KEY.seed)


@pytest.mark.parametrize("purpose", [b"", b"merklelog/receipt/v2", b"merklelog/receipt/v"])
def test_a_custom_type_of_another_purpose_is_refused(purpose: bytes) -> None:
    material = b"\xff" + purpose + KEY.verifier.public
    identifier = hashlib.sha256(b"example.com/log/receipt\n" + material).digest()[:4].hex()
    with pytest.raises(KeyFormatError, match="0xff"):
        parse_vkey(f"example.com/log/receipt+{identifier}+{b64encode(material).decode()}")


def test_only_the_logs_own_receipt_key_verifies() -> None:
    data = sign_receipt(RECEIPT, KEY)
    stranger = SigningKey(KEY.name, SignatureType.RECEIPT, bytes([9]) * 32)
    other_log = SigningKey(receipt_key_name("example.com/other"), SignatureType.RECEIPT, KEY.seed)
    for key in (stranger, other_log, LOG_KEY):
        with pytest.raises(SignatureError):
            verify_receipt(data, key.verifier)
    for key in (other_log, LOG_KEY):
        with pytest.raises(FormatError, match="of type 0xff"):
            sign_receipt(RECEIPT, key)
    forged = data.replace(b"\n257\n", b"\n258\n")
    with pytest.raises(SignatureError):
        verify_receipt(forged, KEY.verifier)


def test_a_receipt_by_another_logs_key_names_both() -> None:
    key = SigningKey(receipt_key_name("example.com/other"), SignatureType.RECEIPT, bytes([9]) * 32)
    text = format_receipt_text(RECEIPT)
    data = format_note(Note(text, (NoteSignature(key.name, key.verifier.key_id, key.sign(text)),)))
    with pytest.raises(SignatureError, match=r"example.com/other/receipt.*want 'example.com/log/receipt'"):
        verify_receipt(data, key.verifier)


def test_a_receipt_key_signs_no_checkpoint() -> None:
    head = Checkpoint(ORIGIN, TreeSize(5), Hash(bytes(32)))
    with pytest.raises(FormatError, match="receipts alone"):
        sign_checkpoint(head, KEY)
    text = format_checkpoint_text(head)
    note = Note(text, (NoteSignature(KEY.name, KEY.verifier.key_id, KEY.sign(text)),))
    with pytest.raises(SignatureError, match="receipts alone"):
        verify_note(note, [KEY.verifier])


def test_a_log_key_over_a_receipt_makes_no_checkpoint() -> None:
    text = format_receipt_text(RECEIPT)
    data = format_note(Note(text, (NoteSignature(ORIGIN, LOG_KEY.verifier.key_id, LOG_KEY.sign(text)),)))
    with pytest.raises(FormatError):
        parse_checkpoint(data)
    with pytest.raises(SignatureError):
        verify_receipt(data, KEY.verifier)


def test_no_policy_lists_it() -> None:
    assert [log.key for log in single_log_policy([LOG_KEY.verifier, KEY.verifier]).logs] == [LOG_KEY.verifier]
    assert single_log_policy([KEY.verifier]).logs == ()


def test_is_receipt_looks_at_the_first_line() -> None:
    assert is_receipt(sign_receipt(RECEIPT, KEY))
    assert not is_receipt(b"merklelog/receipt/v10\n")
    assert not is_receipt(b"merklelog/receipt/v1")
    assert not is_receipt(b"")
    assert parse_note(sign_receipt(RECEIPT, KEY)).signatures[0].name == "example.com/log/receipt"
