"""A `HashReader` over tiles: how proofs come out of tiles that somebody fetches.

One random inclusion proof touches one tile a level and wants a hash of each height inside it. Heights 1, 2
and 3 are hashed when asked for, at most 7 hashes each. Heights 4 to 7 would cost over 200 hashes a tile, so
whoever stores tiles may keep those 30 (960 bytes) beside each full one; without them the whole tile is hashed
once and kept while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate, pairwise

from ..errors import DamagedError, RangeError
from .hashing import HASH_SIZE, NODE_PREFIX, Hash, node_hashes
from .ranges import NodeId
from .tiles import TILE_HEIGHT, TILE_WIDTH, Tile, width_at

TileFetch = Callable[[Tile], bytes]
NodesFetch = Callable[[int, int], bytes | None]

# What stands beside a full tile: the hashes of heights 4, 5, 6 and 7 inside it, 16 + 8 + 4 + 2 of them.
_KEPT_FROM = 4
_KEPT_ENDS = tuple(accumulate(HASH_SIZE * TILE_WIDTH >> height for height in range(_KEPT_FROM, TILE_HEIGHT)))
_KEPT_ROWS = tuple(pairwise((0, *_KEPT_ENDS)))
_KEPT_BYTES = _KEPT_ENDS[-1]
# Once this many nodes of one tile were asked for, hashing the whole tile is cheaper than each node by itself.
_MANY = 64
_NONE = Hash(b"")
# A tile's level and index as one number: an index has at most 63 bits.
_LEVEL_SHIFT = 64
_INDEX_MASK = (1 << _LEVEL_SHIFT) - 1


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
        # Tile by tile and not node by node: then a tile is fetched once however small the cache is. A proof in a
        # large tree wants a dozen nodes, a call thousands of proofs: so they are told apart by numbers alone.
        tall = self.height
        by_tile: dict[int, list[int]] = {}
        for slot, (height, position) in enumerate(nodes):
            level, above = divmod(height, tall)
            place = position >> (tall - above) | level << _LEVEL_SHIFT
            slots = by_tile.get(place)
            if slots is None:
                by_tile[place] = [slot]
            else:
                slots.append(slot)
        hashes: list[Hash] = [_NONE] * len(nodes)
        for place, slots in by_tile.items():
            tile = self._open(place >> _LEVEL_SHIFT, place & _INDEX_MASK)
            tile.give(nodes, slots, hashes)
        return hashes


class _OpenTile:
    """One tile with those of its inner hashes that are known, a row of joined hashes for each height."""

    __slots__ = ("_asked", "_fetch", "_kept", "_rows", "_tile")

    def __init__(self, tile: Tile, height: int, fetch: TileFetch, kept: NodesFetch | None) -> None:
        self._tile = tile
        self._fetch = fetch
        self._kept = kept
        self._rows: list[bytes | None] = [None] * height
        self._asked = 0

    def give(self, nodes: Sequence[NodeId], slots: list[int], hashes: list[Hash]) -> None:
        """Put the hashes of nodes that are in this tile into the same slots of `hashes`."""
        rows, width = self._rows, self._tile.width
        tall = len(rows)
        self._asked += len(slots)
        if self._asked >= _MANY and None in rows:
            self.hash_all()
        for slot in slots:
            height, position = nodes[slot]
            above = height % tall
            index = position & (1 << (tall - above)) - 1
            if (index + 1) << above > width:
                first, end = index << above, (index + 1) << above
                raise RangeError(f"tile {_name(self._tile)}: asked for hashes {first} to {end}")
            row = rows[above]
            if row is None:
                if 0 < above < _KEPT_FROM:
                    start = (index << above) * HASH_SIZE
                    hashes[slot] = Hash(_root(self._bottom()[start : start + (HASH_SIZE << above)]))
                    continue
                row = self._row(above)
            start = index * HASH_SIZE
            hashes[slot] = row[start : start + HASH_SIZE]  # type: ignore[call-overload]  # a NewType's call is not free

    def hash_all(self) -> None:
        """Hash the tile's every inner node and keep them all."""
        row = self._bottom()
        for above in range(1, len(self._rows)):
            known = self._rows[above]
            if known is None:
                row = b"".join(node_hashes(row[: len(row) // (2 * HASH_SIZE) * (2 * HASH_SIZE)]))
                self._rows[above] = row
            else:
                row = known

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
        self._rows[_KEPT_FROM:] = [kept[start:end] for start, end in _KEPT_ROWS]
        return True


def _root(joined: bytes) -> bytes:
    """The root over 2, 4 or 8 joined hashes; for so few this is twice as quick as `node_hashes`."""
    half = len(joined) // 2
    if half == HASH_SIZE:
        return sha256(NODE_PREFIX + joined).digest()
    return sha256(NODE_PREFIX + _root(joined[:half]) + _root(joined[half:])).digest()


def _name(tile: Tile) -> str:
    return f"{tile.level}/{tile.index} of width {tile.width}"
