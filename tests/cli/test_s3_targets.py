"""s3:// as TARGET: every command that reads, on a bucket that nobody has to trust; bad targets are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.publish import publish_copy
from merklelog.publish.s3 import Retention
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

Run = Callable[..., Any]


@pytest.fixture
def bucket(seaweedfs: S3Server, s3_bucket: MakeBucket, log: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket with the log of three entries in it, locked for a day, where the environment says."""
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    made = s3_bucket(seaweedfs)
    store = made.store(retention=Retention("GOVERNANCE", 1))
    with merklelog.open_reader(log) as reader:
        publish_copy(reader, store, verifiers=reader.vkeys, bundle_encoding="gzip")
    return made


def grow(bucket: Bucket, log: Path, entries: list[bytes]) -> None:
    with merklelog.open(log) as writer:
        writer.append_batch(entries)
    with merklelog.open_reader(log) as reader:
        store = bucket.store(retention=Retention("GOVERNANCE", 1))
        publish_copy(reader, store, verifiers=reader.vkeys)


def test_every_reading_command(run: Run, bucket: Bucket, log: Path, vkeys: list[str], tmp_path: Path) -> None:
    target, key = bucket.url(), ("--vkey", vkeys[0])
    assert run("checkpoint", target, *key).text.startswith("cli.example/log\n3\n")
    unverified = run("checkpoint", target)
    assert "not verified" in unverified.err
    assert unverified.out == run("checkpoint", target, *key).out
    assert run("get", target, 1, *key).out == b"two"
    assert run("get", target, "0:", "--jsonl", *key).out == b"one\ntwo\nthree\n"
    run("prove", target, 2, "-o", "three.tlog-proof", *key)
    (tmp_path / "three").write_bytes(b"three")
    assert run("verify", "three.tlog-proof", "--entry", "three", *key).status == 0
    assert run("follow", target, "--from", 0, "--count", 3, *key).out == b"one\ntwo\nthree\n"
    run("pack", target, "1:3", "-o", "two.mlpack", *key)
    assert run("verify", "two.mlpack", *key).text.startswith(
        "proven: entries 1:3, all 2, of cli.example/log,"
    )
    grow(bucket, log, [b"four"] * 600)
    assert "consistent" in run("consistency", target, 3, 603, *key).text
    assert run("get", target, "600:", "--jsonl", *key).out == b"four\n" * 3
    assert run("audit", target, *key).text.startswith("proven: cli.example/log at size 603 (entries 603, ")


def test_a_state_file_holds_a_bucket_to_what_it_showed(
    run: Run, bucket: Bucket, log: Path, vkeys: list[str]
) -> None:
    words = ("--vkey", vkeys[0], "--state", "state")
    before = run("checkpoint", bucket.url(), *words).out
    grow(bucket, log, [b"four"])
    assert run("get", bucket.url(), 3, *words).out == b"four"
    bucket.client.put_object(Bucket=bucket.name, Key="log/checkpoint", Body=before)
    assert "size 3" in run("checkpoint", bucket.url(), *words, status=3).err
    assert run("get", bucket.url(), 3, *words, status=3).out == b""


def test_a_server_of_nobody_is_believed_nothing_without_a_key(run: Run, bucket: Bucket) -> None:
    for words in (("get", bucket.url(), 0), ("prove", bucket.url(), 0), ("follow", bucket.url())):
        assert "who signs this log?" in run(*words, status=2).err


def test_what_is_put_over_an_object_is_read_past_and_named(
    run: Run, bucket: Bucket, log: Path, vkeys: list[str]
) -> None:
    key = ("--vkey", vkeys[0])
    grow(bucket, log, [b"event %d" % index for index in range(3, 600)])
    bucket.client.put_object(Bucket=bucket.name, Key="log/tile/entries/001", Body=b"another")
    bucket.client.delete_object(Bucket=bucket.name, Key="log/tile/0/000")
    assert run("get", bucket.url(), 300, *key).out == b"event 300"
    assert run("get", bucket.url(), "0:", "--jsonl", *key).out.count(b"\n") == 600
    assert run("prove", bucket.url(), 5, *key).status == 0
    done = run("audit", bucket.url(), *key, status=1)
    lines = [line for line in done.text.splitlines() if line.startswith("wrong: ")]
    assert len(lines) == 2
    assert "log/tile/0/000: a delete marker" in done.text
    assert "log/tile/entries/001: a newer version" in done.text
    kinds = [finding["kind"] for finding in run("audit", bucket.url(), "--json", status=1).json["findings"]]
    assert kinds == ["version", "version"]


def test_locks_are_read_back(run: Run, bucket: Bucket, log: Path, vkeys: list[str]) -> None:
    grow(bucket, log, [b"event %d" % index for index in range(3, 600)])
    done = run("audit", bucket.url(), "--retention", "--vkey", vkeys[0])
    (line,) = [line for line in done.text.splitlines() if line.startswith("locks: ")]
    assert line.startswith(
        "locks: objects 6 (COMPLIANCE 0, GOVERNANCE 6, legal holds 0, none 0, ended 0); the first"
    )
    locks = run("audit", bucket.url(), "--retention", "--json").json["locks"]
    assert (locks["objects"], locks["governance"], locks["unlocked"]) == (6, 6, 0)
    assert run("audit", bucket.url(), "--json").json["locks"] is None
    assert "no locks" in run("audit", log, "--retention", status=2).err


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("s3://", 2, "bucket"),
        ("s3://ab", 2, "bucket"),
        ("s3://bucket//log", 2, "prefix"),
        ("s3://bucket/../log", 2, "prefix"),
        ("s3://me:secret@bucket/log", 2, "credentials"),
        ("s3://no-such-bucket-anywhere/log", 2, "no such bucket"),
    ],
)
def test_what_can_not_be_meant(
    run: Run, bucket: Bucket, vkeys: list[str], target: str, status: int, said: str
) -> None:
    done = run("get", target, 0, "--vkey", vkeys[0], status=status)
    assert said in done.err
    assert "secret" not in done.err
    assert said in run("audit", target, "--vkey", vkeys[0], status=status).err


def test_an_empty_prefix_is_no_copy(run: Run, bucket: Bucket, vkeys: list[str]) -> None:
    done = run("get", bucket.url("nothing"), 0, "--vkey", vkeys[0], status=2)
    assert f"{bucket.url('nothing')}: no published copy" in done.err


def test_who_may_not_and_who_does_not_answer_could_not_tell(
    run: Run, bucket: Bucket, vkeys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    done = run("get", bucket.url(), 0, "--vkey", vkeys[0], status=3)
    assert "SignatureDoesNotMatch" in done.err
    assert "not-the-secret" not in done.err
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert run("get", bucket.url(), 0, "--vkey", vkeys[0], status=3).status == 3


def test_the_variables_of_the_configuration_name_the_server(
    run: Run, bucket: Bucket, vkeys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERKLELOG_PUBLISH__S3__ENDPOINT_URL", bucket.server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert run("get", bucket.url(), 0, "--vkey", vkeys[0]).out == b"one"
    monkeypatch.setenv("MERKLELOG_PUBLISH__S3__ADDRESSING", "somehow")
    done = run("get", bucket.url(), 0, "--vkey", vkeys[0], status=2)
    assert "MERKLELOG_PUBLISH__S3__ADDRESSING" in done.err
