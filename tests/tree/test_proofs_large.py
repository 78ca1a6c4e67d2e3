"""Trees far too large to hold: all leaves are the same, so a node's hash depends on its height alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import ProofError, RangeError
from merklelog.tree import (
    EMPTY_ROOT,
    Hash,
    NodeId,
    Tile,
    TileHashes,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    prove_inclusions,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

MAX_SIZE = 2**63 - 1
LEAF = leaf_hash(b"the same everywhere")
BY_HEIGHT = [LEAF]
for _ in range(63):
    BY_HEIGHT.append(node_hash(BY_HEIGHT[-1], BY_HEIGHT[-1]))

# Sizes around powers of two are where paths change their shape; hypothesis alone seldom meets them.
EDGES = st.builds(
    lambda bit, off: max(1, min((1 << bit) + off, MAX_SIZE)), st.integers(0, 63), st.integers(-3, 3)
)
SIZES = st.integers(1, MAX_SIZE) | EDGES
PAIRS = st.tuples(SIZES, SIZES).map(sorted)


def read(nodes: Sequence[NodeId]) -> list[Hash]:
    return [BY_HEIGHT[node.height] for node in nodes]


def fetch(tile: Tile) -> bytes:
    return BY_HEIGHT[8 * tile.level] * tile.width


@given(PAIRS)
def test_inclusion_at_any_size(pair: list[int]) -> None:
    index, size = pair[0] - 1, pair[1]
    proof = prove_inclusion(index, size, read)
    verify_inclusion(LEAF, index, size, proof, root_hash(size, read))
    assert len(proof) <= 63


@given(PAIRS)
def test_consistency_at_any_size(pair: list[int]) -> None:
    old, new = pair
    proof = prove_consistency(old, new, read)
    verify_consistency(old, new, root_hash(old, read), root_hash(new, read), proof)
    assert len(proof) <= 64


@given(PAIRS)
def test_tiles_give_the_same_proofs(pair: list[int]) -> None:
    old, new = pair
    hashes = TileHashes(new, fetch)
    assert prove_inclusion(old - 1, new, hashes) == prove_inclusion(old - 1, new, read)
    assert prove_consistency(old, new, hashes) == prove_consistency(old, new, read)
    assert root_hash(new, hashes) == root_hash(new, read)


@given(st.lists(st.integers(0, 10**6 - 1), max_size=30))
def test_many_proofs_are_the_single_ones(indexes: list[int]) -> None:
    calls = []

    def watched(nodes: Sequence[NodeId]) -> list[Hash]:
        calls.append(nodes)
        return read(nodes)

    assert prove_inclusions(iter(indexes), 10**6, watched) == [
        prove_inclusion(index, 10**6, read) for index in indexes
    ]
    assert len(calls) == bool(indexes)
    assert all(len(set(nodes)) == len(nodes) for nodes in calls)


def test_the_empty_tree() -> None:
    def unread(nodes: Sequence[NodeId]) -> list[Hash]:
        raise AssertionError(f"asked for {nodes}")

    assert root_hash(0, unread) == EMPTY_ROOT
    assert prove_consistency(0, 0, unread) == prove_consistency(0, 9, unread) == []
    assert prove_consistency(9, 9, unread) == []
    assert prove_inclusion(0, 1, unread) == []
    assert prove_inclusions([], 5, unread) == []


HUGE = 1 << 100_000


@pytest.mark.parametrize(
    "numbers",
    [(0, 0), (3, 3), (4, 3), (-1, 3), (0, -1), (0, 2**63), (HUGE, 3), (0, HUGE), (HUGE, HUGE)],
    ids=range(9),
)
def test_a_leaf_outside_the_tree(numbers: tuple[int, int]) -> None:
    with pytest.raises(RangeError, match="want 0 <= index < size"):
        prove_inclusion(*numbers, read)
    with pytest.raises(RangeError, match="want 0 <= index < size"):
        prove_inclusions([0, numbers[0]], numbers[1], read)
    with pytest.raises(ProofError, match="want 0 <= index < size"):
        verify_inclusion(LEAF, *numbers, [], LEAF)


@pytest.mark.parametrize(
    "numbers", [(4, 3), (-1, 3), (-2, -1), (0, 2**63), (2**63, 2**63), (HUGE, 3), (1, HUGE)], ids=range(7)
)
def test_sizes_that_are_none(numbers: tuple[int, int]) -> None:
    with pytest.raises(RangeError, match="want 0 <= old <= new"):
        prove_consistency(*numbers, read)
    with pytest.raises(ProofError, match="want 0 <= old <= new"):
        verify_consistency(*numbers, EMPTY_ROOT, EMPTY_ROOT, [])


@pytest.mark.parametrize("size", [-1, 2**63, HUGE], ids=range(3))
def test_the_root_of_what_is_no_tree(size: int) -> None:
    with pytest.raises(RangeError):
        root_hash(size, read)


def test_a_reader_that_gives_too_few_hashes_is_a_bug() -> None:
    with pytest.raises(ValueError, match="shorter"):
        prove_inclusion(3, 9, lambda nodes: read(nodes)[1:])
