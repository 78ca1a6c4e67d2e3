"""Locks of a published copy, looked after: made longer before they lapse, held, released.

Of each object that is kept, the version that was written first is meant: Object Lock holds versions, and nobody
can put one below another. Whatever was put over it since is reported and left alone.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any, Final, Protocol

from merklelog.errors import FormatError, MerklelogError, NotFoundError, UnknownError, UsageError
from merklelog.formats.wire import parse_decimal
from merklelog.publish.layout import CHECKPOINTS, COSIGNED, TILES
from merklelog.publish.partitions_layout import PARTITIONS
from merklelog.publish.s3_client import Requests
from merklelog.publish.s3_options import MAX_RETENTION_DAYS, Lock, ObjectVersion
from merklelog.tree.tiles import BUNDLE_LEVEL, TILE_WIDTH, Tile, parse_path

KEPT: Final = (CHECKPOINTS, COSIGNED, PARTITIONS, TILES)  # in the order of their keys
NO_END: Final = 2**63  # the end of a range of entries that has none
LISTED: Final = 100  # of what failed and what is covered, so many are told one by one
_GIVE_UP: Final = 32  # failures in a row: then it is the store or the permissions, not the object
_SIZE: Final = re.compile("[1-9][0-9]{0,17}")
_AHEAD: Final = 4  # objects under way for each request at a time

Advance = Callable[[int, int | None], None]


class Action(StrEnum):
    """What is done to each object."""

    EXTEND = "extend"
    HOLD = "hold"
    RELEASE = "release"


class LockedStore(Protocol):
    """What this needs of a store: S3Store has it."""

    client: Any
    bucket: str
    prefix: str

    @property
    def location(self) -> str:
        """See ObjectStore.location."""

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        """Every version and delete marker: by key, of one key the newest first."""

    def retention_of(self, key: str, version_id: str | None = None) -> Lock | None:
        """What holds a version; None: nothing does."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do, and to which objects.

    Extend: lock what lapses before `before` until `until`; an object without a lock gets one of `mode`, None
    leaves it and counts it as failed; `understood` says that locks of COMPLIANCE may be made longer for good.
    Hold and release: `entries` is a half-open range of indexes whose bundles and tiles are meant, None for all; it
    ends at NO_END where it goes on to the log's end.
    """

    action: Action
    until: datetime | None = None
    before: datetime | None = None
    mode: str | None = None
    understood: bool = False
    entries: tuple[int, int] | None = None


@dataclass(slots=True)
class RetentionReport:
    """What was done. `changed` and `already` count objects; the lists have the first 100 of their kind.

    `covered` are keys over whose first version somebody put another, or a delete marker; `earliest` is when the
    first of the locks lapses that were looked at, None where none was. `unheld` is the half-open range of the
    entries that were to be held and are in no full bundle yet: nothing that is kept has them.
    """

    target: str
    action: Action
    objects: int = 0
    changed: int = 0
    already: int = 0
    failures: int = 0
    failed: list[str] = field(default_factory=list)
    covers: int = 0
    covered: list[str] = field(default_factory=list)
    earliest: datetime | None = None
    unheld: tuple[int, int] | None = None


def check_until(until: datetime, now: datetime) -> datetime:
    """A moment that objects may be locked until, to a second. Raises UsageError."""
    if until <= now:
        raise UsageError(f"{until:%Y-%m-%d}: a lock until then would be over already")
    if until > now + timedelta(days=MAX_RETENTION_DAYS):
        raise UsageError(f"{until:%Y-%m-%d}: more than 100 years from now, the most that S3 takes")
    return until.replace(microsecond=0)


def change_locks(
    store: LockedStore,
    order: Order,
    *,
    parallel: int = 16,
    advance: Advance = lambda _done, _all: None,
) -> RetentionReport:
    """Do it to every object that is kept; what is so already is passed over, so a run that broke off goes on.

    `advance` is called with the number of objects done. An object that could not be changed is counted and
    named. Raises UnreachableError and what else the store says when many in a row fail, or when it can not be
    listed: what was changed until then is changed.
    """
    worker, extent = _Worker(store, order), _Extent()
    report = RetentionReport(store.location, order.action)
    waiting: deque[Future[_Done]] = deque()
    in_a_row = 0
    with ThreadPoolExecutor(parallel) as pool:
        for version, covered in _kept(store, order, extent):
            if covered:
                report.covers += 1
                _list(report.covered, version.key)
            waiting.append(pool.submit(worker.change, version))
            if len(waiting) >= parallel * _AHEAD:
                in_a_row = _take(report, waiting, in_a_row)
                advance(report.objects, None)
        while waiting:
            in_a_row = _take(report, waiting, in_a_row)
            advance(report.objects, None)
    if order.action is Action.HOLD:
        report.unheld = extent.outside(order.entries)
    return report


@dataclass(slots=True)
class _Extent:
    """What the keys of a copy say of its size: entries in full bundles, and in all."""

    full: int = 0
    size: int = 0

    def see(self, key: str) -> None:
        """One key of the copy."""
        if key.startswith(CHECKPOINTS):
            size = key.removeprefix(CHECKPOINTS)
            if _SIZE.fullmatch(size):
                self.size = max(self.size, parse_decimal(size.encode("ascii"), key))
        elif key.startswith(TILES) and (tile := _tile(key)) is not None and tile.level == BUNDLE_LEVEL:
            start = tile.index * TILE_WIDTH
            self.full = max(self.full, start + TILE_WIDTH if tile.width == TILE_WIDTH else 0)
            self.size = max(self.size, start + tile.width)

    def outside(self, entries: tuple[int, int] | None) -> tuple[int, int] | None:
        """Those of `entries` (None: all there are) behind the last full bundle; None where there are none."""
        start, end = (0, self.size) if entries is None else entries
        if end >= NO_END:
            end = max(self.size, start + 1)
        start = max(start, self.full)
        return (start, end) if start < end else None


@dataclass(frozen=True, slots=True)
class _Done:
    """One object's outcome, and when its lock lapses now."""

    changed: bool
    until: datetime | None


