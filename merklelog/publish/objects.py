"""Object stores: the one seam between publication and where published bytes live.

The Protocol is shaped by what S3 gives (conditional writes, content encoding, retention) and by what a
directory can keep. Whoever writes another store runs tests/publish/object_store_contract.py on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from merklelog.errors import UsageError

MAX_OBJECT_BYTES: Final = 64 << 20
MAX_KEY_BYTES: Final = 1024  # Amazon S3, "Object key naming guidelines"

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._=-]{0,254}")
_SHOWN: Final = 80

Equality = Callable[[bytes, bytes], bool]


def same_bytes(there: bytes, new: bytes) -> bool:
    """Whether an object that is there counts as the one to be written: only byte for byte."""
    return there == new


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """What a store has to know about an object besides its bytes.

    `content_encoding` is None or "gzip"; `retain` asks for a retention lock where the store has one;
    `same(there, new)` says whether an immutable object found under its key is the one to be written;
    `cache_control` is what a web server tells caches of it ("" for nothing); `cold` says that it is large and
    seldom read, so that a store with storage classes may put it into a cheaper one.
    """

    content_type: str = "application/octet-stream"
    content_encoding: str | None = None
    retain: bool = False
    same: Equality = same_bytes
    cache_control: str = ""
    cold: bool = False


PLAIN: Final = ObjectKind()


@dataclass(frozen=True, slots=True)
class NewObject:
    """An immutable object to be written."""

    key: str
    data: bytes = field(repr=False)
    kind: ObjectKind = PLAIN


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read.

    `version` is opaque: equal bytes may or may not have equal versions, other bytes never do.
    `content_encoding` is what the store remembers of it, None when it remembers nothing (a directory never
    does).
    """

    data: bytes = field(repr=False)
    version: str
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What can be told of an object without reading it: its stored size in bytes."""

    size: int


def is_key(key: str) -> bool:
    """Whether `validate_key` takes it."""
    return len(key) <= MAX_KEY_BYTES and all(_SEGMENT.fullmatch(segment) for segment in key.split("/"))


def validate_key(key: str) -> str:
    """An object key: segments of `A-Za-z0-9._=-`, none beginning with a dot, slashes between, 1,024 bytes.

    So no key leaves the store (no `..`, no leading slash), none names a hidden file, and each means the same
    on a file system, on S3 and in a URL. Raises UsageError naming the key; gives the key back.
    """
    if not is_key(key):
        shown = ascii(key[:_SHOWN]) + ("..." if len(key) > _SHOWN else "")
        raise UsageError(
            f"object key {shown}: want segments of A-Z a-z 0-9 . _ = - between slashes, none hidden"
        )
    return key


def validate_prefix(prefix: str) -> str:
    """A prefix of some key: empty, or a key that may end in a slash. Raises UsageError; gives it back."""
    if prefix:
        validate_key(prefix.removesuffix("/"))
    return prefix


class ObjectReads(Protocol):
    """The part of an ObjectStore that reading tiles takes; `get` keeps the promises made there."""

    @property
    def location(self) -> str:
        """See ObjectStore.location."""

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectStore.get; who needs no version may leave it empty."""


class ObjectStore(Protocol):
    """A flat map from keys to bytes, with the promises publication stands on.

    *Durability.* When a `put...` returns, the object survives a power cut, and so does every object the same
    call found there already. `put_many` promises that for all of its objects only when it returns, and
    nothing about order before that: after a crash any subset may be there, each whole. A delete may be undone
    by a power cut.

    *Atomicity.* A reader gets an object whole, as it was before or after a write, never a part and never a
    mix; there is no promise across objects. A reader may see an object a moment before it is durable.

    *Concurrency.* Any number of threads, processes and hosts may read and write one store. An immutable
    object is created by exactly one writer; every other one finds it there. Of several `put_if_version` with
    one `expected`, one wins. `put` is for keys nobody compares: it takes no part in the comparing, but is
    atomic with it.

    *Retry.* Every call may be repeated as it was. After an error a write may have happened or not: repeat it,
    or (after `put_if_version`) read and decide. A store retries by itself only what its service says is
    temporary.

    *Errors.* UsageError for a key that is none (before anything is done), NotFoundError for an object that is
    not there, UnreachableError when the store does not answer or denies, DamagedError for something under the
    key that is no object or is longer than asked for, ImmutableError for an immutable object that is there
    with other bytes, StorageFullError without room, StorageError for what else went wrong locally; messages
    name store and key.
    """

    @property
    def location(self) -> str:
        """How a person names this store, for messages: `dir:/srv/copy`, `s3://bucket/prefix`."""

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object, read whole; more than `limit` bytes are never held: DamagedError."""

    def stat(self, key: str) -> ObjectStat | None:
        """The object's size, or None when it is not there."""

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        """Create an object that never changes. True: created. False: there already, and `kind.same` agrees.

        S3: PUT with If-None-Match: * and retention as asked. Raises ImmutableError, with nothing changed.
        """

    def put_many(self, objects: Iterable[NewObject]) -> int:
        """`put_immutable` for many at a lower price each; how many were created.

        Takes objects from the iterable as it goes and holds a bounded part of them; what the iterable raises
        comes through. After any error an unknown part was created.
        """

    def put_if_version(
        self, key: str, data: bytes, expected: str | None, kind: ObjectKind = PLAIN
    ) -> str | None:
        """Replace the object when its version is `expected` (None: when it is not there).

        Gives the new version, or None: lost, another version is there, nothing was changed. S3: If-Match, or
        If-None-Match: *.
        """

    def put(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> str:
        """Create or replace the object, whatever is there; gives its version."""

    def delete(self, key: str) -> None:
        """Remove the object; fine when it is not there."""

    def delete_many(self, keys: Iterable[str], *, superseded: Iterable[str] = ()) -> None:
        """`delete` for many at a lower price each; after an error an unknown part is gone.

        Of the keys in `superseded`, whose objects stay as they are, it removes what the store keeps of earlier
        `put` and `put_if_version`: their older versions, where a store has any. S3: one DeleteObjects for
        up to 1,000 of both, by version id.
        """

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with `prefix` (a plain string prefix), in the order of the keys' bytes.

        Objects that come or go while it runs may be given or not; all others are. Something that is no object
        (a temporary file, a hidden file) is never given.
        """
