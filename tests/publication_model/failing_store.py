"""A store whose requests are counted, refused, lost or answered late; and what it was ever asked to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

from merklelog.errors import UnreachableError
from merklelog.publish import NewObject
from merklelog.publish.objects import PLAIN, ObjectKind


class Fault(Enum):
    """How a request fails."""

    REFUSED = "refused, and not stored"
    STORED = "answered with an error, but stored"
    LATE = "no answer, and stored later"


class Killed(BaseException):
    """The process ended here: nothing of it runs any more."""


class FailingStore:
    """Another store behind a gate that every request passes.

    `gate(name, write)` gets the request's name and, for a write, the function that makes it; it lets it pass by
    returning False, or answers for it by raising. Immutable bytes are remembered: a second write of one key with
    other bytes fails the test at once.
    """

    def __init__(self, inner: Any, gate: Callable[[str, Callable[[], Any] | None], None]) -> None:
        self.inner = inner
        self.gate = gate

    @property
    def location(self) -> str:
        return self.inner.location

    def _write(self, name: str, make: Callable[[], Any]) -> Any:
        self.gate(name, make)
        return make()

    def get(self, key: str, **limits: int) -> Any:
        self.gate(f"get {key}", None)
        return self.inner.get(key, **limits)

    def stat(self, key: str) -> Any:
        self.gate(f"stat {key}", None)
        return self.inner.stat(key)

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        return self._write(f"put {key}", lambda: self.inner.put_immutable(key, data, kind))

    def put_many(self, objects: Iterable[NewObject]) -> int:
        return sum(self.put_immutable(new.key, new.data, new.kind) for new in objects)

    def put_if_version(
        self, key: str, data: bytes, expected: str | None, kind: ObjectKind = PLAIN
    ) -> str | None:
        return self._write(f"swap {key}", lambda: self.inner.put_if_version(key, data, expected, kind))

    def put(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> str:
        return self._write(f"put {key}", lambda: self.inner.put(key, data, kind))

    def delete(self, key: str) -> None:
        self._write(f"delete {key}", lambda: self.inner.delete(key))

    def delete_many(self, keys: Iterable[str], *, superseded: Iterable[str] = ()) -> None:
        listed, old = list(keys), list(superseded)
        self._write(f"delete {' '.join(listed)}", lambda: self.inner.delete_many(listed, superseded=old))

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        self.gate(f"list {prefix}", None)
        return self.inner.list_keys(prefix)


class FailOnce:
    """A gate that lets the requests before number `at` pass, fails that one, and lets the rest pass.

    `asked` are the names of all requests so far; a write that is late comes before the next request.
    """

    def __init__(self, at: int | None = None, fault: Fault = Fault.REFUSED, *, kill: bool = False) -> None:
        self.at = at
        self.fault = fault
        self.kill = kill
        self.asked: list[str] = []
        self._late: Callable[[], Any] | None = None

    def __call__(self, name: str, write: Callable[[], Any] | None) -> None:
        late, self._late = self._late, None
        if late is not None:
            late()
        self.asked.append(name)
        if self.at is None or len(self.asked) - 1 != self.at:
            return
        if write is not None and self.fault is Fault.STORED:
            write()
        elif write is not None and self.fault is Fault.LATE:
            self._late = write
        if self.kill:
            raise Killed(name)
        raise UnreachableError(f"{name}: {self.fault.value}")


class WrittenOnce:
    """A store that fails the test when an immutable key gets other bytes, or a locked object is removed.

    `locked` maps every key that was put to be retained to its first bytes, even after somebody deleted it.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.locked: dict[str, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        if kind.retain:
            there = self.locked.setdefault(key, data)
            assert kind.same(there, data), f"{key} is locked and was to be changed"
        return self.inner.put_immutable(key, data, kind)

    def put_many(self, objects: Iterable[NewObject]) -> int:
        return sum(self.put_immutable(new.key, new.data, new.kind) for new in objects)

    def put(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> str:
        assert key not in self.locked
        assert not kind.retain
        return self.inner.put(key, data, kind)

    def delete(self, key: str) -> None:
        assert key not in self.locked, f"{key} is locked and was to be deleted"
        self.inner.delete(key)

    def delete_many(self, keys: Iterable[str], *, superseded: Iterable[str] = ()) -> None:
        for key in keys:
            self.delete(key)
