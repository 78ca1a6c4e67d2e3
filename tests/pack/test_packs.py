"""Packs made and judged: every small range, the borders of their files, their size, and memory that stays flat."""

from __future__ import annotations

import io
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.errors import DamagedError, MerklelogError, PolicyUnmetError, RangeError
from merklelog.formats import SignatureType, parse_policy
from merklelog.pack import is_pack, make_pack, verify_pack
from tests.pack.packs import (
    KEY_ALONE,
    LOG,
    LOG_MLDSA,
    TWO_OF_THREE,
    MemoryLog,
    files_of,
    judge,
    key,
    lines_log,
    mixed_log,
    policy_text,
    script_says,
    vkey,
)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 9])
def test_every_range_of_small_logs(size: int) -> None:
    log = lines_log(size)
    for start in range(size):
        for end in range(start + 1, size + 1):
            pack = log.pack(start, end)
            verdict = judge(pack)
            assert (verdict.start, verdict.end) == (start, end)
            assert (verdict.checkpoint, verdict.existed_by) == (log.checkpoint, None)
            assert script_says(pack)[0] == 0


LONG = mixed_log(3100)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *((0, 1), (0, 1023), (0, 1024), (0, 1025), (1023, 1024), (1023, 1025), (1024, 1025), (1024, 2048)),
        *((1, 2049), (2047, 3100), (2048, 3100), (3099, 3100), (0, 3100), (3072, 3100)),
    ],
)
def test_ranges_at_the_borders_of_files(start: int, end: int) -> None:
    pack = LONG.pack(start, end)
    assert (judge(pack).start, judge(pack).end) == (start, end)
    assert script_says(pack)[0] == 0
    firsts = [int(name[len("entries/") : -4]) for name, _ in files_of(pack)[4:]]
    assert firsts == [start, *range((start // 1024 + 1) * 1024, end, 1024)]
    assert is_pack(pack)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_range_of_any_bytes(data: st.DataObject) -> None:
    entries = data.draw(st.lists(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), min_size=1))
    log = MemoryLog(entries)
    start = data.draw(st.integers(0, len(entries) - 1))
    end = data.draw(st.integers(start + 1, len(entries)))
    pack = log.pack(start, end)
    assert judge(pack).end == end
    assert script_says(pack)[0] == 0
    other = list(entries)
    at = data.draw(st.integers(start, end - 1))
    other[at] = data.draw(st.binary(max_size=40).filter(lambda entry: entry != entries[at]))
    forged = MemoryLog(other)
    forged.note, forged.checkpoint = log.note, log.checkpoint
    with pytest.raises(MerklelogError):
        forged.pack(start, end)


def test_a_thousand_entries_take_less_than_40_kilobytes_beside_themselves() -> None:
    """Entries that can not be compressed, the log's two keys, five witnesses with two keys each."""
    chooser = random.Random(1)
    kinds = (SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44)
    witnesses = [
        key(f"w{n}.example", kind, 30 + 2 * n + at) for n in range(5) for at, kind in enumerate(kinds)
    ]
    signers = ((LOG, 0), (LOG_MLDSA, 0), *((each, 1_700_000_000) for each in witnesses))
    log = MemoryLog([chooser.randbytes(256) for _ in range(20_000)], signers)
    policy = policy_text(
        f"log {vkey(LOG)}",
        *(f"witness k{n} {vkey(each)}" for n, each in enumerate(witnesses)),
        *(f"group w{n} any k{2 * n} k{2 * n + 1}" for n in range(5)),
        "group all all w0 w1 w2 w3 w4",
        "quorum all",
    )
    pack = log.pack(10_001, 11_001, policy)
    assert judge(pack, policy).existed_by == 1_700_000_000
    assert script_says(pack, policy)[0] == 0
    assert len(pack) - 1000 * 256 < 40_000


def peak_memory(pack: bytes) -> int:
    tracemalloc.start()
    try:
        verify_pack(io.BytesIO(pack), parse_policy(KEY_ALONE))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_range() -> None:
    log = lines_log(60_000)
    few, many = (peak_memory(log.pack(100, end)) for end in (6_000, 59_000))
    assert many < few + 100_000
    assert many < 2_000_000


def test_progress_is_told_file_by_file() -> None:
    told: list[tuple[int, int]] = []
    verify_pack(
        io.BytesIO(LONG.pack(1000, 3000)), parse_policy(KEY_ALONE), progress=lambda *at: told.append(at)
    )
    assert told == [(24, 2000), (1048, 2000), (2000, 2000)]


class Giving:
    """A source with other entries than its proofs are of."""

    def __init__(self, log: MemoryLog, entries: list[bytes]) -> None:
        self.proof = log.proof
        self._entries = entries

    def entries(self, start: int, end: int):
        return iter(self._entries[start:end])


def test_a_pack_of_other_entries_is_not_made() -> None:
    log = lines_log(50)
    out = io.BytesIO()
    other = [*log.entries[:20], b"x", *log.entries[21:]]
    with pytest.raises(DamagedError, match="entries 10:30: they lead to root"):
        make_pack(out.write, Giving(log, other), log.note, parse_policy(KEY_ALONE), 10, 30)
    with pytest.raises(MerklelogError):
        judge(out.getvalue())
    with pytest.raises(DamagedError, match="the log gave 15 of them"):
        make_pack(out.write, Giving(log, other[:25]), log.note, parse_policy(KEY_ALONE), 10, 30)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 5), (7, 5), (0, 51), (50, 51), (-1, 3)])
def test_a_range_that_is_none_is_not_packed(start: int, end: int) -> None:
    with pytest.raises(RangeError, match="want one or more, below the checkpoint's size 50"):
        lines_log(50).pack(start, end)


def test_a_checkpoint_that_does_not_meet_the_policy_is_not_packed() -> None:
    with pytest.raises(PolicyUnmetError, match="want the quorum"):
        lines_log(50).pack(0, 5, TWO_OF_THREE)


def test_the_same_range_makes_the_same_bytes() -> None:
    assert LONG.pack(5, 3000) == LONG.pack(5, 3000)
