"""Perfect subtrees, and ranges of leaves made of them.

A tree of any size is a row of perfect subtrees of falling height, one for each set bit of the size; that is
what the split at "the largest power of two smaller than n" (RFC 6962 section 2.1) comes to. Every hash that a
proof needs is the root of a perfect subtree, or is folded from several of them: so `NodeId` is all that the
math in this room ever asks its caller for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ..errors import RangeError
from .hashing import EMPTY_ROOT, SIZE_LIMIT, Hash, LeafIndex, node_hash, shown

_FIRST = LeafIndex(0)


class NodeId(NamedTuple):
    """The root of the perfect subtree over the leaves [index << height, (index + 1) << height)."""

    height: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a node


def check_range(start: int, end: int) -> None:
    """Raise RangeError unless 0 <= start <= end < 2**63."""
    if not 0 <= start <= end < SIZE_LIMIT:
        raise RangeError(f"range [{shown(start)}, {shown(end)}): want 0 <= start <= end < 2**63")


def decompose(start: int, end: int) -> list[NodeId]:
    """The fewest perfect subtrees that cover the leaves [start, end), left to right; none for an empty range.

    For start 0 these are the peaks of a tree of `end` leaves (RFC 9162 section 2.1.2 keeps them on a stack).
    Raises RangeError unless 0 <= start <= end < 2**63.
    """
    check_range(start, end)
    return list(_cover(start, end))


@lru_cache(maxsize=256)
def _cover(start: int, end: int) -> tuple[NodeId, ...]:
    """`decompose` remembered: nearly all proofs in one tree share its right edge."""
    nodes = []
    while start < end:
        # A subtree that begins at `start` is at most as high as its trailing zeros, and must end by `end`.
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        nodes.append(NodeId(height, start >> height))
        start += 1 << height
    return tuple(nodes)


def fold(hashes: Iterable[Hash]) -> Hash:
    """One hash over peaks given left to right: each is the left child of what lies right of it.

    This is MTH's recursion (RFC 6962 section 2.1) from its innermost call outwards. No peaks: EMPTY_ROOT.
    """
    root: Hash | None = None
    for peak in reversed(list(hashes)):
        root = peak if root is None else node_hash(peak, root)
    return EMPTY_ROOT if root is None else root


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The leaves [start, end) as the hashes of `decompose(start, end)`: enough to grow, join and take a root.

    At most 126 hashes whatever the size. Immutable: each step gives a new range.
    """

    start: LeafIndex = _FIRST
    end: LeafIndex = _FIRST
    hashes: tuple[Hash, ...] = ()

    def __post_init__(self) -> None:
        want = len(decompose(self.start, self.end))
        if len(self.hashes) != want:
            raise RangeError(f"range [{self.start}, {self.end}): got {len(self.hashes)} hashes, want {want}")

    def append(self, leaf: Hash) -> CompactRange:
        """The range with one leaf hash more. Raises RangeError at 2**63 leaves."""
        return self.merge(CompactRange(self.end, LeafIndex(self.end + 1), (leaf,)))

    def merge(self, right: CompactRange) -> CompactRange:
        """Two neighbouring ranges as one. Raises RangeError unless `right` begins where this one ends."""
        if right.start != self.end:
            raise RangeError(f"merge: the right range starts at {right.start}, want {self.end}")
        stack: list[tuple[NodeId, Hash]] = []
        left_nodes = decompose(self.start, self.end)
        right_nodes = decompose(right.start, right.end)
        for node, digest in zip(left_nodes + right_nodes, self.hashes + right.hashes, strict=True):
            _push(stack, node, digest)
        return CompactRange(self.start, right.end, tuple(digest for _, digest in stack))

    def root(self) -> Hash:
        """The root hash of a tree of `end` leaves. Raises RangeError unless the range starts at leaf 0."""
        if self.start:
            raise RangeError(f"root of range [{self.start}, {self.end}): got start {self.start}, want 0")
        return fold(self.hashes)


def _push(stack: list[tuple[NodeId, Hash]], node: NodeId, digest: Hash) -> None:
    """Put a subtree on the right end, joining it with its left sibling for as long as that is there."""
    while stack and node.index & 1 and stack[-1][0] == (node.height, node.index - 1):
        digest = node_hash(stack.pop()[1], digest)
        node = NodeId(node.height + 1, node.index >> 1)
    stack.append((node, digest))
