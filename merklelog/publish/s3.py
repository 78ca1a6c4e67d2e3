"""An object store in an S3 bucket: the names its users import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from merklelog.publish.objects import (
    MAX_OBJECT_BYTES,
    PLAIN,
    NewObject,
    ObjectKind,
    ObjectStat,
    StoredObject,
)
from merklelog.publish.s3_options import (
    Lock,
    ObjectVersion,
    Retention,
    S3Location,
    S3Options,
    parse_s3_url,
)

__all__ = [
    "Lock",
    "ObjectVersion",
    "Retention",
    "S3Location",
    "S3Options",
    "S3Store",
    "open_s3",
    "parse_s3_url",
]


class S3Store(Protocol):
    """What an S3 store has besides the contract of ObjectStore; the class follows."""

    client: object
    bucket: str
    prefix: str

    @property
    def location(self) -> str:
        """See ObjectStore.location."""

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectStore.get."""

    def stat(self, key: str) -> ObjectStat | None:
        """See ObjectStore.stat."""

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        """See ObjectStore.put_immutable."""

    def put_many(self, objects: Iterable[NewObject]) -> int:
        """See ObjectStore.put_many."""

    def put_if_version(
        self, key: str, data: bytes, expected: str | None, kind: ObjectKind = PLAIN
    ) -> str | None:
        """See ObjectStore.put_if_version."""

    def put(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> str:
        """See ObjectStore.put."""

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""

    def delete_many(self, keys: Iterable[str], *, superseded: Iterable[str] = ()) -> None:
        """See ObjectStore.delete_many."""

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """See ObjectStore.list_keys."""

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        """Every version and delete marker of the keys that begin so."""

    def get_version(self, key: str, version_id: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """One version of an object."""

    def retention_of(self, key: str, version_id: str | None = None) -> Lock | None:
        """What holds a version (None: the newest); None: nothing does."""


def open_s3(url: str, options: S3Options | None = None) -> S3Store:
    """The store at `s3://BUCKET/PREFIX`; nothing is asked of it yet."""
    location = parse_s3_url(url)
    raise NotImplementedError(f"{location}: {options}")
