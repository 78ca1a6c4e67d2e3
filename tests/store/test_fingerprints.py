"""The identity index against a plain dict: nothing is missed, whatever is frozen, merged, damaged or reopened."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from merklelog.errors import ClosedError, EntryError, RangeError, StorageError
from merklelog.store.fingerprint_filter import WORDS, Words
from merklelog.store.fingerprint_hash import Fingerprinter
from merklelog.store.fingerprint_merge import merged
from merklelog.store.fingerprint_run import Offsets, Run, open_run
from merklelog.store.fingerprint_view import Part, Tail
from merklelog.store.fingerprints import FingerprintIndex

SMALL = {"tail_limit": 64, "parts_a_run": 2, "fan_in": 2}


def key_of(index: int) -> bytes:
    return hashlib.sha256(index.to_bytes(8, "big")).digest()


def keys_of(start: int, end: int) -> list[bytes]:
    return [key_of(index) for index in range(start, end)]


def feed(index: FingerprintIndex, size: int, step: int = 64) -> None:
    """Feed what is missing below `size`, as an owner does."""
    while index.end < size:
        start = index.end
        index.add(keys_of(start, min(start + step, size)), start)


def assert_finds_all(index: FingerprintIndex, size: int) -> None:
    found, end = index.search(keys_of(0, size))
    assert end >= size
    assert found == {position: [position] for position in range(size)}


def made(folder: Path, size: int) -> list[Path]:
    """The run files of a settled and closed index; of 7 * 128 + 64 entries these are 512, 256 and 128 long."""
    index = FingerprintIndex(folder, **SMALL)
    for end in range(64, size + 64, 64):
        feed(index, min(end, size))
        index.settle()
    index.close()
    return sorted(folder.iterdir())


SIZE = 7 * 128 + 64


# --- the model -------------------------------------------------------------------------------------------------

FIRSTS = [0, 1, 255, 1 << 63, (1 << 64) - 1, 0x0123456789ABCDEF]
KEYS = st.one_of(
    st.builds(  # many with the same 8 bytes, at the ends of what fits in them
        lambda first, rest: first.to_bytes(8, "little") + rest.to_bytes(24, "big"),
        st.sampled_from(FIRSTS),
        st.integers(0, 3),
    ),
    st.integers(0, 500).map(key_of),
)


class Prefixes:
    """Fingerprints that anybody can make collide."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed

    def many(self, keys: list[bytes]) -> Words:
        return np.frombuffer(b"".join(keys), WORDS)[::4].copy()

    def one(self, key: bytes) -> int:
        return int.from_bytes(key[:8], "little")


