"""Requests that are built and signed here: the same signatures as botocore's, the same answers as boto3's."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import ConfigError, DamagedError, ImmutableError, NotFoundError, UnreachableError
from merklelog.publish import ObjectKind
from merklelog.publish.s3 import Retention, S3Store, parse_s3_url
from merklelog.publish.s3_client import READ_SECONDS
from merklelog.publish.s3_sign import encode_path, encode_query, sign
from merklelog.publish.s3_wire import Wire
from tests.support.s3_proxy import Asked, Fault, proxied
from tests.support.s3_servers import ADMIN, MakeBucket, S3Server

FULL = ObjectKind("application/json", "gzip", retain=True, cache_control='no-cache, x="a b"', cold=True)
TEXT = st.text(alphabet="abcXYZ019-_.~=+ /:%é", max_size=20)
VALUES = st.text(alphabet='abcXYZ019-_.~=+/:%;,"', min_size=1, max_size=20)


@given(
    st.sampled_from(["GET", "PUT", "HEAD"]),
    TEXT,
    st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
    st.dictionaries(st.sampled_from(["x-amz-a", "if-match", "cache-control", "content-type"]), VALUES),
    st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
    st.sampled_from([None, "token/with+chars=="]),
)
def test_signatures_are_those_of_botocore(
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    moment: datetime,
    token: str | None,
) -> None:
    sent = encode_path(f"/bucket/{path}")
    asked = encode_query(query)
    payload = hashlib.sha256(path.encode()).hexdigest()
    ours = sign(
        method,
        sent,
        asked,
        {"host": "host.example:9000", **headers},
        payload,
        region="eu-west-1",
        credentials=SimpleNamespace(access_key="AKID", secret_key="secret", token=token),
        now=moment.replace(tzinfo=UTC),
    )
    theirs = AWSRequest(method, f"http://host.example:9000{sent}" + (f"?{asked}" if asked else ""), headers)
    theirs.context["timestamp"] = f"{moment:%Y%m%dT%H%M%SZ}"
    theirs.headers["X-Amz-Date"] = theirs.context["timestamp"]
    theirs.headers["X-Amz-Content-SHA256"] = payload
    if token:
        theirs.headers["X-Amz-Security-Token"] = token
    auth = S3SigV4Auth(Credentials("AKID", "secret", token), "s3", "eu-west-1")
    canonical = auth.canonical_request(theirs)
    signature = auth.signature(auth.string_to_sign(theirs, canonical), theirs)
    assert ours["authorization"].rpartition("Signature=")[2] == signature
    assert "secret" not in str(ours)


@pytest.fixture
def quick(s3_server: S3Server, s3_bucket: MakeBucket) -> S3Store:
    """A store that has learned where its bucket is."""
    store = s3_bucket(s3_server).store("a=b/log", retention=Retention("GOVERNANCE", 1))
    store.put("warm", b"")
    return store


def test_all_but_the_first_requests_are_built_here(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(seaweedfs)
    with proxied(seaweedfs.endpoint) as proxy:
        through = S3Server(seaweedfs.name, proxy.endpoint, seaweedfs.pid)
        store = S3Store(through.client(), parse_s3_url(bucket.url()), through.options())
        for turn in range(3):
            store.put(f"k{turn}", b"x")
            assert store.get(f"k{turn}").data == b"x"
        agents = [asked.headers["user-agent"].split("/")[0] for asked in proxy.asked]
        assert agents == ["Botocore", "Botocore", *["merklelog"] * 5]  # first, what the bucket locks
        assert all("expect" not in asked.headers for asked in proxy.asked[2:])
        assert store.requests.total() == len(proxy.asked)
        # A refusal is heard from boto3, and the next request goes through it, too.
        proxy.first(1, Fault("refused", 400, "ExpiredToken"))
        assert store.put("k", b"after") == store.get("k").version
        assert store.requests.total() == len(proxy.asked)
        assert [asked.headers["user-agent"].split("/")[0] for asked in proxy.asked[7:]] == [
            *("merklelog", "Botocore", "merklelog"),
        ]
        store.close()


def test_what_is_stored_is_what_boto3_stores(quick: S3Store) -> None:
    quick.put_immutable("tile/0/x000", b"data" * 100, FULL)
    slow = quick.client.get_object(Bucket=quick.bucket, Key="a=b/log/tile/0/x000", ChecksumMode="ENABLED")
    assert slow["Body"].read() == b"data" * 100
    assert slow["ContentType"] == FULL.content_type
    assert slow["ContentEncoding"] == "gzip"
    assert slow["CacheControl"] == FULL.cache_control
    lock = quick.retention_of("tile/0/x000")
    assert lock is not None
    assert lock.mode == "GOVERNANCE"
    found = quick.get("tile/0/x000")
    assert (found.data, found.version, found.content_encoding) == (b"data" * 100, slow["ETag"], "gzip")
    version = next(iter(quick.versions("tile/"))).version_id
    assert quick.get_version("tile/0/x000", version) == found
    assert quick.put_immutable("tile/0/x000", b"data" * 100, FULL) is False


def test_answers_are_told_apart_as_boto3_tells_them(quick: S3Store) -> None:
    quick.put_immutable("k", b"1")
    with pytest.raises(ImmutableError):
        quick.put_immutable("k", b"2")
    with pytest.raises(NotFoundError, match="a=b/log/none: there is no such object"):
        quick.get("none")
    with pytest.raises(DamagedError, match="k: more than 0 bytes"):
        quick.get("k", limit=0)
    assert quick.get("k").data == b"1"
    assert quick.put_if_version("k", b"3", '"0123"') is None
    gone = S3Store(quick.client, parse_s3_url("s3://no-such-bucket-here/x"))
    for call in (lambda: gone.get("k"), lambda: gone.put("k", b""), lambda: gone.stat("k")):
        with pytest.raises(ConfigError, match=r"404( NoSuchBucket)?.*there is no such bucket"):
            call()


@pytest.mark.parametrize("length", [10, 1 << 16, 4 << 20])
def test_an_error_page_of_any_length_is_no_damage(
    seaweedfs: S3Server, s3_bucket: MakeBucket, length: int
) -> None:
    bucket = s3_bucket(seaweedfs)

    def page(asked: Asked, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        return {"Content-Type": "text/html"}, b"<html>" + b"x" * length

    with proxied(seaweedfs.endpoint) as proxy:
        through = S3Server(seaweedfs.name, proxy.endpoint, seaweedfs.pid)
        store = S3Store(through.client(), parse_s3_url(bucket.url()), through.options(), sleep=lambda _: None)
        first = store.put("k", b"1")
        proxy.change = page
        with pytest.raises(NotFoundError, match="log/none"):
            store.get("none")
        assert store.put_if_version("k", b"2", '"0123"') is None
        proxy.change = None
        assert store.get("k").version == first
        assert store.put("k", b"3") == store.get("k").version
        store.close()


def test_an_empty_and_a_large_object(quick: S3Store) -> None:
    large = bytes(range(256)) * (40 << 12)
    for key, data in (("empty", b""), ("large", large)):
        quick.put_immutable(key, data)
        assert quick.get(key).data == data


def test_credentials_that_change_are_taken_up(
    versitygw: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_bucket(versitygw)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = bucket.store()
    with pytest.raises(UnreachableError, match="403 SignatureDoesNotMatch"):
        store.get("k")
    credentials: Any = store.client._request_signer._credentials
    credentials.secret_key = ADMIN[1]
    store.put("k", b"1")
    credentials.secret_key = "wrong again"
    with pytest.raises(UnreachableError, match="403 SignatureDoesNotMatch"):
        store.get("k")
    credentials.secret_key = ADMIN[1]
    assert store.get("k").data == b"1"


def test_what_it_needs_of_botocore_is_there(versitygw: S3Server) -> None:
    # Without it everything goes through boto3, at several times the price, and nothing else would show that.
    client = versitygw.client()
    wire = Wire(client._endpoint.http_session)
    assert wire.is_direct(versitygw.endpoint)
    pool = wire._pool(versitygw.endpoint)
    pool._put_conn(pool._get_conn())
    assert pool.timeout.read_timeout == READ_SECONDS
    assert client._request_signer._credentials.get_frozen_credentials().access_key == ADMIN[0]
