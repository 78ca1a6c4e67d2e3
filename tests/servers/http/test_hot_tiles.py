from __future__ import annotations

import gc
import weakref
from typing import Any, cast

import pytest

from merklelog.errors import RangeError
from merklelog.log import Log
from merklelog.servers.hot_tiles import HotTiles
from merklelog.servers.http_values import Response


class SomeLog:
    """All that is asked of a log here is that it is one."""


def a_log() -> Log:
    return cast(Log, SomeLog())


@pytest.fixture
def reads() -> list[tuple[Log, int, int]]:
    return []


@pytest.fixture
def tiles(reads: list[Any]) -> HotTiles:
    def read(log: Log, level: int, index: int) -> Response:
        reads.append((level, index))
        if level > 5:
            raise RangeError(f"no tile {level}/{index}")
        return Response(200, (), b"%d" % id(log) + b"/%d/%d" % (level, index))

    return HotTiles(read, most=3)


def test_what_is_asked_for_again_is_not_read_again(tiles: HotTiles, reads: list[Any]) -> None:
    log = a_log()
    first = tiles.get(log, 0, 7)
    assert first.body.endswith(b"/0/7")
    assert tiles.get(log, 0, 7) is first
    assert tiles.get(log, 1, 7).body.endswith(b"/1/7")
    assert reads == [(0, 7), (1, 7)]


def test_each_log_has_its_own(tiles: HotTiles) -> None:
    one, two = a_log(), a_log()
    assert tiles.get(one, 0, 0).body != tiles.get(two, 0, 0).body
    assert tiles.get(one, 0, 0).body != tiles.get(two, 0, 0).body


def test_no_more_are_kept_than_there_is_room_for(tiles: HotTiles, reads: list[Any]) -> None:
    log = a_log()
    for index in (0, 1, 2, 3, 2, 3, 1, 0):
        tiles.get(log, 0, index)
    assert reads == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 0)]
    assert len(tiles._kept) == 3


def test_a_refusal_is_not_kept(tiles: HotTiles, reads: list[Any]) -> None:
    log = a_log()
    for _ in range(2):
        with pytest.raises(RangeError):
            tiles.get(log, 6, 0)
    assert len(reads) == 2


def test_a_log_that_is_gone_is_not_kept_and_never_mistaken(tiles: HotTiles, reads: list[Any]) -> None:
    for _ in range(50):  # sooner or later a new log stands where an old one stood
        log = a_log()
        assert tiles.get(log, 0, 0).body == b"%d/0/0" % id(log)
    assert len(reads) == 50
    gone = weakref.ref(log)
    del log
    gc.collect()
    assert gone() is None
