"""Content hashes checked again, over entries as a receiver makes them; hashes by plain json and hashlib."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import DamagedError
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import LogPart, encode_entry
from merklelog.ingest.recheck import Checked, Outcome, recheck
from merklelog.ingest.split import split_entry
from merklelog.ingest.values import as_typed

BODY = {"actor": "zoë", "action": "login", "details": {"tries": 3, "ratio": 0.5, "none": None}}


def python_hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def record(body: Any, claimed: str | None, record_id: str = "r") -> bytes:
    """The bytes of a record with that body and that claim."""
    attributes = [{"key": "audit.record.id", "value": {"stringValue": record_id}}]
    if claimed is not None:
        attributes.append({"key": "audit.content_hash", "value": {"stringValue": claimed}})
    made = {"body": as_typed(body), "attributes": attributes, "timeUnixNano": "7"}
    return encode_record(made)


def entry(data: bytes, verdict: str | None = None, protected: tuple[str, ...] = ()) -> bytes:
    verdicts = {} if verdict is None else {"content_hash": verdict}
    return encode_entry(LogPart(1, "alice", verdicts, protected), data)


def checked(entries: list[bytes], start: int = 0, end: int | None = None) -> list[Checked]:
    """What comes of the entries [start, end)."""
    end = len(entries) if end is None else end
    rows = ((index, entries[index]) for index in range(start, end))
    return list(recheck(rows, start, len(entries), entries.__getitem__))


def outcomes(found: list[Checked]) -> list[tuple[int, int, str]]:
    return [(each.index, each.entries, each.outcome.value) for each in found]


RIGHT = record(BODY, python_hash(BODY))
WRONG = record(BODY, python_hash({**BODY, "actor": "mallory"}))
TEXT = record(json.dumps(BODY), python_hash(BODY))
NO_JSON = record("no { JSON", python_hash("no { JSON"))
NONE = record(BODY, None)
LONG_BODY = {"text": "x" * 200_000}
LONG = split_entry(LogPart(1, "alice", {"content_hash": "ok"}), record(LONG_BODY, python_hash(LONG_BODY)))


@pytest.mark.parametrize(
    ("data", "outcome"),
    [(RIGHT, "ok"), (TEXT, "ok"), (WRONG, "mismatch"), (NO_JSON, "not checkable"), (NONE, "unhashed")],
)
def test_each_claim_has_its_outcome_with_and_without_a_log_part(data: bytes, outcome: str) -> None:
    found = checked([entry(data), encode_entry(None, data)])
    assert outcomes(found) == [(0, 1, outcome), (1, 1, outcome)]
    assert {each.record_id for each in found} == {"r"}
    assert {each.contradicts for each in found} == {False}


@pytest.mark.parametrize(
    ("data", "stored", "contradicts"),
    [
        (RIGHT, "ok", False),
        (RIGHT, "mismatch", True),
        (WRONG, "mismatch", False),
        (WRONG, "ok", True),
        (NO_JSON, "not checkable", False),
        (NO_JSON, "ok", True),
        (NONE, "ok", True),
        (RIGHT, "a verdict of later versions", False),
    ],
)
def test_the_log_s_own_verdict_is_held_to_it(data: bytes, stored: str, contradicts: bool) -> None:
    (found,) = checked([entry(data, stored)])
    assert found.contradicts is contradicts


def test_what_was_protected_can_not_match_any_more() -> None:
    for names in (
        ("drop:body.actor",),
        ("hmac:k1:body",),
        ("drop:audit.content_hash",),
        ("drop:x", "drop:body"),
    ):
        found = checked([entry(WRONG, "ok", names), entry(RIGHT, "ok", names), entry(NONE, None, names)])
        assert [each.outcome for each in found] == [Outcome.PROTECTED, Outcome.OK, Outcome.UNHASHED]
        assert found[0].reason == ", ".join(names)
        assert not any(each.contradicts for each in found)
        (hash_dropped,) = checked([entry(NONE, "ok", names)])
        assert (hash_dropped.outcome, hash_dropped.contradicts) == (Outcome.PROTECTED, False)
        (wrong_before,) = checked([entry(NONE, "mismatch", names)])
        assert (wrong_before.outcome, wrong_before.contradicts) == (Outcome.MISMATCH, False)


def test_what_was_protected_beside_the_content_is_no_excuse() -> None:
    names = ("drop:client.address", "hmac:k1:bodyguard")
    found = checked([entry(WRONG, "ok", names), entry(NONE, "ok", names)])
    assert [(each.outcome, each.contradicts) for each in found] == [
        (Outcome.MISMATCH, True),
        (Outcome.UNHASHED, True),
    ]


def test_what_is_no_record_is_told_from_what_is_none_any_more() -> None:
    whole = entry(RIGHT)
    bad = [
        b"order 17",
        b"{}",
        b"",
        whole[:-1],
        whole.replace(b'"timeUnixNano":"7"', b'"timeUnixNano":7'),
        whole,
    ]
    assert [each.outcome.value for each in checked(bad)] == [*["raw"] * 3, *["malformed"] * 2, "ok"]


def test_a_record_in_several_entries_is_one() -> None:
    count = len(LONG)
    assert count > 3
    entries = [entry(RIGHT), *LONG, b"raw", *LONG]
    assert outcomes(checked(entries)) == [
        (0, 1, "ok"),
        (1, count, "ok"),
        (1 + count, 1, "raw"),
        (2 + count, count, "ok"),
    ]


@pytest.mark.parametrize("part", range(1, len(LONG)))
def test_a_range_may_end_or_begin_within_a_record(part: int) -> None:
    count = len(LONG)
    entries = [*LONG, entry(RIGHT)]
    assert outcomes(checked(entries, 0, part)) == [(0, count, "ok")]
    assert outcomes(checked(entries, part)) == [(part, count - part, "continued"), (count, 1, "ok")]
    if part > 1:
        entries[part - 1] = b"raw"
        broken = [(index, 1, "malformed") for index in range(part, count)]
        assert outcomes(checked(entries, part)) == [*broken, (count, 1, "ok")]


def test_parts_that_make_no_record_are_malformed_and_hide_nothing() -> None:
    count = len(LONG)
    for entries, at, wanted in (
        ([*LONG[:-1]], 0, [f"entry {count - 1}: the log ends before it"]),
        ([LONG[0], entry(RIGHT), *LONG[1:]], 1, []),
        ([LONG[0], b"raw", *LONG[1:]], 1, []),
        ([LONG[1], LONG[0], *LONG[2:]], 1, []),
    ):
        found = checked(entries)
        assert [each.index for each in found] == list(range(len(entries)))
        assert found[0].outcome is Outcome.MALFORMED
        assert {each.outcome for each in found} <= {Outcome.MALFORMED, Outcome.OK, Outcome.RAW}
        if wanted:
            assert wanted[0] in found[0].reason
        if entries[at] == entry(RIGHT):
            assert found[at].outcome is Outcome.OK


def test_an_error_of_reading_is_no_verdict() -> None:
    def rows() -> Any:
        yield 0, LONG[0]
        raise DamagedError("bundle 0")

    def broken(index: int) -> bytes:
        raise DamagedError(f"bundle of {index}")

    read: Callable[[int], bytes] = LONG.__getitem__
    with pytest.raises(DamagedError, match="bundle 0"):
        list(recheck(rows(), 0, len(LONG), read))
    with pytest.raises(DamagedError, match="bundle of 1"):
        list(recheck([(0, LONG[0])], 0, len(LONG), broken))


@st.composite
def _entries(draw: st.DrawFn) -> list[bytes]:
    """Entries of every kind in any order, some of them damaged."""
    kinds = st.sampled_from(
        [entry(RIGHT), entry(WRONG, "ok"), encode_entry(None, NONE), b"raw", b"{}", *LONG]
    )
    made = draw(st.lists(kinds, max_size=12))
    for position in draw(st.sets(st.integers(0, 11), max_size=3)):
        if position < len(made) and made[position]:
            data, at = bytearray(made[position]), draw(st.integers(0, 2**20)) % len(made[position])
            data[at] ^= draw(st.integers(1, 255))
            made[position] = bytes(data)
    return made


@given(_entries(), st.integers(0, 12))
def test_whatever_stands_in_a_log_each_entry_has_one_outcome(entries: list[bytes], start: int) -> None:
    start = min(start, len(entries))
    found = checked(entries, start)
    assert [index for each in found for index in range(each.index, each.index + each.entries)] == list(
        range(start, len(entries))
    )
