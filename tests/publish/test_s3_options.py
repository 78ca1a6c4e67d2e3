"""What a person may configure of an S3 target, and which URLs name one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import given
from hypothesis import strategies as st
from urllib3.response import HTTPResponse

from merklelog.errors import ConfigError, UsageError
from merklelog.publish.directory import DirectoryStore
from merklelog.publish.objects import is_key
from merklelog.publish.s3 import Retention, S3Location, S3Options, S3Store, open_s3, parse_s3_url
from merklelog.publish.s3_client import new_session
from merklelog.publish.targets import is_store_target, open_store

WRONG_URLS = [
    *(
        "",
        "s3:/bucket",
        "http://bucket/x",
        "s3://",
        "s3:///prefix",
        "s3://ab/x",
        "s3://a..b/x",
        "s3://-abc/x",
    ),
    *("s3://" + "b" * 64, "s3://buck_et!/x", "s3://bucket//x", "s3://bucket/a//b", "s3://bucket/../x"),
    *(
        "s3://bucket/a/../b",
        "s3://bucket/./a",
        "s3://bucket/a b",
        "s3://bucket/ü",
        "s3://bucket/a?versionId=1",
    ),
    *("s3://bucket/.hidden", "s3://bucket/a//", "s3://bucket/" + "x/" * 500, "s3://key:secret@bucket/x"),
]


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://bucket", S3Location("bucket")),
        ("s3://bucket/", S3Location("bucket")),
        ("s3://bucket/logs", S3Location("bucket", "logs")),
        ("s3://my.bucket-1/a/b.c/d=1/", S3Location("my.bucket-1", "a/b.c/d=1")),
    ],
)
def test_a_url_names_a_bucket_and_a_prefix(url: str, location: S3Location) -> None:
    assert parse_s3_url(url) == location
    assert parse_s3_url(str(location)) == location


@pytest.mark.parametrize("url", WRONG_URLS)
def test_what_names_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="target") as caught:
        parse_s3_url(url)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.text(max_size=40))
def test_a_prefix_is_a_key(text: str) -> None:
    try:
        location = parse_s3_url(f"s3://bucket/{text}")
    except UsageError:
        assert not is_key(text.removesuffix("/"))
    else:
        assert location.prefix == text.removesuffix("/")
        assert not location.prefix or is_key(location.prefix)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoint_url": "localhost:9000"}, "endpoint_url: got 'localhost:9000', want http"),
        ({"endpoint_url": "ftp://host"}, "endpoint_url"),
        ({"endpoint_url": "http://host/?x=1"}, "endpoint_url.*no \\?"),
        ({"addressing": "dns"}, "addressing: got 'dns', want auto, path, virtual"),
        ({"sse": "aes"}, "sse: got 'aes'"),
        ({"sse_kms_key_id": "key"}, "sse_kms_key_id: set, but sse is none"),
        ({"sse": "aws:kms", "sse_kms_key_id": "x\r\nx-amz-acl: public-read"}, r"sse_kms_key_id: got 'x\\r"),
        ({"sse": "aws:kms", "sse_kms_key_id": "ключ"}, r"sse_kms_key_id: got '\\u043a"),
        ({"storage_class": "cheap one"}, "storage_class"),
        ({"parallel": 0}, "parallel: got 0, want 1 to 256"),
        ({"parallel": 1000}, "parallel: got 1000"),
        ({"profile": "no-such-profile"}, "publish.s3: .*no-such-profile"),
    ],
)
def test_settings_that_can_not_be_used(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_s3("s3://bucket/x", S3Options(**settings))  # type: ignore[arg-type]


def test_an_endpoint_with_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="endpoint_url") as caught:
        S3Options(endpoint_url="https://user:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "days"), [("COMPLIANCE", 0), ("GOVERNANCE", -1), ("GOVERNANCE", 36_501), ("none", 1)]
)
def test_a_retention_that_s3_does_not_have(mode: str, days: int) -> None:
    with pytest.raises(ConfigError, match=r"retention (mode|days): got"):
        Retention(mode, days)  # type: ignore[arg-type]


def test_a_target_names_its_store(s3_credentials: None) -> None:
    assert is_store_target("dir:/srv/copy")
    assert is_store_target("s3://bucket/x")
    assert not is_store_target("https://host/x")
    directory = open_store("dir:/srv/copy")
    assert isinstance(directory, DirectoryStore)
    assert directory.location == "dir:/srv/copy"
    s3 = open_store("s3://bucket/x/", S3Options(endpoint_url="http://127.0.0.1:9"))
    assert isinstance(s3, S3Store)
    assert s3.location == "s3://bucket/x"
    for target in ("dir:", "/srv/copy", "https://host/x", "s3:bucket"):
        with pytest.raises(UsageError):
            open_store(target)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (S3Options(endpoint_url="http://store.example:9000"), "http://store.example:9000/bucket/x/k"),
        (
            S3Options(endpoint_url="http://store.example:9000", addressing="virtual"),
            "http://bucket.store.example:9000/x/k",
        ),
        (S3Options(region="eu-west-1"), "https://bucket.s3.eu-west-1.amazonaws.com/x/k"),
        (S3Options(region="eu-west-1", addressing="path"), "https://s3.eu-west-1.amazonaws.com/bucket/x/k"),
    ],
)
def test_addressing(options: S3Options, url: str, s3_credentials: None) -> None:
    assert asked_of(open_s3("s3://bucket/x", options)) == url


def nothing(request: Any, **_: object) -> AWSResponse:
    """An empty listing, of a bucket that is there."""
    listing = HTTPResponse(io.BytesIO(b"<ListBucketResult/>"), preload_content=False)
    return AWSResponse(request.url, 200, {}, listing)


def asked_of(store: S3Store) -> str:
    """The URL that a read of `k` asks; it is caught before it is sent."""
    urls: list[str] = []

    def catch(request: Any, **_: object) -> AWSResponse:
        urls.append(request.url)
        return AWSResponse(request.url, 404, {}, HTTPResponse(io.BytesIO(), preload_content=False))

    store.client.meta.events.register("before-send.s3.HeadObject", catch)
    store.client.meta.events.register("before-send.s3.ListObjectsV2", nothing)
    assert store.stat("k") is None
    return urls[0]


def test_an_endpoint_of_the_environment_is_addressed_by_path(
    s3_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store.example:9000")
    assert asked_of(open_s3("s3://bucket/x")) == "http://store.example:9000/bucket/x/k"


def test_what_s3_is_made_of_is_read_once_a_process(s3_credentials: None) -> None:
    """Or each store would read it for itself, and hold 13 MB."""
    first, second = (new_session().get_component("data_loader") for _ in range(2))
    assert first.load_service_model("s3", "service-2") is second.load_service_model("s3", "service-2")