class Model(RuleBasedStateMachine):
    """An index with tiny limits beside a list of what was fed."""

    shared = 32  # bytes that two keys must share for one to be taken for the other
    fingerprinter: type[Prefixes | Fingerprinter] = Fingerprinter

    def __init__(self) -> None:
        super().__init__()
        self.patch = mock.patch("merklelog.store.fingerprints.Fingerprinter", self.fingerprinter)
        self.patch.start()
        self.folder = Path(mkdtemp())
        self.keys: list[bytes] = []
        self.extras: list[tuple[bytes, int]] = []
        self.harmed = False  # there may be damage that nobody has met yet
        self.index = self.opened()

    def opened(self, *, read_only: bool = False) -> FingerprintIndex:
        return FingerprintIndex(
            self.folder / "index", tail_limit=8, parts_a_run=2, fan_in=2, read_only=read_only
        )

    def feed(self, index: FingerprintIndex) -> None:
        while index.end < len(self.keys):
            start = index.end
            part = self.keys[start : start + 7]
            extras = [(key, at) for key, at in self.extras if start <= at < start + 7]
            index.add(part, start, extras)

    def teardown(self) -> None:
        self.patch.stop()
        self.index.close()
        shutil.rmtree(self.folder)

    @rule(
        keys=st.lists(KEYS, min_size=1, max_size=30),
        given=st.lists(KEYS, max_size=3),
        later=st.lists(KEYS, max_size=3),
    )
    def add(self, keys: list[bytes], given: list[bytes], later: list[bytes]) -> None:
        first = len(self.keys)
        self.feed(self.index)  # when a damaged run was noticed
        extras = [(key, first + at % len(keys)) for at, key in enumerate(given)]
        self.index.add(keys, first, extras)
        afterwards = [(key, first + at % len(keys)) for at, key in enumerate(later)]
        for key, at in afterwards:
            self.index.add_extra(key, at)
        self.keys += keys
        self.extras += extras + afterwards

    @rule()
    def settle(self) -> None:
        self.index.settle()
        assert self.index.stats().failure == ""

    @rule(settled=st.booleans())
    def reopen(self, settled: bool) -> None:
        if settled:
            self.index.settle()
        self.index.close()
        self.index = self.opened()
        assert self.harmed or self.index.dropped == ()
        self.harmed = False
        assert self.index.end == self.index.watermark <= len(self.keys)

    @rule(which=st.integers(0), at=st.integers(0), bit=st.integers(0, 7), reopened=st.booleans())
    def damage(self, which: int, at: int, bit: int, reopened: bool) -> None:
        self.index.settle()
        files = sorted((self.folder / "index").iterdir())
        if not files:
            return
        if reopened:
            self.index.close()
        path = files[which % len(files)]
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 1 << bit
        path.write_bytes(data)
        self.harmed = not reopened
        if reopened:
            self.index = self.opened()

    @rule()
    def read_beside(self) -> None:
        self.index.settle()
        before = {path: path.read_bytes() for path in (self.folder / "index").iterdir()}
        reader = self.opened(read_only=True)
        self.feed(reader)
        self.check(reader)
        reader.close()
        assert {path: path.read_bytes() for path in (self.folder / "index").iterdir()} == before

    @invariant()
    def all_is_found(self) -> None:
        self.check(self.index)

    def check(self, index: FingerprintIndex) -> None:
        first: dict[bytes, int] = {}
        sharing: dict[bytes, set[int]] = {}
        for key, at in sorted([*((k, i) for i, k in enumerate(self.keys)), *self.extras], key=lambda x: x[1]):
            first.setdefault(key, at)
            sharing.setdefault(key[: self.shared], set()).add(at)
        asked = [*first, *(key_of(n) for n in range(1000, 1010))]
        for keys in (asked, asked[:1], asked[-12:-8]):  # few keys take another way than many
            found, end = index.search(keys)
            while end < len(self.keys):
                self.feed(index)
                found, end = index.search(keys)
            for position, key in enumerate(keys):
                answer = found.get(position, [])
                assert answer == sorted(set(answer))
                assert set(answer) <= sharing.get(key[: self.shared], set())
                assert key not in first or first[key] in answer


class CollidingModel(Model):
    """The same where the first 8 bytes are the fingerprint."""

    shared = 8
    fingerprinter = Prefixes


# No shrinking: with a thread in the background the same steps need not fail again.
STEPS = settings(stateful_step_count=30, phases=(Phase.explicit, Phase.reuse, Phase.generate))
TestModel = Model.TestCase
TestModel.settings = STEPS
TestCollidingModel = CollidingModel.TestCase
TestCollidingModel.settings = STEPS


# --- the contract ----------------------------------------------------------------------------------------------


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


# --- damage ----------------------------------------------------------------------------------------------------

Harm = Callable[[Path], None]


def flip(part: float) -> Harm:
    def harm(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(len(data) * part)] ^= 0x10
        path.write_bytes(data)

    return harm


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def cut_short(path: Path) -> None:
    os.truncate(path, 40)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def claim_more(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("-", "-1")[:41] + ".run"))


