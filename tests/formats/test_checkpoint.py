from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError
from merklelog.formats.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    format_checkpoint_text,
    parse_checkpoint,
    parse_checkpoint_text,
    sign_checkpoint,
)
from merklelog.formats.keys import SignatureType, SigningKey
from merklelog.formats.note import Note, format_note, verify_note
from merklelog.tree.hashing import EMPTY_ROOT, Hash, TreeSize

# tlog-checkpoint's own example, with the cosignature of tlog-cosignature's.
TEXT = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
LINES = (
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0"
    "xUe+mbIUBkBIfZ+qnA==\n"
).encode()
ROOT = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
ROOT_LINE = b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_spec_example() -> None:
    head = parse_checkpoint_text(TEXT)
    assert head == Checkpoint("example.com/behind-the-sofa", TreeSize(20852163), Hash(ROOT))
    assert format_checkpoint_text(head) == TEXT
    signed = parse_checkpoint(TEXT + b"\n" + LINES)
    assert signed.checkpoint == head
    assert [signature.name for signature in signed.note.signatures] == [head.origin, "witness.example.com/w1"]
    assert signed.note.signatures[1].blob[:8] == (1679315147).to_bytes(8, "big")
    assert format_note(signed.note) == TEXT + b"\n" + LINES


@pytest.mark.parametrize(
    "text",
    [
        b"o\n0\n" + ROOT_LINE,
        b"o\n9223372036854775807\n" + ROOT_LINE,
        b"an origin with spaces + plus\n1\n" + ROOT_LINE,
        b"https://example.com/\n1\n" + ROOT_LINE,
        "例え\x7f\u2028\n1\n".encode() + ROOT_LINE,
        b"o\n1\n" + ROOT_LINE + b"extension\n",
        b"o\n1\n" + ROOT_LINE + b" \n= \xe2\x80\x94\n0\n",
    ],
)
def test_accepted(text: bytes) -> None:
    assert format_checkpoint_text(parse_checkpoint_text(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"o\n",
        b"o\n1\n",
        b"o\n1\n\n",
        b"\n1\n" + ROOT_LINE,
        b"o\n1\n" + ROOT_LINE[:-1],
        b"o\n1\n" + ROOT_LINE + b"\n",
        b"o\n1\n" + ROOT_LINE + b"\nextension\n",
        b"o\n1\n" + ROOT_LINE + b"extension\n\n",
        b"o\n1\n" + ROOT_LINE + b"extension",
        b"o\n\n1\n" + ROOT_LINE,
        b"o\n01\n" + ROOT_LINE,
        b"o\n-1\n" + ROOT_LINE,
        b"o\n+1\n" + ROOT_LINE,
        b"o\n 1\n" + ROOT_LINE,
        b"o\n1 \n" + ROOT_LINE,
        b"o\n1_0\n" + ROOT_LINE,
        b"o\n9223372036854775808\n" + ROOT_LINE,
        b"o\n" + "٣".encode() + b"\n" + ROOT_LINE,
        b"o\r\n1\r\n" + ROOT_LINE,
        b"o\t\n1\n" + ROOT_LINE,
        b"o\xff\n1\n" + ROOT_LINE,
        b"o\n1\n" + base64.b64encode(bytes(31)) + b"\n",
        b"o\n1\n" + base64.b64encode(bytes(33)) + b"\n",
        b"o\n1\n" + base64.b64encode(bytes(64)) + b"\n",
        b"o\n1\n" + ROOT_LINE.replace(b"=", b""),
        b"o\n1\n" + ROOT_LINE.replace(b"2I=", b"2J="),
        b"o\n1\n" + b" " + ROOT_LINE,
        b"o\n1\n" + ROOT.hex().encode() + b"\n",
    ],
)
def test_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_checkpoint_text(text)


LINE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: not any(c < " " for c in text)
)
HEADS = st.builds(
    Checkpoint,
    LINE,
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(LINE, max_size=3).map(tuple),
)


@given(HEADS)
def test_round_trip(head: Checkpoint) -> None:
    assert parse_checkpoint_text(format_checkpoint_text(head)) == head


@pytest.mark.parametrize(
    "head",
    [
        Checkpoint("", TreeSize(1), Hash(ROOT)),
        Checkpoint("a\nb", TreeSize(1), Hash(ROOT)),
        Checkpoint("a\r", TreeSize(1), Hash(ROOT)),
        Checkpoint("a\ud800", TreeSize(1), Hash(ROOT)),
        Checkpoint("a", TreeSize(-1), Hash(ROOT)),
        Checkpoint("a", TreeSize(2**63), Hash(ROOT)),
        Checkpoint("a", TreeSize(1), Hash(ROOT[:31])),
        Checkpoint("a", TreeSize(1), Hash(ROOT + b"\0")),
        Checkpoint("a", TreeSize(1), Hash(ROOT), ("",)),
        Checkpoint("a", TreeSize(1), Hash(ROOT), ("b\n",)),
        Checkpoint("a", TreeSize(1), Hash(ROOT), ("b\0",)),
    ],
)
def test_not_written(head: Checkpoint) -> None:
    with pytest.raises(FormatError):
        format_checkpoint_text(head)


@pytest.mark.parametrize("kind", [kind for kind in SignatureType if kind is not SignatureType.RECEIPT])
@pytest.mark.parametrize("extensions", [(), ("extension", "lines")])
def test_signed(kind: SignatureType, extensions: tuple[str, ...]) -> None:
    key = SigningKey("example.com/log", kind, bytes([5]) * 32)
    head = Checkpoint("example.com/log", TreeSize(0), EMPTY_ROOT, extensions)
    data = format_note(Note(format_checkpoint_text(head), (sign_checkpoint(head, key),)))
    signed = parse_checkpoint(data)
    assert signed.checkpoint == head
    (found,) = verify_note(signed.note, [key.verifier])
    assert found.key == key.verifier
    assert found.timestamp == (None if kind is SignatureType.ED25519 else 0)


def test_type_1_carries_no_time() -> None:
    key = SigningKey("example.com/log", SignatureType.ED25519, bytes([5]) * 32)
    with pytest.raises(FormatError, match="carries none"):
        sign_checkpoint(Checkpoint("example.com/log", TreeSize(1), Hash(ROOT)), key, 1)


def test_the_note_and_the_checkpoint_say_the_same() -> None:
    signed = parse_checkpoint(TEXT + b"\n" + LINES)
    other = Checkpoint(signed.checkpoint.origin, TreeSize(1), signed.checkpoint.root)
    with pytest.raises(FormatError, match="something else"):
        SignedCheckpoint(other, signed.note)


def test_a_note_that_is_no_checkpoint() -> None:
    with pytest.raises(FormatError, match="checkpoint"):
        parse_checkpoint(b"not a checkpoint\n\n" + LINES)
