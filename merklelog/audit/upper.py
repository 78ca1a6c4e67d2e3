"""The upper levels: tiles of tiles, folded as the roots of the tiles below come in, and the right edge.

A full tile is judged by the tile above it. The partial tiles, one a level, have nothing above them but the root
that was signed, so they are judged together at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from merklelog.audit.judge import TileJudge, blame_below, blame_tile
from merklelog.audit.report import FindingKind
from merklelog.errors import MerklelogError
from merklelog.tree import (
    HASH_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    Hash,
    Tile,
    TileHashes,
    root_hash,
)


class UpperLevels:
    """Takes the roots of the full level-0 tiles in their order and checks every tile above them."""

    def __init__(self, judge: TileJudge) -> None:
        self._judge = judge
        self._rows: list[
            list[Hash | None]
        ] = []  # of each level from 1 on: the hashes of the tile that fills up
        self._full: list[int] = []  # of each level from 1 on: how many tiles were full

    def push(self, root: Hash | None, level: int = 1) -> None:
        """Add the root of the next full tile of the level below `level`; None when it is not known."""
        while len(self._rows) < level:
            self._rows.append([])
            self._full.append(0)
        row = self._rows[level - 1]
        row.append(root)
        if len(row) < TILE_WIDTH:
            return
        tile = Tile(level, self._full[level - 1], TILE_WIDTH)
        nodes = self._judge.settle(tile, self._filled(tile, row))
        above = self._judge.root_above(tile) if nodes is None else Hash(nodes[TILE_HEIGHT])
        self._full[level - 1] += 1
        row.clear()
        self.push(above, level + 1)

    def edge(self) -> Iterator[tuple[Tile, bytes | None]]:
        """The partial tile of each level from 1 on that has one, and its hashes as made from below."""
        for level, (row, full) in enumerate(zip(self._rows, self._full, strict=True), 1):
            if row:
                tile = Tile(level, full, len(row))
                yield tile, self._filled(tile, row)

    def _filled(self, tile: Tile, row: list[Hash | None]) -> bytes | None:
        """The hashes of a tile as made from below, with the stored ones where nothing is known from below."""
        if None not in row:
            return b"".join(digest for digest in row if digest is not None)
        try:
            stored = self._judge.rows.tile(tile.level, tile.index, tile.width)
        except MerklelogError:
            return None  # a finding when the tile is read in its own right
        parts = [stored[at * HASH_SIZE : (at + 1) * HASH_SIZE] for at in range(tile.width)]
        return b"".join(digest or part for digest, part in zip(row, parts, strict=True))


@dataclass(frozen=True, slots=True)
class EdgeTile:
    """A partial tile at the right edge: its hashes as made from below and as stored; None: not to be had."""

    tile: Tile
    computed: bytes | None
    stored: bytes | None

    def candidates(self) -> list[bytes]:
        """What its hashes may be, the computed ones first."""
        made = dict.fromkeys((self.computed, self.stored))
        return [hashes for hashes in made if hashes is not None]


def settle_edge(
    judge: TileJudge, edge: list[EdgeTile], root: Hash, agreed: int, where: str
) -> dict[int, bytes]:
    """Find the hashes of the partial tiles that make the signed root, and say which stored ones are wrong.

    `agreed` is the largest size whose kept checkpoint agrees with the entries, `where` names the checkpoint that
    says the root. Gives the hashes of each level that they were found for.
    """
    choices = [part.candidates() for part in edge]
    levels = [part.tile.level for part in edge]
    for chosen in product(*choices):
        hashes = dict(zip(levels, chosen, strict=True))
        if _root(judge.size, hashes) == root:
            for part in edge:
                _blame(judge, part, hashes[part.tile.level], confirmed=True)
            return hashes
    hashes = {part.tile.level: options[0] for part, options in zip(edge, choices, strict=True) if options}
    for part in edge:
        _blame(judge, part, part.computed, confirmed=False)
    if len(hashes) == len(edge):
        made = _root(judge.size, hashes).hex()
        detail = f"it says the root {root.hex()}, and the entries make {made} at size {judge.size}"
        judge.findings.add(FindingKind.ROOT, where, detail, (agreed, judge.size))
    else:
        detail = f"its root {root.hex()} could not be compared: see what could not be read"
        judge.findings.add(FindingKind.ROOT, where, detail, disproven=False)
    return hashes


def _blame(judge: TileJudge, part: EdgeTile, right: bytes | None, *, confirmed: bool) -> None:
    if part.computed is None or part.stored is None or part.computed == part.stored:
        return
    words = ", which the root confirms" if confirmed else ""
    blame = blame_tile if right == part.computed else blame_below
    blame(judge, part.tile, part.computed, part.stored, words)


def _root(size: int, hashes: dict[int, bytes]) -> Hash:
    def fetch(tile: Tile) -> bytes:
        return hashes[tile.level]

    return root_hash(size, TileHashes(size, fetch))
