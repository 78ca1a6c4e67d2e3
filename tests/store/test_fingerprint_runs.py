"""The pieces of the identity index: fingerprints, filter, run files, merging."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.store.fingerprint_filter import (
    PROBE_MAX,
    WORDS,
    Filter,
    FilterWriter,
    Probe,
    Words,
    empty_words,
    filter_words,
)
from merklelog.store.fingerprint_hash import Fingerprinter
from merklelog.store.fingerprint_merge import merged, runs_to_merge
from merklelog.store.fingerprint_run import BLOCK_ENTRIES, MAX_SPAN, OFFSETS, Run, RunWriter, open_run

NUMBERS = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 1, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1]),
    st.integers(0, 40).map(lambda n: n << 58),
)


def no_step(_name: str) -> None:
    pass


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.binary(min_size=16, max_size=16))
def test_many_fingerprints_are_those_of_each(keys: list[bytes], seed: bytes) -> None:
    fingerprinter = Fingerprinter(seed)
    assert fingerprinter.many(keys).tolist() == [fingerprinter.one(key) for key in keys]


COUNTERS = [n.to_bytes(32, "big") for n in range(20_000)]
CHOSEN = {
    "counters": COUNTERS,
    "counters, little endian": [key[::-1] for key in COUNTERS],
    "one of 32 bits": [(1 << bit).to_bytes(32, "little") for bit in range(256)],
    "highest bits of words": [
        sum((n >> word & 1) << (32 * word + 31) for word in range(8)).to_bytes(32, "little")
        for n in range(256)
    ],
    "text": [b"event-%026d" % n for n in range(20_000)],
}


@pytest.mark.parametrize("keys", CHOSEN.values(), ids=CHOSEN.keys())
@pytest.mark.parametrize("seed", [bytes(16), bytes(range(16)), b"\xff" * 16])
def test_chosen_keys_get_fingerprints_that_look_random(keys: list[bytes], seed: bytes) -> None:
    numbers = np.sort(Fingerprinter(seed).many(keys))
    assert len(set(numbers.tolist())) == len(keys)
    for bit in range(64):
        ones = int((numbers >> np.uint64(bit) & np.uint64(1)).sum())
        assert abs(ones - len(keys) / 2) < 3 * len(keys) ** 0.5
    filter_ = Filter(empty_words(filter_words(len(keys))))
    filter_.add(numbers)
    strangers = Fingerprinter(seed).many([n.to_bytes(32, "big") for n in range(1 << 40, (1 << 40) + 20_000)])
    assert len(passing(filter_, strangers)) < 100


def test_another_seed_gives_other_fingerprints() -> None:
    first, second = (set(Fingerprinter(seed).many(COUNTERS).tolist()) for seed in (bytes(16), b"\1" * 16))
    assert len(first & second) < 2


def write_run(folder: Path, start: int, numbers: list[int], portion: int = 100_000) -> Run:
    """A run whose n-th entry, from index `start`, has the n-th of these fingerprints."""
    fingerprints = np.array(numbers, WORDS)
    order = np.argsort(fingerprints, kind="stable")
    with RunWriter(folder, start, start + len(numbers), len(numbers), bytes(32), bytes(16)) as writer:
        for at in range(0, len(numbers), portion):
            part = order[at : at + portion]
            writer.add(fingerprints[part], part.astype(OFFSETS))
        return writer.finish(no_step)


def passing(filter_: Filter, numbers: Words) -> set[int]:
    """What the filter lets through, asked both ways."""
    found = set()
    for start in range(0, len(numbers), PROBE_MAX):
        part = numbers[start : start + PROBE_MAX]
        positions = filter_.passing(Probe(part))
        assert positions == [at for at, n in enumerate(part.tolist()) if filter_.may_hold(n)]
        found.update(start + at for at in positions)
    return found


@given(st.lists(NUMBERS, min_size=1, max_size=300), st.lists(NUMBERS, max_size=50))
def test_a_filter_never_denies_what_it_holds(numbers: list[int], others: list[int]) -> None:
    filter_ = Filter(empty_words(filter_words(len(numbers))))
    held = np.array(sorted(numbers), WORDS)
    cut = len(held) // 2
    filter_.add(held[:cut])
    filter_.add(held[cut:])
    assert passing(filter_, held) == set(range(len(held)))
    passing(filter_, np.array(others, WORDS))


@given(st.lists(st.one_of(NUMBERS, st.integers(0, 1 << 12)), min_size=1, max_size=300), st.integers(1, 60))
def test_a_filter_that_is_written_as_it_is_made_is_the_same(numbers: list[int], portion: int) -> None:
    held = np.array(sorted(numbers), WORDS)
    want = Filter(empty_words(filter_words(20_000)))
    want.add(held)
    got, ends = np.zeros(len(want.words), WORDS), [0]

    def write(at: int, words: Words) -> None:
        assert at >= ends[-1], "each word is given once, in order"
        got[at : at + len(words)] = words
        ends.append(at + len(words))

    writer = FilterWriter(len(got), write)
    for at in range(0, len(held), portion):
        writer.add(held[at : at + portion])
    writer.finish()
    assert got.tobytes() == want.words.tobytes()


def test_a_filter_that_the_disk_gives_back_otherwise_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: write(handle, bytes(len(data)), at))
    with pytest.raises(OSError, match="its filter reads back as other bytes than written"):
        write_run(tmp_path, 0, [1, 2, 3])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1_000, 200_000, 1_000_000])
def test_few_strangers_pass_a_filter(count: int) -> None:
    random = np.random.default_rng(count)
    filter_ = Filter(empty_words(filter_words(count)))
    filter_.add(np.sort(random.integers(0, 1 << 64, count, dtype=np.uint64)))
    strangers = random.integers(0, 1 << 64, 50_000, dtype=np.uint64)
    assert len(passing(filter_, strangers)) < 250
    assert len(filter_.words) * 64 < 25 * count + 1024


def test_keys_all_over_a_large_filter_are_put_in_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[int] = []
    pack = np.packbits

    def packbits(bits: np.ndarray, **how: str) -> np.ndarray:
        windows.append(len(bits))
        return pack(bits, **how)

    monkeypatch.setattr(np, "packbits", packbits)
    filter_ = Filter(empty_words(filter_words(2_000_000)))
    held = np.arange(0, 1 << 64, 1 << 54, dtype=np.uint64)
    filter_.add(held)
    assert passing(filter_, held) == set(range(len(held)))
    assert len(windows) > 10
    assert max(windows) <= 2 << 20


@pytest.mark.parametrize("count", [1, BLOCK_ENTRIES - 1, BLOCK_ENTRIES, BLOCK_ENTRIES + 1, 1000])
@pytest.mark.parametrize("portion", [7, 160, 100_000])
def test_a_run_gives_back_what_was_written(tmp_path: Path, count: int, portion: int) -> None:
    numbers = np.random.default_rng(count).integers(0, 1 << 64, count, dtype=np.uint64).tolist()
    for run in (
        write_run(tmp_path, 5000, numbers, portion),
        open_run(tmp_path / f"{5000:020d}-{5000 + count:020d}.run"),
    ):
        assert (run.start, run.end, run.count) == (5000, 5000 + count, count)
        assert [run.find(number) for number in numbers] == [[5000 + at] for at in range(count)]
        assert run.path.stat().st_size == run.disk_bytes
        fingerprints, offsets = run.read(0, run.blocks)
        assert fingerprints.tolist() == sorted(numbers)
        assert [numbers[offset] for offset in offsets.tolist()] == sorted(numbers)
        assert run.find((numbers[0] + 1) % (1 << 64)) == []


def test_a_run_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    sync = os.fsync

    def fsync(handle: int) -> None:
        seen.append("sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        sync(handle)

    def step(name: str) -> None:
        seen.append(f"{name}, {len(list(tmp_path.glob('*.run')))} of that name")

    monkeypatch.setattr("os.fsync", fsync)
    with RunWriter(tmp_path, 0, 1, 1, bytes(32), bytes(16)) as writer:
        writer.add(np.array([7], WORDS), np.array([0], OFFSETS))
        writer.finish(step)
    assert seen == [
        "run written, 0 of that name",
        "sync file",
        "run synced, 0 of that name",
        "run renamed, 1 of that name",
        "sync folder",
        "folder synced, 1 of that name",
    ]


@pytest.mark.parametrize("number", [0, 77, (1 << 64) - 1])
def test_one_fingerprint_may_fill_many_blocks(tmp_path: Path, number: int) -> None:
    others = [0, 1, 76, 78, 1 << 63, (1 << 64) - 1]
    numbers = others + [number] * (5 * BLOCK_ENTRIES)
    run = write_run(tmp_path, 10, numbers)
    for wanted in {*others, number, 75, 5}:
        assert run.find(wanted) == [10 + at for at, n in enumerate(numbers) if n == wanted]


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=700), min_size=2, max_size=5), st.integers(2, 6))
def test_merging_is_sorting(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[int]], blocks: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    runs, start = [], 100
    for numbers in lists:
        runs.append(write_run(folder, start, numbers))
        start += len(numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("merklelog.store.fingerprint_merge.PORTION_BLOCKS", blocks)
        portions = list(merged(runs))
    everything = [number for numbers in lists for number in numbers]
    assert [n for portion in portions for n in portion[0].tolist()] == sorted(everything)
    offsets = [offset for portion in portions for offset in portion[1].tolist()]
    assert sorted(offsets) == list(range(len(everything)))
    assert [everything[offset] for offset in offsets] == sorted(everything)


def test_a_merge_gets_past_a_fingerprint_that_fills_many_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merklelog.store.fingerprint_merge.PORTION_BLOCKS", 2)
    numbers = [3, *([7] * (6 * BLOCK_ENTRIES)), 9]
    runs = [write_run(tmp_path, at * len(numbers), numbers) for at in range(3)]
    portions = list(islice(merged(runs), 100))
    assert [n for portion in portions for n in portion[0].tolist()] == sorted(numbers * 3)


def test_a_merge_takes_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merklelog.store.fingerprint_merge.PORTION_BLOCKS", 16)
    random = np.random.default_rng(1)
    even = [random.integers(0, 1 << 64, 20_000, dtype=np.uint64).tolist() for _ in range(3)]
    skewed = random.integers(1 << 40, 1 << 41, 20_000, dtype=np.uint64).tolist()
    runs = [write_run(tmp_path, 20_000 * at, numbers) for at, numbers in enumerate([*even, skewed])]
    portions = list(merged(runs))
    assert max(len(portion[0]) for portion in portions) <= (16 + 2 * len(runs)) * BLOCK_ENTRIES
    assert sum(len(portion[0]) for portion in portions) == 80_000


@given(st.lists(st.integers(1, 9), min_size=1, max_size=300), st.integers(2, 8))
def test_runs_stay_few_and_an_entry_is_rewritten_seldom(lengths: list[int], fan_in: int) -> None:
    unit = 3
    spans: list[tuple[int, int]] = []
    rewritten: dict[int, int] = {}
    end = 0
    for length in lengths:
        spans.append((end, end + length))
        end += length
        while (which := runs_to_merge(spans, unit, fan_in)) is not None:
            assert len(spans[which]) > 1
            start = spans[which][0][0]
            for at in range(start, end):
                rewritten[at] = rewritten.get(at, 0) + 1
            spans[which] = [(start, end)]
    assert [a for a, _ in spans] == [0, *(b for _, b in spans[:-1])]
    levels = 1
    while unit * fan_in**levels <= end:
        levels += 1
    # A run shorter than the unit counts as little as it is long, so there may be `unit` times as many of them.
    assert len(spans) <= (fan_in * unit) + fan_in * fan_in * levels
    assert max(rewritten.values(), default=0) <= levels


def test_full_tails_of_one_size_merge_like_a_counter() -> None:
    spans: list[tuple[int, int]] = []
    most = 0
    for n in range(152):  # 10^7 entries
        spans.append((n * 65_536, (n + 1) * 65_536))
        while (which := runs_to_merge(spans, 65_536, 4)) is not None:
            spans[which] = [(spans[which][0][0], spans[which][-1][1])]
        most = max(most, len(spans))
    assert most <= 12


def test_runs_before_a_longer_one_are_merged_too() -> None:
    lengths = [4] * 19 + [64, 3, 2]
    ends = np.cumsum(lengths).tolist()
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    assert runs_to_merge(spans, 1, 4) == slice(0, 19)
    assert runs_to_merge(spans, 1, 4, longest=30) == slice(
        14, 19
    )  # part of them, when they may not become long
    assert runs_to_merge(spans, 1, 4, longest=4) is None
    assert runs_to_merge([], 1, 4) is None


def test_no_run_grows_beyond_what_an_offset_can_say() -> None:
    half, unit = MAX_SPAN // 2, MAX_SPAN // 6
    assert runs_to_merge([(0, half), (half, MAX_SPAN - 1)], unit, 4) == slice(0, 2)
    assert runs_to_merge([(0, half), (half, MAX_SPAN)], unit, 4) is None
