"""From a range of leaves and the hashes beside it to a root, with a few hashes in memory.

The hashes beside [start, end) are those of two inclusion proofs (RFC 9162 section 2.1.3): the left siblings of its
first leaf's path, which are the peaks of the tree before it, and the right siblings of its last leaf's path. The
others follow from the leaves. So a pack can be made from any log that gives inclusion proofs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from merklelog.errors import ProofError
from merklelog.tree import HASH_SIZE, SIZE_LIMIT, Hash, node_hash, node_hashes


@dataclass(frozen=True, slots=True)
class Beside:
    """The hashes beside a range, lowest first: `left` of its first leaf's path, `right` of its last leaf's."""

    left: tuple[Hash, ...]
    right: tuple[Hash, ...]


def beside(start: int, end: int, size: int, first: Sequence[Hash], last: Sequence[Hash]) -> Beside:
    """What is beside [start, end), out of the inclusion proofs of the leaves `start` and `end - 1`.

    Both proofs are verified ones of a tree of `size` leaves. Raises ProofError where they are too short.
    """
    check_range(start, end, size)
    left, right = left_heights(start), right_heights(end, size)
    # Below the height where a path meets that of the last leaf there is a sibling at each height; above it only
    # left ones, where the index has a set bit.
    inner = (start ^ (size - 1)).bit_length()
    above = [height for height in left if height >= inner]
    places = [height if height < inner else inner + above.index(height) for height in left]
    if len(first) <= max(places, default=-1) or len(last) <= max(right, default=-1):
        raise ProofError(f"inclusion proofs of {start} and {end - 1} in size {size}: they are too short")
    return Beside(tuple(first[place] for place in places), tuple(last[height] for height in right))


def check_range(start: int, end: int, size: int) -> None:
    """Raise ProofError unless 0 <= start < end <= size < 2**63."""
    if not 0 <= start < end <= size < SIZE_LIMIT:
        raise ProofError(f"entries {start} to {end} of a tree of size {size}: no such range")


def left_heights(start: int) -> list[int]:
    """The heights of the peaks of the tree before `start`, lowest first."""
    return [height for height in range(start.bit_length()) if start >> height & 1]


def right_heights(end: int, size: int) -> list[int]:
    """The heights at which the path of leaf `end - 1` has a right sibling, lowest first."""
    last = end - 1
    inner = (last ^ (size - 1)).bit_length()
    return [height for height in range(inner) if not last >> height & 1]


class RangeFold:
    """The leaves [start, end) of a tree of `size`, given in order, and the root that they lead to.

    Holds at most 63 hashes however many leaves there are.
    """

    def __init__(self, start: int, end: int, size: int, hashes: Beside) -> None:
        """Raises ProofError for a range that is none, and unless there are exactly the hashes it calls for."""
        check_range(start, end, size)
        for what, got, want in (
            ("left", hashes.left, left_heights(start)),
            ("right", hashes.right, right_heights(end, size)),
        ):
            if len(got) != len(want):
                raise ProofError(
                    f"hashes {what} of entries {start} to {end}: got {len(got)}, want {len(want)}"
                )
        self._at, self._end, self._size = start, end, size
        self._peaks: list[bytes] = list(reversed(hashes.left))  # of the tree of `_at` leaves, the lowest last
        self._right = hashes.right

    def push(self, leaves: bytes) -> None:
        """The next leaf hashes, 32 bytes each, joined. Raises ProofError when they are more than the range has."""
        count = len(leaves) // HASH_SIZE
        if self._at + count > self._end:
            raise ProofError(f"leaves from {self._at} on: got {count}, want at most {self._end - self._at}")
        row, first = leaves, self._at
        lowest: list[bytes] = []
        while row:
            # The row is the nodes of one height over the new leaves. A left sibling that it lacks is the lowest
            # peak; a node without a right sibling is a peak now.
            if first & 1:
                row = self._peaks.pop() + row
            if len(row) % (2 * HASH_SIZE):
                lowest.append(row[-HASH_SIZE:])
                row = row[:-HASH_SIZE]
            row = b"".join(node_hashes(row))
            first >>= 1
        self._peaks += reversed(lowest)
        self._at += count

    def root(self) -> Hash:
        """The root that they lead to. Raises ProofError unless every leaf was given."""
        if self._at != self._end:
            raise ProofError(f"leaves: got those up to {self._at}, want them up to {self._end}")
        # The lowest peak's own height: from there up it is RFC 9162 section 2.1.3.2, its left siblings the peaks.
        height = (self._end & -self._end).bit_length() - 1
        node, last = self._end - 1 >> height, self._size - 1 >> height
        digest, right = self._peaks.pop(), iter(self._right)
        while last:
            if node & 1:
                digest = node_hash(self._peaks.pop(), digest)
            elif node < last:
                digest = node_hash(digest, next(right))
            node >>= 1
            last >>= 1
        return Hash(digest)
