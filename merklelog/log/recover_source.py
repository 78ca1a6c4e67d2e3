"""What a published copy has of a log: which tree is to be brought back, and what of it lies only in staging.

The tree is the newest that somebody vouches for: a checkpoint that the log's keys signed (the one that is shown,
or a newer one under its size, where what is shown was set back), or what `head` names. A publication puts all
that is new into one staging object before it moves `head`, and signs after: so what `head` names beyond the
newest checkpoint can be finished from there, and was acknowledged to nobody as published. It is not signed, and
rests on the word of whoever can write to the target; bringing it back takes the private keys.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from merklelog.errors import (
    DamagedError,
    ForkError,
    FormatError,
    MerklelogError,
    NotALogError,
    NotFoundError,
    UnknownError,
)
from merklelog.formats import VerifierKey
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.formats.wire import quote
from merklelog.protocol.publication import EpochHead, TreeHead
from merklelog.publish import ObjectStore
from merklelog.publish.ahead import ReadAhead, Wanted
from merklelog.publish.heads import Head, verify_head
from merklelog.publish.layout import (
    CHECKPOINT_KEY,
    COSIGNED,
    checkpoint_key,
    cosigned_key,
    staging_key,
    stored_checkpoint_sizes,
)
from merklelog.publish.objects import MAX_OBJECT_BYTES, ObjectReads, StoredObject
from merklelog.publish.past import PastReads, VersionedStore
from merklelog.publish.pointer import StoredHead, read_head
from merklelog.publish.staging import MAX_STAGING_BYTES, parse_staging
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import root_hash

# How many of the newest kept checkpoints are looked at for one that verifies, when the one shown does not.
_HEADS_TRIED: Final = 64


@dataclass(frozen=True, slots=True)
class Aim:
    """The tree to bring back.

    `newest` is the newest checkpoint there that the log's keys signed, None when nothing was published yet.
    `staged` says that the tree is the one that `head` names and no checkpoint does, `left_out` that `head` names
    more than the tree. `lost_head` says that a `head` is there and can not be read (`head` is None then).
    `remarks` are sentences about what was set back, damaged or left out. `shown` is the copy's `checkpoint` for a
    log that holds what readers see for witnesses; None where they see the tree.
    """

    tree: TreeHead
    newest: Head | None
    head: EpochHead | None
    staged: bool
    remarks: tuple[str, ...]
    left_out: bool = False
    shown: bytes | None = None
    lost_head: bool = False


class Published:
    """A copy that a log is recovered from. Only reads. Close it.

    `verifiers` are the log's keys; everything signed is verified with them. `parallel` objects are read at a
    time, ahead of being asked for; with 1, when they are asked for. What stands there wrong in a store
    that keeps versions is read in its first version. Raises as `read_manifest` does.
    """

    def __init__(self, store: ObjectStore, verifiers: Sequence[VerifierKey], *, parallel: int) -> None:
        self._store = store
        self._verifiers = tuple(verifiers)
        self._past = PastReads(store) if isinstance(store, VersionedStore) else None
        kept: ObjectReads = PastReads(store, careful=True) if isinstance(store, VersionedStore) else store
        self._now: ObjectReads = self._past or store
        self._staged = _Staged(self._now)
        self._ahead = ReadAhead(self._staged, parallel) if parallel > 1 else None
        self._kept_ahead = ReadAhead(kept, parallel) if parallel > 1 else None
        self._kept: ObjectReads = self._kept_ahead or kept
        manifest = read_manifest(self._now)
        self.tiles = StoredTiles(self._ahead or self._staged, manifest.bundles if manifest else None)
        self._is_new = manifest is None
        self._lost_head = False
        self._sizes: array[int] | None = None

    @property
    def location(self) -> str:
        """The copy, as a person names it."""
        return self._store.location

    def close(self) -> None:
        """End what reads ahead."""
        for ahead in (self._ahead, self._kept_ahead):
            if ahead is not None:
                ahead.close()

    def aim(self, *, can_sign: bool, without_staged: bool = False, witnessed: bytes | None = None) -> Aim:
        """Find the tree to bring back; what `head` alone names only with `can_sign`, and not `without_staged`.

        `witnessed` is a checkpoint from elsewhere, as of a witness: the tree is its, if it is newer than all here.

        Raises NotALogError where no copy is, NotFoundError for one in which nothing was published yet,
        SignatureError and DamagedError when no checkpoint there verifies, ForkError with both when `head` and a
        checkpoint name two trees of one size, DamagedError when the staging object is damaged.
        """
        remarks: list[str] = []
        stored = self._stored_head(remarks)
        newest = self._with(witnessed, self._newest(stored, remarks), remarks)
        head = stored.head if stored else None
        if head is None or (newest is not None and newest.size >= head.size):
            if newest is None:
                raise self._nothing()
            self._check_head(stored, newest, remarks)
            tree = TreeHead(newest.size, newest.root)
            return Aim(tree, newest, head, False, tuple(remarks), lost_head=self._lost_head)
        if can_sign and not without_staged:
            self._read_staging(head, newest)
            return Aim(head.tree, newest, head, True, tuple(remarks))
        if newest is None:
            why = "what is staged" if can_sign else "the private keys"
            raise NotFoundError(f"{self.location}: no checkpoint is there yet: without {why}, nothing is")
        how = "are left out, as was asked" if can_sign else "come back with the private keys only"
        remarks.append(
            f"{self.location}/head names size {head.size}, which no checkpoint was signed for yet: the "
            f"{head.size - newest.size} entries behind size {newest.size} {how}"
        )
        return Aim(TreeHead(newest.size, newest.root), newest, head, False, tuple(remarks), left_out=True)

    def _with(self, witnessed: bytes | None, newest: Head | None, remarks: list[str]) -> Head | None:
        """The newer of the two. Raises ForkError for two roots of one size."""
        if witnessed is None:
            return newest
        found = verify_head(witnessed, self._verifiers, "the witness' checkpoint")
        if newest is None or found.size > newest.size:
            there = "none" if newest is None else f"size {newest.size}"
            remarks.append(
                f"the witness' checkpoint has size {found.size}, and {self.location} shows {there}: it was set "
                "back, and what its tiles lack can not be recovered"
            )
            return found
        if found.size == newest.size and found.root != newest.root:
            raise ForkError(
                f"{self.location}: two histories of {quote(newest.origin)}: root {newest.root.hex()} for size "
                f"{newest.size}, and the witness has {found.root.hex()}",
                newest.note,
                witnessed,
            )
        return newest

    def held(self, aim: Aim) -> tuple[bytes | None, list[str]]:
        """What the copy's readers are shown, where that waits for witnesses; None for nothing that verifies.

        A `checkpoint` that was lost was the newest that a quorum had cosigned, of at most the aim's entries. Also
        gives a sentence for each that is not of the aim's tree: a log that showed such a one would sign nothing.
        """
        remarks: list[str] = []
        tiles = VerifiedTiles(self.tiles, *aim.tree)
        sizes = [size for size in stored_checkpoint_sizes(self._store, COSIGNED) if size <= aim.tree.size]
        kept = [cosigned_key(size) for size in sorted(sizes)[-_HEADS_TRIED:]]
        for key in (CHECKPOINT_KEY, *reversed(kept)):
            found, _ = self._verified(key, self._now if key == CHECKPOINT_KEY else self._kept)
            if found is None or key not in (CHECKPOINT_KEY, cosigned_key(found.size)):
                continue
            words = _not_of(found, aim.tree, tiles)
            if not words:
                return found.note, remarks
            remarks.append(f"{self.location}/{key}: {words}; readers are not shown it")
        return None, remarks

    def check_witnessed(self, aim: Aim, witnessed: bytes | None) -> None:
        """Check that the tree to bring back began with that of the witness' checkpoint, if one was given.

        Raises ForkError with both notes, or as reading the tiles that tell does.
        """
        if witnessed is None:
            return
        found = verify_head(witnessed, self._verifiers, "the witness' checkpoint")
        root = root_hash(found.size, VerifiedTiles(self.tiles, *aim.tree).read)
        if root != found.root:
            raise ForkError(
                f"{self.location}: two histories of {quote(found.origin)}: the witness has root "
                f"{found.root.hex()} for size {found.size}, and under size {aim.tree.size} it is {root.hex()}",
                b"" if aim.newest is None else aim.newest.note,
                witnessed,
            )

    def _stored_head(self, remarks: list[str]) -> StoredHead | None:
        try:
            return read_head(self._now)
        except DamagedError as error:
            remarks.append(f"{error}; what it named beyond the newest checkpoint is not known")
            self._lost_head = True
            return None

    def _nothing(self) -> MerklelogError:
        if self._is_new:
            return NotALogError(f"{self.location}: no published copy: it has no {CHECKPOINT_KEY}")
        return NotFoundError(f"{self.location}: nothing was published there yet: it has no {CHECKPOINT_KEY}")

    def _newest(self, stored: StoredHead | None, remarks: list[str]) -> Head | None:
        """The newest checkpoint that verifies, be it shown or not; None when there is none at all."""
        shown, failed = self._verified(CHECKPOINT_KEY, self._now)
        kept: Head | None = None
        for size in reversed(self._kept_sizes()[-_HEADS_TRIED:]):
            if shown is not None and size <= shown.size:
                break
            kept, error = self._verified(checkpoint_key(size), self._kept)
            if kept is not None and kept.size == size:
                break
            kept, failed = None, failed or error
        found = kept or shown
        if found is None and failed is not None and not isinstance(failed, NotFoundError):
            raise failed
        if failed is not None and found is not None:
            remarks.append(f"{failed}; the newest checkpoint that verifies has size {found.size}")
        elif kept is not None and shown is not None and (stored is None or stored.head.size < kept.size):
            remarks.append(
                f"{self.location}/{CHECKPOINT_KEY} shows size {shown.size}, and {kept.size} is signed"
            )
        return found

    def _verified(self, key: str, reads: ObjectReads) -> tuple[Head | None, MerklelogError | None]:
        """A checkpoint, or why there is none. Raises what says nothing of it: that the store does not answer."""
        try:
            data = reads.get(key, limit=MAX_NOTE_BYTES).data
            return verify_head(data, self._verifiers, f"{self.location}/{key}"), None
        except NotFoundError as error:
            return None, error
        except UnknownError:
            raise
        except MerklelogError as error:
            return None, error

    def _check_head(self, stored: StoredHead | None, newest: Head, remarks: list[str]) -> None:
        if stored is None:
            return
        head = stored.head
        if head.size == newest.size and head.root != newest.root:
            raise ForkError(
                f"{self.location}: two histories of {quote(newest.origin)}: its head names root "
                f"{head.root.hex()} for size {head.size}, its checkpoint {newest.root.hex()}",
                newest.note,
                stored.data,
            )
        if head.size < newest.size:
            remarks.append(
                f"{self.location}/head names size {head.size}, and a checkpoint of size {newest.size} is signed: "
                f"head was set back"
            )

    def _read_staging(self, head: EpochHead, newest: Head | None) -> None:
        """Take in what is new in the publication that `head` names; its tiles may be in place already."""
        key = staging_key(head.size, head.root)
        name = f"{self.location}/{key}"
        try:
            staging = parse_staging(self._now.get(key, limit=MAX_STAGING_BYTES).data)
        except NotFoundError:
            return  # then every object of it stands under its own key, or its absence is found out there
        except FormatError as error:
            raise DamagedError(f"{name}: {error}{way_out(newest)}") from error
        origin = self._verifiers[0].name
        if (staging.origin, staging.size, staging.root) != (origin, head.size, head.root):
            raise DamagedError(
                f"{name}: it is of {quote(staging.origin)} at size {staging.size}, want {quote(origin)} at size "
                f"{head.size}{way_out(newest)}"
            )
        self._staged.objects = staging.objects

    # --- reading -----------------------------------------------------------------------------------------------

    def kept_sizes(self, start: int, end: int) -> array[int]:
        """The sizes in [start, end] that a checkpoint is kept under, smallest first; eight bytes each."""
        sizes = self._kept_sizes()
        return sizes[bisect_left(sizes, start) : bisect_right(sizes, end)]

    def _kept_sizes(self) -> array[int]:
        """All of them, listed once: a thousand a request, and there may be millions."""
        if self._sizes is None:
            self._sizes = array("q", sorted(array("q", stored_checkpoint_sizes(self._store))))
        return self._sizes

    def expect(self, first: int, last: int, sizes: Iterable[int]) -> None:
        """The full bundles [first, last) will be read in their order, and the checkpoints of these sizes."""
        if self._ahead is not None:
            self._ahead.expect(self.tiles.wanted(first, last))
        if self._kept_ahead is not None:
            self._kept_ahead.expect(Wanted(checkpoint_key(size), MAX_NOTE_BYTES) for size in sizes)

    def checkpoint(self, size: int) -> Head:
        """The checkpoint kept under a size, verified. Raises DamagedError, SignatureError, NotFoundError."""
        name = f"{self.location}/{checkpoint_key(size)}"
        data = self._kept.get(checkpoint_key(size), limit=MAX_NOTE_BYTES).data
        found = verify_head(data, self._verifiers, name)
        if found.size != size:
            raise DamagedError(f"{name}: it is the checkpoint of size {found.size}")
        return found

    def forget_served(self) -> bool:
        """What was read is wrong: read first versions from now on; False where there is nothing else to read."""
        if self._past is None or not self._past.forget_served():
            return False
        if self._ahead is not None:
            self._ahead.expect(())  # what was fetched already is as wrong
        return True


def _not_of(found: Head, tree: TreeHead, tiles: VerifiedTiles) -> str:
    """Why a checkpoint is none of this tree, "" where it is."""
    if found.size > tree.size:
        return f"it has size {found.size}, and {tree.size} entries come back"
    try:
        root = root_hash(found.size, tiles.read)
    except DamagedError as error:
        return f"it can not be compared with what comes back: {error}"
    if root == found.root:
        return ""
    return (
        f"the log signed root {found.root.hex()} for size {found.size}, and what comes back has {root.hex()}"
    )


def way_out(newest: Head | None) -> str:
    """The end of a message: how to go on where what is staged can not be brought back."""
    if newest is None:
        return ""
    return (
        f"; no checkpoint was signed yet for what lies behind size {newest.size}: `merklelog recover "
        f"--without-staged` brings back the log at that size"
    )


@dataclass(slots=True)
class _Staged:
    """The objects of a copy, those of a publication that is not finished from its staging object."""

    reads: ObjectReads
    objects: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def location(self) -> str:
        """See ObjectStore.location."""
        return self.reads.location

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get."""
        data = self.objects.get(key)
        if data is None:
            return self.reads.get(key, limit=limit)
        if len(data) > limit:
            raise DamagedError(f"{self.location}/{key}, staged: {len(data)} bytes, want at most {limit}")
        return StoredObject(data, "")


__all__ = ["Aim", "Published", "way_out"]
