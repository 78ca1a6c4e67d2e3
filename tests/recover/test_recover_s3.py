"""Recovery from buckets: real servers, locked objects, and what was put over them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from checker import check_log
from scenes import SIGNERS, VERIFIERS, Scene

import merklelog
from merklelog.audit import audit
from merklelog.cli import main
from merklelog.errors import BehindError, NotALogError, UnreachableError
from merklelog.formats import single_log_policy
from merklelog.log.recover import recover_log
from merklelog.publish import publish_copy
from merklelog.publish.s3 import Retention
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

LOCK = Retention("GOVERNANCE", 1)


def test_a_locked_copy_comes_back(s3_server: S3Server, s3_bucket: MakeBucket, tmp_path: Path) -> None:
    there = Scene(tmp_path)
    bucket = s3_bucket(s3_server)
    there.store = bucket.store(retention=LOCK)  # type: ignore[assignment]
    for size in (100, 700):
        there.log.grow(size)
        publish_copy(there.log, there.store, verifiers=VERIFIERS, bundle_encoding="gzip")
    there.check(there.recover(), 700, (100, 700))


def test_what_was_put_over_locked_objects_is_read_past(
    s3_server: S3Server, s3_bucket: MakeBucket, tmp_path: Path
) -> None:
    there = Scene(tmp_path)
    bucket = s3_bucket(s3_server)
    there.store = bucket.store(retention=LOCK)  # type: ignore[assignment]
    there.log.grow(700)
    publish_copy(there.log, there.store, verifiers=VERIFIERS, bundle_encoding="identity")
    client: Any = s3_server.client()
    client.delete_object(Bucket=bucket.name, Key="log/tile/entries/000")
    client.put_object(Bucket=bucket.name, Key="log/tile/entries/001", Body=b"\0\0" * 256)
    report = there.recover()
    there.check(report, 700, (700,))
    assert report.remarks == ()


def test_the_whole_life_of_a_log_in_a_bucket(
    seaweedfs: S3Server, s3_bucket: MakeBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Published, backed up, lost, recovered by command, gone on with; the old copy of the disk is refused."""
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    bucket = s3_bucket(seaweedfs)
    log, keys = tmp_path / "log", tmp_path / "keys"
    settings: dict[str, Any] = {
        "store.min_free_bytes": 0,
        "publish.targets": (bucket.url(),),
        "publish.s3.retention_mode": "GOVERNANCE",
        "publish.s3.retention_days": 1,
        "publish.s3.i_understand_compliance": True,
    }
    merklelog.create_log(log, "recover.example/bucket", keys=keys, settings=settings)
    with merklelog.open(log) as writer:
        writer.append_batch([b"one %d" % i for i in range(600)])
    shutil.copytree(log, tmp_path / "old")
    with merklelog.open(log) as writer:
        writer.append_batch([b"two %d" % i for i in range(300)])
        root = writer.root if writer.size == 900 else None
    shutil.rmtree(log)
    with pytest.raises(NotALogError, match="merklelog recover"):
        merklelog.create_log(log, "recover.example/bucket", keys=tmp_path / "others", settings=settings)

    words = ["recover", str(log), "--from", bucket.url(), "--keys", str(keys), "--json"]
    words += [f"--set={name}={_toml(value)}" for name, value in settings.items() if name != "publish.targets"]
    capfd.readouterr()
    assert main(words) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["size"], result["epoch"], result["start"], result["published"]) == (900, 2, 600, [900])
    with merklelog.open(log) as writer:
        assert writer.epoch == 3
        assert root is None or writer.root == root
        assert writer.append(b"three").index == 900
        policy = single_log_policy(writer.vkeys)
    report = audit(bucket.url(), policy, processes=1)
    assert report.findings == ()
    assert report.size == 901
    with merklelog.open_reader(log) as reader:
        check_log(reader)
    with pytest.raises(BehindError):
        merklelog.open(tmp_path / "old")


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_a_bucket_that_is_not_there(seaweedfs: S3Server, s3_bucket: MakeBucket, tmp_path: Path) -> None:
    bucket = s3_bucket(seaweedfs)
    with pytest.raises(NotALogError, match="no published copy"):
        recover_log(tmp_path / "log", bucket.store(), SIGNERS)
    gone = S3Server("gone", "http://127.0.0.1:9", 0)
    store = Bucket(gone, bucket.name, None).store()
    with pytest.raises(UnreachableError):
        recover_log(tmp_path / "log", store, SIGNERS)
    assert not (tmp_path / "log").exists()
