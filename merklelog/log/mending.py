"""Rows of an open log that were changed or lost, written anew from bytes that were verified elsewhere.

Only what never changes: full tiles with the inner hashes beside them, and the entries of full bundles. So it does
not matter that the log goes on meanwhile. A row that can not be read is left alone: then a file of the database
itself is damaged, and it stops at the latest when it comes to rewrite that file; only a new one mends that.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from merklelog.errors import DamagedError, RangeError, StoppedError, UsageError
from merklelog.formats.bundle import format_bundle, parse_bundle
from merklelog.store import RocksStore
from merklelog.store.layout import nodes_key, number, tile_key
from merklelog.tree import BUNDLE_LEVEL, TILE_HEIGHT, TILE_WIDTH, Tile
from merklelog.tree.hashing import node_hashes

from .log import Log

_KEPT_HEIGHTS: Final = slice(3, 7)  # of the rows above a tile, heights 4 to 7 (store.layout.nodes_key)

_Row = tuple[bytes, bytes]


def mend(log: Log, tile: Tile, data: bytes) -> bool:
    """Write a full tile, or the entries of a full bundle (framed), as `data` has them; False: they were right.

    The caller has verified `data` against a checkpoint of this log. Durable when it returns; what was read before
    may stay in memory for a while. Raises UsageError for a log whose store can not do it, StoppedError, RangeError
    for what is not full or not under the checkpoint that the log shows, DamagedError for rows that can not be
    read, or read as something else afterwards; StorageError and kin.
    """
    store = log._store
    if not isinstance(store, RocksStore):
        raise UsageError(f"{log.path}: this log's store is not mended")
    if log.stopped:
        raise StoppedError(f"{log.path}: the log has stopped, so nothing is written into it")
    level = max(tile.level, 0)
    if tile.width != TILE_WIDTH or (tile.index + 1) << TILE_HEIGHT * (level + 1) > log.size:
        raise RangeError(f"{tile.path}: it is not full under the checkpoint of size {log.size}")
    if tile.level == BUNDLE_LEVEL:
        return _mend_entries(store, tile, data)
    return _mend_tile(store, tile, data)


def _mend_tile(store: RocksStore, tile: Tile, hashes: bytes) -> bool:
    nodes = _inner(hashes)
    if (store.tile(tile.level, tile.index), store.nodes(tile.level, tile.index)) == (hashes, nodes):
        return False
    rows = [(tile_key(tile.level, tile.index), hashes), (nodes_key(tile.level, tile.index), nodes)]
    _write(store, "tiles", rows)
    if (store.tile(tile.level, tile.index), store.nodes(tile.level, tile.index)) != (hashes, nodes):
        raise DamagedError(f"{store.path}: {tile.path} was written anew and reads as something else")
    return True


def _inner(hashes: bytes) -> bytes:
    rows: list[bytes] = []
    row = hashes
    while len(row) > 32:
        row = b"".join(node_hashes(row))
        rows.append(row)
    return b"".join(rows[_KEPT_HEIGHTS])


def _mend_entries(store: RocksStore, bundle: Tile, framed: bytes) -> bool:
    """The commits that made the bundle's segments stay its segments, as far as their rows are there."""
    start = bundle.index << TILE_HEIGHT
    end = start + TILE_WIDTH
    there = _segments(store, start, end)
    entries = parse_bundle(framed, TILE_WIDTH)
    cuts = [*sorted({start, *there}), end]
    want = {at: format_bundle(entries[at - start : after - start]) for at, after in pairwise(cuts)}
    if there == want:
        return False
    _write(store, "entries", [(number(at), segment) for at, segment in want.items()])
    if _segments(store, start, end) != want:
        raise DamagedError(f"{store.path}: {bundle.path} was written anew and reads as something else")
    return True


def _segments(store: RocksStore, start: int, end: int) -> dict[int, bytes]:
    # A scan begins at the segment before, which is another bundle's.
    return {first: framed for first, framed in store.segments(start, end) if first >= start}


def _write(store: RocksStore, family: str, rows: list[_Row]) -> None:
    store.put_rows(family, rows)
    store.sync()


__all__ = ["mend"]
