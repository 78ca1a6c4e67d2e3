"""An object store in memory: what the contract means, in the fewest lines; for tests and comparisons."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from blake3 import blake3

from merklelog.errors import DamagedError, ImmutableError, NotFoundError
from merklelog.publish.objects import (
    MAX_OBJECT_BYTES,
    PLAIN,
    NewObject,
    ObjectKind,
    ObjectStat,
    StoredObject,
    validate_key,
    validate_prefix,
)


class MemoryStore:
    """Objects in a dictionary; the contract is ObjectStore's, but that nothing survives the process.

    `objects` maps each key to its bytes and kind, for whoever wants to look; several threads may use one store.
    """

    def __init__(self, name: str = "store") -> None:
        self.objects: dict[str, tuple[bytes, ObjectKind]] = {}
        self._name = name
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """How a person names this store: `memory:NAME`."""
        return f"memory:{self._name}"

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object, with the content encoding it was put with. Raises as ObjectStore says."""
        found = self.objects.get(validate_key(key))
        if found is None:
            raise NotFoundError(f"{self.location}/{key}: there is no such object")
        data, kind = found
        if len(data) > limit:
            raise DamagedError(f"{self.location}/{key}: {len(data)} bytes, want at most {limit}")
        return StoredObject(data, _version(data), kind.content_encoding)

    def stat(self, key: str) -> ObjectStat | None:
        """The object's size, or None when it is not there."""
        found = self.objects.get(validate_key(key))
        return None if found is None else ObjectStat(len(found[0]))

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        """Create an object that never changes; False: it is there already."""
        validate_key(key)
        with self._lock:
            if key not in self.objects:
                self.objects[key] = (data, kind)
                return True
            there = self.objects[key][0]
        if not kind.same(there, data):
            raise ImmutableError(
                f"{self.location}/{key}: it must never change, and is there with other bytes: got "
                f"{len(there)} bytes with BLAKE3 {_version(there)}, want {len(data)} with {_version(data)}"
            )
        return False

    def put_many(self, objects: Iterable[NewObject]) -> int:
        """`put_immutable`, one after the other."""
        return sum(self.put_immutable(new.key, new.data, new.kind) for new in objects)

    def put_if_version(
        self, key: str, data: bytes, expected: str | None, kind: ObjectKind = PLAIN
    ) -> str | None:
        """Replace the object when its version is `expected`; None: another one is there."""
        validate_key(key)
        with self._lock:
            found = self.objects.get(key)
            if (None if found is None else _version(found[0])) != expected:
                return None
            self.objects[key] = (data, kind)
        return _version(data)

    def put(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> str:
        """Create or replace the object; gives its version."""
        with self._lock:
            self.objects[validate_key(key)] = (data, kind)
        return _version(data)

    def delete(self, key: str) -> None:
        """Remove the object; fine when it is not there."""
        with self._lock:
            self.objects.pop(validate_key(key), None)

    def delete_many(self, keys: Iterable[str], *, superseded: Iterable[str] = ()) -> None:
        """Remove many; nothing is kept of what was superseded."""
        for key in superseded:
            validate_key(key)
        for key in keys:
            self.delete(key)

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with `prefix`, in the order of the keys' bytes."""
        validate_prefix(prefix)
        with self._lock:
            keys = sorted(key for key in self.objects if key.startswith(prefix))
        return iter(keys)


def _version(data: bytes) -> str:
    return blake3(data).hexdigest()