def _take(report: RetentionReport, waiting: deque[Future[_Done]], in_a_row: int) -> int:
    """Count the oldest of those under way; how many have failed in a row."""
    report.objects += 1
    try:
        done = waiting.popleft().result()
    except MerklelogError as error:
        report.failures += 1
        _list(report.failed, str(error))
        if isinstance(error, UnknownError) and in_a_row + 1 >= _GIVE_UP:
            for later in waiting:
                later.cancel()
            raise
        return in_a_row + 1
    report.changed += done.changed
    report.already += not done.changed
    if done.until is not None:
        report.earliest = done.until if report.earliest is None else min(report.earliest, done.until)
    return 0


def _list(rows: list[str], row: str) -> None:
    if len(rows) < LISTED:
        rows.append(row)


def _kept(store: LockedStore, order: Order, extent: _Extent) -> Iterator[tuple[ObjectVersion, bool]]:
    """The first version of every object that is meant, and whether it is not the newest any more."""
    for prefix in KEPT:
        for key, group in groupby(store.versions(prefix), key=lambda version: version.key):
            found = list(group)
            written = [version for version in found if not version.is_delete_marker]
            if written:
                extent.see(key)
            if written and is_kept(key) and _is_meant(key, order.entries):
                yield written[-1], not written[-1].is_latest


def is_kept(key: str) -> bool:
    """Whether an object under this key is kept under a lock: all below KEPT but partial tiles and bundles."""
    if not key.startswith(TILES):
        return key.startswith(KEPT)
    tile = _tile(key)
    return tile is not None and tile.width == TILE_WIDTH


def _is_meant(key: str, entries: tuple[int, int] | None) -> bool:
    """Whether it is one of the tiles and bundles that entries are in; checkpoints lead to all of them."""
    if entries is None or not key.startswith(TILES):
        return True
    tile = _tile(key)
    if tile is None:
        return False
    span: int = TILE_WIDTH ** (max(tile.level, 0) + 1)
    return tile.index * span < entries[1] and (tile.index + 1) * span > entries[0]


def _tile(key: str) -> Tile | None:
    try:
        return parse_path(key)
    except FormatError:
        return None


class _Worker:
    """Changes one object; any number of threads may use it."""

    def __init__(self, store: LockedStore, order: Order) -> None:
        self._store = store
        self._order = order
        self._requests = Requests(store.client)
        self._root = f"{store.prefix}/" if store.prefix else ""

    def change(self, version: ObjectVersion) -> _Done:
        """Look at the lock and set what is missing. Raises what the store does, UsageError for what may not be."""
        try:
            lock = self._store.retention_of(version.key, version.version_id)
        except NotFoundError as error:
            raise NotFoundError(f"{error} any more: it went while this ran") from error
        if self._order.action is Action.EXTEND:
            return self._extend(version, lock)
        return self._hold(version, lock, on=self._order.action is Action.HOLD)

    def _extend(self, version: ObjectVersion, lock: Lock | None) -> _Done:
        order, name = self._order, f"{self._store.location}/{version.key}"
        until = None if lock is None else lock.until
        if order.until is None or order.before is None:
            raise UsageError("extend: no date to extend to")
        if until is not None and until >= min(order.before, order.until):
            return _Done(False, until)
        mode = lock.mode if lock is not None and lock.mode is not None else order.mode
        if mode is None:
            raise UsageError(
                f"{name}: version {version.version_id} has no lock, and no mode for one was given"
            )
        if (
            mode == "COMPLIANCE"
            and not order.understood
            and order.until - datetime.now(UTC) > timedelta(days=1)
        ):
            raise UsageError(f"{name}: a COMPLIANCE lock, which nobody could take back, was not agreed to")
        retention = {"Mode": mode, "RetainUntilDate": order.until}
        self._send("put_object_retention", "PutObjectRetention", version, Retention=retention)
        return _Done(True, order.until)

    def _hold(self, version: ObjectVersion, lock: Lock | None, *, on: bool) -> _Done:
        until = None if lock is None else lock.until
        if on == (lock is not None and lock.legal_hold):
            return _Done(False, until)
        hold = {"Status": "ON" if on else "OFF"}
        self._send("put_object_legal_hold", "PutObjectLegalHold", version, LegalHold=hold)
        return _Done(True, until)

    def _send(self, call: str, operation: str, version: ObjectVersion, **what: Any) -> None:
        function = getattr(self._requests.client, call)
        key, version_id = self._root + version.key, version.version_id
        self._requests.send(
            lambda: function(Bucket=self._store.bucket, Key=key, VersionId=version_id, **what),
            operation,
            f"{self._store.location}/{version.key} version {version_id}",
        )
