"""The reference store: dictionaries, and a list of commits that a sync makes durable.

It exists to say what a store means, and to let tests lose power: `crash()` gives a store that holds what a disk
would hold if only the synced commits had reached it (or, asked so, some of those behind them).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from merklelog.protocol.commit import Commit

from . import layout


@dataclass(slots=True)
class MemoryStore:
    """A store in this process' memory. Keeps the contract of `store.api`."""

    metas: dict[str, bytes] = field(default_factory=dict)
    written: list[Commit] = field(default_factory=list)
    synced: int = 0
    _mutex: threading.Lock = field(default_factory=threading.Lock)  # a commit is seen whole or not at all
    _heads: dict[bytes, bytes] = field(default_factory=dict)
    _segments: dict[int, bytes] = field(default_factory=dict)
    _tiles: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    _edges: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _identities: dict[int, bytes] = field(default_factory=dict)
    _remembered: dict[bytes, bytes] = field(default_factory=dict)

    def crash(self, survivors: int = 0) -> MemoryStore:
        """What is left after a crash: the synced commits and at most `survivors` of those written after."""
        store = MemoryStore(metas=dict(self.metas))
        with self._mutex:
            commits = self.written[: self.synced + survivors]
        for commit in commits:
            store.write(commit)
        store.synced = len(store.written)
        return store

    def write(self, commit: Commit) -> None:
        """Apply a commit and note it down."""
        with self._mutex:
            self.written.append(commit)
            self._segments.update(commit.segments)
            self._identities.update(commit.identities)
            self._remembered.update(commit.remember)
            for key in commit.forget:
                self._remembered.pop(key, None)
            for tile in commit.growth.full:
                self._tiles[tile.level, tile.index] = (tile.hashes, tile.nodes)
                self._edges.pop((tile.level, tile.index), None)
            for piece in commit.growth.edges:
                before = self._edges.get((piece.level, piece.index), b"")
                self._edges[piece.level, piece.index] = before[: 32 * piece.start] + piece.hashes
            if commit.checkpoint is not None:
                self._heads[layout.NEWEST] = commit.checkpoint.note
                if commit.checkpoint.keep:
                    self._heads[layout.kept_key(commit.checkpoint.size)] = commit.checkpoint.note
            if commit.filed is not None:
                self._heads[layout.kept_key(commit.filed[0])] = commit.filed[1]
            if commit.published is not None:
                self._heads[layout.PUBLISHED] = commit.published
            if commit.epoch is not None:
                self._heads[layout.EPOCH] = commit.epoch
            if commit.witnessed is not None:
                self._heads[layout.WITNESSED] = commit.witnessed
            if commit.held is not None:
                self._heads[layout.HELD] = commit.held

    def sync(self) -> None:
        """Count all that is written as durable."""
        self.synced = len(self.written)

    def settle(self) -> None:
        """Nothing to settle in memory."""

    def meta(self, name: str) -> bytes | None:
        """See StoreReader.meta."""
        return self.metas.get(name)

    def newest(self) -> bytes | None:
        """See StoreReader.newest."""
        return self._heads.get(layout.NEWEST)

    def published(self) -> bytes | None:
        """See StoreReader.published."""
        return self._heads.get(layout.PUBLISHED)

    def epoch(self) -> bytes | None:
        """See StoreReader.epoch."""
        return self._heads.get(layout.EPOCH)

    def witnessed(self) -> bytes | None:
        """See StoreReader.witnessed."""
        return self._heads.get(layout.WITNESSED)

    def held(self) -> bytes | None:
        """See StoreReader.held."""
        return self._heads.get(layout.HELD)

    def checkpoint(self, size: int) -> bytes | None:
        """See StoreReader.checkpoint."""
        return self._heads.get(layout.kept_key(size))

    def stored_sizes(self) -> Iterator[int]:
        """See StoreReader.stored_sizes."""
        with self._mutex:
            kept = [key for key in self._heads if key.startswith(layout.KEPT)]
        return iter(sorted((int.from_bytes(key[1:], "big") for key in kept), reverse=True))

    def segments(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """See StoreReader.segments."""
        with self._mutex:
            rows = sorted(self._segments.items())
        begin = max((i for i, (first, _) in enumerate(rows) if first <= start), default=0)
        return iter([row for row in rows[begin:] if row[0] < end])

    def tile(self, level: int, index: int) -> bytes | None:
        """See StoreReader.tile."""
        found = self._tiles.get((level, index))
        return found[0] if found else None

    def nodes(self, level: int, index: int) -> bytes | None:
        """See StoreReader.nodes."""
        found = self._tiles.get((level, index))
        return found[1] if found else None

    def edge(self, level: int, index: int) -> bytes:
        """See StoreReader.edge."""
        return self._edges.get((level, index), b"")

    def identity(self, index: int) -> bytes | None:
        """See StoreReader.identity."""
        return self._identities.get(index)

    def identities(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """See StoreReader.identities."""
        with self._mutex:
            return iter(sorted((i, key) for i, key in self._identities.items() if start <= i < end))

    def remembered(self, key: bytes) -> bytes | None:
        """See StoreReader.remembered."""
        return self._remembered.get(key)

    def remembered_before(self, time: int, limit: int) -> list[bytes]:
        """See StoreReader.remembered_before."""
        with self._mutex:
            rows = sorted((layout.remembered_time(row), key) for key, row in self._remembered.items())
        return [key for made, key in rows if made < time][:limit]

    def close(self) -> None:
        """Nothing to let go of."""
