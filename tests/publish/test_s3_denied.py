"""A bucket that does not let its log delete, and objects that were there before the log wrote them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from merklelog.errors import ImmutableError, UnreachableError
from merklelog.publish import NewObject, ObjectKind
from merklelog.publish.s3 import Retention, S3Store, parse_s3_url
from merklelog.publish.s3_collect import MAX_REST
from tests.support import weak_s3 as weak
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

FULL = ObjectKind(retain=True)
GOVERNANCE = Retention("GOVERNANCE", 30)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(s3_server)


class Denied:
    """DeleteObjects as who may not delete is answered, while `on`."""

    def __init__(self) -> None:
        self.on = True
        self.asked = 0

    def __call__(self, call: Any, given: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        if not self.on:
            answer: dict[str, Any] = call(**given)
            return answer
        return {"Errors": [{**each, "Code": "AccessDenied"} for each in given["Delete"]["Objects"]]}


def denied_store(bucket: Bucket, denied: Denied) -> S3Store:
    client = weak.WeakClient(bucket.client, delete_objects=denied)
    return S3Store(client, parse_s3_url(bucket.url()), bucket.server.options())


def test_who_may_not_delete_is_asked_about_one_version_and_then_rests(bucket: Bucket) -> None:
    denied = Denied()
    store = denied_store(bucket, denied)
    keys = [f"tile/0/000.p/{width}" for width in range(1, 101)]
    store.put_many([NewObject(key, b"x") for key in keys])
    before = store.requests.total()
    with pytest.raises(
        UnreachableError, match=r"the store answered AccessDenied: this identity may not"
    ) as first:
        store.delete_many(keys)
    assert store.requests.total() - before <= 4  # DeleteObjects, and one version's lock
    asked = []
    for turn in range(1, 200):
        before = denied.asked
        with pytest.raises(UnreachableError) as again:
            store.delete_many(keys)
        assert str(again.value) == str(first.value)  # or a server's log would have it at every publication
        asked += [turn] if denied.asked > before else []
    assert asked[:5] == [2, 5, 10, 19, 36]
    assert asked[-1] - asked[-2] == MAX_REST + 1
    assert store.requests.total() < 100 + 20 + 4 * (len(asked) + 1)
    denied.on = False
    for _ in range(MAX_REST + 1):
        if list(store.list_keys("tile/")):
            try:
                store.delete_many(keys)
            except UnreachableError:
                continue
    assert list(store.versions()) == []
    # What went well once starts from the beginning.
    denied.on = True
    store.put_many([NewObject(key, b"x") for key in keys[:2]])
    for fails in (True, True, False, False):
        denied.on = fails
        try:
            store.delete_many(keys[:2])
        except UnreachableError:
            assert fails
    assert list(store.versions()) == []


def test_what_was_not_asked_about_goes_later(bucket: Bucket) -> None:
    store = bucket.store()
    store.put_many([NewObject(f"staging/{number}", b"x") for number in range(4)])
    bucket.client.put_object_legal_hold(Bucket=bucket.name, Key="log/staging/0", LegalHold={"Status": "ON"})
    with pytest.raises(ImmutableError, match="staging/0"):
        store.delete_many([f"staging/{number}" for number in range(4)])
    assert [version.key for version in store.versions()] == ["staging/0"]


# --- what was there before --------------------------------------------------------------------------------------


def test_the_same_bytes_without_a_lock_get_one(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="log/tile/0/000", Body=b"full")
    store = bucket.store(retention=GOVERNANCE)
    assert store.put_immutable("tile/0/000", b"full", FULL) is False
    lock = store.retention_of("tile/0/000")
    assert lock is not None
    assert lock.mode == "GOVERNANCE"
    assert lock.until is not None
    assert lock.until > datetime.now(UTC) + timedelta(days=29)
    assert "log/tile/0/000: version" in caplog.text
    assert "not locked for as long as it must be" in caplog.text
    caplog.clear()
    assert store.put_immutable("tile/0/000", b"full", FULL) is False
    assert store.retention_of("tile/0/000") == lock
    assert caplog.text == ""


def test_a_lock_that_is_too_short_is_made_longer_and_no_other_object_is_locked(bucket: Bucket) -> None:
    bucket.store(retention=Retention("GOVERNANCE", 2)).put_immutable("tile/0/000", b"full", FULL)
    store = bucket.store(retention=GOVERNANCE)
    store.put_immutable("tile/0/000", b"full", FULL)
    lock = store.retention_of("tile/0/000")
    assert lock is not None
    assert lock.until is not None
    assert lock.until > datetime.now(UTC) + timedelta(days=29)
    for _ in range(2):
        store.put_immutable("tile/0/000.p/3", b"part")
        bucket.store().put_immutable("tile/0/001", b"full", FULL)  # a log that locks nothing
    assert store.retention_of("tile/0/000.p/3") is None
    assert store.retention_of("tile/0/001") is None


def test_another_mode_stays_and_is_told(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    bucket.store(retention=GOVERNANCE).put_immutable("tile/0/000", b"full", FULL)
    store = bucket.store(retention=Retention("COMPLIANCE", 1))
    assert store.put_immutable("tile/0/000", b"full", FULL) is False
    assert "was there, locked in GOVERNANCE mode, not COMPLIANCE" in caplog.text
    lock = store.retention_of("tile/0/000")
    assert lock is not None
    assert lock.mode == "GOVERNANCE"
