"""A damaged identity index: all is found again, and what was begun before it fell back is thrown away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.store.fingerprint_hash import Fingerprinter
from merklelog.store.fingerprint_view import Part, Tail
from merklelog.store.fingerprints import FingerprintIndex
from tests.support.identity_index import SIZE, SMALL, assert_finds_all, cut, feed, key_of, keys_of, made

Harm = Callable[[Path], None]


def flip(part: float) -> Harm:
    def harm(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(len(data) * part)] ^= 0x10
        path.write_bytes(data)

    return harm


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
