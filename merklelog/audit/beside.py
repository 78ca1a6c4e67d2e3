"""What stands in a published copy beside the tree that was audited: the publication's own objects, what is left of
earlier sizes, and what belongs to nothing.

A copy may be published to meanwhile, so the order of reading matters: first what is listed, then the pointers.
An object that was listed belongs to a publication that had begun, whose head is named, or that has ended, whose
checkpoint is shown.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

from merklelog.audit.heads import HeadReader
from merklelog.audit.pointers import Pointers, is_staging, listed
from merklelog.audit.report import FindingKind, Findings
from merklelog.audit.trust import AuditedHead
from merklelog.errors import FormatError, MerklelogError, NotFoundError
from merklelog.formats.wire import parse_decimal
from merklelog.publish import ObjectStore
from merklelog.publish.layout import (
    CHECKPOINT_KEY,
    CHECKPOINTS,
    COSIGNED,
    HEAD_KEY,
    PREFLIGHT,
    STAGING,
    TILES,
    UNFINISHED_KEY,
    UNWITNESSED_KEY,
    WITNESSED_KEY,
    checkpoint_key,
)
from merklelog.publish.manifest import MANIFEST_KEY
from merklelog.publish.partitions_layout import PARTITIONS, STATE_KEY
from merklelog.publish.stored import StoredTiles
from merklelog.tree import BUNDLE_LEVEL, TILE_HEIGHT, Tile, parse_path, width_at

_PARTIAL: Final = ".p/"
_NAMED: Final = 8  # objects of one kind that are told by name; the others are counted
_KEYS_A_BEAT: Final = 1024
_HELD: Final = 10_000  # keys behind the tree that are remembered until it is known what they belong to
_SINGLES: Final = frozenset(
    (
        *(MANIFEST_KEY, HEAD_KEY, UNFINISHED_KEY, STATE_KEY),
        *(CHECKPOINT_KEY, UNWITNESSED_KEY, WITNESSED_KEY),
    )
)
_OTHERS: Final = (PARTITIONS, PREFLIGHT)  # whose content is another's to judge


class Beside:
    """One look at what stands beside the tree of `head` in `store`; `heads` reads its checkpoints.

    `strict`: the copy is one that this project made, so that what it does not put there is an intruder.
    """

    def __init__(
        self,
        store: ObjectStore,
        tiles: StoredTiles,
        head: AuditedHead,
        heads: HeadReader,
        findings: Findings,
        *,
        strict: bool,
    ) -> None:
        self._store = store
        self._tiles = tiles
        self._head = head
        self._heads = heads
        self._findings = findings
        self._strict = strict
        self._folder = ""  # of the newest full tile
        self._full = 0  # how many full tiles of the tree there are from its "000" on
        self._behind: list[str] = []
        self._more_behind = 0
        self._kept = array("q")
        self._cosigned = array("q")
        self._staged: list[str] = []
        self._strange: list[str] = []
        self._strange_tiles: list[str] = []
        self._scratch = 0
        self._remarks: list[str] = []
        self._pointers = Pointers(store, tiles, head, heads, findings)

    def check(self, beat: Callable[[], None]) -> list[str]:
        """Look, add findings, give remarks. What the store can not tell is a finding and never raised.

        `beat` is called every so many keys.
        """
        try:
            for at, key in enumerate(self._store.list_keys()):
                if not self._is_next(key):
                    self._sort(key)
                if at % _KEYS_A_BEAT == 0:
                    beat()
            named = self._pointers.check(self._staged)
            shown = self._pointers.shown()
            covered = max(self._head.size, shown or 0, named)
            self._check_behind(covered, known=shown is not None)
            self._check_strange()
            self._check_kept()
            self._pointers.check_witnessed(self._cosigned)
        except MerklelogError as error:
            self._findings.fault(FindingKind.EXTRA, f"{self._store.location}/{TILES}", error)
        return [*self._pointers.remarks, *self._remarks]

    def _is_next(self, key: str) -> bool:
        """Whether it is one more full tile of the tree, in the folder of the one before: nearly all keys are."""
        number = key[-3:]
        if key[:-3] != self._folder or not (len(number) == 3 and number.isascii() and number.isdigit()):
            return False
        return int(number) < self._full

    def _sort(self, key: str) -> None:
        if key.startswith(TILES):
            tile = tile_of(key)
            if tile is None:
                self._strange_tiles.append(key)
                return
            known = width_at(tile.level, tile.index, self._head.size)
            if tile.width > known:
                self._hold(key)
            elif _PARTIAL in key:
                if tile.width < known:
                    self._check_leftover(tile, known)
            else:
                # Below a folder that one good name has, every three digits are the name of a full tile.
                count = self._head.size >> TILE_HEIGHT * (max(tile.level, 0) + 1)
                self._folder, self._full = key[:-3], count - tile.index // 1000 * 1000
        elif key.startswith(CHECKPOINTS):
            size = kept_size(key)
            if size is None:
                self._strange_tiles.append(key)
            elif size > self._head.size:
                self._kept.append(size)
        elif key.startswith(COSIGNED):
            size = kept_size(key, COSIGNED)
            if size is None:
                self._strange_tiles.append(key)
            else:
                self._cosigned.append(size)
        elif key.startswith(STAGING):
            if is_staging(key):
                self._staged.append(key)
            else:
                self._strange_tiles.append(key)
        elif key.startswith(_OTHERS):
            self._scratch += key.startswith(PREFLIGHT)
        elif key not in _SINGLES:
            self._strange.append(key)

    def _hold(self, key: str) -> None:
        if len(self._behind) < _HELD:
            self._behind.append(key)
        else:
            self._more_behind += 1

    # --- partial tiles of earlier sizes -----------------------------------------------------------------------

    def _check_leftover(self, tile: Tile, known: int) -> None:
        """A partial tile or bundle must be the beginning of the wider one, which was checked by its own name."""
        where = self._place(tile.path)
        try:
            partial = self._read(tile)
        except MerklelogError as error:
            if not isinstance(error, NotFoundError) or self._store.stat(tile.path) is not None:
                self._findings.fault(FindingKind.TILE, where, error)
            return  # collected since it was listed
        try:
            wider = self._read(Tile(tile.level, tile.index, known))
        except MerklelogError:
            return  # the wider one is a finding already, by its own name
        if not wider.startswith(partial):
            wide = Tile(tile.level, tile.index, known).path
            kind = FindingKind.BUNDLE if tile.level == BUNDLE_LEVEL else FindingKind.TILE
            self._findings.add(kind, where, f"it is not the beginning of {wide}")

    def _read(self, tile: Tile) -> bytes:
        if tile.level == BUNDLE_LEVEL:
            return self._tiles.bundle(tile.index, tile.width)
        return self._tiles.tile(tile.level, tile.index, tile.width)

    # --- what is too much, or too little ----------------------------------------------------------------------

    def _check_behind(self, covered: int, *, known: bool) -> None:
        """Tiles and checkpoints behind the audited tree: of a publication since or under way, or of nobody.

        `known`: what is shown can be believed, and `covered` is all that was published.
        """
        size = self._head.size
        marked = self._store.stat(UNFINISHED_KEY) is not None
        count = len(self._behind) + self._more_behind + len(self._kept)
        if count and (marked or not self._strict or not known):
            self._remarks.append(
                f"{self._store.location}: {count} objects stand behind size {size}: "
                f"a publication that is running or was stopped put them there, and nobody reads them"
            )
        elif count:
            covered = max(covered, self._signed_beyond(covered))
            extra = [key for key in self._behind if not _is_within(key, covered)]
            extra += [checkpoint_key(kept) for kept in sorted(self._kept) if kept > covered]
            self._intruders(extra, f"it stands behind size {size}, and nothing that was published names it")
        if marked:
            self._remarks.append(
                f"{self._place(UNFINISHED_KEY)}: a publication is running or was stopped; publish again"
            )

    def _signed_beyond(self, covered: int) -> int:
        """The largest kept checkpoint of this log beyond what is shown and named: then those were put back."""
        for kept in sorted((size for size in self._kept if size > covered), reverse=True)[:_NAMED]:
            scratch = Findings()
            claim = self._heads.claim(kept, None, scratch)
            if claim.root is not None and not scratch.listed and self._heads.keys:
                detail = (
                    f"it shows size {self._head.size}, and the log signed {checkpoint_key(kept)}, which stands "
                    f"beside it: it was put back to an earlier one"
                )
                self._findings.add(FindingKind.TARGET, self._place(CHECKPOINT_KEY), detail)
                return kept
        return 0

    def _check_strange(self) -> None:
        if self._strict:
            self._intruders(self._strange_tiles, "no object of a published log has such a name")
        if self._strange:
            self._remarks.append(
                f"{self._store.location}: {listed(self._strange)} is no object of a published log; nothing reads "
                f"it"
            )
        if self._scratch:
            left = f"{self._scratch} objects of a preflight that runs or was stopped"
            self._remarks.append(f"{self._store.location}/{PREFLIGHT}: {left}")

    def _intruders(self, keys: list[str], detail: str) -> None:
        for key in keys[:_NAMED]:
            self._findings.add(FindingKind.EXTRA, self._place(key), detail)
        more = len(keys) - _NAMED
        if more > 0:
            self._findings.add(FindingKind.EXTRA, self._store.location, f"{more} objects more like that")

    def _check_kept(self) -> None:
        """A checkpoint that is shown stands under its size before."""
        key = checkpoint_key(self._head.size)
        if self._strict and self._head.where.endswith(f"/{CHECKPOINT_KEY}") and self._store.stat(key) is None:
            self._findings.add(
                FindingKind.CHECKPOINT,
                self._place(key),
                f"it is not there, and {CHECKPOINT_KEY} shows that size",
            )

    def _place(self, key: str) -> str:
        return f"{self._store.location}/{key}"


def tile_of(key: str) -> Tile | None:
    """The tile or bundle of a key; None when it has another format, so that nobody takes it for one."""
    try:
        return parse_path(key)
    except FormatError:
        return None


def kept_size(key: str, below: str = CHECKPOINTS) -> int | None:
    """The size that a key below `checkpoints/` or `cosigned/` is for; None when it is for none."""
    try:
        return parse_decimal(key.removeprefix(below).encode("ascii"), key)
    except FormatError:
        return None


def _is_within(key: str, size: int) -> bool:
    """Whether a tile belongs to a tree of `size`, or to a smaller one."""
    tile = tile_of(key)
    return tile is not None and tile.width <= width_at(tile.level, tile.index, size)
