"""Keys and values of the database, one function a row kind. `docs/formats.md` is the same in prose.

Column families: `entries`, `tiles`, `heads`, `meta`, `idempotency`, `identities`. Numbers are big endian, so that
key order is number order.
"""

from __future__ import annotations

FORMAT = 1
FAMILIES = ("entries", "tiles", "heads", "meta", "idempotency", "identities")

NODES = 0x40  # set in the level byte of a full tile's inner hashes
NEWEST = b"newest"
PUBLISHED = b"published"
EPOCH = b"epoch"
WITNESSED = b"cosigned"
HELD = b"held"
KEPT = b"s"  # the last rows of `heads`, so that the newest are found from its end
EDGE = b"e"


def number(value: int) -> bytes:
    """Eight bytes, big endian: entry indexes, tile indexes, sizes, times."""
    return value.to_bytes(8, "big")


def tile_key(level: int, index: int) -> bytes:
    """A full tile: 8,192 bytes."""
    return bytes((level,)) + number(index)


def nodes_key(level: int, index: int) -> bytes:
    """Inner hashes of a full tile, heights 4, 5, 6, 7 from the left: 960 bytes."""
    return bytes((level | NODES,)) + number(index)


def edge_key(level: int, start: int) -> bytes:
    """A piece of the partial tile of a level: its hashes from position `start` on, behind the tile's index.

    In `heads`, and deleted when the tile is full. The tile's index is in the value and not in the key: the next
    tile's pieces have the same keys, or each deletion would leave a tombstone of its own in the sorted files.
    """
    return EDGE + bytes((level, start))


def kept_key(size: int) -> bytes:
    """A checkpoint kept under its size."""
    return KEPT + number(size)


def remembered_key(key: bytes) -> bytes:
    """An idempotency row, by the 32-byte hash of submitter and key."""
    return b"k" + key


def remembered_time_key(time: int, key: bytes) -> bytes:
    """The same row by its time, so that old ones are found without reading all."""
    return b"t" + number(time) + key


def remembered_time(row: bytes) -> int:
    """When a row was made: its first eight bytes, seconds since the epoch."""
    return int.from_bytes(row[:8], "big")
