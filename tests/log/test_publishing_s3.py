"""A log that publishes itself to real S3 servers, as `merklelog.open` does it from its configuration."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.errors import BehindError, ConfigError, NotALogError, StoppedError
from merklelog.formats import parse_checkpoint
from merklelog.log.publish_config import DEFAULT_DAYS
from tests.support import targets
from tests.support.checker import check_log
from tests.support.s3_servers import Bucket, MakeBucket, S3Server
from tests.support.targets import published


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(s3_server)


@pytest.fixture
def make(tmp_path: Path, bucket: Bucket) -> Callable[..., Path]:
    """`make("log")`: a log whose target is this bucket, locked for a day."""

    def call(name: str, **settings: Any) -> Path:
        s3 = {
            "publish.s3.endpoint_url": bucket.server.endpoint,
            "publish.s3.region": "us-east-1",
            "publish.s3.retention_mode": "GOVERNANCE",
            "publish.s3.retention_days": 1,
        }
        given = s3 | {key.replace("__", "."): value for key, value in settings.items()}
        told = {key: value for key, value in given.items() if value is not None}
        return targets.make(tmp_path / name, **{"publish.targets": (bucket.url("a/log"),), **told})

    return call


def test_append_publish_restart_and_clone(make: Callable[..., Path], bucket: Bucket, tmp_path: Path) -> None:
    path = make("log")
    entries = [b"entry %d" % i for i in range(700)]
    with merklelog.open(path) as log:
        receipts = log.append_batch(entries[:300])
        assert (receipts.epoch, log.epoch) == (1, 1)
        assert published(log) == 300
        shutil.copytree(path, tmp_path / "old", ignore=shutil.ignore_patterns("lock"))
        log.append_batch(entries[300:])
        assert published(log) == 700
        status = log.publishing
        assert status is not None
        assert status.requests > 0
    store = bucket.store("a/log")
    with merklelog.open(path) as log:
        assert (log.epoch, log.size) == (2, 700)
        assert store.get("checkpoint").data == log.checkpoint()
        check_log(log, acknowledged=dict(enumerate(entries)))
        before = store.requests
        assert sum(before.values()) > 0
    lock = store.retention_of("tile/entries/001", None)
    assert lock is not None
    assert lock.mode == "GOVERNANCE"
    assert store.retention_of("head", None) is None
    assert parse_checkpoint(store.get("checkpoints/700").data).checkpoint.size == 700
    with pytest.raises(BehindError, match=f"merklelog recover DIR --from {bucket.url('a/log')}"):
        merklelog.open(tmp_path / "old")
    with pytest.raises(NotALogError, match="fork"):
        make("again")


def test_a_second_writer_on_a_copy_of_the_disk(
    make: Callable[..., Path], bucket: Bucket, tmp_path: Path
) -> None:
    path = make("log")
    with merklelog.open(path) as log:
        log.append(b"one")
    shutil.copytree(path, tmp_path / "clone")
    first = merklelog.open(path)
    with merklelog.open(tmp_path / "clone") as second:
        first.append(b"of the first")
        with pytest.raises(StoppedError):
            first.wait_published(2).result(targets.PATIENCE)
        assert second.append(b"of the second").upgrade().size == 2
    with pytest.raises(StoppedError):
        first.close()
    versions = list(bucket.store("a/log").versions("checkpoints/2"))
    assert len(versions) == 1


def test_a_bucket_that_is_not_there(make: Callable[..., Path], bucket: Bucket) -> None:
    with pytest.raises((ConfigError, NotALogError), match="no-such-bucket-at-all"):
        make("log", publish__targets=("s3://no-such-bucket-at-all/log",))


def test_a_long_compliance_lock_has_to_be_understood(make: Callable[..., Path], bucket: Bucket) -> None:
    settings = {"publish__s3__retention_mode": "COMPLIANCE", "publish__s3__retention_days": 2}
    with pytest.raises(ConfigError, match="i_understand_compliance"):
        make("log", **settings)
    assert list(bucket.store("a/log").list_keys()) == []


def test_a_lock_of_years(make: Callable[..., Path], bucket: Bucket) -> None:
    """As many days as so many years can have, and never beside days."""
    years = {"publish__s3__retention_mode": "GOVERNANCE", "publish__s3__retention_years": 7}
    with pytest.raises(ConfigError, match="retention_years is 7, and"):
        make("both", **years)
    with pytest.raises(ConfigError, match=f"retention_years is 7, and .* is {DEFAULT_DAYS}"):
        make("both", **years, publish__s3__retention_days=DEFAULT_DAYS)
    directory = make("log", **years, publish__s3__retention_days=None)
    with merklelog.open(directory) as log:
        log.append(b"one")
        log.publish_now().result(60)
    lock = bucket.store("a/log").retention_of("checkpoints/1")
    assert lock is not None
    assert lock.until is not None
    assert 2556 < (lock.until - datetime.now(UTC)) / timedelta(days=1) < 2558
