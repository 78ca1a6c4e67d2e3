"""Exact dedupe and lookup: the derived index proposes, the tree decides.

The index (`store.fingerprints`) may name an entry that is not the one meant; each hit is confirmed here with the
32 bytes that the log itself keeps: the identity given with the entry, or its leaf hash in the level-0 tile. The
index is rebuilt from those whenever it is behind, so it is never part of a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from merklelog.store import Store
from merklelog.store.fingerprints import FingerprintIndex
from merklelog.tree import HASH_SIZE, TILE_WIDTH, Hash, LeafIndex

from .planner import Plan

LeafTile = Callable[[int], bytes]


class Identities:
    """The identity index of one log. Written by the sequencer's thread; `find` may come from any."""

    def __init__(self, directory: Path, store: Store, leaf_tile: LeafTile, size: int) -> None:
        self._store = store
        self._leaf_tile = leaf_tile
        self._size = size  # entries written and fed
        self._index = FingerprintIndex(directory, confirm=self._still_has)
        self._catch_up(self._index.end)

    def _still_has(self, index: int, leaf: bytes) -> bool:
        """Whether an index that outlived a crash still speaks of this log: commits may have been rolled back."""
        return index < self._size and self.leaf(index) == leaf

    def _catch_up(self, at: int) -> None:
        """Feed what the index does not cover, from the leaf hashes and given identities of the log."""
        given = self._store.identities(at, self._size)
        pending = next(given, None)
        while at < self._size:
            number, first = divmod(at, TILE_WIDTH)
            end = min(self._size, (number + 1) * TILE_WIDTH)
            tile = self._leaf_tile(number)
            keys = [tile[HASH_SIZE * i : HASH_SIZE * (i + 1)] for i in range(first, first + end - at)]
            extras: list[tuple[bytes, int]] = []
            while pending is not None and pending[0] < end:
                extras.append((pending[1], pending[0]))
                pending = next(given, None)
            self._index.add(keys, at, extras)
            at = end

    def add(self, plan: Plan) -> None:
        """Note what a commit added."""
        self._size = plan.first + len(plan.hashes)
        if plan.hashes:
            self._index.add(plan.hashes, plan.first, [(own, index) for index, own in plan.identities])

    def duplicates(self, identities: Sequence[bytes]) -> dict[int, int]:
        """Positions of identities that an entry of the log already has, with the index of the first such entry."""
        candidates, covered = self._index.search(identities)
        while covered < self._size:  # a damaged file of the index was dropped: what it held is fed again
            self._catch_up(covered)
            candidates, covered = self._index.search(identities)
        found: dict[int, int] = {}
        for position, indexes in candidates.items():
            for index in indexes:
                if (self._store.identity(index) or self.leaf(index)) == identities[position]:
                    found[position] = index
                    break
        return found

    def find(self, leaf: Hash, size: int, leaf_at: Callable[[int], Hash]) -> LeafIndex | None:
        """The first entry below the durable `size` with this leaf hash; `leaf_at` reads one for any thread.

        Raises LookupError when the index lost a file and does not cover `size` until the next append.
        """
        candidates, covered = self._index.search([leaf])
        for index in candidates.get(0, []):
            if index < size and leaf_at(index) == leaf:
                return LeafIndex(index)
        if covered < size:
            raise LookupError(f"the index covers {covered} of {size} entries")
        return None

    def leaf(self, index: int) -> Hash:
        """The leaf hash of an entry that was written, durable or not."""
        at = HASH_SIZE * (index % TILE_WIDTH)
        return Hash(self._leaf_tile(index // TILE_WIDTH)[at : at + HASH_SIZE])

    def close(self) -> None:
        """Write down what is covered and let go of the files."""
        self._index.close()
