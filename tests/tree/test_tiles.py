from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, RangeError
from merklelog.tree import (
    BUNDLE_LEVEL,
    NodeId,
    Tile,
    bundle_path,
    bundles_of,
    new_bundles,
    new_tiles,
    node_location,
    parse_path,
    tile_path,
    tiles_of,
    width_at,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "tiles" / "tile_paths.json"
CASES: dict[str, list[dict[str, Any]]] = json.loads(VECTORS.read_text())["cases"]
HEIGHTS = [1, 2, 3, 8]
SIZES = st.integers(0, 2**63 - 1)


def cases(name: str) -> pytest.MarkDecorator:
    assert CASES[name], "an empty list of cases would test nothing"
    return pytest.mark.parametrize("case", CASES[name], ids=str)


# --- paths ---------------------------------------------------------------------------------------------------


@cases("TestTilePath")
def test_tile_path_vectors(case: dict[str, Any]) -> None:
    assert tile_path(case["level"], case["index"], case.get("p") or 256) == case["wantPath"]


@cases("TestNWithSuffix")
def test_index_vectors(case: dict[str, Any]) -> None:
    assert tile_path(3, case["index"], case.get("p") or 256) == f"tile/3/{case['wantPath']}"


@pytest.mark.parametrize("case", CASES["TestEntriesPath"] + CASES["TestEntriesPathForLogIndex"], ids=str)
def test_bundle_path_vectors(case: dict[str, Any]) -> None:
    index = case["seq"] // 256
    width = width_at(BUNDLE_LEVEL, index, case["logSize"])
    assert bundle_path(index, width) == case["wantPath"]
    assert parse_path(case["wantPath"]) == Tile(BUNDLE_LEVEL, index, width)


@cases("TestParseTileLevelIndexPartial")
def test_parse_path_vectors(case: dict[str, Any]) -> None:
    path = f"tile/{case['pathLevel']}/{case['pathIndex']}"
    if case.get("wantErr"):
        with pytest.raises(FormatError):
            parse_path(path)
    else:
        assert parse_path(path) == Tile(case["wantLevel"], case["wantIndex"], case["wantP"] or 256)


def test_the_specs_own_example() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"


@given(st.integers(BUNDLE_LEVEL, 63), SIZES, st.integers(1, 256))
def test_a_path_is_read_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/000 ",
        "tile//000",
        "tile/00/000",
        "tile/+1/000",
        "tile/64/000",
        "tile/99/000",
        "tile/100/000",
        "tile/-1/000",
        "tile/Entries/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x000/x000/001",
        "tile/0/X001/001",
        "tile/0/001/001",
        "tile/0/٠٠١",
        "tile/٣/001",
        "tile/0/000.p/٣",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/07",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/1000",
        "tile/0/000.p/-1",
        "tile/0/000.p/1_0",
        "tile/0/000.P/1",
        "tile/0/000p/1",
        "tile/0/../000",
        "tile/entries/x009/x223/x372/x036/x854/x775/808",
        "tile/entries/" + "x999/" * 20 + "999",
        "tile/entries/" + "x999/" * 100_000 + "999",
    ],
    ids=lambda path: path[:50],
)
def test_no_other_spelling_is_taken(path: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_path(path)
    assert len(str(caught.value)) < 300


def test_the_largest_index() -> None:
    assert parse_path("tile/entries/x009/x223/x372/x036/x854/x775/807").index == 2**63 - 1


@given(st.text() | st.from_regex(r"tile/(entries|\d{1,3})/(x\d{3}/){0,3}\d{2,4}(\.p/\d{1,4})?\n?"))
def test_garbage_paths_raise_only_format_errors(text: str) -> None:
    try:
        tile = parse_path(text)
    except FormatError:
        return
    assert tile.path == text


@pytest.mark.parametrize(
    "tile",
    [
        (-2, 0, 1),
        (64, 0, 1),
        (0, -1, 1),
        (0, 2**63, 1),
        (0, 0, 0),
        (0, 0, 257),
        (1 << 90_000, 0, 1),
        (0, 0, -1),
    ],
    ids=lambda tile: str(tile)[:30] if tile[0] < 99 else "huge",
)
def test_there_is_no_path_for_what_is_no_tile(tile: tuple[int, int, int]) -> None:
    with pytest.raises(RangeError):
        tile_path(*tile)


# --- which tiles a tree has ------------------------------------------------------------------------------------


def test_the_specs_tree_of_70000() -> None:
    # tlog-tiles, "Partial Tiles".
    tiles = list(tiles_of(70_000))
    assert [t for t in tiles if t.level == 0] == [Tile(0, i, 256) for i in range(273)] + [Tile(0, 273, 112)]
    assert [t for t in tiles if t.level == 1] == [Tile(1, 0, 256), Tile(1, 1, 17)]
    assert [t for t in tiles if t.level >= 2] == [Tile(2, 0, 1)]
    assert list(tiles_of(256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == list(bundles_of(0)) == []


@pytest.mark.parametrize("height", HEIGHTS)
def test_tiles_of_is_what_the_spec_counts(height: int) -> None:
    full = 2**height
    for size in [*range(100), 255, 256, 257, 511, 600]:
        want = []
        for level in range(12):
            count = size // full**level
            want += [Tile(level, i, full) for i in range(count // full)]
            want += [Tile(level, count // full, count % full)] if count % full else []
            assert width_at(level, count // full, size, height) == count % full
            assert width_at(level, count // full + 1, size, height) == 0
        assert list(tiles_of(size, height)) == want
        below = [t for t in want if t.level == 0]
        assert list(bundles_of(size, height)) == [Tile(BUNDLE_LEVEL, t.index, t.width) for t in below]
        for tile in want:
            assert width_at(tile.level, tile.index, size, height) == tile.width


@pytest.mark.parametrize("height", HEIGHTS)
def test_new_tiles_are_the_difference(height: int) -> None:
    trees = [(list(tiles_of(size, height)), list(bundles_of(size, height))) for size in range(70)]
    for new in range(70):
        tiles, bundles = trees[new]
        for old in range(new + 1):
            old_tiles, old_bundles = trees[old]
            assert list(new_tiles(old, new, height)) == [t for t in tiles if t not in old_tiles]
            assert list(new_bundles(old, new, height)) == [t for t in bundles if t not in old_bundles]


@given(SIZES, st.integers(0, 3000))
def test_new_tiles_at_any_size(old: int, more: int) -> None:
    new = min(old + more, 2**63 - 1)
    for tile in new_tiles(old, new):
        before = width_at(tile.level, tile.index, old)
        assert before < tile.width == width_at(tile.level, tile.index, new)


@pytest.mark.parametrize("bounds", [(3, 2), (-1, 2), (0, 2**63)])
def test_trees_do_not_shrink(bounds: tuple[int, int]) -> None:
    for growth in (new_tiles, new_bundles):
        with pytest.raises(RangeError):
            growth(*bounds)


# --- where a node stands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", HEIGHTS)
def test_a_node_is_made_of_the_hashes_over_its_leaves(height: int) -> None:
    for node in [NodeId(h, i) for h in range(20) for i in (0, 1, 2, 3, 5, 255, 256, 1000)]:
        level, index, first, count = node_location(node, height)
        span = 2 ** (height * level)
        start = (index * 2**height + first) * span
        assert (start, start + count * span) == (node.index << node.height, (node.index + 1) << node.height)
        assert first + count <= 2**height
        assert count < 2**height, "the root of a full tile is a hash of the level above"
