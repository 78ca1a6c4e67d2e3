"""What was put over the objects of a copy in a store that keeps versions.

A lock keeps a version, not a name: whoever may write can put a delete marker or other bytes over a locked object,
and readers that ask by name see that. Here every version is listed once, what was put over is named, and the first
version of it is what the rest of the audit reads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import groupby, islice, takewhile
from typing import Final

from merklelog.audit.report import FindingKind, Findings
from merklelog.errors import FormatError, MerklelogError, NotFoundError, UnreachableError
from merklelog.formats import parse_checkpoint
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.publish.encoding import GZIP_MAGIC, same_content
from merklelog.publish.layout import CHECKPOINT_KEY, CHECKPOINTS, HEAD_KEY, TILES
from merklelog.publish.manifest import MANIFEST_KEY
from merklelog.publish.objects import MAX_OBJECT_BYTES
from merklelog.publish.partitions_layout import PARTITIONS
from merklelog.publish.past import VersionedStore, never_changes
from merklelog.publish.pointer import MAX_HEAD_BYTES, parse_head
from merklelog.publish.s3_options import ObjectVersion

_COMPARED: Final = 16  # versions of one object that are read, the newest of them
_PARTIAL: Final = ".p/"
_LOOKS_AGAIN: Final = 3
_PAUSE: Final = 0.25  # seconds

_Placed = tuple[ObjectVersion, tuple[int, int]]  # a version of a pointer, and how far it is


@dataclass(slots=True)
class Looked:
    """What came of it: for each object that was put over the version to read, and remarks.

    `hidden` are the partial tiles and bundles among them that are under a delete marker.
    """

    pinned: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def look_through(store: VersionedStore, findings: Findings) -> Looked:
    """List every version below the store's prefix, and name what was put over what must not change.

    A store that refuses to list them is a remark; one that did not answer is a finding that could not tell.
    """
    looking = _Look(store, findings)
    try:
        for key, versions in groupby(store.versions(), key=lambda version: version.key):
            looking.at(key, list(versions))
    except MerklelogError as error:
        if isinstance(error, UnreachableError) and error.refused:
            looking.result.remarks.append(
                f"{store.location}: its versions could not be listed, so nobody looked for delete markers and for "
                f"versions put over an object: {error}"
            )
        else:
            # No list at all is nothing that the tree requires: without it nobody can tell.
            told = UnreachableError(str(error)) if isinstance(error, NotFoundError) else error
            findings.fault(FindingKind.VERSION, store.location, told)
    return looking.finish()


class _Look:
    def __init__(self, store: VersionedStore, findings: Findings) -> None:
        self._store = store
        self._findings = findings
        self._again = 0
        self.result = Looked()

    def at(self, key: str, versions: list[ObjectVersion]) -> None:
        """Look at one key; its newest version stands first."""
        if never_changes(key) or key.startswith(PARTITIONS) or key == MANIFEST_KEY:
            self._constant(key, versions)
        elif key in (CHECKPOINT_KEY, HEAD_KEY):
            self._pointer(key, versions)

    def finish(self) -> Looked:
        """Add what was only counted."""
        if self._again:
            self.result.remarks.append(
                f"{self._store.location}: {self._again} objects that never change have several versions with "
                f"the same content, or were deleted and put again"
            )
        return self.result

    def _constant(self, key: str, versions: list[ObjectVersion]) -> None:
        stored = [version for version in versions if not version.is_delete_marker]
        where = f"{self._store.location}/{key}"
        if versions[0].is_delete_marker:
            marker = versions[0]
            if _is_partial(key):
                # Removed by name where it was to be removed by version, or hidden while it is needed: what needs
                # it decides.
                self.result.hidden.append(key)
            elif stored:
                detail = (
                    f"a delete marker {_named(marker)} was put over it; read past it, {_named(stored[-1])}"
                )
                self._findings.add(FindingKind.VERSION, where, detail)
            else:
                detail = f"it was deleted: a delete marker {_named(marker)} is all that is left of it"
                self._findings.add(FindingKind.VERSION, where, detail)
            if stored:
                self.result.pinned[key] = stored[-1].version_id
            return
        if len(stored) > 1 and self._put_over(key, where, stored):
            self.result.pinned[key] = stored[-1].version_id
        elif len(versions) > 1:
            self._again += 1

    def _put_over(self, key: str, where: str, stored: list[ObjectVersion]) -> bool:
        """Whether a version is not what the first one is, which is a finding then."""
        first = stored[-1]
        try:
            content = self._read(first)
            for version in stored[:_COMPARED]:
                if version is not first and not _same(key, self._read(version), content):
                    detail = (
                        f"a newer version {_named(version)} with other content was put over it; read past it, "
                        f"{_named(first)}"
                    )
                    self._findings.add(FindingKind.VERSION, where, detail)
                    return True
        except MerklelogError as error:
            self._findings.fault(FindingKind.VERSION, where, error)
            return True
        return False

    def _read(self, version: ObjectVersion, limit: int = MAX_OBJECT_BYTES) -> bytes:
        return self._store.get_version(version.key, version.version_id, limit=limit).data

    def _pointer(self, key: str, versions: list[ObjectVersion]) -> None:
        """A pointer only moves on: an older version that says more was taken back."""
        where = f"{self._store.location}/{key}"
        if versions[0].is_delete_marker:
            self._findings.add(
                FindingKind.VERSION, where, f"a delete marker {_named(versions[0])} was put over it"
            )
        found = self._taken_back(key, versions)
        for _ in range(_LOOKS_AGAIN):
            if found is None:
                return
            # While one is written, a store may list it and still call the one before it the newest.
            time.sleep(_PAUSE)
            again = takewhile(lambda version: version.key == key, self._store.versions(key))
            if self._taken_back(key, list(again)) != found:
                return
        if found is not None:
            (older, more), (newer, less) = found
            detail = (
                f"it was put back: the older version {_named(older)} says {_said(key, more)}, and the newer one "
                f"{_named(newer)} {_said(key, less)}"
            )
            self._findings.add(FindingKind.VERSION, where, detail)

    def _taken_back(self, key: str, versions: list[ObjectVersion]) -> tuple[_Placed, _Placed] | None:
        """The newest version that says less than the one before it, behind that one; None when all moved on."""
        newer: _Placed | None = None
        for version in islice((each for each in versions if not each.is_delete_marker), _COMPARED):
            place = self._place(key, version)
            if place is None:
                continue
            if newer is not None and place > newer[1]:
                return (version, place), newer
            newer = (version, place)
        return None

    def _place(self, key: str, version: ObjectVersion) -> tuple[int, int] | None:
        """How far a version of a pointer is, (epoch, size); None when it is none: nobody signed older versions."""
        try:
            if key == CHECKPOINT_KEY:
                return 0, parse_checkpoint(self._read(version, MAX_NOTE_BYTES)).checkpoint.size
            head = parse_head(self._read(version, MAX_HEAD_BYTES))
        except (FormatError, MerklelogError):
            return None  # gone meanwhile, or no pointer; the one that stands there is read in its own right
        return head.epoch, head.size


def _same(key: str, one: bytes, other: bytes) -> bool:
    """Whether two versions of an object say the same."""
    if one == other:
        return True
    if key.startswith(CHECKPOINTS):
        try:
            return parse_checkpoint(one).note.text == parse_checkpoint(other).note.text
        except FormatError:
            return False
    if key.startswith((TILES, PARTITIONS)) and other.startswith(GZIP_MAGIC):
        try:
            return same_content(one, other)
        except FormatError:
            return False  # the first one is none that can be decompressed
    return False


def _is_partial(key: str) -> bool:
    return key.startswith(TILES) and _PARTIAL in key


def _named(version: ObjectVersion) -> str:
    return f"({version.version_id[:64]!r} of {version.modified:%Y-%m-%dT%H:%M:%SZ})"


def _said(key: str, place: tuple[int, int]) -> str:
    return f"size {place[1]}" if key == CHECKPOINT_KEY else f"epoch {place[0]}, size {place[1]}"
