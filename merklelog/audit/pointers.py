"""The two pointers of a published copy: `checkpoint`, which is signed, and `head`, which is not and names what a
publication under way will show.

They only move on, `head` first. So at any moment `checkpoint` shows what `head` names, or the publication that
will make it so is under way, and then what it staged is there until it has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from merklelog.audit.heads import HeadReader
from merklelog.audit.report import FindingKind, Findings
from merklelog.audit.staged import check_staged
from merklelog.audit.trust import AuditedHead
from merklelog.errors import DamagedError, FormatError, FormatVersionError, MerklelogError, NotFoundError
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.protocol.publication import TreeHead
from merklelog.publish import ObjectStore
from merklelog.publish.layout import (
    CHECKPOINT_KEY,
    HEAD_KEY,
    UNWITNESSED_KEY,
    WITNESSED_KEY,
    checkpoint_key,
    cosigned_key,
    parse_staging_key,
    staging_key,
)
from merklelog.publish.manifest import MANIFEST_KEY
from merklelog.publish.pointer import read_head
from merklelog.publish.stored import StoredTiles

_NAMED: Final = 8  # objects that are told by name; the others are counted


class Pointers:
    """The pointers of the copy in `store`, held against the audited `head`; `heads` reads checkpoints."""

    def __init__(
        self,
        store: ObjectStore,
        tiles: StoredTiles,
        head: AuditedHead,
        heads: HeadReader,
        findings: Findings,
    ) -> None:
        self._store = store
        self._tiles = tiles
        self._head = head
        self._heads = heads
        self._findings = findings
        self.remarks: list[str] = []

    def check(self, staged: list[str]) -> int:
        """Check `head`, and the staging objects whose keys were listed; gives the size it names, 0 without one.

        Raises what the store raises when it can not tell.
        """
        try:
            stored = read_head(self._store)
        except (DamagedError, FormatVersionError) as error:
            self._findings.fault(FindingKind.TARGET, self._place(HEAD_KEY), error)
            return 0
        tree = None if stored is None else stored.head.tree
        own = None if tree is None else staging_key(*tree)
        if left := [key for key in staged if key != own]:
            self.remarks.append(
                f"{self._store.location}: {listed(left)} was left by a writer that was stopped before "
                f"{HEAD_KEY} named it, or after it was no use any more; nobody reads it"
            )
        if tree is None:
            return 0
        if self._store.stat(MANIFEST_KEY) is None:
            detail = f"it is not there, and a log's target, which has a {HEAD_KEY}, begins with it"
            self._findings.add(FindingKind.TARGET, self._place(MANIFEST_KEY), detail)
        self._check_head(tree)
        return tree.size

    def shown(self) -> int | None:
        """The size that is shown now, by a checkpoint of this log; None when none can be believed.

        Where `checkpoint` waits for witnesses, everything under `checkpoint.unwitnessed` is there as well.
        """
        found = [self._shown_by(key) for key in (CHECKPOINT_KEY, UNWITNESSED_KEY)]
        return max((size for size in found if size is not None), default=None)

    def _shown_by(self, key: str) -> int | None:
        where = self._place(key)
        try:
            note = self._store.get(key, limit=MAX_NOTE_BYTES).data
        except NotFoundError:
            return None  # what has shown something before has a finding for it
        scratch = Findings()
        checkpoint = self._heads.check(note, None, where, scratch)
        self._findings.take_all(tuple(scratch.listed), scratch.unlisted)
        return None if checkpoint is None or scratch.listed else checkpoint.size

    def check_witnessed(self, cosigned: Sequence[int]) -> None:
        """What witnesses cosigned is what the log signed: the pointer to the newest, and some under their sizes.

        `cosigned` are sizes below `cosigned/`; the largest are looked at. Whether their signatures meet a policy
        is for who has one to say.
        """
        self._shown_by(WITNESSED_KEY)
        for size in sorted(cosigned)[-_NAMED:]:
            where = self._place(cosigned_key(size))
            try:
                note = self._store.get(cosigned_key(size), limit=MAX_NOTE_BYTES).data
                kept = self._store.get(checkpoint_key(size), limit=MAX_NOTE_BYTES).data
            except NotFoundError as error:
                self._findings.fault(FindingKind.CHECKPOINT, where, error)
                continue
            checkpoint = self._heads.check(note, size, where, self._findings)
            signed = self._heads.check(kept, size, self._place(checkpoint_key(size)), Findings())
            if checkpoint is not None and signed is not None and checkpoint != signed:
                other = f"{checkpoint_key(size)} says {signed.root.hex()}"
                detail = f"its root is {checkpoint.root.hex()}, and {other}"
                self._findings.add(FindingKind.CHECKPOINT, where, detail)

    def _check_head(self, tree: TreeHead) -> None:
        size, root = self._head.size, self._head.root
        where = self._place(HEAD_KEY)
        if tree.size < size:
            detail = f"it names size {tree.size}, and {self._head.where} says {size}: it was put back"
            self._findings.add(FindingKind.TARGET, where, detail)
        elif tree.size == size and tree.root != root:
            detail = f"it names root {tree.root.hex()}, and {self._head.where} says {root.hex()}"
            self._findings.add(FindingKind.TARGET, where, detail)
        elif tree.size > size:
            self._check_unshown(tree)

    def _check_unshown(self, tree: TreeHead) -> None:
        """`head` names more than was audited: its publication is under way, or has ended since."""
        if self._is_shown(tree):
            return
        key = staging_key(*tree)
        try:
            bundles = check_staged(self._store, self._tiles, self._head, tree)
        except NotFoundError:
            if self._is_shown(tree):
                return  # it ended just now
            detail = (
                f"it shows size {self._head.size}, {HEAD_KEY} names {tree.size} and {key} is not there: it was "
                f"put back to an earlier one, or what a publication staged was removed before it had ended"
            )
            self._findings.add(FindingKind.TARGET, self._place(CHECKPOINT_KEY), detail)
        except MerklelogError as error:
            if not self._is_shown(tree):
                self._findings.fault(FindingKind.TARGET, self._place(key), error)
        else:
            self.remarks.append(
                f"{self._place(key)}: the publication of size {tree.size} is under way or was stopped, and the "
                f"log will finish it; its {bundles} bundles lead to the root that {HEAD_KEY} names"
            )

    def _is_shown(self, tree: TreeHead) -> bool:
        return (self.shown() or 0) >= tree.size

    def _place(self, key: str) -> str:
        return f"{self._store.location}/{key}"


def is_staging(key: str) -> bool:
    """Whether a key below `staging/` is one that a publication uses."""
    try:
        parse_staging_key(key)
    except FormatError:
        return False
    return True


def listed(keys: list[str]) -> str:
    """The first keys by name, and how many more there are."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
