"""A log in memory that is right by construction: entries in a list, hashes by the definition, stored checkpoints.

It satisfies TileSource as a data directory does, and tests spoil copies of it by overriding what it gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from merklelog.errors import NotFoundError, RangeError
from merklelog.formats import (
    Checkpoint,
    Note,
    SignatureType,
    SigningKey,
    format_bundle,
    format_checkpoint_text,
    format_note,
    sign_checkpoint,
)
from merklelog.tree import HASH_SIZE, TILE_WIDTH, NodeId, Tile, TreeSize, leaf_hashes, node_hashes, width_at
from merklelog.tree.prove import root_hash
from merklelog.tree.tile_hashes import TileHashes

ORIGIN = "log.example/memory"
KEY = SigningKey(ORIGIN, SignatureType.ED25519, b"\x01" * 32)
QUANTUM_KEY = SigningKey(ORIGIN, SignatureType.COSIGNATURE_MLDSA44, b"\x02" * 32)
STRANGER = SigningKey(ORIGIN, SignatureType.ED25519, b"\x03" * 32)


class MemoryLog:
    def __init__(self, origin: str = ORIGIN, keys: Iterable[SigningKey] = (KEY,)) -> None:
        self.origin = origin
        self.keys = tuple(keys)
        self.vkeys = tuple(key.verifier for key in self.keys)
        self.entries: list[bytes] = []
        self.levels: list[bytearray] = [bytearray()]
        self.notes: dict[int, bytes] = {}
        self.asked: list[str] = []
        self.sign()

    @property
    def size(self) -> int:
        return len(self.entries)

    def grow(self, size: int, salt: bytes = b"", keys: Iterable[SigningKey] | None = None) -> MemoryLog:
        """Append entries up to `size` and sign it."""
        self.append(entry(index, salt) for index in range(self.size, size))
        self.sign(keys)
        return self

    def append(self, entries: Iterable[bytes]) -> None:
        new = list(entries)
        self.entries += new
        self.levels[0] += b"".join(leaf_hashes(new))
        level = 0
        full = TILE_WIDTH * HASH_SIZE
        while len(self.levels[level]) >= full:
            if len(self.levels) == level + 1:
                self.levels.append(bytearray())
            above = self.levels[level + 1]
            for at in range(len(above) // HASH_SIZE * full, len(self.levels[level]) - full + 1, full):
                row = bytes(self.levels[level][at : at + full])
                while len(row) > HASH_SIZE:
                    row = b"".join(node_hashes(row))
                above += row
            level += 1

    def sign(self, keys: Iterable[SigningKey] | None = None) -> bytes:
        root = root_hash(self.size, TileHashes(self.size, lambda tile: MemoryLog.tile(self, *tile)))
        self.notes[self.size] = signed(
            Checkpoint(self.origin, TreeSize(self.size), root), self.keys if keys is None else keys
        )
        return self.notes[self.size]

    # --- TileSource

    def checkpoint(self, size: int | None = None) -> bytes:
        if size is None:
            return self.notes[max(self.notes)]
        if size not in self.notes:
            raise NotFoundError(f"no checkpoint of size {size}")
        return self.notes[size]

    def stored_sizes(self) -> Iterator[int]:
        yield from sorted(self.notes, reverse=True)

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        if not 1 <= width <= width_at(level, index, self.size):
            raise RangeError(f"no tile {level}/{index} of width {width}")
        self.asked.append(Tile(level, index, width).path)
        start = index * TILE_WIDTH * HASH_SIZE
        return bytes(self.levels[level][start : start + width * HASH_SIZE])

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        if not 1 <= width <= width_at(0, index, self.size):
            raise RangeError(f"no bundle {index} of width {width}")
        self.asked.append(Tile(-1, index, width).path)
        return format_bundle(self.entries[index * TILE_WIDTH : index * TILE_WIDTH + width])

    def close(self) -> None:
        pass


def entry(index: int, salt: bytes = b"") -> bytes:
    return b"%s event %d" % (salt, index) if index % 7 else b""


def signed(checkpoint: Checkpoint, keys: Iterable[SigningKey]) -> bytes:
    text = format_checkpoint_text(checkpoint)
    return format_note(Note(text, tuple(sign_checkpoint(checkpoint, key) for key in keys)))


def node(height: int, index: int) -> NodeId:
    return NodeId(height, index)
