"""Where the receipts of a remote log get their proofs: from what was verified with the append, from no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from merklelog.errors import RangeError
from merklelog.tree.hashing import Hash, LeafIndex, node_hash
from merklelog.tree.prove import prove_inclusion
from merklelog.tree.ranges import CompactRange, NodeId, decompose


class SingleProofs:
    """Proofs by index, of entries anywhere in one tree."""

    def __init__(self, proofs: Mapping[int, Sequence[Hash]]) -> None:
        self._proofs = proofs

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:  # noqa: ARG002  one tree
        """The proof. Raises RangeError for an entry that it was not made for."""
        if index not in self._proofs:
            raise RangeError(f"entry {index}: this receipt is not of it")
        return list(self._proofs[index])


class RangeProofs:
    """Proofs of the entries [start, start + len(leaves)) of a tree of `size`, made from the range's own proof.

    A range proof and the leaf hashes are all perfect subtrees that any of these inclusion proofs is made of.
    `proof` has been verified.
    """

    def __init__(self, leaves: Sequence[Hash], start: int, size: int, proof: Sequence[Hash]) -> None:
        nodes = [*decompose(0, start), *decompose(start + len(leaves), size)]
        self._known: dict[NodeId, Hash] = dict(zip(nodes, proof, strict=True))
        self._leaves = leaves
        self._start = start
        self._size = size

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:  # noqa: ARG002  one tree
        """The inclusion proof of one of them. Raises RangeError for another entry."""
        if not self._start <= index < self._start + len(self._leaves):
            raise RangeError(f"entry {index}: this receipt is not of it")
        return prove_inclusion(index, self._size, lambda nodes: [self._hash(node) for node in nodes])

    def _hash(self, node: NodeId) -> Hash:
        found = self._known.get(node)
        if found is not None:
            return found
        if node.height == 0:
            return self._leaves[node.index - self._start]
        left, right = NodeId(node.height - 1, node.index * 2), NodeId(node.height - 1, node.index * 2 + 1)
        self._known[node] = made = node_hash(self._hash(left), self._hash(right))
        return made


def tree_before(index: int, size: int, proof: Sequence[Hash]) -> Hash:
    """The root of the first `index` leaves, out of a verified inclusion proof of leaf `index`.

    The siblings on the left are the peaks of that tree, the lowest first (RFC 9162 section 2.1.3.2: those that are
    hashed from the left).
    """
    inner = (index ^ (size - 1)).bit_length()
    left = [sibling for up, sibling in enumerate(proof[:inner]) if index >> up & 1]
    peaks = (*left, *proof[inner:])
    return CompactRange(LeafIndex(0), LeafIndex(index), peaks[::-1]).root()


def tree_before_range(start: int, proof: Sequence[Hash]) -> Hash:
    """The root of the first `start` leaves, out of a verified range proof of a range that begins there."""
    return CompactRange(LeafIndex(0), LeafIndex(start), tuple(proof[: start.bit_count()])).root()
