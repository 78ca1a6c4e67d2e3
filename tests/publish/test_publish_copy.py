"""Copies of a growing log: complete at every size, minimal to bring up to date, and the same bytes each time."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.client import PublishedSource
from merklelog.publish import DirectoryStore, publish_copy
from merklelog.publish.copy import STEPS
from merklelog.tree import tiles_of

SIZES = [0, 1, 2, 255, 256, 257, 300, 511, 512, 65_535, 65_536, 65_537, 66_000]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_log_published_at_many_sizes(
    tmp_path: Path, memory: ModuleType, check: ModuleType, encoding: str
) -> None:
    log, root = memory.MemoryLog(), tmp_path / "copy"
    previous = None
    for size in SIZES:
        log.grow(size)
        report = publish_copy(log, DirectoryStore(root), verifiers=log.vkeys, bundle_encoding=encoding)
        assert (report.origin, report.size, report.previous) == (log.origin, size, previous)
        assert report.moved
        assert report.newest == size
        assert (
            (root / "checkpoint").read_bytes()
            == log.checkpoint()
            == (root / f"checkpoints/{size}").read_bytes()
        )
        if size <= 512 or size == SIZES[-1]:
            assert set(check.complete(root, log.vkeys, log.entries)) == set(SIZES[: SIZES.index(size) + 1])
        previous = size
    assert "unfinished" not in check.files(root)


def test_the_files_of_a_copy(tmp_path: Path, memory: ModuleType, check: ModuleType) -> None:
    log = memory.MemoryLog().grow(70_000)
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys)
    found = check.files(tmp_path)
    tiles = {tile.path for tile in tiles_of(70_000)}
    # tlog-tiles, "Partial Tiles", has this very example.
    assert len([path for path in tiles if path.startswith("tile/0/") and ".p/" not in path]) == 273
    assert {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} <= tiles
    bundles = {path.replace("tile/0/", "tile/entries/") for path in tiles if path.startswith("tile/0/")}
    assert set(found) == tiles | bundles | {"merklelog.json", "checkpoint", "checkpoints/70000"}
    assert found["merklelog.json"] == b'{"format": 1, "bundles": "identity"}\n'


def test_gzip_bundles_are_one_member_without_a_time(
    tmp_path: Path, memory: ModuleType, check: ModuleType
) -> None:
    log = memory.MemoryLog().grow(600)
    for name in "ab":
        publish_copy(log, DirectoryStore(tmp_path / name), verifiers=log.vkeys, bundle_encoding="gzip")
    found = check.files(tmp_path / "a")
    assert found == check.files(tmp_path / "b")
    for path in ("tile/entries/000", "tile/entries/002.p/88"):
        assert found[path][:8] == bytes.fromhex("1f8b080000000000")
        assert len(found[path]) < len(gzip.decompress(found[path])) / 2
    assert found["merklelog.json"] == b'{"format": 1, "bundles": "gzip"}\n'


def test_publishing_again_costs_what_is_new(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(20_000)
    steps: list[str] = []
    store = DirectoryStore(tmp_path, step=steps.append)
    publish_copy(log, store, verifiers=log.vkeys)
    steps.clear()
    log.asked.clear()
    report = publish_copy(log, store, verifiers=log.vkeys)
    assert (report.moved, report.created, report.size, report.previous) == (False, 0, 20_000, 20_000)
    assert steps == []  # nothing was written
    assert log.asked == ["tile/0/078.p/32", "tile/1/000.p/78"]
    log.grow(20_010)
    log.asked.clear()
    report = publish_copy(log, store, verifiers=log.vkeys)
    assert report.created == 2
    assert sorted(log.asked) == ["tile/0/078.p/42", "tile/1/000.p/78", "tile/entries/078.p/42"]


def test_progress_counts_the_new_entries(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(100)
    told: list[tuple[int, int]] = []
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys)
    log.grow(700)
    publish_copy(
        log, DirectoryStore(tmp_path), verifiers=log.vkeys, progress=lambda done, of: told.append((done, of))
    )
    assert told == [(156, 600), (412, 600), (600, 600)]


def test_the_steps_come_in_their_order(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(300)
    steps: list[str] = []
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys, step=steps.append)
    assert tuple(steps) == STEPS


def test_everything_is_durable_before_the_checkpoint_is_shown(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(600)
    events: list[str] = []
    store = DirectoryStore(tmp_path, step=events.append)
    publish_copy(log, store, verifiers=log.vkeys, step=lambda name: events.append(f"step {name}"))
    puts = [
        event for event in events if event.startswith("step") or event in ("linked", "settling", "replaced")
    ]
    a_put = ["linked", "settling"]
    assert puts == [
        *("step checked", *a_put, "step manifest", "replaced", "settling", "step marked"),
        *(*a_put, "step full", *a_put, "step partial", *a_put, "step stored"),
        *("replaced", "settling", "step shown", "step collected", "step finished"),
    ]


def test_partial_tiles_go_when_the_full_one_is_there(
    tmp_path: Path, memory: ModuleType, check: ModuleType
) -> None:
    log, store = memory.MemoryLog(), DirectoryStore(tmp_path)
    for size in (5, 200, 255):
        publish_copy(log.grow(size), store, verifiers=log.vkeys)
    partial = {key for key in store.list_keys("tile/") if ".p/" in key}
    assert partial == {f"tile/{row}/000.p/{width}" for row in ("0", "entries") for width in (5, 200, 255)}
    report = publish_copy(log.grow(256), store, verifiers=log.vkeys)
    assert report.collected == 6
    assert {key for key in store.list_keys("tile/") if ".p/" in key} == {"tile/1/000.p/1"}
    assert not (tmp_path / "tile/0/000.p").exists()
    check.complete(tmp_path, log.vkeys, log.entries)


def test_a_partial_tile_stays_while_its_full_one_is_missing(tmp_path: Path, memory: ModuleType) -> None:
    log, store = memory.MemoryLog().grow(200), DirectoryStore(tmp_path)
    publish_copy(log, store, verifiers=log.vkeys)

    def lose(name: str) -> None:
        if name == "shown":
            store.delete("tile/0/000")

    assert publish_copy(log.grow(256), store, verifiers=log.vkeys, step=lose).collected == 1
    assert store.stat("tile/0/000.p/200") is not None
    assert store.stat("tile/entries/000.p/200") is None


def test_a_checkpoint_by_all_the_keys_goes_before_a_newer_one(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog(keys=(memory.KEY, memory.QUANTUM_KEY)).grow(300)
    store = DirectoryStore(tmp_path)
    log.grow(310, keys=(memory.KEY,))
    report = publish_copy(log, store, verifiers=log.vkeys)
    assert (report.size, report.newest) == (300, 310)
    report = publish_copy(log, store, verifiers=log.vkeys)
    assert (report.size, report.newest, report.moved) == (300, 310, False)
    log.sign()
    assert publish_copy(log, store, verifiers=log.vkeys).size == 310


def test_a_copy_ahead_of_all_that_every_key_signed_goes_on(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog(keys=(memory.KEY, memory.QUANTUM_KEY)).grow(300)
    every = log.notes.copy()
    log.grow(310, keys=(memory.KEY,))
    log.notes = {310: log.notes[310]}
    store = DirectoryStore(tmp_path)
    assert publish_copy(log, store, verifiers=log.vkeys).size == 310
    log.notes |= every
    log.grow(320, keys=(memory.KEY,))
    assert publish_copy(log, store, verifiers=log.vkeys).size == 320


def test_signatures_that_come_later_are_shown(tmp_path: Path, memory: ModuleType, check: ModuleType) -> None:
    log = memory.MemoryLog(keys=(memory.KEY, memory.QUANTUM_KEY))
    log.notes.clear()
    log.grow(300, keys=(memory.KEY,))
    store = DirectoryStore(tmp_path)
    assert publish_copy(log, store, verifiers=log.vkeys).size == 300
    log.sign()
    report = publish_copy(log, store, verifiers=log.vkeys)
    assert (report.size, report.moved) == (300, True)
    assert (tmp_path / "checkpoint").read_bytes() == log.checkpoint()
    assert (tmp_path / "checkpoints/300").read_bytes().count(b"\n") == 5  # immutable: still by one key
    check.complete(tmp_path, log.vkeys, log.entries)


def test_a_copy_can_be_copied(tmp_path: Path, memory: ModuleType, check: ModuleType) -> None:
    log, first = memory.MemoryLog(), DirectoryStore(tmp_path / "first")
    for size in (10, 300, 520):
        publish_copy(log.grow(size), first, verifiers=log.vkeys, bundle_encoding="gzip")
        publish_copy(PublishedSource(first), DirectoryStore(tmp_path / "second"), verifiers=log.vkeys)
    assert sorted(check.complete(tmp_path / "second", log.vkeys, log.entries)) == [10, 300, 520, 520]


def test_memory_is_bounded(tmp_path: Path, memory: ModuleType) -> None:
    class Bulky(memory.MemoryLog):
        """100 MB of entries that are made when they are asked for."""

        def bundle(self, index: int, width: int = 256) -> bytes:
            return b"".join(b"\x40\x00" + entry * (1 << 14) for entry in self.entries[index * 256 :][:width])

    log = Bulky()
    log.append(bytes([index % 251]) for index in range(6144))
    log.levels = [bytearray()]
    entries = log.entries
    log.entries = []
    for start in range(0, 6144, 256):
        log.append(entry * (1 << 14) for entry in entries[start : start + 256])
        log.entries[start:] = entries[start : start + 256]
    log.sign()
    tracemalloc.start()
    try:
        publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60 << 20


@given(sizes=st.lists(st.integers(0, 1400), min_size=1, max_size=6))
@settings(max_examples=25)
def test_any_way_of_growing(
    tmp_path_factory: pytest.TempPathFactory, memory: ModuleType, check: ModuleType, sizes: list[int]
) -> None:
    log, root = memory.MemoryLog(), tmp_path_factory.mktemp("copy")
    for size in sorted(sizes):
        publish_copy(log.grow(size), DirectoryStore(root), verifiers=log.vkeys)
        assert check.shown_size(root) == size
    check.complete(root, log.vkeys, log.entries)
