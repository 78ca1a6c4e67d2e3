"""A published copy as a source: a directory or bucket in the layout of merklelog.publish, or any tlog-tiles
copy.
"""

from __future__ import annotations

from collections.abc import Iterator

from merklelog.client.shown import ShownCheckpoints
from merklelog.errors import NotALogError
from merklelog.publish.layout import CHECKPOINT_KEY, stored_checkpoint_sizes
from merklelog.publish.objects import ObjectStore
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.tree.tiles import TILE_WIDTH


class PublishedSource:
    """Reads a published copy; nothing that comes back is verified.

    Bundles are decompressed as the store or the copy's `merklelog.json` says; a copy without that file (one
    that other software made) may hold either. Never larger than a bundle can be, whatever the file claims. A
    partial tile that is gone is cut from the full one. Every error names the file.

    Making one raises NotALogError where there is neither a `merklelog.json` nor a `checkpoint`,
    FormatVersionError for a copy by a newer version, DamagedError for a `merklelog.json` that can not be
    read.
    """

    def __init__(self, store: ObjectStore) -> None:
        manifest = read_manifest(store)
        if manifest is None and store.stat(CHECKPOINT_KEY) is None:
            raise NotALogError(f"{store.location}: no published copy: it has no {CHECKPOINT_KEY}")
        self._store = store
        self._checkpoints = ShownCheckpoints(store)
        self._tiles = StoredTiles(store, manifest.bundles if manifest else None)

    def checkpoint(self, size: int | None = None) -> bytes:
        """The checkpoint that the copy shows, or the one it keeps for `size`. Raises NotFoundError."""
        return self._checkpoints.get(size)

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

    def close(self) -> None:
        """Nothing is held."""
