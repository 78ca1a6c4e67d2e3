from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from merklelog.errors import DamagedError, NotFoundError, ProofError, RangeError
from merklelog.tree import (
    NodeId,
    Tile,
    TileHashes,
    prove_consistency,
    prove_inclusion,
    prove_inclusions,
    prove_leaves,
    verify_inclusion,
)
from merklelog.tree import tile_hashes as module

if TYPE_CHECKING:
    from conftest import ReferenceTree

SIZE = 1000


class Store:
    """Tiles of one tree, and the hashes beside the full ones; counts what is asked for."""

    def __init__(self, tree: ReferenceTree) -> None:
        self.tree = tree
        self.fetched: list[Tile] = []
        self.asked: list[tuple[int, int]] = []

    def fetch(self, tile: Tile) -> bytes:
        self.fetched.append(tile)
        return self.tree.tile(*tile)

    def nodes(self, level: int, index: int) -> bytes:
        self.asked.append((level, index))
        assert (index + 1) << 8 * (level + 1) <= SIZE, "only a full tile has them"
        return self.tree.inner(level, index)


@pytest.fixture
def store(tree1000: ReferenceTree) -> Store:
    return Store(tree1000)


def test_every_leaf_with_and_without_kept_nodes(store: Store, tree1000: ReferenceTree) -> None:
    kept, bare = TileHashes(SIZE, store.fetch, nodes=store.nodes), TileHashes(SIZE, store.fetch)
    for index in range(SIZE):
        want = tree1000.path(index, 0, SIZE)
        assert prove_inclusion(index, SIZE, kept) == want
        assert prove_inclusion(index, SIZE, bare) == want
    assert set(store.asked) == {(0, 0), (0, 1), (0, 2)}


def test_every_old_size_with_kept_nodes(store: Store, tree1000: ReferenceTree) -> None:
    read = TileHashes(SIZE, store.fetch, nodes=store.nodes)
    for old in range(1, SIZE):
        assert prove_consistency(old, SIZE, read) == tree1000.proof(old, SIZE)


def test_all_leaves_at_once(store: Store, tree1000: ReferenceTree) -> None:
    read = TileHashes(SIZE, store.fetch, nodes=store.nodes, cached=0)
    assert prove_inclusions(range(SIZE), SIZE, read) == [tree1000.path(i, 0, SIZE) for i in range(SIZE)]
    assert len(store.fetched) == len(set(store.fetched)) == 5


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8])
def test_leaves_come_with_their_proofs(store: Store, tree1000: ReferenceTree, height: int) -> None:
    read = TileHashes(
        SIZE, lambda tile: tree1000.tile(tile.level, tile.index, tile.width, height), height, cached=2
    )
    indexes = [999, 0, 0, 5, 777, 5, *range(240, 270)]
    leaves, proofs = prove_leaves(indexes, SIZE, read)
    assert leaves == [tree1000.mth(i, i + 1) for i in indexes]
    assert proofs == [tree1000.path(i, 0, SIZE) for i in indexes]
    assert proofs[1] is not proofs[2], "each is the caller's own"
    assert prove_leaves([], SIZE, read) == ([], [])


def test_a_tile_asked_for_often_is_hashed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    single: list[int] = []

    def count(data: bytes, real=module.sha256):  # type: ignore[no-untyped-def]
        single.append(1)
        return real(data)

    monkeypatch.setattr(module, "sha256", count)
    read = TileHashes(SIZE, store.fetch, nodes=store.nodes)
    for index in range(100):
        read([NodeId(1, index)])
    assert len(single) < 100
    assert store.fetched == [Tile(0, 0, 256)]


def test_tiles_are_kept_from_call_to_call(store: Store) -> None:
    read = TileHashes(SIZE, store.fetch)
    for index in range(256):
        prove_inclusion(index, SIZE, read)
    assert len(store.fetched) == len(set(store.fetched))


def test_no_more_than_the_cache_is_kept(store: Store) -> None:
    read = TileHashes(SIZE, store.fetch, cached=1)
    for _ in range(2):
        for index in (0, 300, 600):
            read([NodeId(0, index)])
    assert [tile.index for tile in store.fetched] == [0, 1, 2, 0, 1, 2]


