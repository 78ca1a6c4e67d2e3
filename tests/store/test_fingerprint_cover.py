"""The filter over what is young: it never hides anything, and goes when it stands for one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from merklelog.store.fingerprint_cover import Cover, extended, still_of_use
from merklelog.store.fingerprint_filter import WORDS, Filter, empty_words, filter_words
from merklelog.store.fingerprint_hash import Fingerprinter
from merklelog.store.fingerprint_view import Part, Tail
from merklelog.store.fingerprints import FingerprintIndex
from tests.support.identity_index import SMALL, assert_finds_all, feed, keys_of

NUMBERS = st.one_of(
    st.integers(0, (1 << 64) - 1), st.integers(0, 1 << 30), st.integers(0, 40).map(lambda n: n << 58)
)


@given(st.lists(NUMBERS, min_size=1, max_size=200), st.integers(1, 50))
def test_what_is_put_in_sparsely_gives_the_same_filter(numbers: list[int], cut: int) -> None:
    want, got = (Filter(empty_words(filter_words(300))) for _ in range(2))
    want.add(np.array(sorted(numbers), WORDS))
    got.add_sparse(np.array(numbers[:cut], WORDS))
    got.add_sparse(np.array(numbers[cut:], WORDS))
    assert got.words.tobytes() == want.words.tobytes()


def test_covers_follow_one_another_and_each_holds_no_more_than_it_is_for() -> None:
    covers: tuple[Cover, ...] = ()
    fed: list[tuple[int, int]] = []
    at = 0
    for n, count in enumerate([10, 20, 30, 100, 250, 5]):
        fingerprints = np.arange(count, dtype=WORDS) << np.uint64(50 + n)
        covers = extended(covers, at, count, np.array_split(fingerprints, 3), 100)
        fed += [(at, number) for number in fingerprints.tolist()]
        at += count
    assert [(cover.start, cover.count) for cover in covers] == [(0, 60), (60, 100), (160, 250), (410, 5)]
    for start, number in fed:
        cover = [cover for cover in covers if cover.start <= start][-1]
        assert cover.filter.may_hold(number)


def test_a_cover_goes_when_at_most_one_run_begins_in_it() -> None:
    covers = tuple(Cover(start, 10, Filter(empty_words(1))) for start in (0, 10, 20))
    assert still_of_use(covers, [0, 5, 10, 20], []) == covers
    assert still_of_use(covers, [5, 10, 15, 20], [22]) == covers[1:]
    assert still_of_use(covers, [0, 12, 20, 21], [22]) == covers[2:]
    assert still_of_use(covers, [], []) == covers[2:], "the next part goes into the last"


def test_a_cover_stays_while_a_part_has_no_other_filter() -> None:
    covers = tuple(Cover(start, 10, Filter(empty_words(1))) for start in (0, 10, 20))
    assert still_of_use(covers, [0], [5, 10, 20]) == covers
    assert still_of_use(covers, [0, 10], [15]) == covers[1:]


def test_a_part_that_fills_a_cover_by_itself_is_found_while_runs_are_merged(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    size = 0
    for count in (300, 64, 300, 500, 64, 300, 300, 64, 700, 300):
        index.search(keys_of(size, size + count))
        index.add(keys_of(size, size + count), size)
        size += count
        assert_finds_all(index, size)
    index.settle()
    assert_finds_all(index, size)
    index.close()


def test_runs_of_one_level_are_in_one_cover_and_long_ones_in_none(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    for size in range(64, 4096, 64):
        feed(index, size)
        index.settle()
        view = index._background.view
        edge = view.covers[0].start if view.covers else view.tail.start
        assert all(part.start >= edge for part in view.parts)
        assert sum(run.start >= edge for run in view.runs) <= 3
        assert len(view.covers) <= 2
    assert_finds_all(index, size)
    index.close()


def test_short_runs_of_before_an_opening_get_a_cover_with_the_first_part(tmp_path: Path) -> None:
    shape = {**SMALL, "young_runs": 4}
    index = FingerprintIndex(tmp_path, **shape)
    for size in range(64, 64 * 2 * (4 + 3) + 1, 64):
        feed(index, size)
        index.settle()
    assert [run.count for run in index._background.view.runs] == [512, 128, 128]
    index.close()
    index = FingerprintIndex(tmp_path, **shape)
    assert index._background.view.covers == ()
    assert_finds_all(index, index.end)
    feed(index, 64 * 2 * 8, step=32)
    index.settle()
    assert [cover.start for cover in index._background.view.covers] == [512]
    assert_finds_all(index, 64 * 2 * 8)
    index.close()


def test_a_part_is_the_same_with_the_fingerprints_that_were_known_and_without() -> None:
    fingerprinter = Fingerprinter(bytes(16))
    keys = keys_of(0, 300)
    known, unknown = Tail(1000), Tail(1000)
    for at in (0, 100, 200):
        part = keys[at : at + 100]
        known.put(part, fingerprinter.many(part))
        unknown.put(part, fingerprinter.many(part) if at == 100 else None)
    assert known.fingerprints is not None
    assert unknown.fingerprints is None
    one, other = (Part(tail, fingerprinter) for tail in (known, unknown))
    for mine, others in zip(one.sorted_from(900), other.sorted_from(900), strict=True):
        assert mine.tolist() == others.tolist()
    assert one.find(fingerprinter.one(keys[7])) == [1007]


def test_fingerprints_that_were_known_are_not_believed_of_a_key_that_came_twice() -> None:
    fingerprinter = Fingerprinter(bytes(16))
    keys = keys_of(0, 50)
    for again in (keys[:1], keys[3:4] * 2, keys):
        tail = Tail(0)
        tail.put(keys, fingerprinter.many(keys))
        tail.put(again, fingerprinter.many(again))
        part = Part(tail, fingerprinter)
        assert part.count == 50
        assert [part.find(number) for number in fingerprinter.many(keys).tolist()] == [
            [at] for at in range(50)
        ]
    tail = Tail(0)
    tail.put(keys, fingerprinter.many(keys))
    tail.put_extra(bytes(32), 9)
    assert Part(tail, fingerprinter).find(fingerprinter.one(bytes(32))) == [9]


def test_other_keys_of_the_same_number_do_not_get_the_fingerprints_of_those_asked_for(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    for start in range(0, 640, 32):
        index.search(keys_of(5_000 + start, 5_032 + start))
        index.add(keys_of(start, start + 32), start)
    index.settle()
    assert_finds_all(index, 640)
    index.close()
