"""`merklelog preflight` as it is typed, against real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.s3_servers import Bucket, MakeBucket, S3Server

SHORT = ("--lock-seconds", "12")
VARIABLES = "MERKLELOG_PUBLISH__S3__"


@pytest.fixture
def bucket(versitygw: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv(f"{VARIABLES}ENDPOINT_URL", versitygw.endpoint)
    monkeypatch.setenv(f"{VARIABLES}REGION", "us-east-1")
    return s3_bucket(versitygw)


def publishing(log: Path, bucket: Bucket, *more: str) -> None:
    """Let a log's configuration name the bucket; the variables say where it is."""
    path = log / "merklelog.toml"
    text = path.read_text().replace("# targets = []", f"targets = {json.dumps([bucket.url(), *more])}")
    path.write_text(text.replace("# retention_days = 2557", "retention_days = 1"))


def lock_by_default(bucket: Bucket, days: int) -> None:
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": days}}
    bucket.client.put_object_lock_configuration(
        Bucket=bucket.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )


def empty(bucket: Bucket) -> bool:
    page = bucket.client.list_object_versions(Bucket=bucket.name)
    return not page.get("Versions") and not page.get("DeleteMarkers")


@pytest.mark.slow
def test_a_log_s_targets_are_tried_and_the_result_is_kept(run: Callable, log: Path, bucket: Bucket) -> None:
    publishing(log, bucket, f"dir:{log}-copy")
    done = run("preflight", log, *SHORT)
    lines = done.text.splitlines()
    assert lines[0] == f"{bucket.url()} at {bucket.server.endpoint}"
    assert lines[-2] == "fit (for a log that locks in COMPLIANCE mode for 1 day; the bucket by itself: none)"
    assert lines[-1] == f"kept in {log / 'preflight.json'}"
    outcomes = {line.split()[1]: line.split()[0] for line in lines[1:-2] if line.startswith(("pass", "fail"))}
    assert outcomes["compliance"] == outcomes["if-match-race"] == "pass"
    assert outcomes["governance-bypass"] == "fail"
    costs = [line for line in lines if "The cost:" in line]
    assert [line.strip() for line in costs] == [
        "advice. The cost: who takes over the server, or its keys, deletes what GOVERNANCE locks",
        "advice. The cost: what `merklelog retention hold` is said to hold can be deleted when its lock is over",
    ]
    assert "what is locked is removed when its locks are over" in done.err
    assert empty(bucket)
    (record,) = json.loads((log / "preflight.json").read_text())["records"]
    assert record["report"]["target"] == bucket.url()


@pytest.mark.slow
def test_json_and_a_bucket_that_is_unfit(
    run: Callable, versitygw: S3Server, s3_bucket: MakeBucket, bucket: Bucket
) -> None:
    plain = s3_bucket(versitygw, lock=False)
    (result,) = run("preflight", plain.url(), *SHORT, "--json", status=1).json["targets"]
    assert (result["verdict"], result["whole"], result["left"], result["record"]) == ("unfit", True, 0, None)
    assert (result["retention_mode"], result["retention_days"]) == ("COMPLIANCE", 2557)
    probes = {probe["name"]: probe for probe in result["probes"]}
    assert (probes["object-lock"]["outcome"], probes["object-lock"]["need"]) == ("fail", "required")
    assert "no retention" in probes["object-lock"]["cost"]
    assert empty(plain)


def test_reading_only_writes_nothing(run: Callable, log: Path, bucket: Bucket) -> None:
    publishing(log, bucket)
    done = run("preflight", bucket.url() + "/", "--log", log, "--read-only")
    assert done.text.splitlines()[-1].startswith("unknown, as far as can be asked without writing")
    assert empty(bucket)
    assert not (log / "preflight.json").exists()


def test_a_long_default_is_said_before_anything_is_written(run: Callable, bucket: Bucket) -> None:
    lock_by_default(bucket, 2557)
    done = run("preflight", bucket.url(), *SHORT, status=2)
    for words in ("nothing was written", "COMPLIANCE, 2557 days", "--yes to go on"):
        assert words in done.err
    assert done.out == b""
    assert empty(bucket)


@pytest.mark.slow
def test_with_a_yes_it_is_written_and_removed(run: Callable, bucket: Bucket) -> None:
    lock_by_default(bucket, 2557)
    assert "fit (for a log" in run("preflight", bucket.url(), *SHORT, "--yes").text
    assert empty(bucket)


def test_the_setup_is_printed_and_nothing_else_is_done(run: Callable, bucket: Bucket) -> None:
    script = run("preflight", "s3://new-bucket/log", "--print-setup").text
    assert script.startswith("#!/bin/sh -eu\n")
    assert f"aws --endpoint-url {bucket.server.endpoint} s3api create-bucket --bucket new-bucket" in script
    assert script.endswith("merklelog preflight s3://new-bucket/log --yes\n")
    names = [each["Name"] for each in bucket.client.list_buckets()["Buckets"]]
    assert "new-bucket" not in names
    assert "no JSON" in run("preflight", "s3://new-bucket", "--print-setup", "--json", status=2).err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("s3://not-there/log",), 2, "404 NoSuchBucket"),
        (("s3://bucket/a//b",), 2, "prefix 'a//b'"),
        (("s3://bucket/../b",), 2, "prefix '../b'"),
        (("s3://b/c",), 2, "bucket 'b'"),
        (("dir:copy",), 2, "'dir:copy' is a dir: target"),
        (("https://example.com",), 2, "a https:// target"),
        (("nowhere",), 2, "not a log's data directory"),
        (("s3://bucket/log", "--log", "nowhere"), 2, "not a log's data directory"),
        (("s3://bucket/log", "--lock-seconds", "121"), 2, "10<=x<=120"),
    ],
)
def test_what_is_no_bucket_is_said(
    run: Callable, bucket: Bucket, words: tuple[str, ...], status: int, says: str
) -> None:
    assert says in run("preflight", *words, status=status).err


def test_a_log_without_a_bucket_is_told_so(run: Callable, log: Path, bucket: Bucket) -> None:
    assert "publish.targets names no s3:// target" in run("preflight", log, status=2).err
    assert "TARGET is the log already" in run("preflight", log, "--log", log, status=2).err


def test_a_server_that_is_not_there_can_not_be_told(
    run: Callable, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{VARIABLES}ENDPOINT_URL", "http://127.0.0.1:9")
    failure: dict[str, Any] = run("preflight", bucket.url(), "--json", status=3).json
    assert failure["error"] == "UnreachableError"
    assert "no answer" in failure["message"]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("AWS_SECRET_ACCESS_KEY", "not-this-one", "403 SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody", "403 InvalidAccessKeyId"),
    ],
)
def test_who_may_not_is_told_what_was_answered(
    run: Callable, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    done = run("preflight", bucket.url(), status=None)
    assert done.status in (2, 3)
    assert says in done.err
    assert "ListObjectsV2" in done.err
    assert "not-this-one" not in done.err
    assert "secret" not in done.err.replace("the secret key is not the access key's", "")