def test_kept_nodes_spare_the_hashing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def bulk(joined: bytes, real=module.node_hashes):  # type: ignore[no-untyped-def]
        counted.append(len(joined) // 64)
        return real(joined)

    def single(data: bytes, real=module.sha256):  # type: ignore[no-untyped-def]
        counted.append(1)
        return real(data)

    monkeypatch.setattr(module, "node_hashes", bulk)
    monkeypatch.setattr(module, "sha256", single)
    for index in (0, 255, 256, 500):
        # One hash for height 1, three for height 2, seven for height 3; the rest is kept. The tree's right side
        # is in the partial tile, which has nothing kept: it is hashed once, and stays in the cache.
        read = TileHashes(SIZE, store.fetch, nodes=store.nodes)
        read([NodeId(4, 512 >> 4), NodeId(7, 768 >> 7)])
        counted.clear()
        prove_inclusion(index, SIZE, read)
        assert sum(counted) == 11


def test_without_kept_nodes_a_tile_is_hashed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def bulk(joined: bytes, real=module.node_hashes):  # type: ignore[no-untyped-def]
        counted.append(len(joined) // 64)
        return real(joined)

    monkeypatch.setattr(module, "node_hashes", bulk)
    for nodes in (None, lambda level, index: None):
        read = TileHashes(SIZE, store.fetch, nodes=nodes)
        counted.clear()
        for height in (7, 6, 5, 4, 3, 2, 1, 0):
            read([NodeId(height, 1)])
        assert sum(counted) == 254, "all inner nodes but the root, which is the next level's"


def test_a_kept_node_needs_no_tile(store: Store, tree1000: ReferenceTree) -> None:
    read = TileHashes(SIZE, store.fetch, nodes=store.nodes)
    assert read([NodeId(7, 1), NodeId(4, 0)]) == [tree1000.mth(128, 256), tree1000.mth(0, 16)]
    assert store.fetched == []


def test_nothing_is_asked_for_nothing(store: Store) -> None:
    assert TileHashes(SIZE, store.fetch)([]) == []
    assert store.fetched == []


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b[:-32]], ids=range(4)
)
def test_a_tile_of_the_wrong_length(store: Store, change) -> None:  # type: ignore[no-untyped-def]
    read = TileHashes(SIZE, lambda tile: change(store.fetch(tile)))
    with pytest.raises(DamagedError, match=r"tile 0/3 of width 232: got \d+ bytes, want 7424"):
        read([NodeId(0, 999)])


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""], ids=range(3))
def test_kept_nodes_of_the_wrong_length(store: Store, change) -> None:  # type: ignore[no-untyped-def]
    read = TileHashes(SIZE, store.fetch, nodes=lambda *where: change(store.nodes(*where)))
    with pytest.raises(DamagedError, match=r"nodes of tile 0/1 of width 256: got \d+ bytes, want 960"):
        read([NodeId(7, 2)])


@pytest.mark.parametrize(
    "node", [NodeId(0, 1000), NodeId(3, 125), NodeId(8, 3), NodeId(16, 0), NodeId(0, 10**9)]
)
def test_a_node_that_is_not_in_the_tree(store: Store, node: NodeId) -> None:
    with pytest.raises(RangeError, match="asked for"):
        TileHashes(SIZE, store.fetch)([node])
    assert store.fetched == []


def test_an_error_of_the_store_passes_through_and_is_not_remembered(store: Store) -> None:
    answers = [NotFoundError("tile 0/0"), None]

    def fetch(tile: Tile) -> bytes:
        problem = answers.pop(0)
        if problem:
            raise problem
        return store.fetch(tile)

    read = TileHashes(SIZE, fetch)
    with pytest.raises(NotFoundError):
        read([NodeId(0, 0)])
    assert len(read([NodeId(0, 0)])[0]) == 32


def test_wrong_hashes_make_a_proof_that_does_not_verify(store: Store, tree1000: ReferenceTree) -> None:
    root, leaf = tree1000.mth(0, SIZE), tree1000.mth(5, 6)
    for read in (
        TileHashes(SIZE, lambda tile: bytes(len(store.fetch(tile)))),
        TileHashes(SIZE, store.fetch, nodes=lambda level, index: bytes(960)),
    ):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, 5, SIZE, prove_inclusion(5, SIZE, read), root)


def test_threads_may_share_a_reader(store: Store, tree1000: ReferenceTree) -> None:
    read = TileHashes(SIZE, store.fetch, nodes=store.nodes, cached=2)
    with ThreadPoolExecutor(8) as pool:
        proofs = list(pool.map(lambda index: prove_inclusion(index, SIZE, read), range(SIZE)))
    assert proofs == [tree1000.path(index, 0, SIZE) for index in range(SIZE)]
