"""Every way to break a proof, one at a time: none may verify, and nothing but ProofError may come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import MerklelogError, ProofError
from merklelog.tree import EMPTY_ROOT, leaf_hash, root_from_inclusion, verify_consistency, verify_inclusion
from merklelog.tree import verify as verify_module

if TYPE_CHECKING:
    from conftest import ReferenceTree

OTHER = leaf_hash(b"something else")
SHAPES = [
    (1, 2),
    (2, 3),
    (4, 7),
    (6, 8),
    (7, 8),
    (8, 13),
    (9, 13),
    (21, 64),
    (64, 65),
    (100, 129),
    (255, 257),
]


def flipped(value: bytes, bit: int) -> bytes:
    data = bytearray(value)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def bad_proofs(proof: list[bytes]) -> Iterator[list[bytes]]:
    """Proofs of other lengths and of other hashes."""
    for at in range(len(proof) + 1):
        for extra in (OTHER, EMPTY_ROOT, bytes(32), b"", *proof[:1], *proof[-1:]):
            yield [*proof[:at], extra, *proof[at:]]
    for at, value in enumerate(proof):
        before, after = proof[:at], proof[at + 1 :]
        yield [*before, *after]
        for wrong in (OTHER, bytes(32), b"", value[:-1], value + b"\0", value[:16], value * 2):
            yield [*before, wrong, *after]
        if after:
            yield [*before, after[0], value, *after[1:]]
    if proof:
        yield []
        yield [*proof, *proof]
    if len(proof) > 1:
        yield [b"".join(proof)]


def bad_roots(root: bytes) -> Iterator[bytes]:
    yield from (OTHER, EMPTY_ROOT, bytes(32), b"", root[:-1], root + b"\0", root.hex().encode())
    yield from (flipped(root, bit) for bit in range(256))


def test_each_bit_of_an_inclusion_proof_counts(tree1000: ReferenceTree) -> None:
    index, size = 77, 130
    leaf, root, proof = tree1000.mth(index, index + 1), tree1000.mth(0, size), tree1000.path(index, 0, size)
    verify_inclusion(leaf, index, size, proof, root)
    for at, value in enumerate(proof):
        for bit in range(256):
            bad = [*proof[:at], flipped(value, bit), *proof[at + 1 :]]
            with pytest.raises(ProofError, match="got root"):
                verify_inclusion(leaf, index, size, bad, root)


def test_each_bit_of_a_consistency_proof_counts(tree1000: ReferenceTree) -> None:
    old, new = 77, 130
    roots, proof = (tree1000.mth(0, old), tree1000.mth(0, new)), tree1000.proof(old, new)
    verify_consistency(old, new, *roots, proof)
    for at, value in enumerate(proof):
        for bit in range(256):
            bad = [*proof[:at], flipped(value, bit), *proof[at + 1 :]]
            with pytest.raises(ProofError, match="root"):
                verify_consistency(old, new, *roots, bad)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_mutated_inclusion_proof_verifies(tree1000: ReferenceTree, shape: tuple[int, int]) -> None:
    index, size = shape[0] - 1, shape[1]
    leaf, root, proof = tree1000.mth(index, index + 1), tree1000.mth(0, size), tree1000.path(index, 0, size)
    verify_inclusion(leaf, index, size, proof, root)
    for bad_proof in bad_proofs(proof):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, index, size, bad_proof, root)
    for bad in bad_roots(root):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, index, size, proof, bad)
    for bad in bad_roots(leaf):
        with pytest.raises(ProofError):
            verify_inclusion(bad, index, size, proof, root)
    for other in range(size):
        if other != index:
            with pytest.raises(ProofError):
                verify_inclusion(leaf, other, size, proof, root)
    with pytest.raises(ProofError):
        verify_inclusion(root, index, size, proof, leaf)
    with pytest.raises(ProofError):
        verify_inclusion(leaf, size, index, proof, root)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_mutated_consistency_proof_verifies(tree1000: ReferenceTree, shape: tuple[int, int]) -> None:
    old, new = shape
    old_root, new_root, proof = tree1000.mth(0, old), tree1000.mth(0, new), tree1000.proof(old, new)
    verify_consistency(old, new, old_root, new_root, proof)
    for bad_proof in bad_proofs(proof):
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root, new_root, bad_proof)
    for bad in bad_roots(old_root):
        with pytest.raises(ProofError):
            verify_consistency(old, new, bad, new_root, proof)
    for bad in bad_roots(new_root):
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root, bad, proof)
    with pytest.raises(ProofError):
        verify_consistency(new, old, old_root, new_root, proof)
    with pytest.raises(ProofError):
        verify_consistency(new, old, new_root, old_root, proof)
    with pytest.raises(ProofError):
        verify_consistency(old, new, new_root, old_root, proof)


def test_a_rewritten_entry_is_not_consistent(
    tree1000: ReferenceTree, reference_tree: Callable[[list[bytes]], ReferenceTree]
) -> None:
    # The fork a log would try: the same sizes, one old entry replaced, and an honest proof in the forked tree.
    for victim in range(20):
        entries = list(tree1000.entries[:40])
        entries[victim] = b"rewritten"
        fork = reference_tree(entries)
        with pytest.raises(ProofError, match="old root"):
            verify_consistency(20, 40, tree1000.mth(0, 20), fork.mth(0, 40), fork.proof(20, 40))
        with pytest.raises(ProofError, match="new root"):
            verify_consistency(20, 40, tree1000.mth(0, 20), fork.mth(0, 40), tree1000.proof(20, 40))


def test_trivial_consistency() -> None:
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    verify_consistency(0, 5, EMPTY_ROOT, OTHER, [])
    verify_consistency(5, 5, OTHER, OTHER, [])
    for wrong in [
        (0, 0, OTHER, OTHER, []),
        (0, 0, EMPTY_ROOT, OTHER, []),
        (0, 0, EMPTY_ROOT, EMPTY_ROOT, [OTHER]),
        (0, 5, OTHER, OTHER, []),
        (0, 5, EMPTY_ROOT, b"", []),
        (0, 5, EMPTY_ROOT, OTHER, [OTHER]),
        (5, 5, OTHER, EMPTY_ROOT, []),
        (5, 5, OTHER, OTHER, [OTHER]),
    ]:
        with pytest.raises(ProofError):
            verify_consistency(*wrong)


def test_messages_name_what_was_got_and_what_was_wanted(tree1000: ReferenceTree) -> None:
    leaf, root, proof = tree1000.mth(3, 4), tree1000.mth(0, 9), tree1000.path(3, 0, 9)
    with pytest.raises(ProofError, match="inclusion proof: got 3 hashes, want 4"):
        verify_inclusion(leaf, 3, 9, proof[1:], root)
    with pytest.raises(ProofError, match="hash 2 is 31 bytes, want 32 bytes"):
        verify_inclusion(leaf, 3, 9, [*proof[:2], bytes(31), *proof[3:]], root)
    with pytest.raises(ProofError, match=f"leaf 3 in size 9: got root {root.hex()}, want {OTHER.hex()}"):
        verify_inclusion(leaf, 3, 9, proof, OTHER)
    with pytest.raises(ProofError, match="consistency proof from 3 to 9: got 0 hashes, want 5"):
        verify_consistency(3, 9, tree1000.mth(0, 3), root, [])
    with pytest.raises(ProofError, match="old root is 31 bytes, want 32 bytes"):
        verify_consistency(3, 9, bytes(31), root, tree1000.proof(3, 9))
    with pytest.raises(ProofError, match="new root is a NoneType, want 32 bytes"):
        verify_consistency(3, 9, OTHER, None, tree1000.proof(3, 9))  # type: ignore[arg-type]
    with pytest.raises(ProofError, match=f"from 3 to 9: new root: got {root.hex()}, want {OTHER.hex()}"):
        verify_consistency(3, 9, tree1000.mth(0, 3), OTHER, tree1000.proof(3, 9))


def test_nothing_is_hashed_before_the_shape_is_right(
    tree1000: ReferenceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hash(data: bytes) -> None:
        raise AssertionError(f"hashed {len(data)} bytes")

    root, proof = tree1000.mth(0, 100), tree1000.path(5, 0, 100)
    monkeypatch.setattr(verify_module, "sha256", no_hash)
    for bad in ([*proof, OTHER], proof[:-1], [*proof[:-1], b"short"], [OTHER] * 10_000):
        with pytest.raises(ProofError):
            verify_inclusion(OTHER, 5, 100, bad, root)
        with pytest.raises(ProofError):
            verify_consistency(50, 100, OTHER, root, bad)


# --- garbage ---------------------------------------------------------------------------------------------------

NUMBERS = st.integers() | st.integers(-2, 70) | st.integers(2**63 - 2, 2**63 + 2)
HASHES: st.SearchStrategy[Any] = (
    st.binary(min_size=32, max_size=32)
    | st.binary(max_size=70)
    | st.sampled_from([None, "x" * 32, 7, [0] * 32])
)
PROOFS = st.lists(HASHES, max_size=12) | st.lists(st.binary(min_size=32, max_size=32), max_size=12)


@given(HASHES, NUMBERS, NUMBERS, PROOFS, HASHES)
def test_garbage_inclusion(leaf: Any, index: int, size: int, proof: list[Any], root: Any) -> None:
    try:
        verify_inclusion(leaf, index, size, proof, root)
    except MerklelogError:
        return
    assert (index, size, proof) == (0, 1, []), "the one tree whose root anybody can make up"
    assert leaf == root


@given(HASHES, NUMBERS, NUMBERS, PROOFS)
def test_garbage_roots_from_inclusion(leaf: Any, index: int, size: int, proof: list[Any]) -> None:
    with suppress(MerklelogError):
        assert len(root_from_inclusion(leaf, index, size, proof)) == 32


@given(NUMBERS, NUMBERS, HASHES, HASHES, PROOFS)
def test_garbage_consistency(old: int, new: int, old_root: Any, new_root: Any, proof: list[Any]) -> None:
    try:
        verify_consistency(old, new, old_root, new_root, proof)
    except MerklelogError:
        return
    assert old == new > 0
    assert old_root == new_root
    assert proof == []
