"""The files of a published copy, as an audit reads them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from heapq import nlargest

from merklelog.audit.hashing import clear_registers
from merklelog.audit.report import FindingKind, Findings
from merklelog.errors import DamagedError, FormatError, MerklelogError, NotALogError, NotFoundError
from merklelog.formats import VerifierKey
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.publish import BundleEncoding, ObjectStore
from merklelog.publish.layout import (
    CHECKPOINT_KEY,
    CHECKPOINTS,
    TILES,
    UNFINISHED_KEY,
    checkpoint_key,
    stored_checkpoint_sizes,
)
from merklelog.publish.manifest import MANIFEST_KEY
from merklelog.publish.objects import ObjectReads
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.tree import BUNDLE_LEVEL, TILE_HEIGHT, TILE_WIDTH, Tile, parse_path, width_at

_PARTIAL = ".p/"


class PublishedRows:
    """A published copy, of this project or any tlog-tiles one. Says nothing of whose log it is."""

    origin: str | None = None
    keys: tuple[VerifierKey, ...] = ()

    def __init__(self, store: ObjectStore, reads: ObjectReads, findings: Findings) -> None:
        """`reads` reads the same objects as `store`, perhaps faster."""
        self._store = store
        encoding: BundleEncoding | None = None
        try:
            manifest = read_manifest(store)
            if manifest is None and store.stat(CHECKPOINT_KEY) is None:
                raise NotALogError(f"{store.location}: no published copy: it has no {CHECKPOINT_KEY}")
            encoding = manifest.bundles if manifest else None
        except DamagedError as error:
            # The bundles tell by themselves how they are stored, so the audit goes on.
            findings.fault(FindingKind.DATABASE, f"{store.location}/{MANIFEST_KEY}", error)
        self._tiles = StoredTiles(reads, encoding)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def newest(self) -> bytes:
        """See AuditRows.newest. Missing, where others were shown before it, is damage and not an empty log."""
        try:
            return self._store.get(CHECKPOINT_KEY, limit=MAX_NOTE_BYTES).data
        except NotFoundError as error:
            started = self._store.stat(UNFINISHED_KEY) is not None
            if started or next(stored_checkpoint_sizes(self._store), None) is None:
                raise
            raise DamagedError(f"{error}, and there are stored ones of earlier sizes") from error

    def kept(self, size: int) -> bytes:
        """See AuditRows.kept."""
        return self._store.get(checkpoint_key(size), limit=MAX_NOTE_BYTES).data

    def kept_sizes(self, findings: Findings) -> Iterator[int]:
        """See AuditRows.kept_sizes. Holds eight bytes a size: names in a directory are in no order of numbers."""
        sizes = array("q")
        try:
            sizes.extend(stored_checkpoint_sizes(self._store))
        except MerklelogError as error:
            findings.fault(FindingKind.CHECKPOINT, f"{self._store.location}/{CHECKPOINTS}", error)
        yield from array("q", sorted(sizes))

    def newest_kept(self, limit: int) -> list[int]:
        """See AuditRows.newest_kept."""
        return nlargest(limit, self.kept_sizes(Findings()))  # the audit lists them again, and tells

    # --- the tree ----------------------------------------------------------------------------------------------

    def bundles(self, first: int, last: int) -> Iterator[bytes | MerklelogError]:
        """See AuditRows.bundles."""
        for index in range(first, last):
            found: bytes | MerklelogError
            try:
                found = self._tiles.bundle(index)
            except MerklelogError as error:
                found = error
            clear_registers()
            yield found

    def bundle(self, index: int, width: int) -> bytes:
        """See AuditRows.bundle."""
        return self._tiles.bundle(index, width)

    def tile(self, level: int, index: int, width: int) -> bytes:
        """See AuditRows.tile."""
        return self._tiles.tile(level, index, width)

    def nodes(self, level: int, index: int) -> bytes | None:  # noqa: ARG002  a copy has tiles alone
        """See AuditRows.nodes."""
        return None

    # --- what else there is ------------------------------------------------------------------------------------

    def check_beside(self, first: int, last: int, findings: Findings) -> None:
        """See AuditRows.check_beside: there is nothing beside the tree."""

    def check_rest(self, size: int, findings: Findings) -> list[str]:
        """See AuditRows.check_rest: partial tiles of earlier sizes that are still there; what stands behind.

        What stands behind the shown size is no finding: a publication puts tiles first and the checkpoint last,
        so one that runs or was stopped leaves them, and nobody reads them.
        """
        behind = 0
        try:
            if self._check_leftovers(size, findings) != _full_objects(size):
                behind = sum(self._is_behind(key, size) for key in self._store.list_keys(TILES))
            behind += sum(kept > size for kept in stored_checkpoint_sizes(self._store))
        except MerklelogError as error:
            findings.fault(FindingKind.EXTRA, f"{self._store.location}/{TILES}", error)
        remarks = []
        if behind:
            remarks.append(
                f"{self._store.location}: {behind} objects stand behind size {size}: "
                f"a publication that is running or was stopped put them there, and nobody reads them"
            )
        if self._store.stat(UNFINISHED_KEY) is not None:
            remarks.append(
                f"{self._store.location}/{UNFINISHED_KEY}: a publication is running or was stopped; publish again"
            )
        return remarks

    def _check_leftovers(self, size: int, findings: Findings) -> int:
        """Check the partial objects of earlier sizes; gives the number of objects that are not partial."""
        full = 0
        for key in self._store.list_keys(TILES):
            if _PARTIAL not in key:
                full += 1
                continue
            tile = _tile(key)
            known = width_at(tile.level, tile.index, size) if tile else 0
            if tile and tile.width < known:
                self._check_leftover(tile, known, findings)
            elif tile and tile.width > known:
                full += 1  # one too many: look at each
        return full

    def _is_behind(self, key: str, size: int) -> bool:
        tile = _tile(key)
        return tile is not None and tile.width > width_at(tile.level, tile.index, size)

    def _check_leftover(self, tile: Tile, known: int, findings: Findings) -> None:
        """A partial tile or bundle must be the beginning of the wider one, which was checked by its own name."""
        read = self._read_bundle if tile.level == BUNDLE_LEVEL else self._tiles.tile
        try:
            partial = read(tile.level, tile.index, tile.width)
        except MerklelogError as error:
            findings.fault(FindingKind.TILE, self.place(tile), error)
            return
        try:
            wider = read(tile.level, tile.index, known)
        except MerklelogError:
            return  # the wider one is a finding already, by its own name
        if not wider.startswith(partial):
            wide = Tile(tile.level, tile.index, known).path
            kind = FindingKind.BUNDLE if tile.level == BUNDLE_LEVEL else FindingKind.TILE
            findings.add(kind, self.place(tile), f"it is not the beginning of {wide}")

    def _read_bundle(self, _level: int, index: int, width: int) -> bytes:
        return self._tiles.bundle(index, width)

    # --- names -------------------------------------------------------------------------------------------------

    def place(self, tile: Tile) -> str:
        """See AuditRows.place."""
        return f"{self._store.location}/{tile.path}"

    def place_of_reading(self, tile: Tile) -> str:
        """See AuditRows.place_of_reading."""
        return self.place(tile)

    def place_of_nodes(self, level: int, index: int) -> str:
        """See AuditRows.place_of_nodes."""
        return self.place(Tile(level, index, TILE_WIDTH))

    def place_of_checkpoint(self, size: int | None) -> str:
        """See AuditRows.place_of_checkpoint."""
        return f"{self._store.location}/{CHECKPOINT_KEY if size is None else checkpoint_key(size)}"

    def close(self) -> None:
        """See AuditRows.close: nothing is held."""


def _tile(key: str) -> Tile | None:
    """The tile or bundle of a key; None when it has another format, so that nobody takes it for one."""
    try:
        return parse_path(key)
    except FormatError:
        return None


def _full_objects(size: int) -> int:
    """How many full tiles and bundles a tree has."""
    full = size >> TILE_HEIGHT
    count = full
    while full:
        count += full
        full >>= TILE_HEIGHT
    return count
