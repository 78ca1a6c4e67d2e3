"""A transport over tiles: a data directory, a published copy, or the tlog-tiles paths of an HTTP server.

Proofs are made here, out of tiles that each lead up to the root asked for: a log needs to serve nothing but files.
"""

# ruff: noqa: ARG002 - the seam has arguments that not every transport needs
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from merklelog.client.source import Dated, Expectant, Forgetful, Pointing, TileSource
from merklelog.client.transport import Appended, Batch, Epoch, Included, Stretch
from merklelog.errors import DamagedError, NotFoundError, UsageError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.publish.layout import WITNESSED_KEY
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.hashing import HASH_SIZE, Hash
from merklelog.tree.prove import prove_consistency, prove_inclusions, prove_range
from merklelog.tree.tiles import TILE_WIDTH

Found = TypeVar("Found")
_BUNDLES_A_STRETCH: Final = 4
_CACHED_TILES: Final = 4_096
_TREES: Final = 2
_ANSWERS: Final = 4  # what is kept, what the source has, what that left behind, and what stood there first


class TileTransport:
    """Over `source`; `append` is how to append where that can be done, `refresh` has the source look again.

    A source that can answer otherwise when its answer was wrong, or a `cache` before it, is asked once more. Tiles
    that were verified stay in memory, up to `cached_tiles` of them (8 KiB each, and half as much again for what is
    between their hashes and the root).
    """

    def __init__(
        self,
        source: TileSource,
        *,
        append: Callable[[Batch, float], Appended] | None = None,
        refresh: Callable[[], None] | None = None,
        cache: Forgetful | None = None,
        cached_tiles: int = _CACHED_TILES,
        poll: float = 0.2,
    ) -> None:
        self._source = source
        self._append = append
        self._refresh = refresh
        self._cache = source if cache is None and isinstance(source, Forgetful) else cache
        self._cached_tiles = cached_tiles
        self._poll = poll
        self._trees: dict[tuple[int, Hash], VerifiedTiles] = {}
        self._expected = (0, 0)
        self._lock = threading.RLock()  # verified tiles are for one thread

    def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """See Transport."""
        with self._lock:
            if self._refresh is not None:
                self._refresh()
            return self._source.checkpoint(size)

    def witnessed(self, seconds: float) -> bytes:
        """See Transport."""
        with self._lock:
            if self._refresh is not None:
                self._refresh()
            note = self._source.pointer(WITNESSED_KEY) if isinstance(self._source, Pointing) else None
        if note is None:
            raise NotFoundError("no checkpoint with the cosignatures of witnesses is shown")
        return note

    def grown(self, size: int, seconds: float) -> bytes:
        """See Transport."""
        ends = time.monotonic() + seconds
        while True:
            note = self.checkpoint(None, seconds)
            left = ends - time.monotonic()
            if parse_checkpoint(note).checkpoint.size > size or left <= 0:
                return note
            time.sleep(min(self._poll, left))

    def inclusions(self, indexes: Sequence[int], size: int, root: Hash, seconds: float) -> list[Included]:
        """See Transport."""

        def made(tiles: VerifiedTiles) -> list[Included]:
            proofs = prove_inclusions(indexes, size, tiles.read)
            found = []
            for index, proof in zip(indexes, proofs, strict=True):
                at = index % TILE_WIDTH * HASH_SIZE
                leaf = tiles.tile(0, index // TILE_WIDTH)[at : at + HASH_SIZE]
                found.append(Included(Hash(leaf), tuple(proof)))
            return found

        return self._under(size, root, made)

    def range_proof(self, start: int, end: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        return self._under(size, root, lambda tiles: tuple(prove_range(start, end, size, tiles.read)))

    def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        return self._under(size, root, lambda tiles: tuple(prove_consistency(old, size, tiles.read)))

    def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """See Transport."""
        first = start // TILE_WIDTH
        stop = min(end, (first + _BUNDLES_A_STRETCH) * TILE_WIDTH)

        def made(tiles: VerifiedTiles) -> Stretch:
            self._expect(start, end, size)
            entries: list[bytes] = []
            for number in range(first, -(-stop // TILE_WIDTH)):
                entries += tiles.entries(number)
            at = first * TILE_WIDTH
            self._expected = (stop, end)
            return Stretch(entries[start - at : stop - at], tuple(prove_range(start, stop, size, tiles.read)))

        return self._under(size, root, made)

    def append(self, batch: Batch, seconds: float) -> Appended:
        """See Transport. Raises UsageError where nothing can be appended."""
        if self._append is None:
            raise UsageError("this target is for reading only")
        return self._append(batch, seconds)

    def epoch(self, seconds: float) -> Epoch:
        """See Transport. A source that is not of a log with targets has none."""
        with self._lock:
            if self._refresh is not None:
                self._refresh()
            return Epoch(self._source.epoch() if isinstance(self._source, Dated) else None)

    def close(self) -> None:
        """See Transport."""
        self._source.close()

    def _expect(self, start: int, end: int, size: int) -> None:
        """Tell a source that reads ahead of a range, once."""
        if (
            self._expected != (start, end)
            and end - start > TILE_WIDTH
            and isinstance(self._source, Expectant)
        ):
            self._source.expect(start, end, size)

    def _under(self, size: int, root: Hash, made: Callable[[VerifiedTiles], Found]) -> Found:
        """What is made of the tiles of one tree; what was answered wrong is asked for otherwise, if it can be."""
        with self._lock:
            for _ in range(_ANSWERS):
                try:
                    return made(self._tiles(size, root))
                except DamagedError:
                    self._trees.clear()
                    self._expected = (0, 0)
                    if self._cache is None or not self._cache.forget_served():
                        raise
            return made(self._tiles(size, root))

    def _tiles(self, size: int, root: Hash) -> VerifiedTiles:
        tiles = self._trees.pop((size, root), None)
        if tiles is None:
            tiles = VerifiedTiles(self._source, size, root, cached=self._cached_tiles)
        self._trees[size, root] = tiles  # the last one used stands last
        while len(self._trees) > _TREES:
            del self._trees[next(iter(self._trees))]
        return tiles
