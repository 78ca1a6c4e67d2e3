from __future__ import annotations

import base64
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from merklelog.errors import FormatError
from merklelog.formats import wire


@pytest.mark.parametrize("text", [b"0", b"1", b"10", b"20852163", b"9223372036854775807"])
def test_decimal_accepted(text: bytes) -> None:
    assert str(wire.parse_decimal(text, "size")).encode() == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"00",
        b"01",
        b"-0",
        b"-1",
        b"+5",
        b" 5",
        b"5 ",
        b"5\n",
        b"1_000",
        b"0x10",
        b"1e3",
        b"1.0",
        b"\xd9\xa3",  # ARABIC-INDIC DIGIT THREE, which int() takes
        "５".encode(),
        b"\xb2",
        b"9223372036854775808",
        b"18446744073709551616",
        b"9" * 1_000_000,
    ],
)
def test_decimal_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match="size: got"):
        wire.parse_decimal(text, "size")


def test_decimal_limit() -> None:
    assert wire.parse_decimal(b"255", "width", 255) == 255
    for text in (b"256", b"1000"):
        with pytest.raises(FormatError, match="want at most 255"):
            wire.parse_decimal(text, "width", 255)


@given(st.integers(0, wire.MAX_INT63))
def test_decimal_round_trip(value: int) -> None:
    assert wire.parse_decimal(wire.format_decimal(value, "n"), "n") == value


@given(st.text("0123456789+-_ .٣", max_size=21))
@example("0")
def test_decimal_has_one_spelling(text: str) -> None:
    data = text.encode()
    try:
        value = wire.parse_decimal(data, "n")
    except FormatError:
        canonical = text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 2**63
        assert not canonical
    else:
        assert str(value).encode() == data


@pytest.mark.parametrize("value", [-1, 2**63])
def test_decimal_not_written(value: int) -> None:
    with pytest.raises(FormatError):
        wire.format_decimal(value, "size")


@given(st.binary(max_size=100))
def test_base64_round_trip(data: bytes) -> None:
    text = wire.encode_base64(data)
    assert text == base64.b64encode(data)
    assert wire.decode_base64(text, "hash") == data


@pytest.mark.parametrize(
    "text",
    [
        b"A",
        b"AA",
        b"AAA",
        b"AA=",
        b"AA=A",
        b"AA===",
        b"====",
        b"=AAA",
        b"AB==",  # unused bits set
        b"AAB=",
        b"AAAA\n",
        b" AAAA",
        b"AA AA",
        b"AA\nAA",
        b"AAAA====",
        b"AA==AAAA",
        b"-_-_",  # the URL alphabet
        b"AAA\xc3",
        b"!!notbase64!!",
    ],
)
def test_base64_refused(text: bytes) -> None:
    assert wire.try_base64(text) is None
    with pytest.raises(FormatError, match="hash: got"):
        wire.decode_base64(text, "hash")


def reference_base64(text: str) -> bytes | None:
    """RFC 4648 by hand: whole groups of four, padding only at the end, no bit left over."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    padding = len(text) - len(text.rstrip("="))
    digits = [alphabet.find(c) for c in text.rstrip("=")]
    if len(text) % 4 or padding > 2 or -1 in digits:
        return None
    bits = "".join(f"{digit:06b}" for digit in digits)
    whole = len(bits) // 8 * 8
    if "1" in bits[whole:]:
        return None
    return bytes(int(bits[at : at + 8], 2) for at in range(0, whole, 8))


@given(st.text("ABQgwx+/=\n -_", max_size=12) | st.text("ABQgw=", max_size=8))
@example("A===")
@example("AA==")
@example("AAA=")
def test_base64_against_the_definition(text: str) -> None:
    assert wire.try_base64(text.encode()) == reference_base64(text)


def test_lines() -> None:
    assert wire.split_lines(b"a\n\nb\n", "text") == [b"a", b"", b"b"]
    assert wire.split_lines(b"a\rb\x85c\n", "text") == [b"a\rb\x85c"]
    for data in (b"", b"a", b"a\nb", b"a\r"):
        with pytest.raises(FormatError, match="newline"):
            wire.split_lines(data, "text")


@pytest.mark.parametrize("byte", [*range(9), 9, *range(11, 32)])
def test_control_characters(byte: int) -> None:
    with pytest.raises(FormatError, match="control character"):
        wire.decode_text(b"a" + bytes([byte]), "note")
    with pytest.raises(FormatError, match="control character"):
        wire.encode_text("a" + chr(byte), "note")


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a\xe2\x80"]
)
def test_not_utf8(data: bytes) -> None:
    with pytest.raises(FormatError, match="not UTF-8"):
        wire.decode_text(data, "note")


def test_text_accepted() -> None:
    # signed-note forbids what is below U+0020 and nothing above it.
    for text in ("a\nb", "\x7f\x85\u2028\ufeff", "— ünïcode \U0010ffff"):
        assert wire.decode_text(text.encode(), "note") == text
        assert wire.encode_text(text, "note") == text.encode()


def test_lone_surrogate() -> None:
    with pytest.raises(FormatError, match="UTF-8"):
        wire.encode_text("a\udc80", "origin")


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_quote_is_short_and_plain(value: bytes | str) -> None:
    shown = wire.quote(value)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) < 800
