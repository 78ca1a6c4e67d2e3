from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import EntryError, FormatError
from merklelog.formats.bundle import LENGTHS, MAX_ENTRY, format_bundle, parse_bundle

ENTRIES = st.lists(st.binary(max_size=40), min_size=1, max_size=256)


@given(ENTRIES)
def test_round_trip(entries: list[bytes]) -> None:
    data = format_bundle(entries)
    assert parse_bundle(data) == entries
    assert parse_bundle(data, len(entries)) == entries


@given(st.binary(max_size=60))
def test_has_one_spelling(data: bytes) -> None:
    try:
        entries = parse_bundle(data)
    except FormatError:
        return
    assert format_bundle(entries) == data


def test_layout() -> None:
    assert format_bundle([b"", b"a", b"b" * 258]) == b"\0\0" + b"\0\1a" + b"\1\2" + b"b" * 258
    assert parse_bundle(b"\0\0\0\1a") == [b"", b"a"]


def test_lengths() -> None:
    assert len(LENGTHS) == 65_536
    assert [LENGTHS[n] for n in (0, 1, 255, 256, 65_535)] == [
        b"\0\0",
        b"\0\1",
        b"\0\xff",
        b"\1\0",
        b"\xff\xff",
    ]


def test_largest() -> None:
    entries = [bytes([n]) * MAX_ENTRY for n in range(256)]
    assert parse_bundle(format_bundle(entries), 256) == entries


def test_entry_too_long() -> None:
    with pytest.raises(EntryError, match="got 65536 bytes, want at most 65535"):
        format_bundle([b"fine", bytes(65_536)])


@pytest.mark.parametrize("count", [0, 257])
def test_number_of_entries(count: int) -> None:
    with pytest.raises(FormatError, match=f"got {count} entries, want 1 to 256"):
        format_bundle([b""] * count)


@pytest.mark.parametrize(
    ("data", "width"),
    [
        (b"", None),
        (b"", 1),
        (b"\0", None),
        (b"\0", 1),
        (b"\0\1", None),
        (b"\0\2a", None),
        (b"\0\1ab", None),
        (b"\0\0\0", None),
        (b"\0\0" * 257, None),
        (b"\0\0" * 257, 256),
        (b"\0\0" * 255, 256),
        (b"\0\0" * 3, 2),
        (b"\0\0" * 3, 4),
        (b"\0\1a\0", 1),
        (b"\xff\xff" + bytes(65_534), None),
    ],
)
def test_refused(data: bytes, width: int | None) -> None:
    with pytest.raises(FormatError, match="bundle: "):
        parse_bundle(data, width)


@given(ENTRIES, st.integers(1, 256))
def test_width_is_exact(entries: list[bytes], width: int) -> None:
    data = format_bundle(entries)
    if width == len(entries):
        assert len(parse_bundle(data, width)) == width
    else:
        with pytest.raises(FormatError):
            parse_bundle(data, width)
