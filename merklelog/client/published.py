"""A published copy as a source: a directory or bucket in the layout of merklelog.publish, or any tlog-tiles
copy.
"""

from __future__ import annotations

from collections.abc import Iterator

from merklelog.client.shown import ShownCheckpoints
from merklelog.client.source import pointer_of
from merklelog.errors import NotALogError
from merklelog.publish.ahead import ReadAhead
from merklelog.publish.layout import CHECKPOINT_KEY, stored_checkpoint_sizes
from merklelog.publish.objects import ObjectReads, ObjectStore
from merklelog.publish.past import PastReads, VersionedStore
from merklelog.publish.pointer import read_head
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.tree.tiles import TILE_HEIGHT, TILE_WIDTH


class PublishedSource:
    """Reads a published copy; nothing that comes back is verified.

    Bundles are decompressed as the store or the copy's `merklelog.json` says; a copy without that file (one
    that other software made) may hold either. Never larger than a bundle can be, whatever the file claims. A
    partial tile that is gone is cut from the full one. Every error names the file.

    From a store with versions, what must never change is read in its first version where it is gone; tiles and
    bundles also once a reader said that what it got was wrong (`forget_served`), kept checkpoints always. With
    `parallel`, what is expected is fetched so many at a time.

    Making one raises NotALogError where there is neither a `merklelog.json` nor a `checkpoint`,
    FormatVersionError for a copy by a newer version, DamagedError for a `merklelog.json` that can not be
    read, and what the store raises.
    """

    def __init__(self, store: ObjectStore, *, parallel: int = 0) -> None:
        manifest = read_manifest(store)
        if manifest is None and store.stat(CHECKPOINT_KEY) is None:
            raise NotALogError(f"{store.location}: no published copy: it has no {CHECKPOINT_KEY}")
        self._store = store
        self._past = PastReads(store) if isinstance(store, VersionedStore) else None
        reads: ObjectReads = self._past or store
        kept = PastReads(store, careful=True) if isinstance(store, VersionedStore) else store
        self._checkpoints = ShownCheckpoints(kept)
        self._ahead = ReadAhead(reads, parallel) if parallel > 1 else None
        self._tiles = StoredTiles(self._ahead or reads, manifest.bundles if manifest else None)

    def checkpoint(self, size: int | None = None) -> bytes:
        """The checkpoint that the copy shows, or the one it keeps for `size`. Raises NotFoundError."""
        return self._checkpoints.get(size)

    def pointer(self, key: str) -> bytes | None:
        """What the copy shows under another name than `checkpoint`; None when it does not. See Pointing."""
        return pointer_of(self._store, key)

    def stored_sizes(self) -> Iterator[int]:
        """The sizes that `checkpoint(size)` has, the newest first, up to the one that is shown.

        A larger one under `checkpoints/` belongs to a publication that has not shown it yet.
        """
        newest = self._checkpoints.newest_size()
        yield newest
        yield from sorted(
            (size for size in stored_checkpoint_sizes(self._store) if size < newest), reverse=True
        )

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` hashes of a tile. Raises NotFoundError, DamagedError."""
        return self._tiles.tile(level, index, width)

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` framed entries, decompressed. Raises NotFoundError, DamagedError."""
        return self._tiles.bundle(index, width)

    def expect(self, start: int, end: int, size: int) -> None:
        """The entries [start, end) of the tree of `size` will be read in their order, with their tiles."""
        if self._ahead is not None:
            last = min(-(-end // TILE_WIDTH), size >> TILE_HEIGHT)
            self._ahead.expect(self._tiles.wanted(start >> TILE_HEIGHT, last))

    def forget_served(self) -> bool:
        """What was read is wrong: read first versions from now on; False where there is nothing else to read."""
        if self._past is None or not self._past.forget_served():
            return False
        if self._ahead is not None:
            self._ahead.expect(())  # what was fetched already is as wrong
        return True

    def epoch(self) -> int | None:
        """The epoch that the copy's `head` names; None for a copy that is no log's target. Raises DamagedError."""
        stored = read_head(self._store)
        return None if stored is None else stored.head.epoch

    def close(self) -> None:
        """End what reads ahead, and the store's own threads."""
        if self._ahead is not None:
            self._ahead.close()
        if isinstance(self._store, VersionedStore):
            self._store.close()
