"""Versions: what a store remembers of those it wrote, how the bucket lists them, and how they are removed.

In a versioned bucket a plain delete hides an object and removes nothing, so everything is removed by version
id. The ids of what was written lately are remembered, which saves a listing for each object that is collected.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from merklelog.publish.s3_client import Requests
from merklelog.publish.s3_options import ObjectVersion

MAX_REMEMBERED: Final = 65_536
MAX_KEPT_VERSIONS: Final = 64  # of one key: more are found again by listing
BATCH: Final = 1000  # Amazon S3, DeleteObjects and ListObjectVersions
NO_VERSION: Final = "null"  # the id of every object of a bucket without versioning


@dataclass(frozen=True, slots=True)
class Written:
    """A version that this store wrote; locked `until` then, None when it is not locked."""

    version_id: str
    until: datetime | None = None


@dataclass(slots=True)
class _Known:
    """What is remembered of a key, oldest first; `complete`: there are no older ones but these."""

    versions: list[Written]
    complete: bool


class Memory:
    """The versions written by one store, by key; a bounded number, the longest untouched forgotten first."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._keys: OrderedDict[str, _Known] = OrderedDict()

    def wrote(self, key: str, written: Written, *, created: bool) -> None:
        """A write that was answered; `created`: under a condition that nothing was there."""
        with self._lock:
            known = self._keys.setdefault(key, _Known([], created))
            if known.versions and known.versions[-1].version_id == written.version_id:
                known.versions.pop()  # a bucket that keeps no versions: it was replaced
            known.versions.append(written)
            if len(known.versions) > MAX_KEPT_VERSIONS:
                del known.versions[0]
                known.complete = False
            self._keys.move_to_end(key)
            if len(self._keys) > self._limit:
                self._keys.popitem(last=False)

    def doubt(self, key: str) -> None:
        """A write that may have left a version of unknown id: the next look is a listing."""
        with self._lock:
            if key in self._keys:
                self._keys[key].complete = False

    def complete(self, key: str) -> list[Written] | None:
        """All versions of a key, oldest first; None when only a listing can tell."""
        with self._lock:
            known = self._keys.get(key)
            return list(known.versions) if known is not None and known.complete else None

    def learn(self, key: str, versions: list[Written]) -> None:
        """What a listing said are all versions of a key, oldest first."""
        with self._lock:
            self._keys[key] = _Known(versions[-MAX_KEPT_VERSIONS:], len(versions) <= MAX_KEPT_VERSIONS)
            self._keys.move_to_end(key)

    def removed(self, key: str, version_ids: Iterable[str]) -> None:
        """Versions that are gone."""
        gone = set(version_ids)
        with self._lock:
            known = self._keys.get(key)
            if known is not None:
                known.versions = [each for each in known.versions if each.version_id not in gone]
                if not known.versions:
                    del self._keys[key]


def list_versions(
    requests: Requests, bucket: str, root: str, prefix: str, name: str
) -> Iterator[ObjectVersion]:
    """Every version and delete marker of the keys that begin with `prefix`, a page a request.

    By key; of one key the newest first. `root` is what every key begins with in the bucket, and is cut off.
    """
    markers: dict[str, str] = {}
    while True:
        page = requests.send(
            lambda: requests.client.list_object_versions(Bucket=bucket, Prefix=root + prefix, **markers),  # noqa: B023
            "ListObjectVersions",
            name,
        ).value
        yield from sorted(
            _page(page, len(root)), key=lambda v: (v.key, not v.is_latest, -v.modified.timestamp())
        )
        if not page.get("IsTruncated"):
            return
        markers = {"KeyMarker": page["NextKeyMarker"]}
        if page.get("NextVersionIdMarker"):
            markers["VersionIdMarker"] = page["NextVersionIdMarker"]


def _page(page: dict[str, Any], cut: int) -> Iterator[ObjectVersion]:
    for listed, is_marker in (("Versions", False), ("DeleteMarkers", True)):
        for each in page.get(listed, ()):
            yield ObjectVersion(
                each["Key"][cut:],
                each.get("VersionId") or NO_VERSION,
                bool(each.get("IsLatest")),
                is_marker,
                each["LastModified"].astimezone(UTC),
                each.get("Size", 0),
            )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that the store would not remove, with the code of its answer."""

    key: str
    version_id: str
    code: str


def remove_versions(
    requests: Requests, bucket: str, root: str, doomed: list[tuple[str, str]], name: str
) -> list[Refusal]:
    """Removes versions by id, up to 1,000 a request; those the store refused. One that is gone is fine."""
    refused: list[Refusal] = []
    for start in range(0, len(doomed), BATCH):
        objects = [
            {"Key": root + key, "VersionId": version} for key, version in doomed[start : start + BATCH]
        ]
        answer = requests.send(
            lambda: requests.client.delete_objects(
                Bucket=bucket,
                Delete={"Objects": objects, "Quiet": True},  # noqa: B023
                ChecksumAlgorithm="SHA256",
            ),
            "DeleteObjects",
            name,
        ).value
        for each in answer.get("Errors", ()):
            if each.get("Code") not in ("NoSuchVersion", "NoSuchKey"):
                key = each.get("Key", "")[len(root) :]
                refused.append(Refusal(key, each.get("VersionId", ""), str(each.get("Code", "none"))))
    return refused
