"""Reading the locks of a copy back: what an operator promised is what the store holds, or it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple, Protocol, runtime_checkable

from merklelog.audit.report import FindingKind, Findings, LockReport
from merklelog.errors import MerklelogError, NotFoundError
from merklelog.publish.s3_options import Lock

_AT_ONCE: Final = 512
_LISTED: Final = 8  # objects without a lock that are findings of their own; the others are counted


@runtime_checkable
class LockedStore(Protocol):
    """The part of a store with locks that reading them back takes. Safe for threads."""

    @property
    def location(self) -> str:
        """See ObjectStore.location."""

    def retention_of(self, key: str, version_id: str | None = None) -> Lock | None:
        """What holds a version of an object (None: the newest); None: nothing does."""


class LockedObject(NamedTuple):
    """An object that is to be locked, and which version of it (None: the newest)."""

    key: str
    version_id: str | None = None


class LockReader:
    """Reads the locks of many objects, `parallel` at a time, and says which are not held."""

    def __init__(self, store: LockedStore, parallel: int, findings: Findings) -> None:
        self._store = store
        self._parallel = parallel
        self._findings = findings
        self._now = datetime.now(UTC)
        self._counts = {"objects": 0, "COMPLIANCE": 0, "GOVERNANCE": 0, "held": 0, "unlocked": 0, "lapsed": 0}
        self._earliest: datetime | None = None

    def read(self, objects: Iterable[LockedObject], progress: Callable[[int], None]) -> LockReport:
        """Read all of them; `progress` is told how many are done. A store that refuses ends it, with a finding."""
        each = iter(objects)
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="merklelog-locks") as pool:
            while chunk := list(islice(each, _AT_ONCE)):
                for done, found in zip(chunk, pool.map(self._ask, chunk), strict=True):
                    if not self._take(done, found):
                        return self._report()
                progress(self._counts["objects"])
        return self._report()

    def _ask(self, wanted: LockedObject) -> Lock | MerklelogError | None:
        try:
            return self._store.retention_of(wanted.key, wanted.version_id)
        except MerklelogError as error:
            return error

    def _take(self, wanted: LockedObject, found: Lock | MerklelogError | None) -> bool:
        """Count one; False when it is no use to go on."""
        where = f"{self._store.location}/{wanted.key}"
        if isinstance(found, NotFoundError):
            return True  # a missing one is a finding of what needs it
        if isinstance(found, MerklelogError):
            self._findings.fault(FindingKind.LOCK, where, found)
            return False
        self._counts["objects"] += 1
        until = None if found is None else found.until
        if found is not None and found.legal_hold:
            self._counts["held"] += 1
        if found is None or (found.mode is None and not found.legal_hold):
            self._unheld("unlocked", where, "it must never change, and nothing locks it")
        elif until is not None:
            self._dated(where, found, until)
        return True

    def _dated(self, where: str, lock: Lock, until: datetime) -> None:
        if lock.mode in self._counts:
            self._counts[lock.mode] += 1
        if self._earliest is None or until < self._earliest:
            self._earliest = until
        if until <= self._now and not lock.legal_hold:
            self._unheld("lapsed", where, f"its {lock.mode} lock ended at {_text(until)}")

    def _unheld(self, what: str, where: str, detail: str) -> None:
        self._counts[what] += 1
        if self._counts["unlocked"] + self._counts["lapsed"] <= _LISTED:
            self._findings.add(FindingKind.LOCK, where, detail)

    def _report(self) -> LockReport:
        counts = self._counts
        unheld = counts["unlocked"] + counts["lapsed"]
        if unheld > _LISTED:
            detail = f"{unheld - _LISTED} more objects have no lock, or one that ended"
            self._findings.add(FindingKind.LOCK, self._store.location, detail)
        return LockReport(
            objects=counts["objects"],
            compliance=counts["COMPLIANCE"],
            governance=counts["GOVERNANCE"],
            held=counts["held"],
            unlocked=counts["unlocked"],
            lapsed=counts["lapsed"],
            earliest=None if self._earliest is None else _text(self._earliest),
        )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(listed: Iterator[str], pinned: dict[str, str]) -> Iterator[LockedObject]:
    """The objects of a listing, those that were put over in the version that is read, and those it hides."""
    hidden = dict(pinned)
    for key in listed:
        yield LockedObject(key, hidden.pop(key, None))
    for key, version in hidden.items():
        yield LockedObject(key, version)
