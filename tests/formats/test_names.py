from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import KeyFormatError, OriginError
from merklelog.formats.names import key_name_fault, validate_key_name, validate_origin

# str.isspace adds the four information separators to the White_Space property.
SPACES = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace() and c not in "\x1c\x1d\x1e\x1f"]


def test_there_are_25_spaces() -> None:
    assert len(SPACES) == 25  # PropList.txt, White_Space: "Total code points: 25"


@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_spaces(space: str) -> None:
    with pytest.raises(KeyFormatError, match="holds the space"):
        validate_key_name(f"a{space}b")
    with pytest.raises(OriginError, match="holds the space"):
        validate_origin(f"a{space}b")


@pytest.mark.parametrize(
    "name", ["a", "example.com/foo", "http://x/", "/", "\x7f", "\u200b", "例え", "a" * 5000, "none", "—"]
)
def test_key_names_accepted(name: str) -> None:
    assert validate_key_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("a+b", "plus"),
        ("+", "plus"),
        ("a\x00", "control"),
        ("a\x1c", "control"),
        ("\ud800", "UTF-8"),
    ],
)
def test_key_names_refused(name: str, reason: str) -> None:
    with pytest.raises(KeyFormatError, match=reason):
        validate_key_name(name)


@given(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="+"), min_size=1
    )
)
def test_other_names_are_fine(name: str) -> None:
    assert key_name_fault(name) is None


@pytest.mark.parametrize(
    "origin", ["a", "example.com/log", "example.com:8080/a//b", "例え.example/ログ", "a" * 255]
)
def test_origins_accepted(origin: str) -> None:
    assert validate_origin(origin) == origin


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("", "empty"),
        ("a" * 256, "256 bytes, want at most 255"),
        ("é" * 128, "256 bytes, want at most 255"),
        ("a b", "space"),
        ("a+b", "plus"),
        ("a\x7fb", "control character"),
        ("a\x9fb", "control character"),
        ("a\nb", "space"),
        ("https://example.com/log", "scheme"),
        ("/example.com", "slash"),
        ("example.com/", "slash"),
        ("/", "slash"),
        ("\udcff", "UTF-8"),
    ],
)
def test_origins_refused(origin: str, reason: str) -> None:
    with pytest.raises(OriginError, match=reason) as caught:
        validate_origin(origin)
    assert str(caught.value).startswith("origin '")
    assert caught.value.exit_status == 2
