"""Range proofs: every range of small trees against the definition, large ones by property, broken ones refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import MerklelogError, ProofError, RangeError
from merklelog.tree import (
    EMPTY_ROOT,
    Hash,
    NodeId,
    TileHashes,
    decompose,
    leaf_hash,
    leaf_hashes,
    node_hash,
    prove_range,
    tree_from_range,
    verify_range,
)
from merklelog.tree import verify as verify_module

if TYPE_CHECKING:
    from conftest import ReferenceTree

OTHER = leaf_hash(b"something else")
MAX_SIZE = 2**63 - 1


def reader(tree: ReferenceTree) -> Any:
    def read(nodes: Sequence[NodeId]) -> list[bytes]:
        return [tree.mth(node.index << node.height, (node.index + 1) << node.height) for node in nodes]

    return read


def leaves_of(tree: ReferenceTree, start: int, end: int) -> list[bytes]:
    return [tree.mth(i, i + 1) for i in range(start, end)]


def peaks(tree: ReferenceTree, start: int, size: int) -> list[bytes]:
    """The hashes of [start, size), cut where RFC 6962 cuts the tree of `size` leaves."""
    return [
        tree.mth(node.index << node.height, (node.index + 1) << node.height)
        for node in decompose(start, size)
    ]


def brute_force(tree: ReferenceTree, start: int, end: int, size: int) -> tuple[list[bytes], list[bytes]]:
    """What is left and right of the range: at each leaf the largest block that fits, found by trying all."""
    covers: tuple[list[bytes], list[bytes]] = ([], [])
    for side, (low, high) in enumerate(((0, start), (end, size))):
        at = low
        while at < high:
            span = max(2**h for h in range(7) if at % 2**h == 0 and at + 2**h <= high)
            covers[side].append(tree.mth(at, at + span))
            at += span
    return covers


def test_every_range_of_every_tree_up_to_40(tree1000: ReferenceTree) -> None:
    read = reader(tree1000)
    for size in range(1, 41):
        root = tree1000.mth(0, size)
        tops = tuple(peaks(tree1000, 0, size))
        for start in range(size):
            for end in range(start + 1, size + 1):
                proof = prove_range(start, end, size, read)
                left, right = brute_force(tree1000, start, end, size)
                assert proof == [*left, *right]
                assert left == peaks(tree1000, 0, start), "the tree before the range"
                tree = verify_range(leaves_of(tree1000, start, end), start, size, proof, root)
                assert (tree.start, tree.end, tree.hashes) == (0, size, tops)


def test_every_range_with_each_hash_changed_or_missing(tree1000: ReferenceTree) -> None:
    read = reader(tree1000)
    for size in range(1, 17):
        root = tree1000.mth(0, size)
        for start in range(size):
            for end in range(start + 1, size + 1):
                proof, leaves = prove_range(start, end, size, read), leaves_of(tree1000, start, end)
                for at in range(len(proof)):
                    for bad in ([*proof[:at], OTHER, *proof[at + 1 :]], [*proof[:at], *proof[at + 1 :]]):
                        with pytest.raises(ProofError):
                            verify_range(leaves, start, size, bad, root)
                for at in range(len(leaves)):
                    for bad in ([*leaves[:at], OTHER, *leaves[at + 1 :]], [*leaves[:at], *leaves[at + 1 :]]):
                        with pytest.raises(ProofError):
                            verify_range(bad, start, size, proof, root)
                for elsewhere in range(size):
                    if elsewhere != start:
                        with pytest.raises(ProofError):
                            verify_range(leaves, elsewhere, size, proof, root)


SHAPES = [
    (0, 1, 1),
    (0, 7, 7),
    (3, 4, 9),
    (5, 11, 21),
    (0, 64, 100),
    (63, 65, 129),
    (250, 260, 511),
    (999, 1000, 1000),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_mutated_range_proof_verifies(tree1000: ReferenceTree, shape: tuple[int, int, int]) -> None:
    start, end, size = shape
    root, leaves = tree1000.mth(0, size), leaves_of(tree1000, start, end)
    proof = prove_range(start, end, size, reader(tree1000))
    verify_range(leaves, start, size, proof, root)
    for at in range(len(proof) + 1):
        for extra in (OTHER, EMPTY_ROOT, bytes(32), b"", *proof[:1], *proof[-1:]):
            with pytest.raises(ProofError, match="range proof: got"):
                verify_range(leaves, start, size, [*proof[:at], extra, *proof[at:]], root)
    for at, value in enumerate(proof):
        for wrong in (OTHER, bytes(32), b"", value[:-1], value + b"\0", value * 2, *_flips(value)):
            with pytest.raises(ProofError):
                verify_range(leaves, start, size, [*proof[:at], wrong, *proof[at + 1 :]], root)
        if at + 1 < len(proof):
            with pytest.raises(ProofError):
                verify_range(leaves, start, size, [*proof[:at], proof[at + 1], value, *proof[at + 2 :]], root)
    for at, value in enumerate(leaves[:4]):
        for wrong in (OTHER, bytes(32), b"", value[:-1], value + b"\0", *_flips(value)):
            with pytest.raises(ProofError):
                verify_range([*leaves[:at], wrong, *leaves[at + 1 :]], start, size, proof, root)
    for wrong in (OTHER, EMPTY_ROOT, b"", root[:-1], *_flips(root)):
        with pytest.raises(ProofError, match="got root"):
            verify_range(leaves, start, size, proof, wrong)
    if len(leaves) > 1:
        with pytest.raises(ProofError):
            verify_range([leaves[1], leaves[0], *leaves[2:]], start, size, proof, root)


def _flips(value: bytes) -> list[bytes]:
    return [
        value[: bit // 8] + bytes([value[bit // 8] ^ 1 << bit % 8]) + value[bit // 8 + 1 :]
        for bit in range(256)
    ]


def test_a_range_extends_the_tree_before_it(tree1000: ReferenceTree) -> None:
    # What a producer does: it holds the peaks of what it verified last, and each batch begins there.
    held, start = tree_from_range([tree1000.mth(0, 1)], 0, 1, []), 1
    for count in (1, 2, 5, 100, 31, 256, 300, 3):
        end = start + count
        size = min(1000, end + count % 3)
        proof = prove_range(start, end, size, reader(tree1000))
        assert tuple(proof[: start.bit_count()]) == held.hashes
        verify_range(leaves_of(tree1000, start, end), start, size, proof, tree1000.mth(0, size))
        held = tree_from_range(
            leaves_of(tree1000, start, end), start, end, prove_range(start, end, end, reader(tree1000))
        )
        assert held.root() == tree1000.mth(0, end)
        start = end


@given(st.data())
def test_ranges_of_trees_of_any_size(data: st.DataObject) -> None:
    # Trees of one repeated entry have a hash for each height, so that one of 2**62 leaves can be asked too.
    size = data.draw(st.integers(1, MAX_SIZE) | st.integers(1, 5_000))
    start = data.draw(st.integers(0, size - 1))
    count = data.draw(st.integers(1, min(600, size - start)))
    levels = [leaf_hash(b"the same")]
    while len(levels) < 63:
        levels.append(node_hash(levels[-1], levels[-1]))
    proof = prove_range(start, start + count, size, lambda nodes: [levels[node.height] for node in nodes])
    assert len(proof) <= 126
    whole = tuple(levels[node.height] for node in decompose(0, size))
    assert tree_from_range([levels[0]] * count, start, size, proof).hashes == whole


def test_out_of_tiles(tree1000: ReferenceTree) -> None:
    read = TileHashes(1000, lambda tile: tree1000.tile(tile.level, tile.index, tile.width))
    for start, end in ((0, 1000), (255, 257), (256, 512), (1, 2), (700, 999)):
        verify_range(
            leaves_of(tree1000, start, end),
            start,
            1000,
            prove_range(start, end, 1000, read),
            tree1000.mth(0, 1000),
        )


def no_read(nodes: Sequence[NodeId]) -> list[Hash]:
    raise AssertionError(f"asked for {nodes}")


@pytest.mark.parametrize(
    "bad",
    [(0, 0, 0), (0, 0, 5), (3, 3, 5), (4, 3, 5), (-1, 2, 5), (0, 6, 5), (0, 1, 2**63), (0, 1, 1 << 99_999)],
)
def test_ranges_that_can_not_be(bad: tuple[int, int, int]) -> None:
    with pytest.raises(RangeError, match="want 0 <= start < end <= size"):
        prove_range(*bad, no_read)
    start, end, size = bad
    if end < 10:
        with pytest.raises(ProofError, match="want 0 <= start < end <= size"):
            tree_from_range([OTHER] * max(0, end - start), start, size, [])


def test_the_whole_tree_needs_no_hash(tree1000: ReferenceTree) -> None:
    assert prove_range(0, 999, 999, no_read) == []
    verify_range(leaf_hashes(tree1000.entries[:999]), 0, 999, [], tree1000.mth(0, 999))


def test_messages_name_what_was_got_and_what_was_wanted(tree1000: ReferenceTree) -> None:
    leaves, root = leaves_of(tree1000, 3, 5), tree1000.mth(0, 9)
    proof = prove_range(3, 5, 9, reader(tree1000))
    with pytest.raises(ProofError, match="range proof: got 4 hashes, want 5"):
        verify_range(leaves, 3, 9, proof[1:], root)
    with pytest.raises(ProofError, match="range proof: hash 2 is 31 bytes, want 32 bytes"):
        verify_range(leaves, 3, 9, [*proof[:2], bytes(31), *proof[3:]], root)
    with pytest.raises(ProofError, match="leaf hashes: hash 1 is a str, want 32 bytes"):
        verify_range([leaves[0], "x" * 32], 3, 9, proof, root)  # type: ignore[list-item]
    with pytest.raises(
        ProofError, match=rf"range \[3, 5\) in size 9: got root {root.hex()}, want {OTHER.hex()}"
    ):
        verify_range(leaves, 3, 9, proof, OTHER)


def test_nothing_is_hashed_before_the_shape_is_right(
    tree1000: ReferenceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hash(data: bytes) -> list[Hash]:
        raise AssertionError(f"hashed {len(data)} bytes")

    proof = prove_range(5, 9, 100, reader(tree1000))
    monkeypatch.setattr(verify_module, "node_hashes", no_hash)
    for bad in ([*proof, OTHER], proof[:-1], [*proof[:-1], b"short"], [OTHER] * 10_000):
        with pytest.raises(ProofError):
            tree_from_range(leaves_of(tree1000, 5, 9), 5, 100, bad)
    with pytest.raises(ProofError):
        tree_from_range([OTHER, b"short", OTHER, OTHER], 5, 100, proof)


NUMBERS = st.integers() | st.integers(-2, 70) | st.integers(2**63 - 2, 2**63 + 2)
HASHES: st.SearchStrategy[Any] = (
    st.binary(min_size=32, max_size=32)
    | st.binary(max_size=70)
    | st.sampled_from([None, "x" * 32, 7, [0] * 32])
)
MANY = st.lists(HASHES, max_size=12) | st.lists(st.binary(min_size=32, max_size=32), max_size=12)


@given(MANY, NUMBERS, NUMBERS, MANY, HASHES)
def test_garbage_ranges(leaves: list[Any], start: int, size: int, proof: list[Any], root: Any) -> None:
    try:
        verify_range(leaves, start, size, proof, root)
    except MerklelogError:
        return
    assert leaves == [root], "the one tree whose root anybody can make up"
    assert (start, size, proof) == (0, 1, [])
