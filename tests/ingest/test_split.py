"""Records longer than an entry may be: cut, joined, and every way in which the pieces do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import EntryError, FormatError
from merklelog.ingest.canonical import decode_record, encode_record, record_identity
from merklelog.ingest.entry import MAX_ENTRY_BYTES, Entry, LogPart, encode_entry, parse_entry
from merklelog.ingest.split import MAX_RECORD_BYTES, PIECE_BYTES, join_entries, part_identity, split_entry

PART = LogPart(1_732_222_222_000_000_000, "collector-1", {"content_hash": "ok"}, ("audit.actor",))


def record_of(size: int) -> bytes:
    frame = len(encode_record({"body": {"stringValue": ""}}))
    return encode_record({"body": {"stringValue": ("0123456789" * (size // 10 + 1))[: size - frame]}})


FITS = MAX_ENTRY_BYTES - len(encode_entry(PART, b""))


@pytest.mark.parametrize("size", [100, FITS - 1, FITS])
def test_a_record_that_fits_is_one_entry(size: int) -> None:
    record = record_of(size)
    assert split_entry(PART, record) == [encode_entry(PART, record)]
    assert join_entries(split_entry(PART, record).__getitem__, 0) == Entry(PART, record)


SIZES = [FITS + 1, MAX_ENTRY_BYTES, 2 * PIECE_BYTES - 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1, 1_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_record_that_does_not_is_joined_from_any_of_its_entries(size: int) -> None:
    record = record_of(size)
    entries = split_entry(PART, record)
    assert len(entries) == -(-size // PIECE_BYTES)
    assert max(map(len, entries)) <= MAX_ENTRY_BYTES
    log = [b"raw", *entries, *split_entry(PART, record_of(90_000))]
    for index in range(1, len(entries) + 1):
        joined = join_entries(log.__getitem__, index)
        assert joined.record_bytes == record
        assert joined.part is not None
        assert replace(joined.part, split=None) == PART
        assert joined.part.split is not None
        assert (joined.part.split.part, joined.part.split.hash) == (0, record_identity(record))
    assert decode_record(record)["body"]


def test_the_longest_log_part_leaves_room_for_a_piece() -> None:
    part = LogPart(2**63 - 1, "s" * 1000, {"a": "x" * 15_000}, ())
    entries = split_entry(part, record_of(MAX_ENTRY_BYTES))
    assert len(entries) == 2
    assert max(map(len, entries)) <= MAX_ENTRY_BYTES


def test_what_is_too_long_even_for_that() -> None:
    with pytest.raises(EntryError, match="want at most 268435456"):
        split_entry(PART, bytes(MAX_RECORD_BYTES + 1))
    with pytest.raises(EntryError, match="only a receiver splits them"):
        split_entry(None, record_of(70_000))


def test_identities_of_parts_differ() -> None:
    identity = record_identity(b"{}")
    found = [part_identity(identity, number) for number in range(1000)]
    assert found[0] == identity
    assert len(set(found)) == 1000
    assert {len(each) for each in found} == {32}


LONG = record_of(100_000)
ENTRIES = split_entry(PART, LONG)
OTHER = split_entry(PART, record_of(100_001))
LATER = split_entry(replace(PART, time=PART.time + 1), LONG)


def forged(number: int, **changes: object) -> list[bytes]:
    """The entries with the split part of one of them changed."""
    parsed = parse_entry(ENTRIES[number])
    assert parsed is not None
    assert parsed.part is not None
    assert parsed.part.split is not None
    split = replace(parsed.part.split, **changes)  # type: ignore[arg-type]
    data = encode_entry(replace(parsed.part, split=split), parsed.record_bytes)
    return [*ENTRIES[:number], data, *ENTRIES[number + 1 :]]


def piece(number: int, content: bytes) -> list[bytes]:
    parsed = parse_entry(ENTRIES[number])
    assert parsed is not None
    return [*ENTRIES[:number], encode_entry(parsed.part, content), *ENTRIES[number + 1 :]]


BROKEN = {
    "swapped": ([ENTRIES[1], ENTRIES[0], ENTRIES[2]], 0),
    "another record's piece": ([ENTRIES[0], OTHER[1], ENTRIES[2]], 0),
    "another time": ([ENTRIES[0], LATER[1], ENTRIES[2]], 0),
    "a raw entry between": ([ENTRIES[0], b"raw", ENTRIES[2]], 2),
    "a whole record between": ([ENTRIES[0], encode_entry(PART, b"{}"), ENTRIES[2]], 0),
    "a client's record between": ([ENTRIES[0], encode_entry(None, b"{}"), ENTRIES[2]], 0),
    "a first part that begins before the log": (ENTRIES[2:], 0),
    "other bytes": (piece(1, b"x" * PIECE_BYTES), 1),
    "a short piece": (piece(1, b"x"), 0),
    "more parts than bytes": (forged(0, parts=2**40), 0),
    "a size nobody has": (forged(0, size=2**60, parts=2**60 // PIECE_BYTES + 1), 0),
    "another hash": (forged(0, hash=bytes(32)), 0),
}


@pytest.mark.parametrize("name", BROKEN)
def test_pieces_that_do_not_fit(name: str) -> None:
    log, index = BROKEN[name]
    with pytest.raises(FormatError, match="entr"):
        join_entries(log.__getitem__, index)


def test_a_raw_entry_is_no_record() -> None:
    with pytest.raises(FormatError, match="entry 0: it holds no record"):
        join_entries([b"raw"].__getitem__, 0)


@given(st.integers(1, 300_000), st.binary(min_size=1, max_size=50))
def test_any_bytes_are_joined(size: int, data: bytes) -> None:
    # Whatever the bytes of a record are: the pieces are cut anywhere, inside a character too.
    record = (data * (size // len(data) + 1))[:size]
    entries = split_entry(PART, record)
    if len(entries) > 1:
        assert join_entries(entries.__getitem__, len(entries) - 1).record_bytes == record
