"""Locks made longer, held and released, on real servers; what may not be done is refused by them, not by us."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from merklelog.errors import UnreachableError, UsageError
from merklelog.publish import retention
from merklelog.publish.layout import CHECKPOINT_OF_SIZE_KIND, tile_kind
from merklelog.publish.objects import PLAIN, NewObject
from merklelog.publish.retention import NO_END, Action, Order, change_locks, check_until, is_kept
from merklelog.publish.s3 import Retention, S3Store
from tests.support import weak_s3 as weak
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

DAY = timedelta(days=1)
KEPT = [
    *("checkpoints/300", "checkpoints/600", "partitions/year=2026/day=1.jsonl.gz"),
    *("tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"),
]
OTHERS = ["head", "checkpoint", "merklelog.json", "staging/1-aa", "tile/0/002.p/5", "tile/entries/002.p/5"]


def moment(days: float) -> datetime:
    return (datetime.now(UTC) + days * DAY).replace(microsecond=0)


def fill(store: S3Store) -> None:
    kinds = {"c": CHECKPOINT_OF_SIZE_KIND, "p": CHECKPOINT_OF_SIZE_KIND, "t": tile_kind(partial=False)}
    store.put_many([NewObject(key, key.encode(), kinds[key[0]]) for key in KEPT])
    for key in OTHERS:
        store.put(key, b"x", PLAIN)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(s3_server)


@pytest.fixture
def store(bucket: Bucket) -> S3Store:
    """A copy whose locks last a day, in GOVERNANCE mode."""
    made = bucket.store(retention=Retention("GOVERNANCE", 1))
    fill(made)
    return made


def locks(store: S3Store, keys: list[str]) -> dict[str, Any]:
    return {key: store.retention_of(key) for key in keys}


def extend(
    days: float, before: float | None = None, mode: str | None = "GOVERNANCE", *, yes: bool = False
) -> Order:
    until = moment(days)
    return Order(Action.EXTEND, until, until if before is None else moment(before), mode)


def test_what_is_kept_is_locked_longer_and_nothing_else(store: S3Store) -> None:
    order = extend(30)
    done: list[int] = []
    report = change_locks(store, order, advance=lambda count, _: done.append(count))
    assert (report.objects, report.changed, report.already, report.failures) == (7, 7, 0, 0)
    assert (report.earliest, done[-1], report.covers) == (order.until, 7, 0)
    assert {lock.until for lock in locks(store, KEPT).values()} == {order.until}
    assert {lock.mode for lock in locks(store, KEPT).values()} == {"GOVERNANCE"}
    assert set(locks(store, OTHERS).values()) == {None}
    again = change_locks(store, order)
    assert (again.changed, again.already) == (0, 7)


def test_no_lock_is_ever_made_shorter(store: S3Store) -> None:
    change_locks(store, extend(30))
    before = locks(store, KEPT)
    for order in (extend(20), extend(40, before=10), extend(20, before=40)):
        report = change_locks(store, order)
        assert (report.changed, report.already) == (0, 7)
    assert locks(store, KEPT) == before


def test_only_what_would_lapse_before_is_renewed(store: S3Store, bucket: Bucket) -> None:
    name = {"Bucket": bucket.name, "Key": "log/tile/0/001"}
    bucket.client.put_object_retention(
        **name, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": moment(50)}
    )
    report = change_locks(store, extend(100, before=40))
    assert (report.changed, report.already) == (6, 1)
    assert report.earliest is not None
    assert report.earliest < moment(60)


def test_an_object_keeps_its_mode_and_compliance_has_to_be_agreed_to(store: S3Store, bucket: Bucket) -> None:
    key = "log/tile/0/000"
    bucket.client.put_object_retention(
        Bucket=bucket.name,
        Key=key,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": moment(2)},
        BypassGovernanceRetention=True,
    )
    order = extend(3)
    report = change_locks(store, order)
    assert (report.changed, report.failures) == (6, 1)
    assert (
        "tile/0/000: a COMPLIANCE lock, which nobody could take back, was not agreed to" in report.failed[0]
    )
    assert change_locks(store, replace(order, understood=True)).changed == 1
    lock = store.retention_of("tile/0/000")
    assert lock is not None
    assert lock.mode == "COMPLIANCE"
    # And the store holds to it: nobody shortens it, nor deletes what it is on.
    with pytest.raises(ClientError, match=r"Retention|AccessDenied|InvalidRequest"):
        bucket.client.put_object_retention(
            Bucket=bucket.name,
            Key=key,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": moment(1)},
            BypassGovernanceRetention=True,
        )
    version = bucket.client.head_object(Bucket=bucket.name, Key=key)["VersionId"]
    with pytest.raises(ClientError, match="DeleteObject"):
        bucket.client.delete_object(
            Bucket=bucket.name, Key=key, VersionId=version, BypassGovernanceRetention=True
        )


def test_what_was_never_locked_gets_a_lock_where_a_mode_is_given(bucket: Bucket) -> None:
    store = bucket.store()
    fill(store)
    report = change_locks(store, extend(2, mode=None))
    assert (report.changed, report.failures) == (0, 7)
    assert "has no lock, and no mode for one was given" in report.failed[0]
    assert change_locks(store, extend(2)).changed == 7
    assert {lock.mode for lock in locks(store, KEPT).values()} == {"GOVERNANCE"}


def test_holds_come_and_go_and_leave_the_locks_alone(store: S3Store, bucket: Bucket) -> None:
    before = locks(store, KEPT)
    held = change_locks(store, Order(Action.HOLD))
    assert (held.objects, held.changed, held.failures) == (7, 7, 0)
    assert all(lock.legal_hold for lock in locks(store, KEPT).values())
    assert change_locks(store, Order(Action.HOLD)).already == 7
    version = bucket.client.head_object(Bucket=bucket.name, Key="log/tile/0/000")["VersionId"]
    with pytest.raises(ClientError, match="DeleteObject"):
        bucket.client.delete_object(
            Bucket=bucket.name, Key="log/tile/0/000", VersionId=version, BypassGovernanceRetention=True
        )
    assert change_locks(store, Order(Action.RELEASE)).changed == 7
    assert locks(store, KEPT) == before
    assert change_locks(store, Order(Action.RELEASE)).already == 7


def test_holds_for_some_entries(store: S3Store) -> None:
    report = change_locks(store, Order(Action.HOLD, entries=(256, 257)))
    held = {key for key, lock in locks(store, KEPT).items() if lock.legal_hold}
    assert held == set(KEPT) - {"tile/0/000", "tile/entries/000"}
    assert report.changed == len(held)
    assert change_locks(store, Order(Action.HOLD, entries=(0, 256))).changed == 2


@pytest.mark.parametrize(
    ("entries", "unheld"),
    [
        (None, (512, 600)),
        ((0, 512), None),
        ((500, 520), (512, 520)),
        ((512, 520), (512, 520)),
        ((5000, 6000), (5000, 6000)),
        ((0, NO_END), (512, 600)),
        ((600, NO_END), (600, 601)),
    ],
)
def test_entries_that_no_full_bundle_has_are_told(
    store: S3Store, entries: tuple[int, int] | None, unheld: tuple[int, int] | None
) -> None:
    assert change_locks(store, Order(Action.HOLD, entries=entries)).unheld == unheld
    assert change_locks(store, Order(Action.RELEASE, entries=entries)).unheld is None


def test_the_first_version_is_meant_whatever_lies_over_it(store: S3Store, bucket: Bucket) -> None:
    first = bucket.client.head_object(Bucket=bucket.name, Key="log/tile/0/000")["VersionId"]
    bucket.client.put_object(Bucket=bucket.name, Key="log/tile/0/000", Body=b"other")
    bucket.client.delete_object(Bucket=bucket.name, Key="log/tile/0/001")
    order = extend(9)
    report = change_locks(store, order)
    assert (report.changed, report.failures) == (7, 0)
    assert (report.covers, sorted(report.covered)) == (2, ["tile/0/000", "tile/0/001"])
    lock = store.retention_of("tile/0/000", first)
    assert lock is not None
    assert lock.until == order.until
    newer = bucket.client.head_object(Bucket=bucket.name, Key="log/tile/0/000")
    assert "ObjectLockMode" not in newer


def test_one_object_that_is_refused_is_named_and_the_others_done(store: S3Store, bucket: Bucket) -> None:
    def some(call: Any, given: dict[str, Any]) -> Any:
        return weak.refused()(call, given) if given["Key"].endswith("0/001") else call(**given)

    store.client = weak.WeakClient(bucket.client, put_object_retention=some)
    order = extend(5)
    report = change_locks(store, order)
    assert (report.changed, report.failures) == (6, 1)
    assert "tile/0/001 version" in report.failed[0]
    assert "403 AccessDenied, request R1" in report.failed[0]
    store.client = bucket.client
    assert change_locks(store, order).changed == 1


def test_many_refusals_in_a_row_end_it(
    store: S3Store, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_GIVE_UP", 3)
    store.client = weak.WeakClient(bucket.client, put_object_legal_hold=weak.refused())
    with pytest.raises(UnreachableError, match="403 AccessDenied"):
        change_locks(store, Order(Action.HOLD), parallel=1)


def test_it_goes_on_where_it_was_broken_off(store: S3Store, bucket: Bucket) -> None:
    order = extend(8)

    def killed(count: int, _: int | None) -> None:
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change_locks(store, order, parallel=1, advance=killed)
    report = change_locks(store, order)
    assert report.already >= 3
    assert report.changed + report.already == 7


@pytest.mark.parametrize("days", [-1, 0, 36_501, 10**6])
def test_dates_that_can_not_be(days: int) -> None:
    now = datetime.now(UTC)
    with pytest.raises(UsageError, match=r"over already|100 years"):
        check_until(now + timedelta(days=days), now)
    assert check_until(now + DAY, now).microsecond == 0


def test_which_keys_are_kept() -> None:
    assert all(is_kept(key) for key in KEPT)
    assert not any(is_kept(key) for key in [*OTHERS, "tile/x", "tile/0/000/x", "preflight/1/tile/0/000"])
