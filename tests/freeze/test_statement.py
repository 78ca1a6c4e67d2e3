"""Statements: the codec is a bijection, only the log's own keys sign them, and none reads as a checkpoint."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, OriginError, SignatureError
from merklelog.formats import (
    Checkpoint,
    Note,
    NoteSignature,
    SignatureType,
    SigningKey,
    format_checkpoint_text,
    format_note,
    parse_checkpoint,
    parse_note,
    parse_receipt,
    sign_checkpoint,
    validate_origin,
    verify_note,
)
from merklelog.formats.names import key_name_fault
from merklelog.formats.statement import (
    Follows,
    Freeze,
    Statement,
    format_statement_text,
    is_statement,
    parse_statement,
    parse_statement_text,
    sign_statement,
    statement_key_id,
    verify_statement,
)
from merklelog.protocol.statement import follows_at_start, freeze_at, statement_at
from merklelog.tree import Hash, TreeSize

ORIGIN = "example.com/trail"
ED = SigningKey(ORIGIN, SignatureType.ED25519, bytes([1]) * 32)
MLDSA = SigningKey(ORIGIN, SignatureType.COSIGNATURE_MLDSA44, bytes([2]) * 32)
OTHER = SigningKey("other.example/log", SignatureType.ED25519, bytes([3]) * 32)
KEYS = (ED.verifier, MLDSA.verifier)
FREEZE = Freeze(ORIGIN, TreeSize(1042), "example.com/trail-2")
FOLLOWS = Follows(ORIGIN, "example.com/trail-0", TreeSize(9), Hash(bytes(range(32))))

NAMES = st.text(min_size=1, max_size=30).filter(lambda name: key_name_fault(name) is None)
SIZES = st.integers(0, 2**63 - 1).map(TreeSize)
STATEMENTS = st.builds(Freeze, NAMES, SIZES, st.none() | NAMES) | st.builds(
    Follows, NAMES, NAMES, SIZES, st.binary(min_size=32, max_size=32).map(Hash)
)


def test_the_texts() -> None:
    assert format_statement_text(FREEZE) == (
        b"merklelog/statement/v1\nexample.com/trail\n1042\nfrozen\nsuccessor example.com/trail-2\n"
    )
    assert format_statement_text(Freeze(ORIGIN, TreeSize(0))) == (
        b"merklelog/statement/v1\nexample.com/trail\n0\nfrozen\n"
    )
    assert format_statement_text(FOLLOWS) == (
        b"merklelog/statement/v1\nexample.com/trail\n0\nfollows\npredecessor example.com/trail-0\nsize 9\n"
        b"root AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )


@given(STATEMENTS)
def test_what_is_written_is_read_back(statement: Statement) -> None:
    text = format_statement_text(statement)
    assert parse_statement_text(text) == statement
    assert format_statement_text(parse_statement_text(text)) == text
    with pytest.raises(FormatError):
        parse_checkpoint(format_note(Note(text, (NoteSignature("a", bytes(4), b"x"),))))


@given(
    st.lists(
        st.sampled_from([*format_statement_text(FOLLOWS).splitlines(), b"frozen", b"1", b"", b"x"]),
        max_size=9,
    )
)
def test_lines_in_any_order_are_read_back_or_refused(lines: list[bytes]) -> None:
    text = b"".join(line + b"\n" for line in lines)
    try:
        statement = parse_statement_text(text)
    except FormatError:
        return
    assert format_statement_text(statement) == text


HEAD = "merklelog/statement/v1\nexample.com/trail\n"
REFUSED = [
    "",
    "merklelog/statement/v1\n",
    HEAD + "1\n",
    "merklelog/statement/v2\nexample.com/trail\n1\nfrozen\n",
    HEAD + "01\nfrozen\n",
    HEAD + "-1\nfrozen\n",
    HEAD + f"{2**63}\nfrozen\n",
    HEAD + "1\nthawed\n",
    HEAD + "1\nFrozen\n",
    HEAD + "1\nfrozen\nsuccessor \n",
    HEAD + "1\nfrozen\nexample.com/next\n",
    HEAD + "1\nfrozen\nsuccessor a\nsuccessor b\n",
    HEAD + "1\nfrozen\n\n",
    HEAD + "1\nfollows\npredecessor a\nsize 1\nroot AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    HEAD + "0\nfollows\npredecessor a\nsize 1\n",
    HEAD + "0\nfollows\npredecessor a\nsize 01\nroot AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    HEAD + "0\nfollows\npredecessor a\nsize 1\nroot AAECAw==\n",
    HEAD + "0\nfollows\nsize 1\npredecessor a\nroot AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    "merklelog/statement/v1\n\n1\nfrozen\n",
]


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_statement_text(text.encode())


@pytest.mark.parametrize(
    "statement",
    [
        Freeze("", TreeSize(0)),
        Freeze("a\nb", TreeSize(0)),
        Freeze("a", TreeSize(-1)),
        Freeze("a", TreeSize(0), ""),
        Freeze("a", TreeSize(0), "b\nc"),
        Follows("a", "", TreeSize(0), Hash(bytes(32))),
        Follows("a", "b", TreeSize(0), Hash(bytes(31))),
    ],
)
def test_not_written(statement: Statement) -> None:
    with pytest.raises(FormatError):
        format_statement_text(statement)


# --- signatures --------------------------------------------------------------------------------------------------


def test_either_key_alone_is_enough() -> None:
    entry = sign_statement(FREEZE, (ED, MLDSA))
    assert parse_statement(entry)[0] == FREEZE
    for keys in (KEYS, KEYS[:1], KEYS[1:]):
        assert verify_statement(entry, keys) == FREEZE
    for key in (ED, MLDSA):
        assert verify_statement(sign_statement(FREEZE, (key,)), KEYS) == FREEZE


def test_nobody_else_signs_one() -> None:
    entry = sign_statement(FREEZE, (ED, MLDSA))
    with pytest.raises(SignatureError, match="no key of that log signed it"):
        verify_statement(entry, [OTHER.verifier])
    with pytest.raises(SignatureError, match="no key of that log"):
        verify_statement(entry, [])
    with pytest.raises(FormatError, match="want the log's own"):
        sign_statement(FREEZE, (OTHER,))
    cosigner = SigningKey(ORIGIN, SignatureType.COSIGNATURE_ED25519, bytes([4]) * 32)
    with pytest.raises(FormatError, match="type 0x04"):
        sign_statement(FREEZE, (cosigner,))


def test_one_wrong_signature_condemns_it() -> None:
    text = format_statement_text(FREEZE)
    good = NoteSignature(ORIGIN, ED.verifier.key_id, ED.sign(text))
    bad = NoteSignature(ORIGIN, statement_key_id(MLDSA.verifier), bytes(2420))
    with pytest.raises(SignatureError, match="a wrong signature"):
        verify_statement(format_note(Note(text, (good, bad))), KEYS)
    assert verify_statement(format_note(Note(text, (good, bad))), KEYS[:1]) == FREEZE


def test_every_changed_byte() -> None:
    entry = sign_statement(FREEZE, (ED,))
    for at, old in enumerate(entry):
        for new in {old ^ 1, ord("1"), ord("\n")} - {old}:
            changed = entry[:at] + bytes([new]) + entry[at + 1 :]
            with pytest.raises((FormatError, SignatureError)):
                verify_statement(changed, KEYS)


def test_the_mldsa_key_goes_by_an_id_of_its_own() -> None:
    """A statement's ML-DSA-44 line is no cosignature, and a checkpoint's is no statement's."""
    assert statement_key_id(ED.verifier) == ED.verifier.key_id
    own = statement_key_id(MLDSA.verifier)
    assert own != MLDSA.verifier.key_id
    material = ORIGIN.encode() + b"\n\xffmerklelog/statement/v1" + MLDSA.verifier.public
    assert own == hashlib.sha256(material).digest()[:4]
    with pytest.raises(SignatureError):
        verify_note(parse_note(sign_statement(FREEZE, (MLDSA,))), KEYS)
    head = Checkpoint(ORIGIN, TreeSize(7), Hash(bytes(32)))
    note = Note(format_checkpoint_text(head), (sign_checkpoint(head, ED), sign_checkpoint(head, MLDSA)))
    with pytest.raises(FormatError):
        verify_statement(format_note(note), KEYS)
    with pytest.raises(FormatError):
        parse_receipt(sign_statement(FREEZE, (ED,)))


