"""An object store in an S3 bucket, with Object Lock where that is asked for.

What each promise of ObjectStore stands on: S3 answers a PUT when the object is durable, and shows it to all at
once; If-None-Match: * creates once; If-Match with the ETag is the compare-and-swap. A retained object is
written with its lock in the same request, so there is no moment in which it could be changed. Nothing is ever
hidden under a delete marker: what goes, goes by version id.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from merklelog.errors import DamagedError, ImmutableError, NotFoundError, UnreachableError
from merklelog.formats.wire import encode_base64
from merklelog.publish.objects import (
    MAX_OBJECT_BYTES,
    PLAIN,
    NewObject,
    ObjectKind,
    ObjectStat,
    StoredObject,
    validate_key,
)
from merklelog.publish.s3_client import Answer, Requests, Sleep, make_client
from merklelog.publish.s3_collect import Collector
from merklelog.publish.s3_locks import Locks, lock_of
from merklelog.publish.s3_options import (
    Lock,
    ObjectVersion,
    Retention,
    S3Location,
    S3Options,
    parse_s3_url,
)
from merklelog.publish.s3_parallel import Parallel
from merklelog.publish.s3_problems import Kind
from merklelog.publish.s3_reads import Covered, S3Reads
from merklelog.publish.s3_transfer import Transfer
from merklelog.publish.s3_versions import NO_VERSION, Memory, Written

__all__ = [
    "Covered",
    "Lock",
    "ObjectVersion",
    "Retention",
    "S3Location",
    "S3Options",
    "S3Store",
    "open_s3",
    "parse_s3_url",
]

_ETAG: Final = re.compile(r'"[!#-~]+"')  # RFC 9110, section 8.8.3
_LOST: Final = frozenset((Kind.PRECONDITION,))
_LOST_OR_GONE: Final = frozenset((Kind.PRECONDITION, Kind.ABSENT))
_CAME_AND_WENT: Final = 10
_NOTHING: Final[dict[str, str]] = {}


class S3Store:
    """Objects below a prefix of a bucket; the contract is ObjectStore's, any number of threads may use it.

    An object's version is its ETag. Every PUT carries the SHA-256 of its bytes, which the service checks, and
    retained kinds their lock; of those a sample is read back. Requests that the service could not take now are
    sent again with pauses; after an answer that never came, a compare-and-swap reads what is there and counts
    bytes equal to its own as its own.

    `client`, `bucket` and `prefix` are for who has to ask the bucket other things; `requests` counts what was
    sent, by operation. `close` frees threads and connections; a store that is not closed does so at exit.
    """

    def __init__(
        self,
        client: Any,
        location: S3Location,
        options: S3Options | None = None,
        *,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.client = client
        self.bucket = location.bucket
        self.prefix = location.prefix
        self._options = S3Options() if options is None else options
        self._location = str(location)
        self._root = f"{location.prefix}/" if location.prefix else ""
        self._requests = Requests(client, sleep=sleep)
        self._transfer = Transfer(client, self.bucket, self._requests.count)
        self._reads = S3Reads(self._requests, self._transfer, self.bucket, self._root, self._location)
        self._locks = Locks(self._requests, self.bucket, self._location, self._options.retention)
        self._memory = Memory()
        self._collector = Collector(self._requests, self._reads, self._memory, self.bucket, self._root, sleep)
        self._parallel = Parallel(self._options.parallel)

    @property
    def location(self) -> str:
        """How a person names this store: `s3://BUCKET/PREFIX`."""
        return self._location

    @property
    def options(self) -> S3Options:
        """What it was opened with."""
        return self._options

    @property
    def requests(self) -> Counter[str]:
        """How many requests were sent, by operation, those sent again included."""
        return Counter(self._requests.counts)

    @property
    def covered(self) -> tuple[Covered, ...]:
        """The locked objects met over which somebody put something; each was read past, by version id."""
        return self._reads.covered

    def close(self) -> None:
        """End the threads and the connections; the store may not be used after."""
        self._parallel.close()
        self._transfer.close()

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object, read whole, its checksum verified where the service has one; a locked one under a
        delete marker, too (see `covered`). Raises as ObjectStore says.
        """
        return self._reads.get(key, limit=limit)

    def stat(self, key: str) -> ObjectStat | None:
        """The object's size, or None when it is not there."""
        return self._reads.stat(key)

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with `prefix`, in the order of the keys' bytes; 1,000 a request."""
        return self._reads.list_keys(prefix)

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        """Every version and delete marker of the keys that begin so: by key, of one key the newest first."""
        return self._reads.versions(key_prefix)

    def get_version(self, key: str, version_id: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """One version of an object. Raises NotFoundError, also for a delete marker's id."""
        return self._reads.get_version(key, version_id, limit=limit)

    def original(
        self, key: str, *, limit: int = MAX_OBJECT_BYTES
    ) -> tuple[StoredObject, ObjectVersion] | None:
        """The oldest version that a lock holds, whatever was put over it; None when none is held."""
        return self._reads.original(validate_key(key), limit=limit)

    def retention_of(self, key: str, version_id: str | None = None) -> Lock | None:
        """What holds a version (None: the newest); None: nothing. Raises NotFoundError, UnreachableError."""
        return self._reads.retention_of(key, version_id)

    # --- immutable objects ----------------------------------------------------------------------------------

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        """Create an object that never changes; False: it is there already. Raises as ObjectStore says."""
        validate_key(key)
        for _ in range(_CAME_AND_WENT):
            if self._put(key, data, kind, {"IfNoneMatch": "*"}, _LOST).problem is None:
                return True
            if self._is_there(key, data, kind):
                return False  # and else it was deleted since: once more
        raise UnreachableError(
            f"{self._reads.name(key)}: the store says that it is there when it is to be created and not when it "
            "is read; a delete marker over it must be removed by its version id"
        )

    def put_many(self, objects: Iterable[NewObject]) -> int:
        """Create many, `parallel` at a time; holds 32 MiB of them at most, and one object."""
        return self._parallel.count(objects, lambda new: self.put_immutable(new.key, new.data, new.kind))

    def _is_there(self, key: str, data: bytes, kind: ObjectKind) -> bool:
        """Whether the object is there as wanted. Raises ImmutableError when another one is there."""
        there = self._get_or_none(key)
        if there is not None and kind.same(there.data, data):
            self._secure(key, kind)
            return True
        original = self.original(key) if kind.retain else None
        if original is not None and kind.same(original[0].data, data):
            return True  # ours, and somebody put something over it: noted as covered
        if there is None:
            return False
        raise ImmutableError(
            f"{self._reads.name(key)}: it must never change, and is there with other bytes: got "
            f"{len(there.data)} bytes with SHA-256 {_digest(there.data).hex()}, want {len(data)} with "
            f"{_digest(data).hex()}"
        )

    def _secure(self, key: str, kind: ObjectKind) -> None:
        """Locks what is there as if it were written now, where less holds it: whoever put it may not have."""
        wanted = self._locks.until(kind) if kind.retain else None
        if wanted is None:
            return
        found = self._reads.head(key)
        if found.problem is None:
            version_id = found.value.get("VersionId") or NO_VERSION
            lock = lock_of(found.value) or self._reads.retention_of(key, version_id)
            self._locks.renew(lock, wanted, self._reads.name(key), self._root + key, version_id)

    def _get_or_none(self, key: str) -> StoredObject | None:
        try:
            return self.get(key)
        except NotFoundError:
            return None

    # --- mutable objects ------------------------------------------------------------------------------------

    def put_if_version(
        self, key: str, data: bytes, expected: str | None, kind: ObjectKind = PLAIN
    ) -> str | None:
        """Replace the object when its version is `expected`; None: another one is there."""
        validate_key(key)
        if expected is not None and not _ETAG.fullmatch(expected):
            return None  # no object of this store ever has such a version
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        answer = self._put(key, data, kind, condition, _LOST_OR_GONE)
        if answer.problem is None:
            return _version(answer)
        if not answer.doubtful:
            return None
        # An attempt without an answer may be what made the condition fail.
        there = self._get_or_none(key)
        return there.version if there is not None and there.data == data else None

    def put(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> str:
        """Create or replace the object; gives its version."""
        return _version(self._put(validate_key(key), data, kind, _NOTHING, frozenset()))

    def delete(self, key: str) -> None:
        """Remove every version of the object; waits out a lock of seconds.

        Raises ImmutableError for an object that is locked longer.
        """
        self._collector.delete(validate_key(key))

    def delete_many(self, keys: Iterable[str], *, superseded: Iterable[str] = ()) -> None:
        """Remove every version of `keys`, and of `superseded` all but the newest, in as few requests as can be.

        What carries a lock of seconds, under a bucket's default retention, goes with a later call. Raises
        ImmutableError when one of `keys` is locked longer; a superseded version that is stays.
        """
        self._collector.delete_many(keys, superseded)

    # --- writing --------------------------------------------------------------------------------------------

    def _put(
        self, key: str, data: bytes, kind: ObjectKind, condition: dict[str, str], expected: frozenset[Kind]
    ) -> Answer:
        lock = self._locks.until(kind)
        digest = _digest(data)
        parameters = {**self._parameters(kind, lock), **condition}
        try:
            answer = self._requests.send(
                lambda: self._transfer.put(self._root + key, data, digest, parameters),
                "PutObject",
                self._reads.name(key),
                expected,
            )
        except UnreachableError as error:
            self._memory.doubt(key)
            if lock is not None and "AccessDenied" in str(error):
                raise UnreachableError(
                    f"{error}; for this one, which is locked, s3:PutObjectRetention too",
                    refused=error.refused,
                ) from error
            raise
        if answer.doubtful:
            self._memory.doubt(key)
        if answer.problem is None:
            self._wrote(
                key,
                kind,
                lock,
                encode_base64(digest).decode("ascii"),
                answer.value,
                created="IfNoneMatch" in condition,
            )
        return answer

    def _parameters(self, kind: ObjectKind, lock: tuple[str, datetime] | None) -> dict[str, Any]:
        options = self._options
        parameters: dict[str, Any] = {"ContentType": kind.content_type}
        if kind.content_encoding:
            parameters["ContentEncoding"] = kind.content_encoding
        if kind.cache_control:
            parameters["CacheControl"] = kind.cache_control
        if options.sse != "none":
            parameters["ServerSideEncryption"] = options.sse
        if options.sse_kms_key_id:
            parameters["SSEKMSKeyId"] = options.sse_kms_key_id
        if kind.cold and options.storage_class:
            parameters["StorageClass"] = options.storage_class
        if lock is not None:
            parameters["ObjectLockMode"], parameters["ObjectLockRetainUntilDate"] = lock
        return parameters

    def _wrote(
        self,
        key: str,
        kind: ObjectKind,
        lock: tuple[str, datetime] | None,
        checksum: str,
        response: dict[str, Any],
        *,
        created: bool,
    ) -> None:
        """Looks at what the service says it stored. Raises DamagedError when that is not what was sent."""
        name = self._reads.name(key)
        version_id = response.get("VersionId") or NO_VERSION
        if response.get("ChecksumSHA256", checksum) != checksum:
            raise DamagedError(
                f"{name}: the store answered SHA-256 {response['ChecksumSHA256'][:64]}, want {checksum}"
            )
        if not kind.retain:
            until = None if lock is None else lock[1]
            self._memory.wrote(key, Written(version_id, until), created=created)
        elif lock is not None and self._locks.is_sample():
            try:
                found = self._reads.retention_of(key, version_id)
            except NotFoundError as error:
                raise DamagedError(
                    f"{name}: version {version_id} was just written and is not there"
                ) from error
            self._locks.check(found, name, lock, version_id)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _version(answer: Answer) -> str:
    etag: str = answer.value["ETag"]
    return etag


def open_s3(url: str, options: S3Options | None = None) -> S3Store:
    """The store at `s3://BUCKET/PREFIX`; nothing is asked of it yet.

    Raises UsageError for a URL that names no bucket or prefix, ConfigError without boto3 or for settings that it
    does not take (a profile that is not there).
    """
    location = parse_s3_url(url)
    settings = S3Options() if options is None else options
    return S3Store(make_client(settings), location, settings)
