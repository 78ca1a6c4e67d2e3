"""Removing partial tiles and bundles that nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator

from merklelog.errors import FormatError
from merklelog.publish.layout import TILES
from merklelog.publish.objects import ObjectStore
from merklelog.tree.tiles import BUNDLE_LEVEL, TILE_WIDTH, parse_path, tile_path, width_at

_LEVELS = 8  # 256**8 leaves are more than any tree has


def collect_partials(store: ObjectStore, old: int | None, size: int) -> int:
    """Delete the partial tiles and bundles whose full ones are there in the copy of size `size`; how many.

    With `old`, looks only where a copy of that size had partial ones; with None, everywhere.

    A partial one goes only once its full one is there, and not when a wider partial one is: tlog-tiles
    ("Partial Tiles") lets every checkpoint that was shown keep the partial tiles it needs until then. A
    reader that comes too late for a partial one takes the first part of the full one.
    """
    collected = 0
    for key in store.list_keys(TILES) if old is None else partials_at(store, old):
        try:
            tile = parse_path(key)
        except FormatError:
            continue  # not of this format, so not ours to delete
        if tile.width == TILE_WIDTH or width_at(tile.level, tile.index, size) < TILE_WIDTH:
            continue
        if store.stat(tile_path(tile.level, tile.index)) is not None:
            store.delete(key)
            collected += 1
    return collected


def partials_at(store: ObjectStore, size: int) -> Iterator[str]:
    """The keys of partial tiles and bundles that stand where a tree of that size has partial ones."""
    for level in range(BUNDLE_LEVEL, _LEVELS):
        index = size >> (8 * (max(level, 0) + 1))
        if width_at(level, index, size):
            yield from store.list_keys(f"{tile_path(level, index)}.p/")
