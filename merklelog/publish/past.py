"""Reading past what was put over an object that must never change.

A store that keeps versions has every locked object's first version for as long as its lock lasts, whatever
anybody puts over it: a delete marker, or newer bytes. What stands there now is asked for first, since a wrong
answer is found out by hashes; where there is none, or a reader says that what it got was wrong, the first version
is read by its id.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Final, Protocol, runtime_checkable

from merklelog.errors import NotFoundError, UnreachableError
from merklelog.publish.layout import CHECKPOINTS, COSIGNED, TILES
from merklelog.publish.objects import MAX_OBJECT_BYTES, StoredObject
from merklelog.publish.partitions_layout import PARTITIONS
from merklelog.publish.s3_options import ObjectVersion
from merklelog.publish.s3_problems import safe

_NEVER_CHANGE: Final = (TILES, CHECKPOINTS, COSIGNED, PARTITIONS)
_REMEMBERED: Final = 10_000
_log = logging.getLogger("merklelog.publish")


@runtime_checkable
class VersionedStore(Protocol):
    """The part of an ObjectStore with versions that reading past takes. Safe for threads."""

    @property
    def location(self) -> str:
        """See ObjectStore.location."""

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The newest version. See ObjectStore.get; under a delete marker: NotFoundError."""

    def get_version(self, key: str, version_id: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """One version, by its id. Raises as `get`."""

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        """Every version and delete marker under the keys that begin so: by key, the newest of each first."""

    def close(self) -> None:
        """End what the store runs beside its callers."""


def never_changes(key: str) -> bool:
    """Whether an object under this key is written once: tiles, bundles, kept checkpoints, partitions."""
    return key.startswith(_NEVER_CHANGE)


class PastReads:
    """The objects of `store`, those that never change in their first version where the newest is not it.

    `pinned` names versions that are known already, by key; with `careful` every object that never changes is read
    in its first version, for one request more. What lies over a first version is named in the log, once a key.
    Safe for threads. Raises as the store does; who may not list versions gets what stands there now.
    """

    def __init__(
        self, store: VersionedStore, pinned: Mapping[str, str] | None = None, *, careful: bool = False
    ) -> None:
        self._store = store
        self._pinned = dict(pinned or {})
        self._careful = careful
        self._firsts: OrderedDict[str, str | None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """See ObjectStore.location."""
        return self._store.location

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get."""
        version = self._pinned.get(key)
        if version is None and self._careful and never_changes(key):
            version = self._first(key)
        if version is not None:
            return self._store.get_version(key, version, limit=limit)
        try:
            return self._store.get(key, limit=limit)
        except NotFoundError:
            version = self._first(key) if never_changes(key) else None
            if version is None:
                raise
        return self._store.get_version(key, version, limit=limit)

    def forget_served(self) -> bool:
        """Read only first versions from now on, since what was read is wrong; whether that is anything new."""
        with self._lock:
            before, self._careful = self._careful, True
        return not before

    def _first(self, key: str) -> str | None:
        """The id of a key's first version; None where there is none, or where that can not be learned."""
        with self._lock:
            if key in self._firsts:
                return self._firsts[key]
        try:
            newest, found = _ends_of(_versions_of(self._store, key))
        except UnreachableError:
            return None  # not this reader's to see, or not now: then what stands there is all there is
        if newest is not None and found is not None and newest.version_id != found:
            what = "a delete marker" if newest.is_delete_marker else "another version"
            _log.warning(
                "%s/%s: %s (%s) was put over it; read past it, in its first version (%s)",
                *(self._store.location, key, what, safe(newest.version_id), safe(found)),
            )
        with self._lock:
            self._firsts[key] = found
            if len(self._firsts) > _REMEMBERED:
                self._firsts.popitem(last=False)
        return found


def first_version(store: VersionedStore, key: str) -> str | None:
    """The id of the first version that a key had, None where it has none. Raises as `versions`."""
    return _ends_of(_versions_of(store, key))[1]


def _versions_of(store: VersionedStore, key: str) -> Iterator[ObjectVersion]:
    """The versions of that key alone, the newest first: longer keys that begin so come behind."""
    return takewhile(lambda version: version.key == key, store.versions(key))


def _ends_of(versions: Iterable[ObjectVersion]) -> tuple[ObjectVersion | None, str | None]:
    """The newest of them, and the id of the oldest that is no delete marker; what lies between is not kept."""
    newest = first = None
    for version in versions:
        newest = newest or version
        if not version.is_delete_marker:
            first = version.version_id
    return newest, first
