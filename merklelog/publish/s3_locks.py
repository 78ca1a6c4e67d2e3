"""Object Lock: what the bucket does by itself, what each new object asks for, and what it really got."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from merklelog.errors import ConfigError, DamagedError
from merklelog.publish.objects import ObjectKind
from merklelog.publish.s3_client import Requests
from merklelog.publish.s3_options import Lock, Retention
from merklelog.publish.s3_problems import Kind

# A lock that lapses at once: S3 takes any time to come, clocks and answers are good to a second each.
SHORTEST: Final = timedelta(seconds=3)
SAMPLE: Final = 64  # every so many retained objects one is read back, the first one of each run included
_DAYS_A_YEAR: Final = 365
_LITTLE: Final = timedelta(days=1)
_log = logging.getLogger("merklelog.publish")
_EXPECTED: Final = frozenset((Kind.ABSENT, Kind.REFUSED))


@dataclass(frozen=True, slots=True)
class BucketLock:
    """What a bucket says of its Object Lock: whether it is on, and the default retention, None without one."""

    enabled: bool
    default: Retention | None


def read_bucket_lock(requests: Requests, bucket: str, location: str) -> BucketLock:
    """Asks the bucket. Raises ConfigError for no such bucket, UnreachableError when it does not tell."""
    answer = requests.send(
        lambda: requests.client.get_object_lock_configuration(Bucket=bucket),
        "GetObjectLockConfiguration",
        location,
        _EXPECTED,
    )
    if answer.problem is not None:
        return BucketLock(False, None)
    found = answer.value.get("ObjectLockConfiguration", {})
    rule = found.get("Rule", {}).get("DefaultRetention", {})
    days = rule.get("Days") or rule.get("Years", 0) * _DAYS_A_YEAR
    default = Retention(rule["Mode"], days) if rule.get("Mode") and days else None
    return BucketLock(found.get("ObjectLockEnabled") == "Enabled", default)


def lock_of(response: dict[str, Any]) -> Lock | None:
    """What HeadObject says that holds a version."""
    hold = response.get("ObjectLockLegalHoldStatus") == "ON"
    return _lock(response.get("ObjectLockMode"), response.get("ObjectLockRetainUntilDate"), hold)


def read_lock(requests: Requests, name: str, **which: str) -> Lock | None:
    """What holds a version, asked by itself: not every service tells it with HeadObject.

    `which` are bucket, key and version id as boto3 takes them. Raises UnreachableError for who may not know.
    """
    client = requests.client
    found = requests.send(
        lambda: client.get_object_retention(**which), "GetObjectRetention", name, _EXPECTED
    ).value
    held = requests.send(
        lambda: client.get_object_legal_hold(**which), "GetObjectLegalHold", name, _EXPECTED
    ).value
    retention = (found or {}).get("Retention", {})
    hold = (held or {}).get("LegalHold", {}).get("Status") == "ON"
    return _lock(retention.get("Mode"), retention.get("RetainUntilDate"), hold)


def _lock(mode: str | None, until: datetime | None, hold: bool) -> Lock | None:
    if mode and until is not None:
        return Lock(mode, until.astimezone(UTC), hold)
    return Lock(None, None, hold) if hold else None


class Locks:
    """The retention that a store's objects are written with.

    Retained kinds carry what is configured. Under a bucket's default retention every other object carries
    one too, of seconds: else the default would keep it for years, and it could never be collected.
    """

    def __init__(self, requests: Requests, bucket: str, location: str, wanted: Retention | None) -> None:
        self._requests = requests
        self._bucket = bucket
        self._location = location
        self._wanted = wanted
        self._asking = threading.Lock()
        self._found: BucketLock | None = None
        self._counting = threading.Lock()
        self._retained = 0

    def bucket_lock(self) -> BucketLock:
        """What the bucket says, asked once. Raises ConfigError when it does not lock what is to be locked."""
        with self._asking:
            if self._found is None:
                found = read_bucket_lock(self._requests, self._bucket, self._location)
                if self._wanted is not None and not found.enabled:
                    raise ConfigError(
                        f"{self._location}: the bucket has no Object Lock, and publish.s3.retention_mode is "
                        f"{self._wanted.mode}: create a bucket with Object Lock (`merklelog preflight "
                        "--print-setup` says how), or set the mode to none"
                    )
                self._found = found
            return self._found

    def until(self, kind: ObjectKind) -> tuple[str, datetime] | None:
        """The mode and end of the lock that a new object of that kind asks for, to a second; None for none."""
        found = self.bucket_lock()
        if kind.retain and self._wanted is not None:
            return self._wanted.mode, self._from_now(timedelta(days=self._wanted.days))
        if found.default is not None and not kind.retain:
            return "GOVERNANCE", self._from_now(SHORTEST)
        return None

    def _from_now(self, span: timedelta) -> datetime:
        return (self._requests.now() + span).replace(microsecond=0)

    def is_sample(self) -> bool:
        """Whether the retained object that was just written is one to be read back; counts it."""
        with self._counting:
            self._retained += 1
            return self._retained % SAMPLE == 1

    def renew(
        self, lock: Lock | None, wanted: tuple[str, datetime], name: str, key: str, version_id: str
    ) -> None:
        """Locks a version for as long as a new one would be, unless `lock` does for all but a day of that.

        `key` is the bucket's. It is said in the log, and so is a lock of another mode, which keeps that. Raises
        UnreachableError where the store does not take it.
        """
        mode, until = wanted
        found = lock.mode if lock is not None else None
        if lock is not None and found is not None and found != mode:
            _log.warning("%s: version %s was there, locked in %s mode, not %s", name, version_id, found, mode)
        if lock is not None and lock.until is not None and lock.until >= until - _LITTLE:
            return
        # Another mode may take a permission that a log must not have.
        retention = {"Mode": found or mode, "RetainUntilDate": until}
        client = self._requests.client
        self._requests.send(
            lambda: client.put_object_retention(
                Bucket=self._bucket, Key=key, VersionId=version_id, Retention=retention
            ),
            "PutObjectRetention",
            name,
        )
        _log.warning(
            "%s: version %s was there and not locked for as long as it must be: it is now", name, version_id
        )

    @staticmethod
    def check(lock: Lock | None, name: str, asked: tuple[str, datetime], version_id: str) -> None:
        """Compares the lock that a version has with the one that was asked for. Raises DamagedError."""
        mode, until = asked
        wanted = f"{mode} until {until:%Y-%m-%dT%H:%M:%SZ}"
        if lock is None or lock.mode is None or lock.until is None:
            raise DamagedError(
                f"{name}: version {version_id} was to be locked ({wanted}), and the store shows no lock on it: "
                "either it did not lock it, or this identity lacks s3:GetObjectRetention"
            )
        if lock.mode != mode or lock.until < until:
            raise DamagedError(
                f"{name}: version {version_id} is locked otherwise than asked: got {lock.mode} until "
                f"{lock.until:%Y-%m-%dT%H:%M:%SZ}, want {wanted}"
            )