HARMS = [
    flip(0),
    flip(0.001),
    flip(0.3),
    flip(0.85),
    flip(0.99),
    cut,
    cut_short,
    lengthen,
    empty,
    remove,
    claim_more,
]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("which", [0, 1, -1])
def test_after_any_damage_all_is_found_again(tmp_path: Path, harm: Harm, which: int) -> None:
    path = made(tmp_path, SIZE)[which]
    assert len(list(tmp_path.iterdir())) == 3
    start = int(path.name[:20])
    harm(path)
    index = FingerprintIndex(tmp_path, **SMALL)
    found, end = index.search(keys_of(0, SIZE))
    while end < SIZE:
        feed(index, SIZE)
        found, end = index.search(keys_of(0, SIZE))
    assert found == {position: [position] for position in range(SIZE)}
    if which != -1 or harm is not remove:  # nobody can know of a last run that is gone
        assert index.dropped
        assert any(f"{start:020d}-" in why or f"from {start} to" in why for why in index.dropped)
    index.settle()
    index.close()
    reopened = FingerprintIndex(tmp_path, **SMALL)
    assert reopened.dropped == ()
    feed(reopened, SIZE)
    assert_finds_all(reopened, SIZE)
    reopened.close()


def test_each_byte_of_a_run_is_covered_by_a_check(tmp_path: Path) -> None:
    (path,) = made(tmp_path / "good", 128 + 64)
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / path.name).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        index = FingerprintIndex(folder, **SMALL)
        _, end = index.search(keys_of(0, 128))
        assert end == 0, f"byte {at} of {len(good)} was changed and nobody saw it"
        assert path.name in index.dropped[0]
        index.close()
        assert list(folder.iterdir()) == []


def test_damage_that_a_lookup_finds_names_the_file_and_leaves_what_is_before(tmp_path: Path) -> None:
    made(tmp_path, SIZE)
    index = FingerprintIndex(tmp_path, **SMALL)
    feed(index, SIZE)
    files = sorted(tmp_path.iterdir())
    data = bytearray(files[1].read_bytes())
    data[1000] ^= 1
    files[1].write_bytes(data)
    found, end = index.search(keys_of(0, SIZE))
    start = int(files[1].name[:20])
    assert end == start == index.watermark
    assert set(found) == set(range(start))
    assert files[1].name in index.dropped[0]
    assert "does not match its checksum" in index.dropped[0]
    assert files[0].exists()
    assert not files[1].exists()
    index.add(keys_of(1900, 1910), SIZE)  # the owner has not noticed yet
    index.add_extra(key_of(5000), SIZE + 5)
    assert index.end == start
    feed(index, SIZE + 10)
    assert_finds_all(index, SIZE + 10)
    index.close()


def write_over(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)


def test_a_merge_that_meets_damage_gives_the_run_up(tmp_path: Path) -> None:
    made(tmp_path, SIZE)
    index = FingerprintIndex(tmp_path, **SMALL)
    path = min(tmp_path.iterdir())
    write_over(path)
    feed(index, SIZE + 128)  # one more run, and all four become one
    index.settle()
    assert path.name in index.dropped[0]
    assert index.end == 0
    feed(index, SIZE + 128)
    assert_finds_all(index, SIZE + 128)
    index.close()


def fall_back_once(folder: Path, indexes: list[FingerprintIndex]) -> Callable[[], None]:
    """Damages the first run and has a lookup notice, when it is called for the first time."""

    def now() -> None:
        if indexes:
            write_over(min(folder.glob("*.run")))
            assert indexes.pop().search(keys_of(0, 128))[1] == 0

    return now


@pytest.mark.parametrize("more", [128, 256], ids=["while a run is written", "while runs are merged"])
def test_what_was_begun_before_a_fall_back_is_thrown_away(tmp_path: Path, more: int) -> None:
    made(tmp_path, 128 + 64)
    indexes: list[FingerprintIndex] = []
    fall_back = fall_back_once(tmp_path, indexes)
    written: list[str] = []

    def step(name: str) -> None:
        if name == "run written":
            written.append(name)
            if len(written) == more // 128:  # the first is a new run, the second what it is merged into
                fall_back()

    index = FingerprintIndex(tmp_path, **SMALL, step=step)
    indexes.append(index)
    assert index.end == 128
    feed(index, 128 + 128 + 64)
    index.settle()
    assert (index.end, index.watermark, index.stats().failure) == (0, 0, "")
    assert list(tmp_path.iterdir()) == []
    feed(index, 1000)
    index.settle()
    assert_finds_all(index, 1000)
    index.close()


