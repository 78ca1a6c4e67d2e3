"""Proofs judged, with no trust in who made them.

Every check comes in the same order: the numbers are in bounds, the proof has exactly the length that they
call for, each hash is 32 bytes; only then is anything hashed, and what comes out is compared with the root.
So the work is bounded by 126 hashes whatever comes in (and one for each leaf of a range), and one proof has one
spelling.

Sources: RFC 9162 sections 2.1.3.2 (inclusion) and 2.1.4.2 (consistency); the trees are those of RFC 6962
section 2.1. A range proof is the rest of the tree as a compact range, see `prove_range`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from ..errors import ProofError
from .hashing import EMPTY_ROOT, HASH_SIZE, NODE_PREFIX, SIZE_LIMIT, Hash, LeafIndex, node_hashes, shown
from .ranges import CompactRange, decompose


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is leaf `index` of the tree of `size` leaves under `root`.

    Raises ProofError when it is not, or when anything about the proof is malformed. Source: RFC 9162 section
    2.1.3.2.
    """
    got = root_from_inclusion(leaf, index, size, proof)
    if got != root:
        raise ProofError(f"leaf {index} in size {size}: got root {got.hex()}, want {_show(root)}")


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> Hash:
    """The root that an inclusion proof leads to; who calls this compares it with a root they trust.

    Raises ProofError unless 0 <= index < size < 2**63, the proof has exactly the length that they call for,
    and the leaf and each hash are 32 bytes. Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size < SIZE_LIMIT:
        raise ProofError(f"leaf {shown(index)} in size {shown(size)}: want 0 <= index < size < 2**63")
    inner = (index ^ (size - 1)).bit_length()
    what = "inclusion proof"
    _check_length(what, proof, inner + (index >> inner).bit_count())
    _check_hash("leaf hash", leaf)
    _check_hashes(what, proof)
    return Hash(_climb(leaf, index, proof[:inner], proof[inner:]))


def verify_range(
    leaves: Sequence[bytes], start: int, size: int, proof: Sequence[bytes], root: bytes
) -> CompactRange:
    """Check that `leaves` (leaf hashes) are those from leaf `start` on of the tree of `size` leaves under `root`.

    Gives that tree's peaks, as `tree_from_range` does: what the next range can be checked to extend. Raises
    ProofError when it is not so, or when anything about the proof is malformed.
    """
    tree = tree_from_range(leaves, start, size, proof)
    got = tree.root()
    if got != root:
        end = start + len(leaves)
        raise ProofError(f"range [{start}, {end}) in size {size}: got root {got.hex()}, want {_show(root)}")
    return tree


def tree_from_range(leaves: Sequence[bytes], start: int, size: int, proof: Sequence[bytes]) -> CompactRange:
    """The tree of `size` leaves that a range proof leads to; who calls this compares its root with one they trust.

    The proof's first hashes, one for each set bit of `start`, are the peaks of the tree before the range: a
    verifier that holds that tree compares them, and knows by this one proof that the new tree extends it.

    Raises ProofError unless there is a leaf, 0 <= start, start + len(leaves) <= size < 2**63, the proof has
    exactly the length that they call for, and each hash is 32 bytes.
    """
    end = start + len(leaves)
    if not 0 <= start < end <= size < SIZE_LIMIT:
        raise ProofError(
            f"range [{shown(start)}, {shown(end)}) in size {shown(size)}: "
            "want 0 <= start < end <= size < 2**63"
        )
    what = "range proof"
    before, after = start.bit_count(), decompose(end, size)
    _check_length(what, proof, before + len(after))
    _check_hashes("leaf hashes", leaves)
    _check_hashes(what, proof)
    left = list(proof[:before])  # its last one is the lowest
    right = [(node.height, digest) for node, digest in zip(after, proof[before:], strict=True)]
    right.reverse()  # so that pop() takes the leftmost
    peaks: list[bytes] = []
    row, height = b"".join(leaves), 0
    while row or left:
        # The row holds all nodes of this height from the range's first to its last. A left neighbour comes from
        # the tree before; a right one from the proof; what has none is a peak.
        if start >> height & 1:
            row = left.pop() + row
        if len(row) % (2 * HASH_SIZE):
            if right and right[-1][0] == height:
                row += right.pop()[1]
            else:
                peaks.append(row[-HASH_SIZE:])
                row = row[:-HASH_SIZE]
        row = b"".join(node_hashes(row))
        height += 1
    peaks.reverse()
    peaks += [digest for _, digest in reversed(right)]
    return CompactRange(LeafIndex(0), LeafIndex(size), tuple(Hash(peak) for peak in peaks))


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `old` leaves under `old_root` begins the tree of `new` leaves under `new_root`.

    Equal sizes: the proof must be empty and the roots the same. Size 0: its root must be SHA-256 of nothing
    and the proof empty; that says nothing about `new_root`, for every tree begins with the empty one.

    Raises ProofError unless all of it holds, or when anything is malformed. Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 <= old <= new < SIZE_LIMIT:
        raise ProofError(f"sizes {shown(old)} and {shown(new)}: want 0 <= old <= new < 2**63")
    what = f"consistency proof from {old} to {new}"
    if old in (0, new):
        _check_trivial(what, old, new, old_root, new_root, proof)
        return
    # The largest perfect subtree that ends the old tree is a node of both trees; the proof is its path up the
    # new one, and begins with that node unless it is the whole old tree.
    height = (old & -old).bit_length() - 1
    node = old - 1 >> height
    inner = (node ^ (new - 1 >> height)).bit_length()
    first = 1 if node else 0
    _check_length(what, proof, first + inner + (node >> inner).bit_count())
    _check_hash("old root", old_root)
    _check_hash("new root", new_root)
    _check_hashes(what, proof)
    start = proof[0] if first else old_root
    low, high = proof[first : first + inner], proof[first + inner :]
    # The siblings on the left belong to the old tree too, and they alone lead to its root.
    shared = [sibling for up, sibling in enumerate(low) if node >> up & 1]
    _check_root(f"{what}: old root", _climb(start, 0, (), (*shared, *high)), old_root)
    _check_root(f"{what}: new root", _climb(start, node, low, high), new_root)


def _climb(start: bytes, index: int, low: Sequence[bytes], high: Sequence[bytes]) -> bytes:
    """Hash up the tree: past `low` on the sides that the bits of `index` say, then past `high`, all left."""
    digest = start
    for sibling in low:
        pair = sibling + digest if index & 1 else digest + sibling
        digest = sha256(NODE_PREFIX + pair).digest()
        index >>= 1
    for sibling in high:
        digest = sha256(NODE_PREFIX + sibling + digest).digest()
    return digest


def _check_trivial(
    what: str, old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Nothing to hash: the old tree is empty, or it is the new one (then the roots need only be the same)."""
    _check_length(what, proof, 0)
    if old == 0:
        _check_root(f"{what}: root of size 0", old_root, EMPTY_ROOT)
        _check_hash("new root", new_root)
    if old == new:
        _check_root(f"{what}: new root", new_root, old_root)


def _check_length(what: str, proof: Sequence[bytes], want: int) -> None:
    if len(proof) != want:
        raise ProofError(f"{what}: got {len(proof)} hashes, want {want}")


def _check_hashes(what: str, hashes: Sequence[bytes]) -> None:
    for position, value in enumerate(hashes):
        if not isinstance(value, bytes) or len(value) != HASH_SIZE:
            raise ProofError(f"{what}: hash {position} is {_show(value)}, want {HASH_SIZE} bytes")


def _check_hash(what: str, value: bytes) -> None:
    if not isinstance(value, bytes) or len(value) != HASH_SIZE:
        raise ProofError(f"{what} is {_show(value)}, want {HASH_SIZE} bytes")


def _check_root(what: str, got: bytes, want: bytes) -> None:
    if got != want:
        raise ProofError(f"{what}: got {_show(got)}, want {_show(want)}")


def _show(value: bytes) -> str:
    """A hash for a message: in hex when it is one, else what it is instead, never at length."""
    if not isinstance(value, bytes):
        return f"a {type(value).__name__}"
    return value.hex() if len(value) == HASH_SIZE else f"{len(value)} bytes"
