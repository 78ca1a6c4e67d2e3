"""Tiles and bundles of a tree, each checked against the tree's root before it is given out.

A tile's hashes stand for what is below them, and the hash of a full tile stands in the tile above. So the few
partial tiles at the right edge are checked against the root together, every full tile against its hash in the
tile above, and a bundle against its level-0 tile: nothing is believed that does not lead up to the root, and
what does not is named.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from merklelog.errors import DamagedError, FormatError, MerklelogError, NotFoundError
from merklelog.formats.bundle import parse_bundle
from merklelog.publish.source import TileReads
from merklelog.tree.hashing import HASH_SIZE, Hash, leaf_hashes, node_hashes
from merklelog.tree.prove import root_hash
from merklelog.tree.ranges import NodeId
from merklelog.tree.tile_hashes import TileHashes
from merklelog.tree.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, bundle_path, tile_path, width_at

_CACHED = 64
_INNER = slice(3, 7)  # of the rows above a tile, heights 4 to 7: what proofs ask for (tree.tile_hashes)


class _Verified(NamedTuple):
    """A full tile that leads to the root, and its inner hashes as `TileHashes` takes them."""

    hashes: bytes
    inner: bytes


class VerifiedTiles:
    """The tree of `size` leaves under `root`, read from `source`; keeps the last `cached` tiles (8 KiB each).

    Every method raises DamagedError, naming the file, for what is not there though the tree requires it, has
    not the length it must have, or does not lead to the root; and what the source raises when it could not
    tell. An index outside the tree is the caller's mistake: RangeError. Not safe for threads.
    """

    def __init__(self, source: TileReads, size: int, root: Hash, *, cached: int = _CACHED) -> None:
        self._source = source
        self._size = size
        self._root = root
        self._cached = cached
        self._cache: OrderedDict[tuple[int, int], _Verified] = OrderedDict()
        self._edge: dict[int, bytes] | None = None
        self._nodes = TileHashes(
            size, lambda tile: self.tile(tile.level, tile.index), nodes=self._inner, cached=cached
        )

    def check(self) -> None:
        """Read the right edge and check it against the root; every other method does that first."""
        self._verified_edge()

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile of the tree, at the width it has there."""
        edge = self._verified_edge()
        if index == self._size >> (TILE_HEIGHT * (level + 1)) and level in edge:
            return edge[level]
        return self._full(level, index).hashes

    def _inner(self, level: int, index: int) -> bytes:
        """What `TileHashes` may ask for beside a full tile: hashed once, as the tile was verified."""
        return self._full(level, index).inner

    def _full(self, level: int, index: int) -> _Verified:
        if (cached := self._cache.get((level, index))) is not None:
            self._cache.move_to_end((level, index))
            return cached
        hashes = self._fetch(Tile(level, index, width_at(level, index, self._size)))
        above = self.tile(level + 1, index // TILE_WIDTH)
        at = index % TILE_WIDTH * HASH_SIZE
        rows = list(_rows_above(hashes))
        if rows[-1] != above[at : at + HASH_SIZE]:
            raise DamagedError(
                f"{tile_path(level, index)}: its hashes do not make hash {index % TILE_WIDTH} of "
                f"{self._path(level + 1, index // TILE_WIDTH)}, which the root confirms"
            )
        found = self._cache[level, index] = _Verified(hashes, b"".join(rows[_INNER]))
        if len(self._cache) > self._cached:
            self._cache.popitem(last=False)
        return found

    def read(self, nodes: Sequence[NodeId]) -> Sequence[Hash]:
        """A HashReader, for the proofs of merklelog.tree."""
        return self._nodes(nodes)

    def bundle(self, index: int) -> bytes:
        """An entry bundle of the tree, as tlog-tiles frames it, at the width it has there."""
        return self._bundle(index)[0]

    def entries(self, index: int) -> list[bytes]:
        """The entries of a bundle."""
        return self._bundle(index)[1]

    def _bundle(self, index: int) -> tuple[bytes, list[bytes]]:
        hashes = self.tile(0, index)
        width = len(hashes) // HASH_SIZE
        path = bundle_path(index, width)
        try:
            data = self._source.bundle(index, width)
            entries = parse_bundle(data, width)
        except NotFoundError as error:
            raise self._missing(path) from error
        except FormatError as error:
            raise DamagedError(f"{path}: {error}") from error
        found = leaf_hashes(entries)
        if b"".join(found) != hashes:
            wrong = next(
                i for i, leaf in enumerate(found) if leaf != hashes[i * HASH_SIZE : (i + 1) * HASH_SIZE]
            )
            raise DamagedError(
                f"{path}: entry {index * TILE_WIDTH + wrong} does not have the hash that "
                f"{tile_path(0, index, width)} has for it, which the root confirms"
            )
        return data, entries

    # --- the right edge -------------------------------------------------------------------------------------

    def _verified_edge(self) -> dict[int, bytes]:
        """The partial tiles, by level: together they are what the root is made of."""
        if self._edge is None:
            edge = {tile.level: self._fetch(tile) for tile in edge_tiles(self._size)}
            if root_hash(self._size, TileHashes(self._size, lambda tile: edge[tile.level])) != self._root:
                raise self._edge_fault(edge)
            self._edge = edge
        return self._edge

    def _edge_fault(self, edge: dict[int, bytes]) -> DamagedError:
        """Why the edge does not make the root: the tile that is not made of what is below it, if there is
        one.
        """
        told = f"the root of the checkpoint of size {self._size}"
        for level, hashes in edge.items():
            index = self._size >> (TILE_HEIGHT * (level + 1))
            for at in range(0, len(hashes), HASH_SIZE):
                below = self._hash_below(level, index, at // HASH_SIZE)
                if below is not None and below[0] != hashes[at : at + HASH_SIZE]:
                    return DamagedError(
                        f"{self._path(level, index)}: its hashes do not make {told}: hash {at // HASH_SIZE} "
                        f"is not that of {below[1]}"
                    )
        paths = ", ".join(self._path(level, self._size >> (TILE_HEIGHT * (level + 1))) for level in edge)
        return DamagedError(f"{paths or 'the empty tree'}: made of what is below, but not making {told}")

    def _hash_below(self, level: int, index: int, position: int) -> tuple[Hash, str] | None:
        """What the hash of a tile ought to be, and where that is from; None when that can not be read."""
        try:
            if level:
                child = index * TILE_WIDTH + position
                tile = Tile(level - 1, child, TILE_WIDTH)
                return tile_root(self._fetch(tile)), tile.path
            width = width_at(0, index, self._size)
            entries = parse_bundle(self._source.bundle(index, width), width)
            return leaf_hashes(entries[position : position + 1])[0], bundle_path(index, width)
        except MerklelogError:
            return None

    def _fetch(self, tile: Tile) -> bytes:
        try:
            hashes = self._source.tile(tile.level, tile.index, tile.width)
        except NotFoundError as error:
            raise self._missing(tile.path) from error
        if len(hashes) != tile.width * HASH_SIZE:
            raise DamagedError(f"{tile.path}: got {len(hashes)} bytes, want {tile.width * HASH_SIZE}")
        return hashes

    def _missing(self, path: str) -> DamagedError:
        return DamagedError(f"{path}: it is not there, and the checkpoint of size {self._size} requires it")

    def _path(self, level: int, index: int) -> str:
        return tile_path(level, index, width_at(level, index, self._size))


def edge_tiles(size: int) -> list[Tile]:
    """The partial tiles of a tree, lowest level first: those that no tile above has a hash of."""
    levels = range((size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT)
    positions = ((level, size >> (TILE_HEIGHT * (level + 1))) for level in levels)
    tiles = (Tile(level, index, width_at(level, index, size)) for level, index in positions)
    return [tile for tile in tiles if tile.width]


def tile_root(hashes: bytes) -> Hash:
    """The hash of a full tile: what stands for it in the tile above (tlog-tiles, "Merkle Tree")."""
    *_, root = _rows_above(hashes)
    return Hash(root)


def _rows_above(hashes: bytes) -> Iterator[bytes]:
    """The hashes of heights 1 to 8 over a full tile, each row joined; the last one is its hash."""
    while len(hashes) > HASH_SIZE:
        hashes = b"".join(node_hashes(hashes))
        yield hashes
