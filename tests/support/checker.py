"""Judge a log whole, with a second Merkle tree that uses nothing of merklelog's own.

`check_log` reads everything a log shows and recomputes it from the entries alone: leaf hashes, every tile and its
inner hashes, the root, the root of every stored checkpoint, and of every checkpoint anybody has seen before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from random import Random

from merklelog import LogReader
from merklelog.formats import VerifierKey, format_bundle, parse_checkpoint, verify_note
from merklelog.tree import tiles_of, verify_consistency, verify_inclusion


class Rehashed:
    """A tree over entries: row h holds the hash of each perfect subtree of height h."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries
        self.rows: list[list[bytes]] = [[sha256(b"\0" + entry).digest() for entry in entries]]
        while len(self.rows[-1]) > 1:
            row = self.rows[-1]
            pairs = zip(row[::2], row[1::2], strict=False)
            self.rows.append([sha256(b"\1" + left + right).digest() for left, right in pairs])

    def root(self, size: int) -> bytes:
        """The root over the first `size` entries."""
        root, at = b"", size
        for height, row in enumerate(self.rows):
            if size >> height & 1:
                at -= 1 << height
                peak = row[at >> height]
                root = sha256(b"\1" + peak + root).digest() if root else peak
        return root or sha256(b"").digest()

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first hashes of a tile."""
        return b"".join(self.rows[8 * level][256 * index : 256 * index + width])

    def inner(self, level: int, index: int) -> bytes:
        """The hashes of heights 4 to 7 inside a full tile."""
        parts = []
        for height in (4, 5, 6, 7):
            width = 256 >> height
            parts += self.rows[8 * level + height][width * index : width * (index + 1)]
        return b"".join(parts)


def check_log(
    log: LogReader,
    *,
    seen: Iterable[bytes] = (),
    acknowledged: Mapping[int, bytes] | None = None,
    proofs: int = 40,
) -> Rehashed:
    """Assert that a log is whole, holds `acknowledged` (entry by index) and extends every checkpoint `seen`.

    So many `proofs` of each kind are checked; who judges hundreds of logs needs fewer of each.
    """
    size = log.size
    entries = list(log.entries(0, size))
    assert len(entries) == size
    for index, entry in (acknowledged or {}).items():
        assert index < size, f"entry {index} was acknowledged, the log has {size}"
        assert entries[index] == entry, f"entry {index} is not the one that was acknowledged"
    tree = Rehashed(entries)
    assert head_of(log, log.checkpoint()) == (size, tree.root(size))
    for note in seen:
        old, root = head_of(log, note)
        assert old <= size, f"a checkpoint of size {old} was seen, the log has {size}"
        assert root == tree.root(old), f"the checkpoint seen at size {old} is of another tree"
    sizes = list(log.stored_sizes())
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[0] == size
    for old in sizes:
        assert head_of(log, log.checkpoint(old)) == (old, tree.root(old))
    check_tiles(log, tree)
    check_proofs(log, tree, sizes, proofs)
    return tree


def head_of(log: LogReader, note: bytes) -> tuple[int, bytes]:
    """Size and root of a note that this log signed."""
    return _head(note, log.origin, tuple(log.vkeys))


@cache  # the notes seen are judged again with each log that must extend them
def _head(note: bytes, origin: str, vkeys: tuple[VerifierKey, ...]) -> tuple[int, bytes]:
    signed = parse_checkpoint(note)
    assert verify_note(signed.note, vkeys)
    assert signed.checkpoint.origin == origin
    return signed.checkpoint.size, signed.checkpoint.root


def check_tiles(log: LogReader, tree: Rehashed) -> None:
    size = log.size
    for tile in tiles_of(size):
        assert log.tile(*tile) == tree.tile(*tile), tile.path
        if tile.width == 256:
            assert log._reads.nodes(tile.level, tile.index) == tree.inner(tile.level, tile.index), tile.path
        if tile.level == 0:
            first = tile.index * 256
            bundle = format_bundle(tree.entries[first : first + tile.width])
            assert log.bundle(tile.index, tile.width) == bundle, tile.path


def check_proofs(log: LogReader, tree: Rehashed, sizes: Sequence[int], count: int) -> None:
    """Some proofs of every kind, at random places that are the same each time."""
    rng = Random(log.size)
    for _ in range(count if log.size else 0):
        at = rng.randint(1, log.size)
        index = rng.randrange(at)
        leaf = tree.rows[0][index]
        assert log.entry(index) == tree.entries[index]
        verify_inclusion(leaf, index, at, log.inclusion_proof(index, at), tree.root(at))
        old = rng.choice((rng.randint(0, at), *(each for each in sizes if each <= at)))
        verify_consistency(old, at, tree.root(old), tree.root(at), log.consistency_proof(old, at))
