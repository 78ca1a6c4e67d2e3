"""A growing row of perfect subtrees: the roots of old tree sizes, taken while passing by.

The tree of any size is a row of perfect subtrees of falling height; folded from the right they make its root
(RFC 6962 section 2.1). An audit keeps the row of what it has passed, so the root at an old size costs some ten
hashes and no read. A subtree whose hash could not be found out is None, and so is everything made with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from merklelog.tree import EMPTY_ROOT, HASH_SIZE, Hash, node_hash

Peak = tuple[int, Hash | None]


class Peaks:
    """The subtrees of what was passed so far, left to right, as (height, hash)."""

    __slots__ = ("row",)

    def __init__(self, row: Iterable[Peak] = ()) -> None:
        self.row: list[Peak] = list(row)

    def push(self, height: int, digest: Hash | None) -> None:
        """Add the subtree to the right of all, which must not be higher than the last one."""
        row = self.row
        while row and row[-1][0] == height:
            left = row.pop()[1]
            digest = None if left is None or digest is None else node_hash(left, digest)
            height += 1
        row.append((height, digest))

    def fold(self, more: Sequence[Hash | None] = ()) -> Hash | None:
        """The root over all, with `more` subtrees behind them; None when one of them is not known."""
        root: Hash | None = None
        hashes = [digest for _, digest in self.row] + list(more)
        for digest in reversed(hashes):
            if digest is None:
                return None
            root = digest if root is None else node_hash(digest, root)
        return EMPTY_ROOT if root is None else root


def inner_peaks(rows: Sequence[bytes], count: int) -> list[Hash]:
    """The subtrees over the first `count` hashes of a tile, given the rows of its nodes; `count` below 256."""
    peaks: list[Hash] = []
    at = 0
    for height in reversed(range(count.bit_length())):
        if count >> height & 1:
            start = (at >> height) * HASH_SIZE
            peaks.append(Hash(rows[height][start : start + HASH_SIZE]))
            at += 1 << height
    return peaks
