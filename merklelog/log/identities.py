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
from merklelog.tree import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Hash, LeafIndex

from .planner import Plan

LeafTile = Callable[[int], bytes]


class Identities:
    """The identity index of one log. Written by the sequencer's thread; `find` may come from any."""

    def __init__(self, directory: Path, store: Store, leaf_tile: LeafTile, size: int) -> None:
        self._store = store
        self._leaf_tile = leaf_tile
        self._index = FingerprintIndex(directory)
        self._catch_up(size)

    def _catch_up(self, size: int) -> None:
        """Feed what the index does not cover yet, from the leaf hashes and given identities of the log."""
        at = self._index.watermark
        given = self._store.identities(at, size)
        pending = next(given, None)
        while at < size:
            number = at >> TILE_HEIGHT
            end = min(size, (number + 1) << TILE_HEIGHT)
            tile = self._leaf_tile(number)
            keys = [tile[HASH_SIZE * (i & 255) : HASH_SIZE * ((i & 255) + 1)] for i in range(at, end)]
            self._index.add(keys, at)
            while pending is not None and pending[0] < end:
                self._index.add_extra(pending[1], pending[0])
                pending = next(given, None)
            at = end

    def add(self, plan: Plan) -> None:
        """Note what a commit added."""
        if plan.hashes:
            self._index.add(plan.hashes, plan.first)
            for index, identity in plan.identities:
                self._index.add_extra(identity, index)

    def duplicates(self, identities: Sequence[bytes]) -> dict[int, int]:
        """Positions of identities that an entry of the log already has, with the index of the first such entry."""
        found: dict[int, int] = {}
        for position, candidates in self._index.candidates(identities).items():
            for index in candidates:
                if (self._store.identity(index) or self.leaf(index)) == identities[position]:
                    found[position] = index
                    break
        return found

    def find(self, leaf: Hash, size: int, leaf_at: Callable[[int], Hash]) -> LeafIndex | None:
        """The first entry below the durable `size` with this leaf hash; `leaf_at` reads one for any thread."""
        for index in self._index.candidates([leaf]).get(0, []):
            if index < size and leaf_at(index) == leaf:
                return LeafIndex(index)
        return None

    def leaf(self, index: int) -> Hash:
        """The leaf hash of an entry that was written, durable or not."""
        at = HASH_SIZE * (index % TILE_WIDTH)
        return Hash(self._leaf_tile(index >> TILE_HEIGHT)[at : at + HASH_SIZE])

    def close(self) -> None:
        """Write down what is covered and let go of the files."""
        self._index.close()
