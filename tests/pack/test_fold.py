"""From a range of leaves and two inclusion proofs to the root: every small range, and ranges in vast trees."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import ProofError
from merklelog.pack.fold import Beside, RangeFold, beside, left_heights, right_heights
from merklelog.tree import Hash, NodeId, decompose, leaf_hash, node_hash, prove_inclusion, root_hash

LEAVES = [leaf_hash(b"%d" % index) for index in range(40)]


def perfect(height: int, index: int) -> Hash:
    if height == 0:
        return LEAVES[index]
    return node_hash(perfect(height - 1, 2 * index), perfect(height - 1, 2 * index + 1))


def read(nodes: Sequence[NodeId]) -> list[Hash]:
    return [perfect(*node) for node in nodes]


def folded(start: int, end: int, size: int, hashes: Beside, leaves: Sequence[bytes], step: int) -> Hash:
    fold = RangeFold(start, end, size, hashes)
    for at in range(0, len(leaves), step):
        fold.push(b"".join(leaves[at : at + step]))
    return fold.root()


@pytest.mark.parametrize("size", range(1, 41))
def test_every_range_of_every_small_tree_leads_to_its_root(size: int) -> None:
    root = root_hash(size, read)
    proofs = [prove_inclusion(index, size, read) for index in range(size)]
    for start in range(size):
        for end in range(start + 1, size + 1):
            hashes = beside(start, end, size, proofs[start], proofs[end - 1])
            for step in (1, 7, 40):
                assert folded(start, end, size, hashes, LEAVES[start:end], step) == root, (start, end, step)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13, 32, 37])
def test_any_other_leaf_or_hash_leads_elsewhere(size: int) -> None:
    root = root_hash(size, read)
    wrong = sha256(b"wrong").digest()
    for start in range(size):
        for end in {start + 1, (start + 1 + size) // 2, size}:
            proofs = [prove_inclusion(index, size, read) for index in (start, end - 1)]
            good = beside(start, end, size, *proofs)
            for at in range(end - start):
                leaves = [*LEAVES[start:end]]
                leaves[at] = Hash(wrong)
                assert folded(start, end, size, good, leaves, 5) != root
            for side in ("left", "right"):
                for at in range(len(getattr(good, side))):
                    hashes = list(getattr(good, side))
                    hashes[at] = wrong
                    bad = (
                        Beside(good.left, tuple(hashes))
                        if side == "right"
                        else Beside(tuple(hashes), good.right)
                    )
                    assert folded(start, end, size, bad, LEAVES[start:end], 5) != root


SIZES = st.integers(1, 2**62) | st.integers(0, 61).map(lambda bit: 1 << bit)


@given(data=st.data())
def test_ranges_of_vast_trees(data: st.DataObject) -> None:
    """What lies outside the range is made up, a hash for each perfect subtree; the root follows from all of it."""
    size = data.draw(SIZES)
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, min(size, start + 40)))
    leaves = [leaf_hash(b"%d" % index) for index in range(start, end)]
    outside = {*decompose(0, start), *decompose(end, size)}

    def hash_of(height: int, index: int) -> Hash:
        if (height, index) in outside:
            return leaf_hash(b"%d/%d" % (height, index))
        if height == 0:
            return leaves[index - start]
        return node_hash(hash_of(height - 1, 2 * index), hash_of(height - 1, 2 * index + 1))

    def nodes(wanted: Sequence[NodeId]) -> list[Hash]:
        return [hash_of(*node) for node in wanted]

    proofs = [prove_inclusion(index, size, nodes) for index in (start, end - 1)]
    hashes = beside(start, end, size, *proofs)
    root = root_hash(size, nodes)
    assert folded(start, end, size, hashes, leaves, data.draw(st.integers(1, 40))) == root


@given(st.integers(0, 2**62), st.integers(1, 2**62), st.integers(0, 2**62))
def test_a_range_has_at_most_126_hashes(start: int, more: int, rest: int) -> None:
    end = start + more
    size = end + rest
    if size < 2**63:
        left, right = left_heights(start), right_heights(end, size)
        assert len(left) == start.bit_count()
        assert left == sorted(left)
        assert right == sorted(right)
        assert len(left) + len(right) <= 126


@pytest.mark.parametrize("numbers", [(0, 0, 5), (3, 2, 5), (0, 6, 5), (0, 1, 2**63), (-1, 1, 5), (5, 5, 5)])
def test_what_is_no_range_is_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ProofError, match="no such range"):
        RangeFold(*numbers, Beside((), ()))
    with pytest.raises(ProofError, match="no such range"):
        beside(*numbers, [], [])


def test_the_number_of_hashes_is_looked_at_before_anything_is_hashed() -> None:
    proofs = [prove_inclusion(index, 37, read) for index in (11, 19)]
    good = beside(11, 20, 37, *proofs)
    assert (len(good.left), len(good.right)) == (3, 3)
    for left, right in (
        (good.left[1:], good.right),
        ((*good.left, good.left[0]), good.right),
        (good.left, good.right[:-1]),
        (good.left, (*good.right, good.right[0])),
    ):
        with pytest.raises(ProofError, match=r"hashes (left|right) of entries 11 to 20: got \d, want 3"):
            RangeFold(11, 20, 37, Beside(left, right))
    with pytest.raises(ProofError, match="too short"):
        beside(11, 20, 37, proofs[0][:2], proofs[1])


def test_leaves_too_few_or_too_many_are_refused() -> None:
    proofs = [prove_inclusion(index, 37, read) for index in (11, 19)]
    fold = RangeFold(11, 20, 37, beside(11, 20, 37, *proofs))
    fold.push(b"".join(LEAVES[11:19]))
    with pytest.raises(ProofError, match="up to 19, want them up to 20"):
        fold.root()
    with pytest.raises(ProofError, match="got 2, want at most 1"):
        fold.push(b"".join(LEAVES[19:21]))
