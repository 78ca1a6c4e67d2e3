"""A log that another implementation wrote: its entries, tiles and checkpoint roots at each of its 16 sizes."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from merklelog.tree import (
    CompactRange,
    Hash,
    Tile,
    TileHashes,
    bundle_path,
    bundles_of,
    leaf_hashes,
    prove_consistency,
    prove_inclusion,
    root_hash,
    tiles_of,
    verify_consistency,
    verify_inclusion,
)

LOG = Path(__file__).parent.parent / "vectors" / "tiles" / "tree15"
SIZES = range(16)


def root_at(size: int) -> bytes:
    """The root in the checkpoint of that size: its third line."""
    lines = (LOG / f"checkpoint.{size}").read_text().split("\n")
    assert lines[1] == str(size)
    return b64decode(lines[2], validate=True)


def fetch(tile: Tile) -> bytes:
    return (LOG / tile.path).read_bytes()


def entries(size: int) -> Iterator[bytes]:
    """tlog-tiles, "Log entries": big-endian two-byte lengths before the entries."""
    data = (LOG / bundle_path(0, size)).read_bytes()
    while data:
        length = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + length]
        data = data[2 + length :]


def test_the_log_has_exactly_these_files() -> None:
    tiles = {tile.path for size in SIZES for tile in (*tiles_of(size), *bundles_of(size))}
    checkpoints = {f"checkpoint.{size}" for size in SIZES} | {"checkpoint"}
    files = {str(path.relative_to(LOG)) for path in LOG.rglob("*") if path.is_file()}
    assert files == tiles | checkpoints
    assert len(tiles) == 30


@pytest.mark.parametrize("size", SIZES)
def test_tiles_and_roots(size: int) -> None:
    leaves = leaf_hashes(entries(size)) if size else []
    assert len(leaves) == size
    for tile in tiles_of(size):
        assert fetch(tile) == b"".join(leaves)
    assert root_hash(size, TileHashes(size, fetch)) == root_at(size)
    grown = CompactRange()
    for leaf in leaves:
        grown = grown.append(leaf)
    assert grown.root() == root_at(size)


@pytest.mark.parametrize("size", SIZES)
def test_every_proof_leads_to_the_signed_root(size: int) -> None:
    read = TileHashes(size, fetch)
    leaves = [Hash(fetch(Tile(0, 0, size))[i * 32 : i * 32 + 32]) for i in range(size)]
    for index, leaf in enumerate(leaves):
        verify_inclusion(leaf, index, size, prove_inclusion(index, size, read), root_at(size))
    for old in range(size + 1):
        verify_consistency(old, size, root_at(old), root_at(size), prove_consistency(old, size, read))
