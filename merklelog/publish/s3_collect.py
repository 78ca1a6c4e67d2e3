"""Removing what nobody needs any more, by version id, and nothing that is locked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from merklelog.errors import ImmutableError, MerklelogError, NotFoundError, UnreachableError
from merklelog.publish.objects import validate_key
from merklelog.publish.s3_client import Requests, Sleep
from merklelog.publish.s3_reads import S3Reads
from merklelog.publish.s3_versions import Memory, Refusal, Written, remove_versions

MAX_DEFERRED: Final = 4096
MAX_REST: Final = 64
_SOON: Final = timedelta(seconds=10)  # locks that end within it are waited for
_EVER: Final = datetime.min.replace(tzinfo=UTC)
_log = logging.getLogger("merklelog.publish")

Doomed = dict[tuple[str, str], datetime]  # (key, version id) -> locked until then


class Collector:
    """Removes versions for one store.

    A version under a lock of seconds is kept in mind (4,096 of them) and goes with a later call; one that is
    forgotten is found again by the next listing of its key. To an identity that may not delete, the refusal of one
    version tells as much as that of all: then nothing is asked for a while, longer each time.
    """

    def __init__(
        self, requests: Requests, reads: S3Reads, memory: Memory, bucket: str, root: str, sleep: Sleep
    ) -> None:
        self._requests = requests
        self._reads = reads
        self._memory = memory
        self._bucket = bucket
        self._root = root
        self._sleep = sleep
        self._lock = threading.Lock()
        self._deferred: Doomed = {}
        self._left: set[tuple[str, str]] = set()
        self._denials = 0  # in a row
        self._rest = 0  # calls that are not tried after them
        self._denied = ""

    def delete(self, key: str) -> None:
        """Removes every version of one object. Raises ImmutableError for one that is locked for long."""
        doomed = self._doomed(self._all(key))
        last = max(doomed.values(), default=_EVER)
        if last - self._requests.now() < _SOON:
            self._wait_until(last)
        for refusal in self._remove(doomed):
            held = self._held_until(refusal)
            if held is None or held - self._requests.now() >= _SOON:
                raise self._error(refusal, held)
            self._wait_until(held)
            if self._remove({(refusal.key, refusal.version_id): held}):
                raise self._error(refusal, self._held_until(refusal))

    def delete_many(self, keys: Iterable[str], superseded: Iterable[str]) -> None:
        """Removes every version of `keys` and the older ones of `superseded`, as one group.

        Raises ImmutableError, and UnreachableError where this identity may not delete: of the calls after that one
        only the second, the fifth and so on ask again, in the end one in 65, and the others raise at once.
        """
        with self._lock:
            if self._rest:
                self._rest -= 1
                raise UnreachableError(self._denied)
            doomed, self._deferred = self._deferred, {}
        wanted: set[tuple[str, str]] = set()
        try:
            for key in keys:
                found = self._doomed(self._all(validate_key(key)))
                wanted.update(found)
                doomed.update(found)
            for key in superseded:
                doomed.update(self._doomed(self._older(validate_key(key))))
            now = self._requests.now()
            ready = {each: until for each, until in doomed.items() if until < now and each not in self._left}
            self._defer({each: until for each, until in doomed.items() if until >= now})
        except MerklelogError:
            self._defer(doomed)
            raise
        self._judge(self._remove(ready), wanted)
        if ready:
            self._denials = 0

    # --- what there is --------------------------------------------------------------------------------------

    def _all(self, key: str) -> list[tuple[str, Written]]:
        known = self._memory.complete(key)
        return [(key, each) for each in (self._listed(key) if known is None else known)]

    def _older(self, key: str) -> list[tuple[str, Written]]:
        known = self._memory.complete(key)
        versions = self._listed(key) if known is None else known
        newest = versions[-1].version_id if versions else ""
        return [(key, each) for each in versions if each.version_id != newest]

    def _listed(self, key: str) -> list[Written]:
        """All versions and delete markers of a key, the oldest first."""
        versions = [Written(each.version_id) for each in reversed(self._reads.versions_of(key))]
        self._memory.learn(key, versions)
        return versions

    @staticmethod
    def _doomed(versions: list[tuple[str, Written]]) -> Doomed:
        return {(key, each.version_id): each.until or _EVER for key, each in versions}

    # --- what goes ------------------------------------------------------------------------------------------

    def _remove(self, doomed: Doomed) -> list[Refusal]:
        """One group of requests; what is gone is forgotten. What it could not even ask for is kept in mind."""
        if not doomed:
            return []
        name = self._reads.name(next(iter(doomed))[0])
        try:
            refused = remove_versions(self._requests, self._bucket, self._root, list(doomed), name)
        except MerklelogError:
            self._defer(doomed)
            raise
        kept = {(refusal.key, refusal.version_id) for refusal in refused}
        for key, version_id in doomed.keys() - kept:
            self._memory.removed(key, (version_id,))
        return refused

    def _judge(self, refused: list[Refusal], wanted: set[tuple[str, str]]) -> None:
        """A lock of seconds: later. A lock on what was wanted away: an error. On what was superseded: it stays.

        Asks one to three questions a refusal, and none after the first that is an error.
        """
        for number, refusal in enumerate(refused):
            each = (refusal.key, refusal.version_id)
            held = self._held_until(refusal)
            if held is not None and held - self._requests.now() < _SOON:
                self._defer({each: held})
            elif held is not None and each not in wanted:
                self._left.add(each)
                _log.warning(
                    "%s: superseded version %s is locked until %s and stays",
                    self._reads.name(each[0]),
                    each[1],
                    held,
                )
            else:
                self._defer({(later.key, later.version_id): _EVER for later in refused[number + 1 :]})
                error = self._error(refusal, held)
                raise error if held is not None else self._deny(str(error))

    def _deny(self, denied: str) -> UnreachableError:
        """Rest: a permission that is missing comes back by hand, and not between two publications.

        Of refusals in a row the first is the one that is told: what is said anew is logged anew.
        """
        with self._lock:
            self._rest = min(MAX_REST, 1 << self._denials)
            self._denials += 1
            self._denied = denied if self._denials == 1 else self._denied
            return UnreachableError(self._denied)

    def _held_until(self, refusal: Refusal) -> datetime | None:
        """Until when a version that was refused is locked; None when no lock explains the refusal."""
        try:
            lock = self._reads.retention_of(refusal.key, refusal.version_id)
        except NotFoundError:
            return self._requests.now()  # it is gone by now
        if lock is None:
            return None
        if lock.legal_hold or lock.until is None:
            return datetime.max.replace(tzinfo=UTC)
        return lock.until if lock.until > self._requests.now() else None

    def _error(self, refusal: Refusal, held: datetime | None) -> MerklelogError:
        name = self._reads.name(refusal.key)
        tried = f"{name}: DeleteObjects of version {refusal.version_id}: the store answered {refusal.code}"
        if held is None:
            return UnreachableError(
                f"{tried}: this identity may not; docs/s3.md lists the permissions a log needs"
            )
        return ImmutableError(f"{tried}: it is locked until {held:%Y-%m-%dT%H:%M:%SZ}")

    def _defer(self, doomed: Doomed) -> None:
        with self._lock:
            self._deferred.update(doomed)
            while len(self._deferred) > MAX_DEFERRED:
                self._deferred.pop(next(iter(self._deferred)))

    def _wait_until(self, moment: datetime) -> None:
        seconds = (moment - self._requests.now()).total_seconds()
        if seconds > 0:
            self._sleep(seconds + 1.0)  # its clock is known to a second
