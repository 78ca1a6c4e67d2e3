"""The policy of the setup script, held by a real server: enough for the log's identity, and no more than that."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from merklelog.errors import UnreachableError
from merklelog.log import create_log, open_log
from merklelog.publish import ObjectKind
from merklelog.publish.preflight import Preflight
from merklelog.publish.preflight_look import Looker
from merklelog.publish.preflight_report import DefaultRetention, Need, Outcome, Verdict
from merklelog.publish.preflight_scene import Scene
from merklelog.publish.preflight_setup import policy
from merklelog.publish.preflight_writes import delete
from merklelog.publish.s3 import Retention, S3Location, S3Options
from tests.support import s3_programs
from tests.support.s3_servers import ADMIN, Bucket, MakeBucket, S3Server

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(versitygw: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket of the admin's, and in the environment an identity that has the policy for `log` there."""
    made = s3_bucket(versitygw)
    name, secret = f"log-{secrets.token_hex(4)}", secrets.token_hex(16)
    words = ["--access", ADMIN[0], "--secret", ADMIN[1], "--endpoint-url", versitygw.endpoint]
    user = ["create-user", "--access", name, "--secret", secret, "--role", "user"]
    subprocess.run([str(s3_programs.versitygw()), "admin", *words, *user], check=True, capture_output=True)
    document = policy(S3Location(made.name, "log"), S3Options(), "us-east-1")
    for statement in document["Statement"]:
        statement["Principal"] = {
            "AWS": [name]
        }  # a bucket's policy names who it is about, an identity's does not
    made.client.put_bucket_policy(Bucket=made.name, Policy=json.dumps(document))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    return made


def test_with_that_policy_everything_passes_and_nobody_bypasses_governance(bucket: Bucket) -> None:
    options = bucket.server.options(retention=Retention("GOVERNANCE", 30))
    report = Preflight(bucket.store(), options, lock_seconds=12).try_out()
    # versitygw deletes what is held, once its lock is over: no policy helps there.
    bad = [finding for finding in report.findings if finding.outcome is not Outcome.PASS]
    assert [finding.probe for finding in bad] == ["legal-hold"], bad
    assert "deleted while it was held" in bad[0].seen
    assert (report.verdict, report.left) == (Verdict.FIT, 0)
    with pytest.raises(UnreachableError, match="403 AccessDenied"):
        Preflight(bucket.store("other"), options).look()


def publish(bucket: Bucket, folder: Path) -> None:
    """Make a log with the bucket as its target; two sessions with three publications of a hundred entries each."""
    settings = {
        "store.min_free_bytes": 0,
        "publish.targets": (bucket.url(),),
        "publish.interval": 0.05,
        "publish.s3.endpoint_url": bucket.server.endpoint,
        "publish.s3.region": "us-east-1",
        "publish.s3.retention_mode": "GOVERNANCE",
        "publish.s3.retention_days": 1,
    }
    create_log(folder / "trail", "policy.example/log", settings=settings)
    for _ in range(2):
        with open_log(folder / "trail") as log:
            for number in range(3):
                log.append_batch([b"%d" % (number * 100 + entry) for entry in range(100)])
                log.wait_published(log.integrated.size).result(60)


def test_with_that_policy_a_log_publishes_and_collects(bucket: Bucket, tmp_path: Path) -> None:
    publish(bucket, tmp_path)
    store = bucket.store()  # by the log's own identity
    keys = list(store.list_keys())
    assert {"head", "checkpoint", "checkpoints/600", "tile/0/001", "tile/entries/001"} <= set(keys)
    assert not [key for key in keys if key.startswith(("staging/", "tile/0/000.p/", "tile/entries/000.p/"))]
    versions = [version.key for version in store.versions()]
    assert sorted(versions) == sorted(set(versions)), "superseded versions stay"


def without(bucket: Bucket, action: str) -> None:
    """Take a permission out of the policy."""
    document = json.loads(bucket.client.get_bucket_policy(Bucket=bucket.name)["Policy"])
    for statement in document["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action]
    document["Statement"] = [each for each in document["Statement"] if each["Action"]]
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(document))


@pytest.mark.parametrize(
    ("action", "probe"),
    [("s3:DeleteObjectVersion", "delete"), ("s3:ListBucketVersions", "version-listing")],
)
def test_what_a_log_falls_back_from_it_does_without(
    bucket: Bucket, tmp_path: Path, action: str, probe: str
) -> None:
    without(bucket, action)
    looker = Looker(bucket.server.client(), bucket.name, "log/", bucket.url(), time.time)
    options, scratch = bucket.server.options(), "log/preflight/1-a/"
    scene = Scene(bucket.server.client(), bucket.name, scratch, options, default=DefaultRetention())
    found = {finding.probe: finding for finding in [*looker.look().findings, delete(scene)]}
    bad = [name for name, finding in found.items() if finding.outcome is not Outcome.PASS]
    assert bad == [probe]
    assert found[probe].about.need is Need.FALLBACK
    assert "403 AccessDenied" in found[probe].seen
    publish(bucket, tmp_path)
    assert {"checkpoint", "checkpoints/600", "tile/0/001"} <= set(bucket.store().list_keys())


def test_who_may_not_lock_publishes_nothing_that_is_not_locked(bucket: Bucket) -> None:
    """Everything else may be written; what must be locked is refused with the lock's permission in the message."""
    without(bucket, "s3:PutObjectRetention")
    store = bucket.store(retention=Retention("GOVERNANCE", 1))
    store.put("head", b"1")
    with pytest.raises(UnreachableError, match=r"PutObject: .*403 AccessDenied.*s3:PutObjectRetention"):
        store.put_immutable("tile/0/000", b"1", ObjectKind(retain=True))
    assert store.stat("tile/0/000") is None


def test_with_that_policy_nothing_published_can_be_removed_though_nothing_locks_it(bucket: Bucket) -> None:
    for key in ("log/tile/0/000", "log/checkpoints/256", "log/merklelog.json", "log/tile/0/001.p/5"):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"x")
    client = bucket.server.client()

    def refused(call: Callable[..., object], key: str, **more: object) -> None:
        with pytest.raises(ClientError, match="AccessDenied"):
            call(Bucket=bucket.name, Key=key, **more)

    for key in ("log/tile/0/000", "log/checkpoints/256", "log/merklelog.json"):
        version = client.head_object(Bucket=bucket.name, Key=key)["VersionId"]
        refused(client.delete_object, key, VersionId=version)
        refused(client.delete_object, key)
    version = client.head_object(Bucket=bucket.name, Key="log/tile/0/001.p/5")["VersionId"]
    client.delete_object(Bucket=bucket.name, Key="log/tile/0/001.p/5", VersionId=version)
    refused(client.put_object, "elsewhere/x", Body=b"x")
    hold = {"LegalHold": {"Status": "ON"}}
    refused(client.put_object_legal_hold, "log/tile/0/000", **hold)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Suspended"})