# --- where it stands ---------------------------------------------------------------------------------------------


def test_it_counts_only_where_it_says_it_stands() -> None:
    freeze, follows = sign_statement(FREEZE, (ED, MLDSA)), sign_statement(FOLLOWS, (ED, MLDSA))
    assert freeze_at(freeze, 1042, ORIGIN, KEYS) == FREEZE
    assert freeze_at(freeze, 1041, ORIGIN, KEYS) is None
    assert freeze_at(freeze, 1042, "other.example/log", KEYS) is None
    assert freeze_at(freeze, 1042, ORIGIN, [OTHER.verifier]) is None
    assert freeze_at(follows, 0, ORIGIN, KEYS) is None
    assert follows_at_start(follows, ORIGIN, KEYS) == FOLLOWS
    assert follows_at_start(freeze, ORIGIN, KEYS) is None
    assert statement_at(freeze[:-1], 1042, ORIGIN, KEYS) is None
    assert statement_at(b"an entry", 0, ORIGIN, KEYS) is None


def test_a_copy_of_another_logs_statement_means_nothing() -> None:
    theirs = sign_statement(Freeze("other.example/log", TreeSize(3)), (OTHER,))
    assert statement_at(theirs, 3, ORIGIN, (*KEYS, OTHER.verifier)) is None


@pytest.mark.parametrize(
    ("entry", "reserved"),
    [
        (b"merklelog/statement/v1\n", True),
        (b"merklelog/statement/v1\nanything", True),
        (b"merklelog/statement/v1", True),
        (b"merklelog/statement/v1\r\n", False),
        (b"merklelog/statement/v10\n", False),
        (b"merklelog/statement/v", False),
        (b" merklelog/statement/v1\n", False),
        (b"\nmerklelog/statement/v1\n", False),
        (b"", False),
    ],
)
def test_which_bytes_are_kept(entry: bytes, reserved: bool) -> None:
    assert is_statement(entry) == reserved


def test_no_origin_is_the_first_line() -> None:
    with pytest.raises(OriginError, match="statements of logs begin with it"):
        validate_origin("merklelog/statement/v1")
    assert validate_origin("merklelog/statement/v2")
