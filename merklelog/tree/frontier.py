"""The right edge of a growing tree: what a log keeps in memory so that no append ever reads the tree.

For every tile level the frontier holds the hashes of the one tile that is not full yet, the inner hashes of
heights 4 to 7 above them, and for every height the peak (the root of the perfect subtree that a set bit of the
size stands for). Growing by k leaves costs the k leaf hashes that the caller made and one node hash for each
perfect subtree that becomes complete: nothing is hashed twice, whatever the batch size.

Sources: RFC 6962 section 2.1 (the tree), c2sp.org/tlog-tiles (tiles), RFC 9162 section 2.1.2 (peaks as a stack).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .hashing import EMPTY_ROOT, HASH_SIZE, Hash, node_hash, node_hashes
from .tiles import TILE_HEIGHT

TILE_BYTES = HASH_SIZE << TILE_HEIGHT
# Heights inside a tile whose hashes are kept beside it, with their bytes in a full tile: 512 + 256 + 128 + 64.
INNER_HEIGHTS = (4, 5, 6, 7)
_KEPT = frozenset((0, *INNER_HEIGHTS))
MAX_HEIGHT = 64


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that became full: 8,192 bytes of hashes and the 960 bytes of its inner heights 4, 5, 6 and 7."""

    level: int
    index: int
    hashes: bytes
    nodes: bytes


@dataclass(frozen=True, slots=True)
class EdgePiece:
    """New hashes of a tile that is still partial: `hashes` are its hashes from position `start` on."""

    level: int
    index: int
    start: int
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Growth:
    """What one extension of the tree made, lowest level first."""

    full: tuple[FullTile, ...]
    edges: tuple[EdgePiece, ...]


class Frontier:
    """The growing right edge of one tree. Not safe for threads: its owner is the one writer.

    `partials` are the hashes of the unfinished tile of each level at `size`, lowest level first (an empty or
    missing level is a tile with no hash yet).

    Raises ValueError when the partials do not fit the size; that they are the *right* hashes is for the caller
    to check, by comparing `root()` with a signed one.
    """

    __slots__ = ("_kept", "_peaks", "size")

    def __init__(self, size: int = 0, partials: Sequence[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[Hash | None] = [None] * MAX_HEIGHT
        self._kept: dict[int, bytearray] = {}
        for level in range(MAX_HEIGHT // TILE_HEIGHT):
            width = (size >> (TILE_HEIGHT * level)) & 255
            partial = partials[level] if level < len(partials) else b""
            if len(partial) != width * HASH_SIZE:
                raise ValueError(f"level {level}: {len(partial)} bytes for {width} hashes at size {size}")
            hashes = [Hash(partial[i : i + HASH_SIZE]) for i in range(0, len(partial), HASH_SIZE)]
            self._raise(hashes, TILE_HEIGHT * level, TILE_HEIGHT * (level + 1))
        self.size = size

    def extend(self, leaves: list[Hash]) -> Growth:
        """Append leaf hashes; gives every tile that became full and every new piece of the partial ones."""
        before = self.size
        self._raise(leaves, 0, MAX_HEIGHT)
        self.size = before + len(leaves)
        full: list[FullTile] = []
        edges: list[EdgePiece] = []
        for level in range(MAX_HEIGHT // TILE_HEIGHT):
            old, new = before >> (TILE_HEIGHT * level), self.size >> (TILE_HEIGHT * level)
            if old == new:
                break
            self._cut(level, old, new, full, edges)
        return Growth(tuple(full), tuple(edges))

    def root(self) -> Hash:
        """The root hash at `size`: the peaks folded from the lowest up."""
        root: Hash | None = None
        for peak in self._peaks:
            if peak is not None:
                root = peak if root is None else node_hash(peak, root)
        return EMPTY_ROOT if root is None else root

    def partial(self, level: int) -> bytes:
        """The hashes of the unfinished tile of `level`, 32 bytes each; empty when there is none."""
        kept = self._kept.get(TILE_HEIGHT * level)
        return bytes(kept) if kept else b""

    def partials(self) -> tuple[bytes, ...]:
        """The unfinished tile of each level that the tree has, lowest first."""
        top = max(0, self.size.bit_length() - 1) // TILE_HEIGHT
        return tuple(self.partial(level) for level in range(top + 1))

    def _raise(self, hashes: list[Hash], low: int, high: int) -> None:
        """Feed complete nodes of height `low` in, and what they complete, below height `high`."""
        peaks, kept = self._peaks, self._kept
        for height in range(low, high):
            if not hashes:
                return
            joined = b"".join(hashes)
            if height % TILE_HEIGHT in _KEPT:
                kept.setdefault(height, bytearray()).extend(joined)
            peak = peaks[height]
            if peak is not None:
                joined = peak + joined
            if len(joined) % (2 * HASH_SIZE):
                peaks[height] = hashes[-1]
                joined = joined[:-HASH_SIZE]
            else:
                peaks[height] = None
            hashes = node_hashes(joined)

    def _cut(self, level: int, old: int, new: int, full: list[FullTile], edges: list[EdgePiece]) -> None:
        """Take what levels' buffers hold past `old` hashes out as full tiles, and name the rest as an edge."""
        base = TILE_HEIGHT * level
        kept = self._kept[base]
        first, last = old >> TILE_HEIGHT, new >> TILE_HEIGHT
        inner = [(self._kept.get(base + h, bytearray()), TILE_BYTES >> h) for h in INNER_HEIGHTS]
        for i in range(last - first):
            nodes = b"".join(bytes(buffer[i * n : (i + 1) * n]) for buffer, n in inner)
            hashes = bytes(kept[i * TILE_BYTES : (i + 1) * TILE_BYTES])
            full.append(FullTile(level, first + i, hashes, nodes))
        if last > first:
            del kept[: (last - first) * TILE_BYTES]
            for buffer, n in inner:
                del buffer[: (last - first) * n]
        start = old & 255 if last == first else 0
        if len(kept) > start * HASH_SIZE:
            edges.append(EdgePiece(level, last, start, bytes(kept[start * HASH_SIZE :])))
