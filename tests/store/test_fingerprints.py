"""What the identity index promises its caller."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from merklelog.errors import ClosedError, EntryError, RangeError, StorageError
from merklelog.store.fingerprints import FingerprintIndex
from tests.support.identity_index import SMALL, assert_finds_all, feed, key_of, keys_of


@pytest.mark.parametrize("count", [1, 6, 7, 499, 500, 501, 1300])
def test_an_answer_does_not_depend_on_how_many_keys_are_asked(tmp_path: Path, count: int) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    feed(index, 1000)
    index.settle()
    for start in (0, 150, 700):
        want = {at - start: [at] for at in range(start, min(start + count, 1000))}
        assert index.candidates(keys_of(start, start + count)) == want
    assert index.candidates(keys_of(2000, 2000 + count)) == {}
    index.close()


def test_what_is_below_end_is_skipped_and_a_gap_is_refused(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    index.add(keys_of(0, 10), 0)
    index.add([b"\xff" * 32] * 5 + keys_of(10, 12), 5, extras=[(b"\xee" * 32, 7), (b"\xdd" * 32, 11)])
    assert index.end == 12
    assert index.candidates([b"\xff" * 32, b"\xee" * 32, b"\xdd" * 32]) == {2: [11]}
    assert_finds_all(index, 12)
    with pytest.raises(RangeError, match="from index 13 on: the index was fed up to 12"):
        index.add(keys_of(13, 14), 13)
    assert index.end == 12
    index.close()


def test_a_second_identity_is_found_and_comes_before_the_next_entries(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    given = [hashlib.sha256(b"given %d" % at).digest() for at in range(300)]
    for at in range(300):
        index.add([key_of(at)], at)
        index.add_extra(given[at], at)
    index.settle()
    assert index.candidates(given) == {at: [at] for at in range(300)}
    assert_finds_all(index, 300)
    with pytest.raises(RangeError, match="entry 300"):
        index.add_extra(given[0], 300)
    with pytest.raises(RangeError, match="entry 0"):
        index.add_extra(given[0], 0)
    index.close()


def test_the_smallest_index_of_a_repeated_key_is_always_there(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    for start in range(0, 2000, 100):
        index.add([b"\x07" * 32] * 100, start)
    index.settle()
    (answer,) = index.candidates([b"\x07" * 32]).values()
    assert answer[0] == 0
    assert answer == sorted(answer)
    assert len(answer) <= 2000 // SMALL["tail_limit"] + 1  # not one for each entry
    index.close()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    index = FingerprintIndex(tmp_path)
    wrong = [key_of(0), bytes(length), bytes(64 - length)]
    for call in (
        lambda: index.candidates(wrong),
        lambda: index.add(wrong, 0),
        lambda: index.add_extra(bytes(length), 0),
    ):
        with pytest.raises(EntryError, match=f"{length} bytes, want 32"):
            call()
    assert index.end == 0
    index.close()


def test_a_closed_index_answers_nothing(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path)
    index.add(keys_of(0, 5), 0)
    index.close()
    index.close()
    with pytest.raises(ClosedError):
        index.candidates(keys_of(0, 5))


def test_no_question_and_nothing_to_add(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path)
    assert index.candidates([]) == {}
    index.add([], 0)
    assert (index.end, index.watermark, index.stats().runs) == (0, 0, 0)
    index.close()


def test_a_folder_that_can_not_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        FingerprintIndex(tmp_path / "file")
