"""`merklelog retention` as it is typed, on a log that is published to a real bucket; each change is noted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from merklelog.log import open_log, open_reader
from merklelog.publish import publish_copy
from merklelog.publish.s3 import Retention, S3Store
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

VARIABLES = "MERKLELOG_PUBLISH__S3__"


@pytest.fixture
def bucket(versitygw: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv(f"{VARIABLES}ENDPOINT_URL", versitygw.endpoint)
    monkeypatch.setenv(f"{VARIABLES}REGION", "us-east-1")
    return s3_bucket(versitygw)


@pytest.fixture
def published(log: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """The copy of `log`, 600 entries locked for a day in GOVERNANCE mode; the log has it as its target."""
    with open_log(log) as writer:
        writer.append_batch([b"%d" % number for number in range(597)])
    store = bucket.store(retention=Retention("GOVERNANCE", 1))
    with open_reader(log) as reader:
        publish_copy(reader, store, verifiers=reader.vkeys)
    monkeypatch.setenv(f"{VARIABLES}RETENTION_MODE", "GOVERNANCE")
    path = log / "merklelog.toml"
    path.write_text(path.read_text().replace("# targets = []", f'targets = ["{bucket.url()}"]'))
    return store


KEPT = ["checkpoints/600", "tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"]


def admin(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (log / "admin.jsonl").read_text().splitlines()]


def test_extending_is_noted_before_and_after(run: Callable, log: Path, published: S3Store) -> None:
    done = run("retention", "extend", log, "--until", "2031-05-06")
    assert f"{published.location}: 5 of 5 objects extended until 2031-05-06T00:00:00Z, 0 were so" in done.text
    assert "the first of their locks lapses 2031-05-06T00:00:00Z" in done.text
    want = datetime(2031, 5, 6, tzinfo=UTC)
    for key in KEPT:
        lock = published.retention_of(key)
        assert lock is not None
        assert (lock.mode, lock.until) == ("GOVERNANCE", want)
    first, second = admin(log)
    told = {"target": published.location, "until": "2031-05-06T00:00:00Z", "before": "2031-05-06T00:00:00Z"}
    assert (first["what"], first["details"]) == ("retention extend", told)
    assert second["what"] == "retention extend done"
    assert second["details"] == {**told, "changed": 5, "already": 0, "failed": 0}


def test_what_lapses_later_than_a_day_is_left(run: Callable, log: Path, published: S3Store) -> None:
    run("retention", "extend", log, "--days", "10")
    near, far = ((datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%d") for days in (5, 300))
    (result,) = run("retention", "extend", log, "--until", far, "--before", near, "--json").json["targets"]
    assert (result["objects"], result["changed"], result["already"]) == (5, 0, 5)
    (result,) = run("retention", "extend", log, "--until", far, "--json").json["targets"]
    assert (result["action"], result["changed"], result["failures"], result["covered"]) == (
        "extend",
        5,
        0,
        [],
    )
    assert result["earliest"] == result["until"]


def test_holds_for_a_range_are_set_and_released(run: Callable, log: Path, published: S3Store) -> None:
    done = run("retention", "hold", published.location, "--log", log, "--entries", "0:10")
    assert "3 of 3 objects held, 0 were so already, 0 failed" in done.text
    held = {key: published.retention_of(key) for key in KEPT}
    assert [key for key, lock in held.items() if lock is not None and lock.legal_hold] == [
        *("checkpoints/600", "tile/0/000", "tile/entries/000")
    ]
    done = run("retention", "release", log)
    assert "3 of 5 objects released, 2 were so already, 0 failed" in done.text
    assert [(line["what"], line["details"].get("entries")) for line in admin(log)] == [
        ("retention hold", "0:10"),
        ("retention hold done", "0:10"),
        ("retention release", None),
        ("retention release done", None),
    ]


def test_entries_that_can_not_be_held_yet_are_told(run: Callable, log: Path, published: S3Store) -> None:
    done = run("retention", "hold", log, "--entries", "500:600", status=3)
    assert (
        "entries 512:600 are not in a full bundle yet and are not held: run it again when they are"
        in done.text
    )
    assert admin(log)[-1]["details"]["unheld"] == "512:600"
    (result,) = run("retention", "hold", log, "--entries", "5000:6000", "--json", status=3).json["targets"]
    assert (result["changed"], result["unheld"]) == (0, [5000, 6000])
    (result,) = run("retention", "hold", log, "--entries", "0:512", "--json").json["targets"]
    assert result["unheld"] == []


def test_a_bucket_without_a_log_is_changed_and_noted_nowhere(
    run: Callable, log: Path, published: S3Store
) -> None:
    done = run("retention", "hold", published.location, status=3)
    assert "no log's admin.jsonl notes this: name the log with --log DIR" in done.err
    assert not (log / "admin.jsonl").exists()


def test_compliance_for_more_than_a_day_needs_a_yes(
    run: Callable, log: Path, published: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{VARIABLES}RETENTION_MODE", "COMPLIANCE")
    done = run("retention", "extend", log, "--days", "3", status=2)
    for words in ("can be taken back by nobody", "--yes", "publish.s3.i_understand_compliance = true"):
        assert words in done.err
    assert not (log / "admin.jsonl").exists()
    lock = published.retention_of("tile/0/000")
    assert lock is not None
    assert lock.until is not None
    assert lock.until < datetime.now(UTC) + timedelta(days=2)
    run("retention", "extend", log, "--days", "3", "--yes")
    monkeypatch.setenv(f"{VARIABLES}I_UNDERSTAND_COMPLIANCE", "true")
    run("retention", "extend", log, "--days", "4")


def test_what_lies_over_a_locked_object_is_reported(
    run: Callable, log: Path, published: S3Store, bucket: Bucket
) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key="log/tile/0/001")
    done = run("retention", "extend", log, "--days", "20")
    assert f"covered: {published.location}/tile/0/001: a later version or a delete marker" in done.text
    (result,) = run("retention", "hold", log, "--entries", "0:512", "--json").json["targets"]
    assert (result["covers"], result["covered"]) == (1, ["tile/0/001"])


def test_what_could_not_be_changed_gives_status_3(
    run: Callable, log: Path, bucket: Bucket, published: S3Store
) -> None:
    version = bucket.client.head_object(Bucket=bucket.name, Key="log/tile/0/000")["VersionId"]
    soon = datetime.now(UTC) + timedelta(days=1, minutes=1)
    bucket.client.put_object_retention(
        Bucket=bucket.name,
        Key="log/tile/0/000",
        VersionId=version,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": soon},
        BypassGovernanceRetention=True,
    )
    done = run("retention", "extend", log, "--days", "5", status=3)
    assert "failed: " in done.text
    assert "tile/0/000: a COMPLIANCE lock, which nobody could take back, was not agreed to" in done.text
    assert "4 of 5 objects extended" in done.text
    assert admin(log)[-1]["details"]["failed"] == 1


def test_nothing_is_done_that_can_not_be_noted(run: Callable, log: Path, published: S3Store) -> None:
    (log / "admin.jsonl").mkdir()
    assert "admin.jsonl" in run("retention", "hold", log, status=4).err
    lock = published.retention_of("tile/0/000")
    assert lock is not None
    assert not lock.legal_hold


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("extend", "s3://bucket/log"), "say either --until DAY or --days N"),
        (("extend", "s3://bucket/log", "--days", "1", "--until", "2031-01-01"), "say either"),
        (("extend", "s3://bucket/log", "--days", "0"), "over already"),
        (
            ("extend", "s3://bucket/log", "--until", "2020-01-01"),
            "2020-01-01: a lock until then would be over",
        ),
        (("extend", "s3://bucket/log", "--until", "2199-01-01"), "more than 100 years"),
        (("extend", "s3://bucket/log", "--days", "999999999999"), "more than 100 years"),
        (("extend", "s3://bucket/log", "--until", "2031-02-30"), "'2031-02-30' is no day"),
        (("extend", "s3://bucket/log", "--until", "31.12.2031"), "is no day such as"),
        (("extend", "s3://bucket/log", "--until", "２031-01-01"), "is no day such as"),
        (("hold", "s3://bucket/log", "--entries", "5:2"), "ends before it begins"),
        (("hold", "dir:copy"), "a dir: target, and locks are a matter of s3://"),
        (("release", "nowhere"), "not a log's data directory"),
        (("hold", "s3://b/x"), "bucket 'b'"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_asked(
    run: Callable, words: tuple[str, ...], says: str
) -> None:
    assert says in run("retention", *words, status=2).err