def test_a_tail_that_is_being_sorted_at_a_fall_back_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, 128 + 64)
    indexes: list[FingerprintIndex] = []
    fall_back = fall_back_once(tmp_path, indexes)

    def sort(tail: Tail, fingerprinter: Fingerprinter) -> Part:
        part = Part(tail, fingerprinter)
        if indexes:
            index = indexes[0]
            fall_back()
            feed(index, 300)  # so that other tails are full by now
        return part

    monkeypatch.setattr("merklelog.store.fingerprint_background.Part", sort)
    index = FingerprintIndex(tmp_path, **SMALL)
    indexes.append(index)
    feed(index, 128 + 128)
    index.settle()
    assert_finds_all(index, 300)
    index.close()


def test_the_longest_of_overlapping_runs_is_taken_and_the_shorter_are_its_spare(tmp_path: Path) -> None:
    small = made(tmp_path / "small", SIZE)
    (large,) = made(tmp_path / "large", SIZE + 128)
    assert large.name[21:41] > small[-1].name[21:41]
    for path in small:
        shutil.copy(path, tmp_path / "large")
    index = FingerprintIndex(tmp_path / "large", **SMALL)
    assert (index.watermark, index.dropped) == (int(large.name[21:41]), ())
    index.close()
    assert list((tmp_path / "large").iterdir()) == [large]
    cut(large)
    for path in small:
        shutil.copy(path, tmp_path / "large")
    index = FingerprintIndex(tmp_path / "large", **SMALL)
    assert index.watermark == int(small[-1].name[21:41])
    assert large.name in index.dropped[0]
    assert_finds_all(index, index.watermark)
    index.close()


def test_a_run_of_another_past_is_not_believed(tmp_path: Path) -> None:
    made(tmp_path, SIZE)
    asked: list[tuple[int, bytes]] = []

    def confirm(index: int, key: bytes) -> bool:
        asked.append((index, key))
        return index < 800 and key == key_of(index)

    index = FingerprintIndex(tmp_path, **SMALL, confirm=confirm)
    assert all(key == key_of(at) for at, key in asked)
    assert index.end == 768
    assert "is not the one this run ends with" in index.dropped[0]
    feed(index, 800)
    assert_finds_all(index, 800)
    assert index.candidates(keys_of(800, SIZE)) == {}
    index.close()


def test_runs_of_two_seeds_are_not_mixed(tmp_path: Path) -> None:
    runs, others = made(tmp_path / "one", SIZE), made(tmp_path / "two", SIZE)
    shutil.copy(others[1], runs[1])
    index = FingerprintIndex(tmp_path / "one", **SMALL)
    assert index.end == 512
    assert runs[1].name in index.dropped[0]
    assert "another seed" in index.dropped[0]
    feed(index, SIZE)
    assert_finds_all(index, SIZE)
    index.close()


def test_foreign_files_stay(tmp_path: Path) -> None:
    made(tmp_path, 300)
    (tmp_path / "README").write_text("mine")
    (tmp_path / f"{7:020d}-{9:020d}.3.tmp").write_bytes(b"left by a kill")
    index = FingerprintIndex(tmp_path, **SMALL)
    index.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert "README" in names
    assert not any(name.endswith(".tmp") for name in names)


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    assert FingerprintIndex(tmp_path / "none", read_only=True).end == 0
    assert not (tmp_path / "none").exists()
    made(tmp_path, SIZE)
    (tmp_path / f"{7:020d}-{9:020d}.3.tmp").write_bytes(b"being written")
    cut(sorted(tmp_path.glob("*.run"))[1])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    index = FingerprintIndex(tmp_path, **SMALL, read_only=True)
    feed(index, SIZE)
    assert_finds_all(index, SIZE)
    index.settle()
    index.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_reader_looks_again_when_a_run_was_merged_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "now", SIZE)
    made(tmp_path / "then", SIZE + 128)

    def merge_first(path: Path) -> Run:
        if (tmp_path / "then").exists():
            shutil.rmtree(tmp_path / "now")
            (tmp_path / "then").rename(tmp_path / "now")
        return open_run(path)

    monkeypatch.setattr("merklelog.store.fingerprint_folder.open_run", merge_first)
    index = FingerprintIndex(tmp_path / "now", **SMALL, read_only=True)
    assert (index.end, index.dropped) == (1024, ())
    index.close()


