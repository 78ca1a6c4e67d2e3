"""Where a tree's hashes stand in tiles, and what a tile and an entry bundle are called.

Source: c2sp.org/tlog-tiles, "Merkle Tree", "Partial Tiles" and "Log entries". A tile of level L and index N
holds up to 256 neighbouring hashes of height 8 * L; the heights between are hashed again from them when
needed. What the format fixes (paths) knows only height 8; the coordinates take any height, so that tests meet
every boundary early.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import FormatError, RangeError
from .hashing import SIZE_LIMIT, shown
from .ranges import NodeId, check_range

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_LEVEL = 63
# The "level" of entry bundles, which stand beside level 0: bundle N holds the entries that tile 0/N hashes.
BUNDLE_LEVEL = -1

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class Tile(NamedTuple):
    """`width` neighbouring hashes (at BUNDLE_LEVEL: entries) of a level, from position index * 256 on."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a tile
    width: int

    @property
    def path(self) -> str:
        """The tile's path below the log's prefix, see `tile_path`."""
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile, such as "tile/0/x001/234.p/7" (tlog-tiles, "Merkle Tree").

    Level BUNDLE_LEVEL gives the entry bundle's path. Raises RangeError for a level above 63, an index of
    2**63 or more, or a width outside 1 to 256.
    """
    if not BUNDLE_LEVEL <= level <= MAX_LEVEL:
        raise RangeError(f"tile level {shown(level)}: want 0 to {MAX_LEVEL}, or {BUNDLE_LEVEL} for entries")
    if not 0 <= index < SIZE_LIMIT:
        raise RangeError(f"tile index {shown(index)}: want 0 <= index < 2**63")
    if not 1 <= width <= TILE_WIDTH:
        raise RangeError(f"tile width {shown(width)}: want 1 to {TILE_WIDTH}")
    rest, last = divmod(index, 1000)
    number = f"{last:03d}"
    while rest:
        rest, group = divmod(rest, 1000)
        number = f"x{group:03d}/{number}"
    name = "entries" if level == BUNDLE_LEVEL else str(level)
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{name}/{number}{suffix}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle, such as "tile/entries/x001/234.p/7" (tlog-tiles, "Log entries").

    Raises RangeError as `tile_path` does.
    """
    return tile_path(BUNDLE_LEVEL, index, width)


def parse_path(path: str) -> Tile:
    """The tile or bundle a path names; only the one spelling that `tile_path` writes is taken.

    Raises FormatError.
    """
    match = _PATH.fullmatch(path) if len(path) <= 64 else None
    if match is None:
        raise FormatError(f"tile path {path[:80]!r}: want tile/<level or entries>/<index>[.p/<width>]")
    level_text, index_text, width_text = match.groups()
    level = BUNDLE_LEVEL if level_text == "entries" else int(level_text)
    index = int(index_text.replace("/", "").replace("x", ""))
    width = TILE_WIDTH if width_text is None else int(width_text)
    if level > MAX_LEVEL or index >= SIZE_LIMIT or (width_text and width >= TILE_WIDTH):
        raise FormatError(f"tile path {path!r}: level, index or width is too large")
    # The pattern lets leading groups of zeros through ("x000/001"), which are a second name for one tile.
    if tile_path(level, index, width) != path:
        raise FormatError(f"tile path {path!r}: got a padded index, want {tile_path(level, index, width)!r}")
    return Tile(level, index, width)


def width_at(level: int, index: int, size: int, height: int = TILE_HEIGHT) -> int:
    """How many hashes (entries at BUNDLE_LEVEL) that tile has in a tree of `size` leaves; 0: no such tile.

    tlog-tiles, "Partial Tiles": the partial tile of level l has floor(size / 256**l) mod 256 hashes.
    """
    count = size >> (height * max(level, 0))
    return max(0, min(count - (index << height), 1 << height))


def tiles_of(size: int, height: int = TILE_HEIGHT) -> Iterator[Tile]:
    """Every tile of a tree of `size` leaves, partial ones included, lowest level first, left to right.

    Raises RangeError unless 0 <= size < 2**63.
    """
    return new_tiles(0, size, height)


def new_tiles(old: int, new: int, height: int = TILE_HEIGHT) -> Iterator[Tile]:
    """The tiles that growing from `old` to `new` leaves adds or widens, at their width in the new tree.

    The order is that of `tiles_of`. Raises RangeError unless 0 <= old <= new < 2**63.
    """
    check_range(old, new)
    return _new_tiles(old, new, height)


def bundles_of(size: int, height: int = TILE_HEIGHT) -> Iterator[Tile]:
    """Every entry bundle of a tree of `size` leaves, as tiles of BUNDLE_LEVEL. Raises RangeError."""
    return new_bundles(0, size, height)


def new_bundles(old: int, new: int, height: int = TILE_HEIGHT) -> Iterator[Tile]:
    """The entry bundles that growing from `old` to `new` leaves adds or widens. Raises RangeError."""
    check_range(old, new)
    return _row(BUNDLE_LEVEL, old, new, height)


def node_location(node: NodeId, height: int = TILE_HEIGHT) -> tuple[int, int, int, int]:
    """Which hashes of which tile hash up to this node: (level, index, first, count).

    `count` is a power of two below 256: the node is the root over hashes [first, first + count) of that tile.
    """
    level, above = divmod(node.height, height)
    position = node.index << above
    return level, position >> height, position & ((1 << height) - 1), 1 << above


def _new_tiles(old: int, new: int, height: int) -> Iterator[Tile]:
    level = 0
    while old != new:
        yield from _row(level, old, new, height)
        old, new, level = old >> height, new >> height, level + 1


def _row(level: int, old: int, new: int, height: int) -> Iterator[Tile]:
    """The tiles of one level whose width changes when its hashes go from `old` to `new`."""
    if old == new:
        return
    full = 1 << height
    for index in range(old >> height, new >> height):
        yield Tile(level, index, full)
    if new & (full - 1):
        yield Tile(level, new >> height, new & (full - 1))
