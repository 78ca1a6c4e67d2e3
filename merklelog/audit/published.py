"""The files of a published copy, as an audit reads them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from heapq import nlargest
from itertools import chain

from merklelog.audit.beside import Beside, kept_size, tile_of
from merklelog.audit.heads import HeadReader
from merklelog.audit.locks import LockedStore, LockReader, merged
from merklelog.audit.partitions import check_partitions
from merklelog.audit.report import FindingKind, Findings, LockReport
from merklelog.audit.rows import first_witnessed
from merklelog.audit.trust import AuditedHead
from merklelog.audit.versions import Looked, look_through
from merklelog.errors import DamagedError, MerklelogError, NotALogError, NotFoundError
from merklelog.formats import VerifierKey
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.publish import BundleEncoding, ObjectStore
from merklelog.publish.ahead import ReadAhead
from merklelog.publish.layout import (
    CHECKPOINT_KEY,
    CHECKPOINTS,
    STAGING,
    TILES,
    UNFINISHED_KEY,
    checkpoint_key,
    stored_checkpoint_sizes,
)
from merklelog.publish.manifest import MANIFEST_KEY
from merklelog.publish.objects import ObjectReads
from merklelog.publish.partitions_layout import PARTITIONS
from merklelog.publish.past import PastReads, VersionedStore
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import TILE_HEIGHT, TILE_WIDTH, Tile, width_at


class PublishedRows:
    """A published copy, of this project or any tlog-tiles one. Says nothing of whose log it is.

    From a store with versions what was put over is read in its first version; `pinned` are those, found when this
    is opened (and named in `findings`) or told by who opened the same copy before.
    """

    origin: str | None = None
    keys: tuple[VerifierKey, ...] = ()
    receipt_key: VerifierKey | None = None

    def __init__(
        self,
        store: ObjectStore,
        reads: ObjectReads,
        findings: Findings,
        *,
        pinned: Mapping[str, str] | None = None,
        parallel: int = 1,
    ) -> None:
        """`reads` reads the same objects as `store`, perhaps faster, `parallel` of them at a time."""
        self._store = store
        self._parallel = parallel
        self._looked = Looked(dict(pinned or {}))
        if isinstance(store, VersionedStore):
            if pinned is None:
                self._looked = look_through(store, findings)
            reads = PastReads(store, self._looked.pinned)
        self._reads = reads
        self._ahead = ReadAhead(reads, parallel) if parallel > 1 else None
        encoding: BundleEncoding | None = None
        self._strict = False
        try:
            manifest = read_manifest(reads)
            if manifest is None and store.stat(CHECKPOINT_KEY) is None:
                raise NotALogError(f"{store.location}: no published copy: it has no {CHECKPOINT_KEY}")
            encoding = manifest.bundles if manifest else None
            self._strict = manifest is not None
        except DamagedError as error:
            # The bundles tell by themselves how they are stored, so the audit goes on.
            findings.fault(FindingKind.DATABASE, f"{store.location}/{MANIFEST_KEY}", error)
        self._tiles = StoredTiles(self._ahead or reads, encoding)

    @property
    def pinned(self) -> Mapping[str, str]:
        """See AuditRows.pinned."""
        return self._looked.pinned

    # --- checkpoints -------------------------------------------------------------------------------------------

    def newest(self) -> bytes:
        """See AuditRows.newest. Missing, where others were shown before it, is damage and not an empty log."""
        try:
            return self._store.get(CHECKPOINT_KEY, limit=MAX_NOTE_BYTES).data
        except NotFoundError as error:
            staged = next(self._store.list_keys(STAGING), None)
            started = staged is not None or self._store.stat(UNFINISHED_KEY) is not None
            if started or next(stored_checkpoint_sizes(self._store), None) is None:
                raise
            raise DamagedError(f"{error}, and there are stored ones of earlier sizes") from error

    def kept(self, size: int) -> bytes:
        """See AuditRows.kept."""
        return self._reads.get(checkpoint_key(size), limit=MAX_NOTE_BYTES).data

    def witnessed(self, size: int | None) -> tuple[str, bytes] | None:
        """See AuditRows.witnessed."""
        return first_witnessed(self._reads, size)

    def kept_sizes(self, findings: Findings) -> Iterator[int]:
        """See AuditRows.kept_sizes. Holds eight bytes a size: names in a directory are in no order of numbers."""
        sizes = array("q")
        try:
            sizes.extend(stored_checkpoint_sizes(self._store))
        except MerklelogError as error:
            findings.fault(FindingKind.CHECKPOINT, f"{self._store.location}/{CHECKPOINTS}", error)
        hidden = (kept_size(key) for key in self.pinned if key.startswith(CHECKPOINTS))
        found = sorted(chain(sizes, (size for size in hidden if size is not None)))
        yield from array("q", dict.fromkeys(found) if self.pinned else found)

    def newest_kept(self, limit: int) -> list[int]:
        """See AuditRows.newest_kept."""
        return nlargest(limit, self.kept_sizes(Findings()))  # the audit lists them again, and tells

    # --- the tree ----------------------------------------------------------------------------------------------

    def bundles(self, first: int, last: int) -> Iterator[bytes | MerklelogError]:
        """See AuditRows.bundles. Those of a store that answers many at a time are read ahead, with their tiles."""
        if self._ahead is not None:
            self._ahead.expect(self._tiles.wanted(first, last))
        for index in range(first, last):
            found: bytes | MerklelogError
            try:
                found = self._tiles.bundle(index)
            except MerklelogError as error:
                found = error
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

    def check_rest(self, head: AuditedHead, findings: Findings, beat: Callable[[], None]) -> list[str]:
        """See AuditRows.check_rest: what the publication keeps, what is left of earlier sizes, what is too much.

        What stands behind the shown size is no finding as long as a publication runs or was stopped: it puts tiles
        first and the checkpoint last, and nobody reads them.
        """
        heads = HeadReader(self, head.origin, head.keys)
        beside = Beside(self._store, self._tiles, head, heads, findings, strict=self._strict)
        remarks = [*self._looked.remarks, *self._hidden(head.size, findings), *beside.check(beat)]
        tree = VerifiedTiles(self._tiles, head.size, head.root)
        return [*remarks, *check_partitions(self._store, self._reads, tree, head.size, findings, beat)]

    def _hidden(self, size: int, findings: Findings) -> list[str]:
        """Partial tiles under a delete marker: one that the tree of `size` needs is a finding."""
        left = 0
        for key in self._looked.hidden:
            tile = tile_of(key)
            if tile and tile.width == width_at(tile.level, tile.index, size):
                detail = "a delete marker was put over it, and the checkpoint that is shown needs it"
                findings.add(FindingKind.VERSION, f"{self._store.location}/{key}", detail)
            else:
                left += 1
        return [f"{self._store.location}: {left} partial tiles are under delete markers"] if left else []

    def check_locks(
        self, size: int, findings: Findings, progress: Callable[[int], None]
    ) -> LockReport | None:
        """Read back the lock of every object that a copy of a tree of `size` keeps for good; None: it has none.

        `progress` is told how many were read. What can not be listed is a finding, and None then too.
        """
        if not isinstance(self._store, LockedStore):
            return None
        reader = LockReader(self._store, self._parallel, findings)
        pinned = {key: version for key, version in self.pinned.items() if _is_locked(key, size)}
        try:
            return reader.read(merged(self._locked(size), pinned), progress)
        except MerklelogError as error:
            findings.fault(FindingKind.LOCK, self._store.location, error)
            return None

    def _locked(self, size: int) -> Iterator[str]:
        for prefix in (CHECKPOINTS, PARTITIONS, TILES):
            yield from (key for key in self._store.list_keys(prefix) if _is_locked(key, size))

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
        """See AuditRows.close: what reads ahead, and the store's own threads."""
        if self._ahead is not None:
            self._ahead.close()
        if isinstance(self._store, VersionedStore):
            self._store.close()


def _is_locked(key: str, size: int) -> bool:
    """Whether an object is to be locked: full tiles and bundles of the tree, checkpoints, partitions."""
    if not key.startswith(TILES):
        return key.startswith((CHECKPOINTS, PARTITIONS))
    tile = tile_of(key)
    return tile is not None and tile.width == width_at(tile.level, tile.index, size) == TILE_WIDTH


def locked_objects(size: int) -> int:
    """How many full tiles and bundles a tree has: each has a lock of its own."""
    full = size >> TILE_HEIGHT
    count = full
    while full:
        count += full
        full >>= TILE_HEIGHT
    return count
