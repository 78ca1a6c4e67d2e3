"""Every leaf and every pair of sizes of every small tree, out of tiles of several heights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from merklelog.tree import (
    Hash,
    NodeId,
    Tile,
    TileHashes,
    prove_consistency,
    prove_inclusion,
    prove_inclusions,
    root_hash,
    verify_consistency,
    verify_inclusion,
    width_at,
)

if TYPE_CHECKING:
    from conftest import ReferenceTree

LARGEST = 130
HEIGHTS = [1, 2, 8]


class WatchedTiles:
    """Tiles from the reference; holds the prover to what it promises its reader."""

    def __init__(self, tree: ReferenceTree, size: int, height: int, known: dict[Tile, bytes]) -> None:
        self.tree, self.size, self.height, self.known = tree, size, height, known
        self.hashes = TileHashes(size, self.fetch, height, cached=0)
        self.fetched: Counter[Tile] = Counter()
        self.calls = 0

    def fetch(self, tile: Tile) -> bytes:
        assert tile.width == width_at(tile.level, tile.index, self.size, self.height) > 0
        self.fetched[tile] += 1
        if tile not in self.known:
            self.known[tile] = self.tree.tile(*tile, self.height)
        return self.known[tile]

    def __call__(self, nodes: Sequence[NodeId]) -> list[Hash]:
        assert nodes, "an empty question is not asked"
        assert len(set(nodes)) == len(nodes), "a node is asked for once"
        assert all((node.index + 1) << node.height <= self.size for node in nodes), "perfect subtrees only"
        self.calls += 1
        self.fetched.clear()
        hashes = self.hashes(nodes)
        assert max(self.fetched.values()) == 1, "a tile is fetched once a call, with no cache at all"
        return hashes


@pytest.mark.parametrize("height", HEIGHTS)
def test_every_leaf_of_every_tree(tree1000: ReferenceTree, height: int) -> None:
    known: dict[Tile, bytes] = {}
    for size in range(1, LARGEST + 1):
        read = WatchedTiles(tree1000, size, height, known)
        root = tree1000.mth(0, size)
        assert root_hash(size, read) == root
        want = [tree1000.path(index, 0, size) for index in range(size)]
        assert prove_inclusions(range(size), size, read) == want
        reads = 2 if size > 1 else 1  # a single leaf is the root: its proof is empty and asks for nothing
        assert read.calls == reads
        for index, proof in enumerate(want):
            assert prove_inclusion(index, size, read) == proof
            verify_inclusion(tree1000.mth(index, index + 1), index, size, proof, root)
        assert read.calls == reads + (size if size > 1 else 0)


@pytest.mark.parametrize("height", HEIGHTS)
def test_every_pair_of_sizes(tree1000: ReferenceTree, height: int) -> None:
    known: dict[Tile, bytes] = {}
    for new in range(LARGEST + 1):
        read = WatchedTiles(tree1000, new, height, known)
        new_root = tree1000.mth(0, new)
        for old in range(new + 1):
            proof = prove_consistency(old, new, read)
            assert proof == (tree1000.proof(old, new) if 0 < old < new else [])
            verify_consistency(old, new, tree1000.mth(0, old), new_root, proof)
        assert read.calls == max(0, new - 1), "one read a proof, and none for an empty one"