# --- disks and threads -----------------------------------------------------------------------------------------


def test_a_full_disk_stops_nothing_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = threading.Event()
    full.set()
    write = os.write

    def refuse(handle: int, data: bytes) -> int:
        if full.is_set() and threading.current_thread().name == "merklelog-fingerprints":
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("os.write", refuse)
    monkeypatch.setattr("merklelog.store.fingerprint_background._RETRY_SECONDS", 0.01)
    index = FingerprintIndex(tmp_path, **SMALL)
    feed(index, 64 * 50)
    index.settle()
    assert "No space left" in index.stats().failure
    assert index.watermark == 0
    assert_finds_all(index, 64 * 50)
    assert list(tmp_path.glob("*.run")) == []
    full.clear()
    while index.stats().failure or index.watermark < 64 * 40:
        index.settle()
    assert_finds_all(index, 64 * 50)
    index.close()
    assert list(tmp_path.glob("*.tmp")) == []


def test_the_owner_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def step(name: str) -> None:
        if name == "run written":
            hanging.set()
            go_on.wait()

    index = FingerprintIndex(tmp_path, **SMALL, step=step)
    feed(index, 64 * 4)
    assert hanging.wait(60)
    feed(index, 64 * 100)
    view = index._background.view
    assert len(view.full) <= 5  # the rest was sorted by the owner
    assert view.runs == ()
    assert_finds_all(index, 64 * 100)
    go_on.set()
    index.settle()
    assert index.watermark >= 64 * 96
    assert_finds_all(index, 64 * 100)
    index.close()


def test_runs_stay_few_while_a_large_merge_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merklelog.store.fingerprint_merge.PORTION_BLOCKS", 4)
    made(tmp_path, 31 * 128 + 64)
    counts: list[int] = []
    merging: list[bool] = []

    def slowly(runs: tuple[Run, ...]) -> Iterator[tuple[Words, Offsets]]:
        large = not merging
        merging.append(large)
        for portion in merged(runs):
            if large:  # as if an owner were as fast as the merge
                feed(index, index.end + 256)
                counts.append(index.stats().runs)
            yield portion

    monkeypatch.setattr("merklelog.store.fingerprint_background.merged", slowly)
    index = FingerprintIndex(tmp_path, **SMALL)
    feed(index, 32 * 128 + 64)
    index.settle()
    assert index.end > 50 * 128
    assert_finds_all(index, index.end)
    assert max(counts) <= 13  # 18 without
    index.close()


def test_lookups_beside_freezing_and_merging_never_miss(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    size = 12_000
    keys = keys_of(0, size)
    failures: list[object] = []
    done = threading.Event()

    def look(width: int) -> None:
        at = 0
        while not done.is_set() and not failures:
            end = index.end
            if end < width:
                continue
            at = (at + 977) % (end - width + 1)
            found, reached = index.search(keys[at : at + width])
            if reached < end or found != {p: [at + p] for p in range(width)}:
                failures.append((at, width, end, reached, found))

    threads = [threading.Thread(target=look, args=(width,)) for width in (1, 40)]
    for thread in threads:
        thread.start()
    for start in range(0, size, 40):
        index.add(keys[start : start + 40], start)
    index.settle()
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert index.stats().runs < 12
    assert_finds_all(index, size)
    index.close()


def test_a_reader_can_open_while_runs_are_merged_away(tmp_path: Path) -> None:
    index = FingerprintIndex(tmp_path, **SMALL)
    keys = keys_of(0, 10_000)
    failures: list[object] = []
    done = threading.Event()

    def open_again() -> None:
        while not done.is_set():
            at_least = index.watermark
            reader = FingerprintIndex(tmp_path, **SMALL, read_only=True)
            if reader.end < at_least or reader.dropped:
                failures.append((reader.end, at_least, reader.dropped))
            reader.close()

    thread = threading.Thread(target=open_again)
    thread.start()
    for start in range(0, len(keys), 20):
        index.add(keys[start : start + 20], start)
    index.settle()
    done.set()
    thread.join()
    index.close()
    assert failures == []
