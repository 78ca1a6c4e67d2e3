"""A `HashReader` over tiles: how proofs come out of tiles that somebody fetches.

One random inclusion proof touches one tile a level and wants a hash of each height inside it. Heights 1, 2
and 3 are hashed when asked for, at most 7 hashes each. Heights 4 to 7 would cost over 200 hashes a tile, so
whoever stores tiles may keep those 30 (960 bytes) beside each full one; without them the whole tile is hashed
once and kept while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from ..errors import DamagedError, RangeError
from .hashing import HASH_SIZE, Hash, node_hash, node_hashes
from .ranges import NodeId
from .tiles import TILE_HEIGHT, TILE_WIDTH, Tile, node_location, width_at

TileFetch = Callable[[Tile], bytes]
NodesFetch = Callable[[int, int], bytes | None]

# What stands beside a full tile: the hashes of heights 4, 5, 6 and 7 inside it, 16 + 8 + 4 + 2 of them.
_KEPT_FROM = 4
_KEPT_BYTES = sum(TILE_WIDTH >> height for height in range(_KEPT_FROM, TILE_HEIGHT)) * HASH_SIZE
# From this many nodes of one tile in one call on, hashing the whole tile is cheaper than each node by itself.
_MANY = 40


class TileHashes:
    """Reads the nodes of a tree of `size` leaves out of its tiles.

    `fetch` gives the bytes of a tile at its width in this tree (32 bytes a hash), and is asked at most once a
    tile and call; `cached` tiles are kept from call to call. `nodes`, where given, is asked for the hashes of
    heights 4, 5, 6 and 7 inside a full tile (its level and index are the arguments): 960 bytes in that order,
    or None when they are not kept. Calls from several threads are fine if `fetch` and `nodes` allow them.

    A call raises RangeError for a node that is not in the tree, DamagedError when what it fetched has the
    wrong length, and whatever `fetch` and `nodes` raise. It does not check the hashes: a proof built from
    wrong ones does not verify.
    """

    def __init__(
        self,
        size: int,
        fetch: TileFetch,
        height: int = TILE_HEIGHT,
        *,
        nodes: NodesFetch | None = None,
        cached: int = 64,
    ) -> None:
        self.size = size
        self.height = height

        def open_tile(level: int, index: int) -> _OpenTile:
            tile = Tile(level, index, width_at(level, index, size, height))
            kept = nodes if (height, tile.width) == (TILE_HEIGHT, TILE_WIDTH) else None
            return _OpenTile(tile, height, fetch, kept)

        self._open = lru_cache(maxsize=cached)(open_tile)

    def __call__(self, nodes: Sequence[NodeId]) -> list[Hash]:
        # Tile by tile and not node by node: then a tile is fetched once however small the cache is.
        by_tile: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        for slot, node in enumerate(nodes):
            level, index, first, count = node_location(node, self.height)
            by_tile.setdefault((level, index), []).append((slot, first, count))
        hashes: list[Hash] = [Hash(b"")] * len(nodes)
        for (level, index), wanted in by_tile.items():
            tile = self._open(level, index)
            if len(wanted) >= _MANY:
                tile.hash_all()
            for slot, first, count in wanted:
                hashes[slot] = tile.hash(first, count)
        return hashes


class _OpenTile:
    """One tile with those of its inner hashes that are known, a row of joined hashes for each height."""

    __slots__ = ("_fetch", "_kept", "_rows", "_tile")

    def __init__(self, tile: Tile, height: int, fetch: TileFetch, kept: NodesFetch | None) -> None:
        self._tile = tile
        self._fetch = fetch
        self._kept = kept
        self._rows: list[bytes | None] = [None] * height

    def hash(self, first: int, count: int) -> Hash:
        """The root over hashes [first, first + count) of the tile: a power of two, at a multiple of it."""
        if first + count > self._tile.width:
            level, index, width = self._tile
            raise RangeError(f"tile {level}/{index} has {width} hashes, asked for {first} to {first + count}")
        above = count.bit_length() - 1
        row = self._rows[above]
        if row is None:
            if 0 < above < _KEPT_FROM:
                return _root(self._bottom()[first * HASH_SIZE : (first + count) * HASH_SIZE])
            row = self._row(above)
        start = (first >> above) * HASH_SIZE
        return Hash(row[start : start + HASH_SIZE])

    def hash_all(self) -> None:
        """Hash the tile's every inner node and keep them all."""
        row = self._bottom()
        for above in range(1, len(self._rows)):
            row = b"".join(node_hashes(row[: len(row) // (2 * HASH_SIZE) * (2 * HASH_SIZE)]))
            self._rows[above] = row

    def _bottom(self) -> bytes:
        row = self._rows[0]
        if row is None:
            row = self._fetch(self._tile)
            want = self._tile.width * HASH_SIZE
            if len(row) != want:
                raise DamagedError(f"tile {_name(self._tile)}: got {len(row)} bytes, want {want}")
            self._rows[0] = row
        return row

    def _row(self, above: int) -> bytes:
        if above and not self._take_kept():
            self.hash_all()
        return self._rows[above] or self._bottom()

    def _take_kept(self) -> bool:
        """Ask for the inner hashes that are kept beside the tile; False when they are not."""
        kept = self._kept(self._tile.level, self._tile.index) if self._kept else None
        if kept is None:
            return False
        if len(kept) != _KEPT_BYTES:
            raise DamagedError(
                f"nodes of tile {_name(self._tile)}: got {len(kept)} bytes, want {_KEPT_BYTES}"
            )
        start = 0
        for above in range(_KEPT_FROM, TILE_HEIGHT):
            end = start + (TILE_WIDTH >> above) * HASH_SIZE
            self._rows[above] = kept[start:end]
            start = end
        return True


def _root(joined: bytes) -> Hash:
    """The root over a power of two of joined hashes."""
    while len(joined) > 2 * HASH_SIZE:
        joined = b"".join(node_hashes(joined))
    return node_hash(joined[:HASH_SIZE], joined[HASH_SIZE:])


def _name(tile: Tile) -> str:
    return f"{tile.level}/{tile.index} of width {tile.width}"
