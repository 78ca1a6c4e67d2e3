"""Reading from a bucket: objects, their versions and locks, and what lies under a covered one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from merklelog.errors import NotFoundError
from merklelog.publish.objects import (
    MAX_OBJECT_BYTES,
    ObjectStat,
    StoredObject,
    is_key,
    validate_key,
    validate_prefix,
)
from merklelog.publish.s3_client import Answer, Requests
from merklelog.publish.s3_locks import lock_of, read_lock
from merklelog.publish.s3_options import Lock, ObjectVersion
from merklelog.publish.s3_problems import Kind, Problem, error_of
from merklelog.publish.s3_transfer import Transfer
from merklelog.publish.s3_versions import list_versions

MAX_COVERED: Final = 1000

_ABSENT: Final = frozenset((Kind.ABSENT,))
_REFUSED: Final = frozenset((Kind.DENIED, Kind.REFUSED))
_log = logging.getLogger("merklelog.publish")


@dataclass(frozen=True, slots=True)
class Covered:
    """A locked version over which somebody put another one, or a delete marker: `by` is its version id.

    The locked one is still there and is what is read; plain readers of the bucket see the other.
    """

    key: str
    original: str
    by: str
    is_delete_marker: bool


class S3Reads:
    """The reading half of a store; keys are the store's, without the prefix."""

    def __init__(self, requests: Requests, transfer: Transfer, bucket: str, root: str, location: str) -> None:
        self._requests = requests
        self._transfer = transfer
        self._client = requests.client
        self._bucket = bucket
        self._root = root
        self._location = location
        self._covered: dict[str, Covered] = {}

    @property
    def covered(self) -> tuple[Covered, ...]:
        """The covered objects that were met, at most 1,000, one a key."""
        return tuple(self._covered.values())

    def name(self, key: str) -> str:
        """An object as messages name it."""
        return f"{self._location}/{key}"

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The newest version; under a delete marker that covers a locked one, the locked one."""
        answer = self._read(validate_key(key), None, limit)
        if answer.problem is None:
            return _stored(answer.value)
        if answer.problem.delete_marker:
            found = self.original(key, limit=limit)
            if found is not None:
                return found[0]
        raise NotFoundError(f"{self.name(key)}: there is no such object")

    def get_version(self, key: str, version_id: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """One version, read whole. Raises NotFoundError, also for a delete marker's id."""
        answer = self._read(validate_key(key), version_id, limit)
        if answer.problem is not None:
            raise NotFoundError(f"{self.name(key)}: there is no version {version_id}")
        return _stored(answer.value)

    def _read(self, key: str, version_id: str | None, limit: int) -> Answer:
        name = self.name(key)
        return self._requests.send(
            lambda: self._transfer.get(self._root + key, version_id, limit, name), "GetObject", name, _ABSENT
        )

    def head(self, key: str, version_id: str | None = None) -> Answer:
        """What HeadObject says of a version (None: the newest); the problem when it is not there.

        Raises ConfigError when the bucket is not there, which a HEAD does not tell by itself, UnreachableError.
        """
        which = {} if version_id is None else {"VersionId": version_id}
        answer = self._requests.send(
            lambda: self._client.head_object(
                Bucket=self._bucket, Key=self._root + key, ChecksumMode="ENABLED", **which
            ),
            "HeadObject",
            self.name(key),
            _ABSENT | _REFUSED,
        )
        if answer.problem is not None and answer.problem.kind in _REFUSED:
            raise error_of(self._reason(answer.problem), self.name(key))
        if answer.problem is not None and not self._requests.bucket_seen:
            self._find_bucket()
        return answer

    def _reason(self, refused: Problem) -> Problem:
        """Why a HEAD was refused: its answer has no body to say it in, that of a listing has one."""
        if refused.code != str(refused.status):
            return refused
        listed = self._list_one(_REFUSED).problem
        return refused if listed is None or listed.code == "AccessDenied" else listed

    def _find_bucket(self) -> None:
        """Raises ConfigError when there is no such bucket: a listing says so, and needs no more permissions."""
        self._list_one(frozenset())

    def _list_one(self, expected: frozenset[Kind]) -> Answer:
        return self._requests.send(
            lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root, MaxKeys=1),
            "ListObjectsV2",
            self._location,
            expected,
        )

    def stat(self, key: str) -> ObjectStat | None:
        """The object's size, or None when it is not there."""
        answer = self.head(validate_key(key))
        if answer.problem is None:
            return ObjectStat(answer.value["ContentLength"])
        if answer.problem.delete_marker:
            version = self._original_version(key)
            return None if version is None else ObjectStat(version.size)
        return None

    def retention_of(self, key: str, version_id: str | None = None) -> Lock | None:
        """What holds a version (None: the newest); None: nothing does.

        Raises NotFoundError for what is not there, UnreachableError for who may not know.
        """
        answer = self.head(validate_key(key), version_id)
        if answer.problem is not None:
            missing = "object" if version_id is None else f"version {version_id}"
            raise NotFoundError(f"{self.name(key)}: there is no such {missing}")
        # A service tells nothing here to who may not know, and some tell nothing of older versions.
        which = {} if version_id is None else {"VersionId": version_id}
        return lock_of(answer.value) or read_lock(
            self._requests, self.name(key), Bucket=self._bucket, Key=self._root + key, **which
        )

    # --- listings -------------------------------------------------------------------------------------------

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with `prefix`; objects whose names are no keys are somebody else's."""
        validate_prefix(prefix)
        more: dict[str, str] = {}
        while True:
            page = self._requests.send(
                lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root + prefix, **more),  # noqa: B023
                "ListObjectsV2",
                self._location,
            ).value
            keys = (each["Key"].removeprefix(self._root) for each in page.get("Contents", ()))
            yield from (key for key in keys if is_key(key))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        """Every version and delete marker of the keys that begin so: by key, of one key the newest first."""
        validate_prefix(key_prefix)
        return list_versions(self._requests, self._bucket, self._root, key_prefix, self._location)

    def versions_of(self, key: str) -> list[ObjectVersion]:
        """Every version and delete marker of one key, the newest first."""
        found = []
        for version in self.versions(validate_key(key)):
            if version.key != key:
                break  # the key itself comes before all that it is the beginning of
            found.append(version)
        return found

    # --- covered objects ------------------------------------------------------------------------------------

    def original(
        self, key: str, *, limit: int = MAX_OBJECT_BYTES
    ) -> tuple[StoredObject, ObjectVersion] | None:
        """The oldest locked version of an object, and what the listing says of it; None when none is locked.

        Nobody can put a version below another, nor remove a locked one: so for an object that was written once,
        with a lock, this is what was written, whatever was put over it. That is noted in `covered`.
        """
        version = self._original_version(key)
        if version is None:
            return None
        return self.get_version(key, version.version_id, limit=limit), version

    def _original_version(self, key: str) -> ObjectVersion | None:
        versions = self.versions_of(key)
        for version in reversed(versions):
            if version.is_delete_marker:
                continue
            lock = self.retention_of(key, version.version_id)
            if lock is not None and self._holds(lock):
                self._note(version, versions)
                return version
        return None

    def _holds(self, lock: Lock) -> bool:
        return lock.legal_hold or (lock.until is not None and lock.until > self._requests.now())

    def _note(self, original: ObjectVersion, versions: list[ObjectVersion]) -> None:
        latest = versions[0]
        if latest == original:
            return
        covered = Covered(original.key, original.version_id, latest.version_id, latest.is_delete_marker)
        if self._covered.get(original.key) == covered or len(self._covered) >= MAX_COVERED:
            return
        self._covered[original.key] = covered
        _log.warning(
            "%s: somebody put %s (version %s) over its locked version %s; the locked one is read",
            self.name(original.key),
            "a delete marker" if latest.is_delete_marker else "another object",
            latest.version_id,
            original.version_id,
        )


def _stored(response: dict[str, Any]) -> StoredObject:
    # Some services keep the transfer's own coding (aws-chunked), which is none of the object's.
    named = [each.strip().lower() for each in response.get("ContentEncoding", "").split(",")]
    encodings = [each for each in named if each not in ("", "aws-chunked", "identity")]
    return StoredObject(response["Body"], response["ETag"], ",".join(encodings) or None)
