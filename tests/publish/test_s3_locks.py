"""Object Lock on real servers: what is written with a lock, what is not, what is removed, and what covers it."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from merklelog.errors import ConfigError, ImmutableError, NotFoundError
from merklelog.publish import NewObject, ObjectKind
from merklelog.publish.s3 import Covered, Lock, Retention, S3Store
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

FULL = ObjectKind(content_encoding="gzip", retain=True, cache_control="public, max-age=31536000, immutable")
DAY = Retention("COMPLIANCE", 1)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(s3_server)


def listed(store: S3Store, prefix: str = "") -> list[tuple[str, bool]]:
    """Keys with whether the version is a delete marker, as `versions` lists them."""
    return [(version.key, version.is_delete_marker) for version in store.versions(prefix)]


def newest(store: S3Store, key: str) -> str:
    return next(v.version_id for v in store.versions(key) if v.key == key and v.is_latest)


def default_retention(bucket: Bucket, **rule: Any) -> None:
    bucket.client.put_object_lock_configuration(
        Bucket=bucket.name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": rule}},
    )


# --- what is written --------------------------------------------------------------------------------------------


def test_retained_objects_are_locked_and_others_are_not(bucket: Bucket) -> None:
    store = bucket.store(retention=Retention("GOVERNANCE", 30))
    before = datetime.now(UTC)
    store.put_many(
        [NewObject("tile/0/000", b"full", FULL), NewObject("tile/0/001.p/3", b"part", ObjectKind())]
    )
    store.put_if_version("head", b"1", None)
    lock = store.retention_of("tile/0/000")
    assert lock is not None
    assert lock.mode == "GOVERNANCE"
    assert lock.until is not None
    assert abs(lock.until - before - timedelta(days=30)) < timedelta(minutes=5)
    assert lock.legal_hold is False
    assert store.retention_of("tile/0/001.p/3") is None
    assert store.retention_of("head") is None
    assert store.get("tile/0/000").content_encoding == "gzip"
    bucket.client.put_object_legal_hold(Bucket=bucket.name, Key="log/tile/0/000", LegalHold={"Status": "ON"})
    held = store.retention_of("tile/0/000", newest(store, "tile/0/000"))
    assert held == Lock(lock.mode, lock.until, legal_hold=True)
    with pytest.raises(NotFoundError, match="log/none: there is no such object"):
        store.retention_of("none")


def test_what_a_web_server_tells_of_an_object_is_stored_with_it(bucket: Bucket) -> None:
    store = bucket.store(retention=DAY)
    store.put_immutable("tile/entries/000", b"bundle", FULL)
    found = bucket.client.head_object(Bucket=bucket.name, Key="log/tile/entries/000", ChecksumMode="ENABLED")
    assert found["ContentType"] == "application/octet-stream"
    assert found["ContentEncoding"] == "gzip"
    assert found["CacheControl"] == FULL.cache_control
    assert found["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"bundle").digest()).decode()
    store.put("checkpoint", b"note", ObjectKind("text/plain; charset=utf-8", cache_control="no-cache"))
    found = bucket.client.head_object(Bucket=bucket.name, Key="log/checkpoint")
    assert (found["ContentType"], found["CacheControl"]) == ("text/plain; charset=utf-8", "no-cache")
    assert "ContentEncoding" not in found


def test_a_locked_object_is_not_removed_nor_its_lock_shortened(bucket: Bucket) -> None:
    store = bucket.store(retention=DAY)
    store.put_immutable("tile/0/000", b"full", FULL)
    for remove in (store.delete, lambda key: store.delete_many([key])):
        with pytest.raises(
            ImmutableError, match=r"log/tile/0/000: DeleteObjects of version \S+: .*locked until"
        ):
            remove("tile/0/000")
    version = newest(store, "tile/0/000")
    with pytest.raises(ClientError, match=r"AccessDenied|InvalidRequest|ObjectLocked"):
        bucket.client.put_object_retention(
            Bucket=bucket.name,
            Key="log/tile/0/000",
            VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(hours=1)},
        )
    assert store.get("tile/0/000").data == b"full"
    assert listed(store) == [("tile/0/000", False)]


def test_a_bucket_without_object_lock_is_refused_before_anything_is_written(
    s3_server: S3Server, s3_bucket: MakeBucket
) -> None:
    plain = s3_bucket(s3_server, lock=False)
    with pytest.raises(ConfigError, match=f"s3://{plain.name}/log: the bucket has no Object Lock.*none"):
        plain.store(retention=DAY).put("head", b"1")
    store = plain.store()
    assert list(store.list_keys()) == []
    store.put_immutable("tile/0/000", b"full", FULL)
    assert store.retention_of("tile/0/000") is None
    first = store.put("head", b"1")
    assert store.put_if_version("head", b"2", first) is not None
    store.delete_many(["tile/0/000"], superseded=["head"])
    assert store.get("head").data == b"2"
    assert list(store.list_keys()) == ["head"]


# --- a sample is read back --------------------------------------------------------------------------------------


def test_a_sample_of_the_locks_is_read_back(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    store = s3_bucket(seaweedfs).store(retention=DAY)
    store.put_many(NewObject(f"tile/0/{number:03}", b"%d" % number, FULL) for number in range(130))
    assert store.requests["PutObject"] == 130
    assert store.requests["HeadObject"] == 3  # the first, and every 64th after it
    assert store.requests["GetObjectLockConfiguration"] == 1


# --- collecting -------------------------------------------------------------------------------------------------


def test_what_is_collected_goes_by_version_id_in_one_request(bucket: Bucket) -> None:
    store = bucket.store(retention=DAY)
    store.put_many([NewObject(f"tile/0/000.p/{width}", b"%d" % width) for width in range(1, 10)])
    store.put_immutable("staging/9-ab", b"staged")
    version = store.put_if_version("head", b"0", None)
    for turn in range(1, 5):
        version = store.put_if_version("head", b"%d" % turn, version)
    before = store.requests.total()
    store.delete_many(
        ["staging/9-ab", *(f"tile/0/000.p/{width}" for width in range(1, 9))],
        superseded=["head", "checkpoint"],
    )
    # One listing for what this store knows nothing of (checkpoint), and one DeleteObjects.
    assert store.requests.total() - before == 2
    assert listed(store) == [("head", False), ("tile/0/000.p/9", False)]
    assert store.get("head").data == b"4"
    version = store.put_if_version("head", b"5", version)
    store.put("checkpoint", b"1")
    store.put("checkpoint", b"2")
    before = store.requests.total()
    store.delete_many([], superseded=["head", "checkpoint"])
    assert store.requests.total() - before == 1
    assert listed(store) == [("checkpoint", False), ("head", False), ("tile/0/000.p/9", False)]
    before = store.requests.total()
    store.delete_many([], superseded=["head", "checkpoint"])
    assert store.requests.total() == before


def test_another_process_finds_the_versions_by_listing(bucket: Bucket) -> None:
    first, second = bucket.store(), bucket.store()
    for turn in range(3):
        first.put("head", b"%d" % turn)
    first.put_immutable("staging/1", b"staged")
    first.put_immutable("staging/10", b"another whose key begins so")
    second.delete_many(["staging/1"], superseded=["head"])
    assert listed(second) == [("head", False), ("staging/10", False)]
    assert second.get("head").data == b"2"


def test_a_superseded_version_that_somebody_locked_stays(bucket: Bucket) -> None:
    store = bucket.store()
    version = store.put_if_version("head", b"1", None)
    bucket.client.put_object_retention(
        Bucket=bucket.name,
        Key="log/head",
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)},
    )
    version = store.put_if_version("head", b"2", version)
    version = store.put_if_version("head", b"3", version)
    store.delete_many([], superseded=["head"])
    assert listed(store) == [("head", False)] * 2
    before = store.requests.total()
    store.delete_many([], superseded=["head"])
    assert store.requests.total() == before  # it is not tried again and again
    assert store.put_if_version("head", b"4", version) is not None


# --- the bucket's default retention -----------------------------------------------------------------------------


def test_under_a_default_retention_unlocked_objects_carry_one_of_seconds(bucket: Bucket) -> None:
    default_retention(bucket, Mode="COMPLIANCE", Years=7)
    store = bucket.store(retention=DAY)
    store.put_immutable("tile/0/000", b"full", FULL)
    kept = store.retention_of("tile/0/000")
    assert kept is not None
    assert kept.mode == "COMPLIANCE"
    assert kept.until is not None
    assert kept.until - datetime.now(UTC) < timedelta(days=2)  # as configured, not the default
    version = store.put_if_version("head", b"1", None)
    store.put_immutable("staging/1", b"staged")
    for key in ("head", "staging/1"):
        short = store.retention_of(key)
        assert short is None or (
            short.until is not None and short.until - datetime.now(UTC) < timedelta(seconds=10)
        )
    store.put_if_version("head", b"2", version)
    store.delete_many(["staging/1"], superseded=["head"])
    assert store.get("head").data == b"2"
    store.delete("staging/1")  # waits until it may go
    # What was left for later goes with the next call, now that its seconds are over.
    store.delete_many([], superseded=["head"])
    assert listed(store) == [("head", False), ("tile/0/000", False)]


def test_without_a_retention_of_its_own_the_default_holds(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(seaweedfs)
    default_retention(bucket, Mode="GOVERNANCE", Days=3)
    store = bucket.store()
    store.put_immutable("tile/0/000", b"full", FULL)
    lock = store.retention_of("tile/0/000")
    assert lock is not None
    assert lock.mode == "GOVERNANCE"
    assert lock.until is not None
    assert lock.until - datetime.now(UTC) > timedelta(days=2)


# --- what somebody put over a locked object ---------------------------------------------------------------------


def test_a_newer_version_over_a_locked_object_is_found_and_read_past(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    store = bucket.store(retention=DAY)
    store.put_immutable("tile/0/000", b"ours", FULL)
    original = newest(store, "tile/0/000")
    bucket.client.put_object(Bucket=bucket.name, Key="log/tile/0/000", Body=b"forged")
    over = newest(store, "tile/0/000")
    assert store.get("tile/0/000").data == b"forged"  # what every reader of the bucket is shown
    assert store.covered == ()
    found = store.original("tile/0/000")
    assert found is not None
    assert found[0].data == b"ours"
    assert found[0].content_encoding == "gzip"
    assert found[1].version_id == original
    assert store.covered == (Covered("tile/0/000", original, over, is_delete_marker=False),)
    assert f"another object (version {over}) over its locked version {original}" in caplog.text
    assert store.put_immutable("tile/0/000", b"ours", FULL) is False
    with pytest.raises(ImmutableError):
        store.put_immutable("tile/0/000", b"other", FULL)
    assert store.get_version("tile/0/000", original).data == b"ours"


def test_a_delete_marker_over_a_locked_object_hides_nothing(bucket: Bucket) -> None:
    store = bucket.store(retention=DAY)
    store.put_immutable("tile/0/000", b"ours", FULL)
    original = newest(store, "tile/0/000")
    bucket.client.delete_object(Bucket=bucket.name, Key="log/tile/0/000")
    assert ("tile/0/000", True) in listed(store)
    marker = newest(store, "tile/0/000")
    found = store.original("tile/0/000")
    assert found is not None
    assert (found[0].data, found[1].version_id) == (b"ours", original)
    assert store.covered == (Covered("tile/0/000", original, marker, is_delete_marker=True),)
    with pytest.raises(NotFoundError):
        store.get_version("tile/0/000", marker)
    # Put again it is there for every reader, or it counts as there: as the service takes If-None-Match.
    store.put_immutable("tile/0/000", b"ours", FULL)
    assert store.get("tile/0/000").data == b"ours"
    with pytest.raises(ImmutableError):
        store.put_immutable("tile/0/000", b"other", FULL)


def test_an_object_that_nothing_holds_has_no_original(bucket: Bucket) -> None:
    store = bucket.store()
    store.put("head", b"1")
    store.put("head", b"2")
    assert store.original("head") is None
    assert store.original("none") is None
    bucket.client.delete_object(Bucket=bucket.name, Key="log/head")
    with pytest.raises(NotFoundError):
        store.get("head")
    assert store.stat("head") is None
    assert store.covered == ()


def test_versions_are_listed_by_key_and_the_newest_first(bucket: Bucket) -> None:
    store, other = bucket.store(), bucket.store("log2")
    other.put("a", b"not below this prefix")
    for turn in range(3):
        store.put("b", b"%d" % turn)
    store.put("a/c", b"x")
    store.put("b.p", b"y")
    assert [version.key for version in store.versions()] == ["a/c", "b", "b", "b", "b.p"]
    versions = [version for version in store.versions("b") if version.key == "b"]
    assert [version.is_latest for version in versions] == [True, False, False]
    assert [store.get_version("b", version.version_id).data for version in versions] == [b"2", b"1", b"0"]
    assert [version.size for version in versions] == [1, 1, 1]
    assert all(version.modified.tzinfo is UTC for version in versions)
    with pytest.raises(NotFoundError):
        store.get_version("a/c", versions[0].version_id)
