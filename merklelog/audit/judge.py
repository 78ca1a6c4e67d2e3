"""Which of two is wrong when a tile is not what the hashes below it make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from merklelog.audit.hashing import tile_rows
from merklelog.audit.report import FindingKind, Findings
from merklelog.audit.rows import AuditRows
from merklelog.errors import MerklelogError
from merklelog.tree import BUNDLE_LEVEL, HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Hash, Tile, width_at

_FIRST_KEPT: Final = 4  # heights 4 to 7 of a tile are what a data directory keeps beside it


class TileJudge:
    """Compares what was computed with the tile that is stored, and says which of the two is wrong.

    When they differ, the hash of the tile in the tile above decides: it was computed when both were right.
    """

    def __init__(self, rows: AuditRows, size: int, findings: Findings) -> None:
        self.rows = rows
        self.size = size
        self.findings = findings
        self.tiles = 0

    def stored(self, tile: Tile) -> bytes | None:
        """The stored tile; None, with a finding, when it can not be read."""
        try:
            hashes = self.rows.tile(tile.level, tile.index, tile.width)
        except MerklelogError as error:
            where = self.rows.place_of_reading(tile)
            self.findings.fault(FindingKind.TILE, where, error, entries_of(tile))
            return None
        self.tiles += 1
        return hashes

    def settle(self, tile: Tile, computed: bytes | None) -> list[bytes] | None:
        """The rows of a full tile, the right ones as far as that can be told; None when nothing is known of it.

        `computed` are its hashes made from what is below, None when that could not be read.
        """
        stored = self.stored(tile)
        if computed is None or computed == stored:
            rows = None if stored is None else tile_rows(stored)
        elif stored is None:
            rows = tile_rows(computed)
        else:
            rows = self._decide(tile, computed, stored)
        if rows is not None:
            self._check_nodes(tile, rows)
        return rows

    def root_above(self, tile: Tile) -> Hash | None:
        """The hash of a full tile in the tile above; None when that can not be read (told in its own turn)."""
        level, index = tile.level + 1, tile.index >> TILE_HEIGHT
        try:
            hashes = self.rows.tile(level, index, width_at(level, index, self.size))
        except MerklelogError:
            return None  # that tile is read again when its turn comes, and is a finding then
        at = tile.index % TILE_WIDTH * HASH_SIZE
        return Hash(hashes[at : at + HASH_SIZE])

    def _decide(self, tile: Tile, computed: bytes, stored: bytes) -> list[bytes]:
        above = self.root_above(tile)
        from_below, from_tile = tile_rows(computed), tile_rows(stored)
        confirmed = f", which {above_path(tile, self.size)} confirms"
        if above == from_tile[TILE_HEIGHT]:
            blame_below(self, tile, computed, stored, confirmed)
            return from_tile
        blame_tile(self, tile, computed, stored, confirmed if above == from_below[TILE_HEIGHT] else "")
        return from_below

    def _check_nodes(self, tile: Tile, rows: Sequence[bytes]) -> None:
        where = self.rows.place_of_nodes(tile.level, tile.index)
        try:
            kept = self.rows.nodes(tile.level, tile.index)
        except MerklelogError as error:
            self.findings.fault(FindingKind.NODES, where, error, entries_of(tile))
            return
        if kept is not None and kept != b"".join(rows[_FIRST_KEPT:TILE_HEIGHT]):
            detail = "they are not those of the tile's hashes"
            self.findings.add(FindingKind.NODES, where, detail, entries_of(tile))


def blame_below(judge: TileJudge, tile: Tile, computed: bytes, stored: bytes, confirmed: str) -> None:
    """The tile is right, so what is below it is wrong: an entry, or a tile and all that is below that."""
    wrong = list(differences(computed, stored))
    first, more = wrong[0], f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
    want = stored[first * HASH_SIZE : (first + 1) * HASH_SIZE].hex()
    got = computed[first * HASH_SIZE : (first + 1) * HASH_SIZE].hex()
    if tile.level == 0:
        index = tile.index * TILE_WIDTH
        bundle = tile._replace(level=BUNDLE_LEVEL)
        detail = (
            f"entry {index + first} has leaf hash {got}, and {tile.path} has {want} for it{confirmed}{more}"
        )
        span = (index + first, index + wrong[-1] + 1)
        judge.findings.add(FindingKind.ENTRY, judge.rows.place(bundle), detail, span)
        return
    for at in wrong:
        child = Tile(tile.level - 1, tile.index * TILE_WIDTH + at, TILE_WIDTH)
        detail = f"it and what is below it do not make hash {at} of {tile.path}{confirmed}"
        judge.findings.add(FindingKind.TILE, judge.rows.place(child), detail, entries_of(child))


def blame_tile(judge: TileJudge, tile: Tile, computed: bytes, stored: bytes, confirmed: str) -> None:
    """What is below is right, or neither is confirmed: the tile is not made of what is below it."""
    wrong = list(differences(computed, stored))
    first, more = wrong[0], f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
    child = tile_below(tile, first)
    made = computed[first * HASH_SIZE : (first + 1) * HASH_SIZE].hex()
    detail = (
        f"hash {first} is {stored[first * HASH_SIZE : (first + 1) * HASH_SIZE].hex()}, and {child} makes "
        f"{made}{confirmed}{more}"
    )
    judge.findings.add(FindingKind.TILE, judge.rows.place(tile), detail, entries_of(tile))


def tile_below(tile: Tile, position: int) -> str:
    """What a hash of a tile is made of, in words."""
    index = tile.index * TILE_WIDTH + position
    return f"entry {index}" if tile.level == 0 else Tile(tile.level - 1, index, TILE_WIDTH).path


def above_path(tile: Tile, size: int) -> str:
    """The path of the tile above a full tile."""
    level, index = tile.level + 1, tile.index >> TILE_HEIGHT
    return Tile(level, index, width_at(level, index, size)).path


def differences(one: bytes, other: bytes) -> Iterator[int]:
    """The positions at which two rows of hashes differ."""
    for at in range(0, max(len(one), len(other)), HASH_SIZE):
        if one[at : at + HASH_SIZE] != other[at : at + HASH_SIZE]:
            yield at // HASH_SIZE


def entries_of(tile: Tile) -> tuple[int, int]:
    """The entries under a tile or in a bundle."""
    height = TILE_HEIGHT * max(tile.level, 0)
    start = tile.index << (height + TILE_HEIGHT)
    return start, start + (tile.width << height)
