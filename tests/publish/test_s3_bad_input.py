"""What a person gets wrong about a bucket: what was tried, what the store answered, and what to do."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from merklelog.errors import ConfigError, DamagedError, ImmutableError, UnreachableError
from merklelog.publish import ObjectKind
from merklelog.publish.s3 import Retention, S3Store, open_s3
from tests.support.s3_servers import ADMIN, READER, Bucket, MakeBucket, S3Server

FULL = ObjectKind(retain=True)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(s3_server)


def refused(store: S3Store, error: type[Exception], words: str) -> None:
    """Every call is refused in these words, and no message has a secret in it."""
    calls = [
        lambda: store.get("k"),
        lambda: store.stat("k"),
        lambda: list(store.list_keys()),
        lambda: list(store.versions()),
        lambda: store.put("k", b"1"),
        lambda: store.put_immutable("k", b"1", FULL),
        lambda: store.delete("k"),
    ]
    for call in calls:
        with pytest.raises(error, match=words) as caught:
            call()
        assert store.location in str(caught.value)
        for secret in (ADMIN[1], READER[1], "wrong-secret", "wrong-token"):
            assert secret not in str(caught.value)


def test_a_missing_bucket(s3_server: S3Server) -> None:
    store = open_s3("s3://there-is-no-such-bucket/log", s3_server.options())
    refused(store, ConfigError, "404.*there is no such bucket; create it or correct the target")


def test_a_wrong_secret(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    refused(
        bucket.store(), UnreachableError, "403 SignatureDoesNotMatch.*the secret key is not the access key's"
    )


def test_a_wrong_key(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong-key")
    refused(
        bucket.store(),
        UnreachableError,
        "403 InvalidAccessKeyId.*does not know this access key: look at the cred",
    )


def test_a_wrong_token(versitygw: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_bucket(versitygw)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "wrong-token")
    refused(
        bucket.store(),
        UnreachableError,
        "40[03] InvalidToken.*the session token is not one: renew the credentials",
    )


def test_no_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(
        bucket.store(),
        UnreachableError,
        r"no usable credentials found \(.*\): docs/s3.md says where they are looked for",
    )


def test_an_identity_that_may_only_read(
    seaweedfs: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_bucket(seaweedfs)
    bucket.store().put("k", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    reader = bucket.store(retention=Retention("COMPLIANCE", 1))
    assert reader.get("k").data == b"1"
    assert list(reader.list_keys()) == ["k"]
    for call in (
        lambda: reader.put("k", b"2"),
        lambda: reader.put_immutable("t", b"2", FULL),
        lambda: reader.put_if_version("k", b"2", reader.get("k").version),
        lambda: reader.delete("k"),
    ):
        with pytest.raises(UnreachableError, match=r"(403 )?AccessDenied.*docs/s3.md lists the permissions"):
            call()
    assert reader.get("k").data == b"1"


def test_nobody_listens(bucket: Bucket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    options = dataclasses.replace(bucket.server.options(), endpoint_url=f"http://127.0.0.1:{port}")
    with pytest.raises(UnreachableError, match=r"GetObject: no answer .*refused.*4 attempts"):
        open_s3(bucket.url(), options).get("k")


def test_http_where_tls_is_asked_for(bucket: Bucket) -> None:
    endpoint = bucket.server.endpoint.replace("http:", "https:")
    with pytest.raises(UnreachableError, match=r"GetObject: no answer .*SSL"):
        open_s3(bucket.url(), dataclasses.replace(bucket.server.options(), endpoint_url=endpoint)).get("k")


def test_a_storage_class_that_the_service_does_not_have(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    store = s3_bucket(seaweedfs).store(storage_class="NO_SUCH_CLASS")
    store.put("k", b"1")  # only full bundles have it
    with pytest.raises(UnreachableError, match=r"400 InvalidStorageClass.*publish\.s3\.storage_class"):
        store.put_immutable("tile/entries/000", b"1", ObjectKind(retain=True, cold=True))


def test_the_longest_retention_is_taken(bucket: Bucket) -> None:
    store = bucket.store(retention=Retention("GOVERNANCE", 36_500))
    store.put_immutable("tile/0/000", b"1", FULL)
    lock = store.retention_of("tile/0/000")
    assert lock is not None
    assert lock.until is not None
    assert lock.until.year > 2100


def test_an_object_there_that_is_not_ours(bucket: Bucket) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="log/tile/0/000", Body=b"of somebody else")
    bucket.client.put_object(Bucket=bucket.name, Key="log/a name with spaces", Body=b"x")
    bucket.client.put_object(Bucket=bucket.name, Key="log/head", Body=bytes(5000))
    store = bucket.store(retention=Retention("GOVERNANCE", 1))
    with pytest.raises(
        ImmutableError, match="log/tile/0/000: it must never change, and is there with other bytes"
    ):
        store.put_immutable("tile/0/000", b"ours", FULL)
    with pytest.raises(DamagedError, match="log/head: more than 100 bytes"):
        store.get("head", limit=100)
    assert store.put_if_version("head", b"ours", None) is None
    assert list(store.list_keys()) == ["head", "tile/0/000"]  # what has no key's name is nobody's here


def test_encryption_by_the_service(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(seaweedfs)
    store = bucket.store(sse="AES256", retention=Retention("GOVERNANCE", 1))
    for turn in range(3):
        store.put_immutable(f"tile/0/{turn:03}", b"secret %d" % turn, FULL)
        found = bucket.client.head_object(Bucket=bucket.name, Key=f"log/tile/0/{turn:03}")
        assert found["ServerSideEncryption"] == "AES256"
        assert store.get(f"tile/0/{turn:03}").data == b"secret %d" % turn
