"""The Merkle tree: RFC 6962 math over hashes that somebody else keeps.

Read in this order: `hashing` (a leaf, a node), `ranges` (perfect subtrees), `tiles` (where they stand).
Nothing here does I/O, knows of storage or reads a clock: the math names nodes and is handed hashes.
"""

from __future__ import annotations

from .hashing import (
    EMPTY_ROOT,
    HASH_SIZE,
    SIZE_LIMIT,
    Hash,
    LeafIndex,
    TreeSize,
    leaf_hash,
    leaf_hashes,
    node_hash,
    node_hashes,
)
from .ranges import CompactRange, NodeId, decompose
from .tiles import (
    BUNDLE_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
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

__all__ = [
    "BUNDLE_LEVEL",
    "EMPTY_ROOT",
    "HASH_SIZE",
    "SIZE_LIMIT",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "CompactRange",
    "Hash",
    "LeafIndex",
    "NodeId",
    "Tile",
    "TreeSize",
    "bundle_path",
    "bundles_of",
    "decompose",
    "leaf_hash",
    "leaf_hashes",
    "new_bundles",
    "new_tiles",
    "node_hash",
    "node_hashes",
    "node_location",
    "parse_path",
    "tile_path",
    "tiles_of",
    "width_at",
]
