"""Exact dedupe and lookup: the derived index proposes, the tree decides.

The index (`store.fingerprints`) may name an entry that is not the one meant; each hit is confirmed here with the
32 bytes that the log itself keeps: the identity given with the entry, or its leaf hash in the level-0 tile. The
index is rebuilt from those whenever it is behind, so it is never part of a commit.

The index keeps the first entry of each key. An entry's key is its identity; one that came with an identity of its
own has a second key, made from its leaf hash, by which the lookup finds it. Under the leaf hash it would hide
a later entry of the same bytes whose identity that is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from blake3 import blake3

from merklelog.store import Store, StoreReader
from merklelog.store.fingerprints import FingerprintIndex
from merklelog.tree import HASH_SIZE, TILE_WIDTH, Hash, LeafIndex

from .planner import Plan

LeafTile = Callable[[int], bytes]
_RUN = re.compile(r"[0-9]{20}-[0-9]{20}\.run")


def _second_key(leaf: bytes) -> bytes:
    return blake3(b"leaf hash of an entry with an identity of its own" + leaf).digest()


def read_uncovered(directory: Path, store: StoreReader, size: int) -> None:
    """Read what opening the index will read: a tile that is damaged is to be found before anything is changed."""
    ends = [int(run.name[21:41]) for run in directory.glob("*-*.run") if _RUN.fullmatch(run.name)]
    start = max((end for end in ends if end <= size), default=0)
    full = range(size // TILE_WIDTH)
    fed = range(start // TILE_WIDTH, len(full))
    for number in {*fed, *((end - 1) // TILE_WIDTH for end in ends)}.intersection(full):
        store.tile(0, number)
    for _ in store.identities(start, size):
        pass


class Identities:
    """The identity index of one log. Written by the sequencer's thread; `find` may come from any."""

    def __init__(self, directory: Path, store: Store, leaf_tile: LeafTile, size: int) -> None:
        self._store = store
        self._leaf_tile = leaf_tile
        self._size = size  # entries written and fed
        self._index = FingerprintIndex(directory, confirm=self._still_has)
        self._catch_up(self._index.end)

    def _still_has(self, index: int, key: bytes) -> bool:
        """Whether an index that outlived a crash still speaks of this log: commits may have been rolled back."""
        return index < self._size and self._identity(index) == key

    def _identity(self, index: int) -> bytes:
        return self._store.identity(index) or self.leaf(index)

    def _catch_up(self, at: int) -> None:
        """Feed what the index does not cover, from the leaf hashes and given identities of the log."""
        given = self._store.identities(at, self._size)
        pending = next(given, None)
        while at < self._size:
            number, first = divmod(at, TILE_WIDTH)
            end = min(self._size, (number + 1) * TILE_WIDTH)
            tile = self._leaf_tile(number)
            leaves = [tile[HASH_SIZE * i : HASH_SIZE * (i + 1)] for i in range(first, first + end - at)]
            own: list[tuple[int, bytes]] = []
            while pending is not None and pending[0] < end:
                own.append(pending)
                pending = next(given, None)
            self._feed(leaves, at, own)
            at = end

    def add(self, plan: Plan) -> None:
        """Note what a commit added."""
        self._size = plan.first + len(plan.hashes)
        if plan.hashes:
            self._feed(plan.hashes, plan.first, plan.identities)

    def _feed(self, leaves: Sequence[bytes], first: int, own: Sequence[tuple[int, bytes]]) -> None:
        if not own:
            self._index.add(leaves, first)
            return
        keys = list(leaves)
        for index, identity in own:
            keys[index - first] = identity
        self._index.add(keys, first, [(_second_key(leaves[index - first]), index) for index, _ in own])

    def duplicates(self, identities: Sequence[bytes]) -> dict[int, int]:
        """Positions of identities that an entry of the log already has, with the index of the first such entry."""
        candidates, covered = self._index.search(identities)
        while covered < self._size:  # a damaged file of the index was dropped: what it held is fed again
            self._catch_up(covered)
            candidates, covered = self._index.search(identities)
        found: dict[int, int] = {}
        for position, indexes in candidates.items():
            for index in indexes:
                if self._identity(index) == identities[position]:
                    found[position] = index
                    break
        return found

    def find(self, leaf: Hash, size: int, leaf_at: Callable[[int], Hash]) -> LeafIndex | None:
        """The first entry below the durable `size` with this leaf hash; `leaf_at` reads one for any thread.

        Raises LookupError when the index can not tell: it lost a file and does not cover `size` until the next
        append, or somebody gave this hash as the identity of another entry.
        """
        candidates, covered = self._index.search([leaf, _second_key(leaf)])
        for index in sorted({*candidates.get(0, []), *candidates.get(1, [])}):
            if index >= size:
                break
            if self._store.identity(index) == leaf != leaf_at(index):
                raise LookupError(f"entry {index} has this leaf hash as its identity")
            if leaf_at(index) == leaf:
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
