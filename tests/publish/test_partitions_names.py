"""The names of partitions' files, and the state beside them: each is read back, and no other spelling is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, FormatVersionError
from merklelog.publish.partitions_layout import (
    MAX_TIME,
    Closing,
    Part,
    Partitioning,
    PartitionState,
    Period,
    format_state,
    parse_part_key,
    parse_state,
    period_at,
)
from merklelog.tree import Hash

HOUR = 3_600
NOON = 1_795_003_200 // 86_400 * 86_400 + 12 * HOUR
EVERY = [each for each in Partitioning if each is not Partitioning.NONE]
hashes = st.binary(min_size=32, max_size=32).map(Hash)
periods = st.builds(period_at, st.sampled_from(EVERY), st.integers(0, MAX_TIME))
ENDS = st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=2, unique=True).map(sorted)


@given(periods, ENDS, hashes)
def test_a_name_is_read_back(period: Period, ends: list[int], root: Hash) -> None:
    part = Part(period, ends[0], ends[1], root)
    assert parse_part_key(part.key) == part


def test_names_say_when() -> None:
    name = f"{0:020d}-{300:020d}-{'ab' * 32}.jsonl.gz"
    root = Hash(b"\xab" * 32)
    for every, path in (
        (Partitioning.DAILY, "year=2026/month=11/day=21"),
        (Partitioning.HOURLY, "year=2026/month=11/day=21/hour=09"),
        (Partitioning.MINUTE, "year=2026/month=11/day=21/hour=09/minute=05"),
    ):
        part = Part(period_at(every, 1_795_251_900 + 7), 0, 300, root)
        assert part.key == f"partitions/{path}/{name}"


def test_names_are_in_the_order_of_time() -> None:
    times = [*range(0, 90 * HOUR, 1_700), 253_402_300_799]
    for every in EVERY:
        keys = [Part(period_at(every, t), 5, 6, Hash(bytes(32))).key for t in times]
        assert keys == sorted(keys)


GOOD = f"partitions/year=2026/month=11/day=21/{0:020d}-{300:020d}-{'ab' * 32}.jsonl.gz"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("month=11", "month=13"),
        ("month=11", "month=1"),
        ("day=21", "day=31"),
        ("day=21", "hour=21"),
        ("day=21", "day=21/hour=24"),
        ("day=21", "day=21/hour=09/minute=60"),
        ("day=21", "day=21/hour=09/minute=01/second=01"),
        ("year=2026", "year=02026"),
        ("year=2026", "year=0"),
        ("year=2026/", ""),
        ("0300-", "0000-"),
        ("ab" * 32, "AB" * 32),
        ("ab" * 32, "ab" * 31),
        (".jsonl.gz", ".jsonl"),
        ("partitions/", "Partitions/"),
        (f"{300:020d}", "99999999999999999999"),
    ],
)
def test_other_names_are_refused(old: str, new: str) -> None:
    assert parse_part_key(GOOD).end == 300
    with pytest.raises(FormatError):
        parse_part_key(GOOD.replace(old, new))


@given(periods, periods, ENDS, st.booleans())
def test_a_state_is_read_back(one: Period, two: Period, ends: list[int], closing: bool) -> None:
    state = PartitionState("example.com/log", ends[0], two, Closing(one, ends[1]) if closing else None)
    assert parse_state(format_state(state)) == state


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"format": 2}, FormatVersionError),
        ({"format": 0}, FormatError),
        ({"end": -1}, FormatError),
        ({"end": 2**63}, FormatError),
        ({"end": 1.5}, FormatError),
        ({"open": {"every": "none", "time": 0}}, FormatError),
        ({"open": {"every": "hourly", "time": 5}}, FormatError),
        ({"open": {"every": "hourly", "time": -HOUR}}, FormatError),
        ({"open": {"every": "hourly", "time": (MAX_TIME // HOUR + 1) * HOUR}}, FormatError),
        ({"closing": {"period": {"every": "daily", "time": 0}, "end": 4}}, FormatError),
        ({"more": 1}, FormatError),
        ({"origin": None}, FormatError),
    ],
)
def test_other_states_are_refused(change: dict[str, Any], error: type[Exception]) -> None:
    state = PartitionState("example.com/log", 5, period_at(Partitioning.HOURLY, NOON))
    fields = msgspec.to_builtins(state)
    assert parse_state(json.dumps(fields, separators=(",", ":")).encode() + b"\n") == state
    with pytest.raises(error):
        parse_state(json.dumps(fields | change, separators=(",", ":")).encode() + b"\n")


@given(st.binary(max_size=200))
def test_a_state_of_any_bytes_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_state(data)
