"""The runs of the identity index as files: whose they are, who reads beside, a full disk and a hanging one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from merklelog.store.fingerprint_filter import Words
from merklelog.store.fingerprint_merge import merged
from merklelog.store.fingerprint_run import Offsets, Run, open_run
from merklelog.store.fingerprints import FingerprintIndex
from tests.support.identity_index import SIZE, SMALL, assert_finds_all, cut, feed, key_of, keys_of, made


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
