"""A log's own audit of itself: its database and its published copies, one after the other, at a set pace.

What is damaged in a copy is written anew from another place, the log's database or another copy, every byte
verified first against the checkpoint that the copy shows and the log signed. So are rows of the database that can
be read and are wrong, or are gone, from a copy. Where a file of the database itself is damaged, the place is told
that has all of it whole: `merklelog recover` builds a database from there, verified.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.audit.report import AuditFinding, AuditReport, FindingKind
from merklelog.audit.selfaudit_child import audit_apart
from merklelog.audit.worker import Setup
from merklelog.client.access import Access
from merklelog.client.published import PublishedSource
from merklelog.client.reads import VerifiedReads
from merklelog.client.source import TileSource
from merklelog.client.targets import S3_SCHEMES, published_store, scheme_of
from merklelog.errors import DamagedError, MerklelogError, NotFoundError, UnreachableError
from merklelog.formats import Checkpoint, VerifierKey
from merklelog.log import open_reader
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.layout import encode_bundle, kind_of
from merklelog.publish.manifest import Manifest
from merklelog.publish.objects import ObjectStore
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import BUNDLE_LEVEL, TILE_HEIGHT, TILE_WIDTH, Tile, parse_path, width_at

_REPAIRED: Final = frozenset((FindingKind.ENTRY, FindingKind.BUNDLE, FindingKind.TILE))
_BUNDLES: Final = frozenset((FindingKind.ENTRY, FindingKind.BUNDLE))
_TILES: Final = frozenset((FindingKind.TILE, FindingKind.NODES))
_INNER: Final = "inner hashes of "  # see DatabaseRows.place_of_nodes
_LOOKED_UP: Final = 16  # bundles of a damage in the database that are looked for elsewhere


@dataclass(frozen=True, slots=True)
class SelfAuditReport:
    """What came of one target: the audit, what was written anew, and what else there is to say of the findings."""

    target: str
    report: AuditReport
    repaired: tuple[str, ...]
    remarks: tuple[str, ...]


class SelfAudit:
    """The audit of the log in `directory` and of its copies at `targets`. `pace` is in entries a second.

    `mend` writes a full tile or bundle of the log's database anew, and gives False where nothing was wrong; None:
    nobody may, since another process has the log.
    """

    def __init__(
        self,
        directory: Path,
        keys: Sequence[VerifierKey],
        targets: Sequence[str],
        access: Access,
        pace: float,
        mend: Callable[[Tile, bytes], bool] | None = None,
    ) -> None:
        self._directory = directory
        self._keys = tuple(keys)
        self._targets = tuple(targets)
        self._access = access
        self._pace = pace
        self._mend = mend

    def run(self, stop: threading.Event) -> Iterator[SelfAuditReport | MerklelogError]:
        """Audit everything once; of each target what came of it, or why it could not be audited.

        Ends early when `stop` is set.
        """
        for target in (str(self._directory), *self._targets):
            setup = Setup(target, 0, "", self._keys, self._access)
            try:
                report = audit_apart(setup, self._pace, stop)
                if report is None:
                    return
                yield self._settle(target, report)
            except MerklelogError as error:
                yield error

    def _settle(self, target: str, report: AuditReport) -> SelfAuditReport:
        wrong = [each for each in report.findings if each.disproven]
        if target == str(self._directory):
            return self._settle_database(report, wrong)
        repaired: list[str] = []
        remarks: list[str] = []
        store = published_store(target, self._access)
        for tile in _tiles_of(store.location, wrong):
            try:
                if self._repair(target, store, tile):
                    repaired.append(f"{store.location}/{tile.path}")
            except MerklelogError as error:
                remarks.append(f"{store.location}/{tile.path}: not repaired: {error}")
        return SelfAuditReport(target, report, tuple(repaired), tuple(remarks))

    # --- copies ------------------------------------------------------------------------------------------------

    def _repair(self, target: str, store: ObjectStore, tile: Tile) -> bool:
        """Write one object anew; False when there is nothing wrong with it, or the tree does not have it."""
        with closing(self._open(target)) as copy:
            head = VerifiedReads(copy, self._keys).head().checkpoint
        if tile.width != width_at(max(tile.level, 0), tile.index, head.size):
            return False
        right = self._verified(tile, head, besides=target)
        manifest = read_manifest(store) or Manifest(BundleEncoding.IDENTITY)
        stored = StoredTiles(store, manifest.bundles)
        if _read(stored, tile) == right:
            return False
        kind = kind_of(tile, manifest.bundles)
        data = encode_bundle(right, manifest.bundles) if tile.level == BUNDLE_LEVEL else right
        if scheme_of(target) in S3_SCHEMES:
            # What a lock keeps is not to be written over, only what is gone is put there again.
            store.put_immutable(tile.path, data, kind)
        else:
            store.put(tile.path, data, kind)
        if _read(stored, tile) != right:
            raise DamagedError(
                f"{store.location}/{tile.path}: it was written anew and reads as something else"
            )
        return True

    def _verified(self, tile: Tile, head: Checkpoint, besides: str) -> bytes:
        """A tile or a bundle under a checkpoint that the log signed, from the first place that has it whole.

        Raises UnreachableError when no place has it.
        """
        failed: MerklelogError | None = None
        for place in (str(self._directory), *self._targets):
            if place == besides:
                continue
            try:
                with closing(self._open(place)) as source:
                    tiles = VerifiedTiles(source, head.size, head.root)
                    if tile.level == BUNDLE_LEVEL:
                        return tiles.bundle(tile.index)
                    return tiles.tile(tile.level, tile.index)
            except MerklelogError as error:
                failed = error  # the last one is told; another place may have it
        raise UnreachableError(f"no other place has it whole: {failed or 'there is none'}") from failed

    def _open(self, place: str) -> TileSource:
        if place == str(self._directory):
            return open_reader(self._directory)
        return PublishedSource(published_store(place, self._access))

    # --- the database ------------------------------------------------------------------------------------------

    def _settle_database(self, report: AuditReport, wrong: Sequence[AuditFinding]) -> SelfAuditReport:
        target = str(self._directory)
        tiles = _tiles_of_database(f"{target}/db", wrong) if self._mend is not None else []
        repaired: list[str] = []
        remarks: list[str] = []
        for tile in tiles:
            try:
                if self._mend_one(tile):
                    repaired.append(f"{target}/db: {tile.path}")
            except MerklelogError as error:
                remarks.append(f"{target}/db: {tile.path}: not repaired: {error}")
        if not repaired or remarks or len(repaired) < len(tiles):
            remarks += self._elsewhere(wrong)
        return SelfAuditReport(target, report, tuple(repaired), tuple(remarks))

    def _mend_one(self, tile: Tile) -> bool:
        """Write a tile or a bundle of the database anew, as a copy has it under what the log itself shows."""
        if self._mend is None:
            return False
        with closing(open_reader(self._directory)) as own:
            head = VerifiedReads(own, self._keys).head().checkpoint
        if tile.width != width_at(max(tile.level, 0), tile.index, head.size):
            return False
        return self._mend(tile, self._verified(tile, head, besides=str(self._directory)))

    def _elsewhere(self, wrong: Sequence[AuditFinding]) -> Iterator[str]:
        """Which copy has what is damaged in the database, as far as that can be told."""
        bundles = {
            number
            for each in wrong
            if each.entries is not None
            for number in range(each.entries[0] >> TILE_HEIGHT, -(-each.entries[1] // TILE_WIDTH))[
                :_LOOKED_UP
            ]
        }
        if not bundles:
            return
        for target in self._targets:
            try:
                with closing(self._open(target)) as source:
                    head = VerifiedReads(source, self._keys).head().checkpoint
                    tiles = VerifiedTiles(source, head.size, head.root)
                    for number in sorted(bundles):
                        tiles.bundle(number)
            except MerklelogError as error:
                yield f"{target} does not have it: {error}"
                continue
            yield (
                f"{target} has it whole, verified up to size {head.size}: stop this log and rebuild it, "
                f"`merklelog recover NEW --from {target}`"
            )


def _read(stored: StoredTiles, tile: Tile) -> bytes | None:
    """What stands there now, None for nothing or for what can not be read as what it should be."""
    try:
        if tile.level == BUNDLE_LEVEL:
            return stored.bundle(tile.index, tile.width)
        return stored.tile(tile.level, tile.index, tile.width)
    except (DamagedError, NotFoundError):
        return None


def _tiles_of(location: str, findings: Sequence[AuditFinding]) -> list[Tile]:
    """The objects that findings are about, each once."""
    found: dict[Tile, None] = {}
    for each in findings:
        key = each.where.removeprefix(f"{location}/")
        if each.kind not in _REPAIRED or key == each.where:
            continue
        try:
            found[parse_path(key)] = None
        except MerklelogError:
            continue  # no tile's name: nothing that could be made anew
    return list(found)


def _tiles_of_database(database: str, findings: Sequence[AuditFinding]) -> list[Tile]:
    """The full tiles and bundles that findings are about, each once, as far as that is told."""
    found: dict[Tile, None] = {}
    for each in findings:
        path = each.where.removeprefix(f"{database}: ").removeprefix(_INNER)
        if each.kind in _BUNDLES and each.entries is not None:
            start, end = each.entries
            for number in range(start >> TILE_HEIGHT, -(-end // TILE_WIDTH))[:_LOOKED_UP]:
                found[Tile(BUNDLE_LEVEL, number, TILE_WIDTH)] = None
        elif each.kind in _TILES and path != each.where:
            found[parse_path(path)] = None
    return list(found)


__all__ = ["SelfAudit", "SelfAuditReport"]
