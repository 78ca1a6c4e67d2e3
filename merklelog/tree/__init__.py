"""The Merkle tree: RFC 6962 math over hashes that somebody else keeps.

Read in this order: `hashing` (a leaf, a node), `ranges` (perfect subtrees), `prove` and `verify` (apart,
since only one of them is trusted), `tiles` (where tlog-tiles puts the hashes), `tile_hashes` (proofs out of
tiles), `frontier` (the edge that a log grows). Nothing here does I/O, knows of storage or reads a clock: the
math names the nodes it wants and is handed their hashes.
"""

from __future__ import annotations

from .frontier import EdgePiece, Frontier, FullTile, Growth
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
from .prove import (
    HashReader,
    prove_consistency,
    prove_inclusion,
    prove_inclusions,
    prove_leaves,
    prove_range,
    root_hash,
)
from .ranges import CompactRange, NodeId, decompose
from .tile_hashes import NodesFetch, TileFetch, TileHashes
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
from .verify import root_from_inclusion, tree_from_range, verify_consistency, verify_inclusion, verify_range

__all__ = [
    "BUNDLE_LEVEL",
    "EMPTY_ROOT",
    "HASH_SIZE",
    "SIZE_LIMIT",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "CompactRange",
    "EdgePiece",
    "Frontier",
    "FullTile",
    "Growth",
    "Hash",
    "HashReader",
    "LeafIndex",
    "NodeId",
    "NodesFetch",
    "Tile",
    "TileFetch",
    "TileHashes",
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
    "prove_consistency",
    "prove_inclusion",
    "prove_inclusions",
    "prove_leaves",
    "prove_range",
    "root_from_inclusion",
    "root_hash",
    "tile_path",
    "tiles_of",
    "tree_from_range",
    "verify_consistency",
    "verify_inclusion",
    "verify_range",
    "width_at",
]
