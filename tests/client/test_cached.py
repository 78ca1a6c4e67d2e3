"""Tiles and bundles that are kept: fetched once, never believed more than what is fetched."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client.cached import CachedSource
from merklelog.client.remote import Client
from merklelog.client.retry import Retry
from merklelog.client.tile_transport import TileTransport
from merklelog.client.trust import Trust, policy_of
from merklelog.errors import DamagedError, RangeError, StorageError
from merklelog.tree.tiles import tile_path

ENTRIES = [b"event %d" % i for i in range(1_100)]
ONCE = Retry(total=60, attempt=30, first=200, most=200)


class Counting:
    """A source that counts what it is asked for."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.asked: list[str] = []
        self.change: Callable[[str, bytes], bytes] = lambda _, data: data
        self.closed = False

    def checkpoint(self, size: int | None = None) -> bytes:
        self.asked.append("checkpoint")
        return bytes(self.source.checkpoint(size))

    def stored_sizes(self) -> Iterator[int]:
        return iter(self.source.stored_sizes())

    def tile(self, level: int, index: int, width: int = 256) -> bytes:
        path = tile_path(level, index, width)
        self.asked.append(path)
        return self.change(path, self.source.tile(level, index, width))

    def bundle(self, index: int, width: int = 256) -> bytes:
        path = tile_path(-1, index, width)
        self.asked.append(path)
        return self.change(path, self.source.bundle(index, width))

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[merklelog.LogReader]:
    path = tmp_path_factory.mktemp("cached") / "log"
    merklelog.create_log(path, "cached.example/log", settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        log.append_batch(ENTRIES)
    with merklelog.open_reader(path) as opened:
        yield opened


@pytest.fixture
def source(reader: merklelog.LogReader) -> Counting:
    return Counting(reader)


def client_of(cached: CachedSource, reader: merklelog.LogReader, tiles: int = 1) -> Client:
    """A client that keeps hardly any tile of its own."""
    transport = TileTransport(cached, cache=cached, cached_tiles=tiles)
    return Client(transport, Trust(policy_of(reader.vkeys)), ONCE)


def test_nothing_is_fetched_twice(source: Counting, reader: merklelog.LogReader) -> None:
    client = client_of(CachedSource(source), reader)
    for _ in range(3):
        for index in range(0, 1_100, 90):
            client.prove(index)
            assert client.entry(index) == ENTRIES[index]
    tiles = [path for path in source.asked if path != "checkpoint"]
    assert len(tiles) == len(set(tiles)) == 11  # five bundles, their five tiles, the one above
    assert source.asked.count("checkpoint") == 1
    client.close()
    assert source.closed


def test_memory_has_a_bound(source: Counting) -> None:
    cached = CachedSource(source, memory=2 * (8_192 + 200))
    for index in (0, 1, 0, 2, 0, 1):
        assert cached.tile(0, index) == source.source.tile(0, index)
    # 0 was used last each time, so 1 made room for 2.
    assert source.asked == [tile_path(0, index) for index in (0, 1, 2, 1)]
    nothing = CachedSource(source, memory=0)
    nothing.tile(0, 0)
    nothing.tile(0, 0)
    assert len(source.asked) == 6
    with pytest.raises(RangeError):
        cached.tile(0, 77)


def test_a_directory_keeps_full_ones_for_the_next_process(
    source: Counting, reader: merklelog.LogReader, tmp_path: Path
) -> None:
    for round_ in range(2):
        client = client_of(CachedSource(source, directory=tmp_path / "cache"), reader)
        assert list(client.entries()) == ENTRIES
        if round_ == 0:
            assert len(source.asked) == 12
            source.asked.clear()
    assert sorted(source.asked) == sorted(
        ["checkpoint", tile_path(0, 4, 76), tile_path(-1, 4, 76), tile_path(1, 0, 4)]
    )
    kept = {
        str(path.relative_to(tmp_path / "cache"))
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file()
    }
    assert kept == {tile_path(level, index) for level in (0, -1) for index in range(4)}


@pytest.mark.parametrize("content", [b"", b"\0" * 8_192, b"x" * 9_000_000])
def test_what_is_wrong_in_a_cache_is_fetched_again(
    source: Counting, reader: merklelog.LogReader, tmp_path: Path, content: bytes
) -> None:
    def fresh() -> Client:
        return client_of(CachedSource(source, directory=tmp_path), reader)

    list(fresh().entries())
    source.asked.clear()
    for path in (tile_path(0, 1), tile_path(-1, 1)):
        (tmp_path / path).write_bytes(content)
        assert fresh().entry(300) == ENTRIES[300]
        assert path in source.asked
        assert (tmp_path / path).read_bytes() != content
        source.asked.clear()
        assert fresh().entry(300) == ENTRIES[300]
        assert path not in source.asked


def test_what_the_source_has_wrong_stays_wrong_and_is_not_kept(
    source: Counting, reader: merklelog.LogReader, tmp_path: Path
) -> None:
    source.change = lambda path, data: data[:-1] + b"!" if path == tile_path(-1, 1) else data
    client = client_of(CachedSource(source, directory=tmp_path), reader)
    for _ in range(2):
        with pytest.raises(DamagedError, match="tile/entries/001"):
            client.entry(300)
    source.change = lambda _, data: data
    assert client.entry(300) == ENTRIES[300]
    assert client_of(CachedSource(source, directory=tmp_path), reader).entry(300) == ENTRIES[300]


def test_a_directory_that_can_not_be_written(source: Counting, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cache .*file"):
        CachedSource(source, directory=tmp_path / "file" / "below")
    cached = CachedSource(source, directory=tmp_path / "cache")
    (tmp_path / "cache" / "tile").write_bytes(b"")  # where a folder has to be
    with pytest.raises(StorageError, match="cache "):
        cached.tile(0, 0)


def test_threads_share_a_cache(source: Counting, tmp_path: Path) -> None:
    cached = CachedSource(source, memory=3 * 8_400, directory=tmp_path)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for i in range(200):
            index = (seed * 7 + i * 3) % 4
            if cached.tile(0, index) != source.source.tile(0, index):
                wrong.append(index)
            if i % 50 == seed:
                cached.forget_served()

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not [path for path in (tmp_path / "tile" / "0").iterdir() if path.name.startswith(".")]


def test_a_client_over_http_keeps_tiles(
    reader: merklelog.LogReader, start_http: Callable[..., Any], tmp_path: Path
) -> None:
    url = start_http(reader.path).url
    with merklelog.connect(url, reader.vkeys, cache=tmp_path / "cache", retry=ONCE) as client:
        assert list(client.entries()) == ENTRIES
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 8
    with contextlib.closing(
        merklelog.connect(url, reader.vkeys, cache=tmp_path / "cache", retry=ONCE)
    ) as client:
        assert client.entry(5) == ENTRIES[5]
