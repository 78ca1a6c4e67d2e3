"""What a listing of a copy is sorted into: names of the tree's tiles, of those behind it, and strange ones."""

from __future__ import annotations

from typing import cast

import pytest

from merklelog.audit.beside import Beside
from merklelog.audit.heads import HeadReader
from merklelog.audit.report import Findings
from merklelog.audit.rows import AuditRows
from merklelog.audit.trust import AuditedHead
from merklelog.errors import FormatError
from merklelog.publish.memory import MemoryStore
from merklelog.publish.stored import StoredTiles
from merklelog.tree import BUNDLE_LEVEL, TILE_WIDTH, Hash, TreeSize, parse_path, tile_path, width_at

# Names that are like those of the tiles beside them, and not the names of any.
ODD = [
    "tile/0/00a",
    "tile/0/0000",
    "tile/0/-01",
    "tile/0/x001/00",
    "tile/entries/1_0",
    "tile/64/000",
    "tile/0/+12",
]


def sorted_names(keys: list[str], size: int) -> tuple[set[str], set[str]]:
    """The keys that are kept as behind the tree, and those that are no tile's."""
    store = MemoryStore()
    head = AuditedHead("example.com/log", TreeSize(size), Hash(bytes(32)), "checkpoint", ())
    heads = HeadReader(cast(AuditRows, None), head.origin, ())
    beside = Beside(store, StoredTiles(store, None), head, heads, Findings(), strict=True)
    for key in keys:
        if not beside._is_next(key):
            beside._sort(key)
    return set(beside._behind), set(beside._strange_tiles)


@pytest.mark.parametrize(
    "size", [0, 1, 255, 256, 257, 3 * 256, 999 * 256, 1000 * 256, 1001 * 256 + 1, 2003 * 256, 5 * 65_536 + 7]
)
def test_names_are_sorted_as_each_by_itself_would_be(size: int) -> None:
    full = size // TILE_WIDTH
    indices = {index for near in (0, 999, 1000, full) for index in range(max(0, near - 3), near + 4)}
    keys = [tile_path(level, index) for level in (BUNDLE_LEVEL, 0, 1, 2) for index in indices]
    keys = sorted([*keys, *ODD])
    behind, strange = set[str](), set[str]()
    for key in keys:
        try:
            tile = parse_path(key)
        except FormatError:
            strange.add(key)
        else:
            if width_at(tile.level, tile.index, size) < TILE_WIDTH:
                behind.add(key)
    assert strange == set(ODD)
    assert sorted_names(keys, size) == (behind, strange)
