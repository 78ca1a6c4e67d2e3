from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import RangeError
from merklelog.tree import (
    EMPTY_ROOT,
    CompactRange,
    Hash,
    LeafIndex,
    NodeId,
    decompose,
    leaf_hash,
    leaf_hashes,
)
from merklelog.tree.ranges import fold

if TYPE_CHECKING:
    from conftest import ReferenceTree

MAX_SIZE = 2**63 - 1
BOUNDS = st.lists(st.integers(0, MAX_SIZE), min_size=2, max_size=2).map(sorted)
BAD_RANGES = [(-1, 3), (4, 3), (0, 2**63), (-(2**70), 2**70), (0, 1 << 100_000)]


def compact(tree: ReferenceTree, start: int, end: int) -> CompactRange:
    """A compact range with hashes from the reference."""
    spans = [(node.index << node.height, (node.index + 1) << node.height) for node in decompose(start, end)]
    return CompactRange(LeafIndex(start), LeafIndex(end), tuple(Hash(tree.mth(*span)) for span in spans))


@given(BOUNDS)
def test_decompose_covers_the_range_without_gap(bounds: list[int]) -> None:
    start, end = bounds
    at = start
    for node in decompose(start, end):
        assert node.index << node.height == at
        at = (node.index + 1) << node.height
    assert at == end


@given(BOUNDS)
def test_decompose_is_the_shortest(bounds: list[int]) -> None:
    nodes = decompose(*bounds)
    assert len(nodes) <= 126
    for left, right in pairwise(nodes):
        assert left.height != right.height or left.index % 2, "two siblings are one node"


def test_decompose_small_ranges_against_search() -> None:
    # The fewest aligned blocks, found by trying every one.
    for start in range(33):
        best = {start: 0}
        for at in range(start, 33):
            for height in range(6):
                if at in best and at % 2**height == 0:
                    end = at + 2**height
                    best[end] = min(best.get(end, 99), best[at] + 1)
            assert len(decompose(start, at)) == best[at]


def test_decompose_of_a_tree_is_its_set_bits() -> None:
    assert decompose(0, 0) == []
    assert decompose(0, 13) == [NodeId(3, 0), NodeId(2, 2), NodeId(0, 12)]
    assert decompose(3, 14) == [NodeId(0, 3), NodeId(2, 1), NodeId(2, 2), NodeId(1, 6)]
    assert len(decompose(0, MAX_SIZE)) == 63


@pytest.mark.parametrize("bounds", BAD_RANGES)
def test_decompose_refuses_what_is_no_range(bounds: tuple[int, int]) -> None:
    with pytest.raises(RangeError, match="want 0 <= start <= end"):
        decompose(*bounds)


def test_decompose_gives_a_list_of_ones_own() -> None:
    decompose(0, 7).clear()
    assert len(decompose(0, 7)) == 3


def test_fold_of_nothing_is_the_empty_root() -> None:
    assert fold([]) == EMPTY_ROOT == CompactRange().root()


def test_append_gives_every_root(tree1000: ReferenceTree) -> None:
    grown = CompactRange()
    for size, leaf in enumerate(leaf_hashes(tree1000.entries[:300]), start=1):
        grown = grown.append(leaf)
        assert grown == compact(tree1000, 0, size)
        assert grown.root() == tree1000.mth(0, size)


def test_append_works_away_from_leaf_zero(tree1000: ReferenceTree) -> None:
    grown = CompactRange(LeafIndex(5), LeafIndex(5))
    for end, leaf in enumerate(leaf_hashes(tree1000.entries[5:100]), start=6):
        grown = grown.append(leaf)
        assert grown == compact(tree1000, 5, end)


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3).map(sorted))
def test_merge_is_the_range_over_both(tree1000: ReferenceTree, cuts: list[int]) -> None:
    a, b, c = cuts
    assert compact(tree1000, a, b).merge(compact(tree1000, b, c)) == compact(tree1000, a, c)


def test_merge_small_ranges_exhaustively(tree1000: ReferenceTree) -> None:
    for a in range(20):
        for b in range(a, 20):
            for c in range(b, 20):
                merged = compact(tree1000, a, b).merge(compact(tree1000, b, c))
                assert merged == compact(tree1000, a, c)


def test_merge_refuses_a_gap_and_an_overlap(tree1000: ReferenceTree) -> None:
    left = compact(tree1000, 0, 5)
    for start in (4, 6):
        with pytest.raises(RangeError, match=f"starts at {start}, want 5"):
            left.merge(compact(tree1000, start, 9))


def test_root_needs_the_whole_tree(tree1000: ReferenceTree) -> None:
    with pytest.raises(RangeError, match="got start 1, want 0"):
        compact(tree1000, 1, 4).root()


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_range_needs_its_exact_number_of_hashes(count: int) -> None:
    with pytest.raises(RangeError, match=f"got {count} hashes, want 3"):
        CompactRange(LeafIndex(0), LeafIndex(7), (leaf_hash(b""),) * count)


def test_the_last_size_can_not_grow() -> None:
    full = CompactRange(LeafIndex(0), LeafIndex(MAX_SIZE), (leaf_hash(b""),) * 63)
    with pytest.raises(RangeError):
        full.append(leaf_hash(b""))


def test_a_range_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        CompactRange().end = LeafIndex(1)  # type: ignore[misc]
