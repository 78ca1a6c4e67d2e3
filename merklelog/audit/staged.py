"""What a publication under way has staged: held against the root that `head` names, with what is there already."""

from __future__ import annotations

from collections.abc import Mapping

from merklelog.audit.trust import AuditedHead
from merklelog.errors import DamagedError, FormatError, NotFoundError
from merklelog.protocol.publication import TreeHead
from merklelog.publish import ObjectStore, StoredObject
from merklelog.publish.layout import staging_key
from merklelog.publish.objects import MAX_OBJECT_BYTES
from merklelog.publish.staging import MAX_STAGING_BYTES, parse_staging
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import TILE_WIDTH
from merklelog.tree.prove import root_hash
from merklelog.tree.tiles import new_bundles


def check_staged(store: ObjectStore, tiles: StoredTiles, head: AuditedHead, tree: TreeHead) -> int:
    """Verify the staging object of `tree`, which continues the audited `head`; how many bundles it holds.

    Every new bundle and tile must lead to the root, and the tree must begin with the audited one. Raises
    NotFoundError when it is not there, DamagedError naming what is wrong, and what the store raises.
    """
    key = staging_key(*tree)
    name = f"{store.location}/{key}"
    try:
        staging = parse_staging(store.get(key, limit=MAX_STAGING_BYTES).data)
    except FormatError as error:
        raise DamagedError(f"{name}: {error}") from error
    if (staging.origin, staging.size, staging.root) != (head.origin, *tree):
        raise DamagedError(f"{name}: it is of {staging.origin!r}, size {staging.size}, {staging.root.hex()}")
    manifest = read_manifest(store)
    encoding = manifest.bundles if manifest else None
    overlay = _Overlay(tiles, StoredTiles(_Staged(name, staging.objects), encoding))
    verified = VerifiedTiles(overlay, *tree)
    try:
        if root_hash(head.size, verified.read) != head.root:
            raise DamagedError(f"the tree of size {tree.size} does not begin with that of size {head.size}")
        bundles = [bundle.index for bundle in new_bundles(head.size, tree.size)]
        for index in bundles:
            verified.bundle(index)
    except NotFoundError as error:
        raise DamagedError(f"{name}: {error}") from error
    except DamagedError as error:
        raise DamagedError(f"{name}: {error}") from error
    return len(bundles)


class _Staged:
    """The objects inside a staging object, by their keys."""

    def __init__(self, location: str, objects: Mapping[str, bytes]) -> None:
        self.location = location
        self._objects = objects

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get."""
        data = self._objects.get(key)
        if data is None:
            raise NotFoundError(f"{self.location}: it has no {key}")
        if len(data) > limit:
            raise DamagedError(f"{self.location}: {key} has {len(data)} bytes, want at most {limit}")
        return StoredObject(data, "")


class _Overlay:
    """The tiles of a publication: what it staged, and below it what is there already."""

    def __init__(self, below: StoredTiles, staged: StoredTiles) -> None:
        self._below = below
        self._staged = staged

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """See TileReads.tile."""
        try:
            return self._staged.tile(level, index, width)
        except NotFoundError:
            return self._below.tile(level, index, width)

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """See TileReads.bundle."""
        try:
            return self._staged.bundle(index, width)
        except NotFoundError:
            return self._below.bundle(index, width)
