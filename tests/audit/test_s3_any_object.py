"""Every object of a log's bucket, spoiled in each way: the audit names it, and is content again after."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

import merklelog
from merklelog.audit import AuditReport, audit
from merklelog.client import Access
from merklelog.formats import Policy, single_log_policy
from tests.support.s3_servers import REGION, Bucket, S3Server

POINTERS = ("checkpoint", "head")


class Target:
    """What a real log published to a bucket, at several sizes in two epochs; every change is taken back."""

    def __init__(self, bucket: Bucket, policy: Policy) -> None:
        self.bucket = bucket
        self.policy = policy
        self.access = Access(s3=bucket.server.options())
        self.keys = list(bucket.store().list_keys())

    def audit(self) -> AuditReport:
        return audit(self.bucket.url(), self.policy, access=self.access, processes=1)

    def put_over(self, key: str, data: bytes) -> str:
        answer = self.bucket.client.put_object(Bucket=self.bucket.name, Key=f"log/{key}", Body=data)
        return str(answer["VersionId"])

    def hide(self, key: str) -> str:
        answer = self.bucket.client.delete_object(Bucket=self.bucket.name, Key=f"log/{key}")
        return str(answer["VersionId"])

    def take_back(self, key: str, version: str, *, locked: bool = False) -> None:
        bypass: dict[str, Any] = {"BypassGovernanceRetention": True} if locked else {}
        self.bucket.client.delete_object(
            Bucket=self.bucket.name, Key=f"log/{key}", VersionId=version, **bypass
        )


@pytest.fixture(scope="module")
def target(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Target:
    client = seaweedfs.client()
    name = f"test-any-{secrets.token_hex(8)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    bucket = Bucket(seaweedfs, name, client)
    path = tmp_path_factory.mktemp("any") / "log"
    settings: dict[str, Any] = {
        "store.min_free_bytes": 0,
        "publish.targets": (bucket.url(),),
        "publish.interval": 0.05,
        "publish.s3.endpoint_url": seaweedfs.endpoint,
        "publish.s3.region": REGION,
        "publish.s3.retention_mode": "GOVERNANCE",
        "publish.s3.retention_days": 1,
    }
    merklelog.create_log(path, "any.example/log", settings=settings)
    for start, end in ((0, 200), (200, 700)):
        with merklelog.open(path) as log:
            log.append_batch([b"event %d" % index for index in range(start, end)])
            log.wait_published(end).result(120)
            policy = single_log_policy(log.vkeys)
    return Target(bucket, policy)


def test_it_is_whole_and_has_one_of_everything(target: Target) -> None:
    report = target.audit()
    assert (report.findings, report.remarks, report.size) == ((), (), 700)
    assert {"checkpoint", "head", "merklelog.json", "checkpoints/200", "checkpoints/700"} <= set(target.keys)
    assert {"tile/0/000", "tile/entries/001", "tile/entries/002.p/188", "tile/1/000.p/2"} <= set(target.keys)


def test_a_byte_changed_in_any_object(target: Target) -> None:
    for key in target.keys:
        data = bytearray(target.bucket.store().get(key).data)
        data[len(data) // 2] ^= 1
        version = target.put_over(key, bytes(data))
        report = target.audit()
        target.take_back(key, version)
        assert report.exit_status == 1, key
        assert any(finding.where.endswith(f"/{key}") for finding in report.findings), (key, report.findings)
        if key not in POINTERS:
            assert (report.size, report.entries) == (700, 700), key
    assert target.audit().findings == ()


def test_a_delete_marker_over_any_object(target: Target) -> None:
    for key in target.keys:
        marker = target.hide(key)
        report = target.audit()
        target.take_back(key, marker)
        assert report.exit_status == 1, key
        assert any(finding.where.endswith(f"/{key}") for finding in report.findings), (key, report.findings)
        if key != "checkpoint":
            assert (report.size, report.entries) == (700, 700), key
    assert target.audit().findings == ()


def test_an_object_that_is_gone_with_all_its_versions(target: Target) -> None:
    """But `head`, without which it is no target, and what earlier sizes alone needed: their lock is the answer."""
    store = target.bucket.store()
    for key in target.keys:
        if key == "head" or (key.startswith("checkpoints/") and key != "checkpoints/700"):
            continue
        if ".p/" in key and not key.endswith(("002.p/188", "tile/1/000.p/2")):
            continue
        data = store.get(key)
        kind = {"ContentEncoding": data.content_encoding} if data.content_encoding else {}
        for version in [each for each in store.versions(key) if each.key == key]:
            target.take_back(key, version.version_id, locked=True)
        report = target.audit()
        target.bucket.client.put_object(Bucket=target.bucket.name, Key=f"log/{key}", Body=data.data, **kind)
        assert report.exit_status == 1, key
        assert any(f"/{key}" in str(finding) for finding in report.findings), (key, report.findings)
    assert target.audit().findings == ()


def test_an_older_version_put_over_any_object_that_had_one(target: Target) -> None:
    """A pointer that is put back: `checkpoint` to that of the earlier size, `head` to the epoch before."""
    store = target.bucket.store()
    older = {"checkpoint": store.get("checkpoints/200").data, "head": store.get("head").data}
    older["head"] = older["head"].replace(b'"epoch":2', b'"epoch":1')
    assert older["head"] != store.get("head").data
    for key, data in older.items():
        version = target.put_over(key, data)
        report = target.audit()
        target.take_back(key, version)
        assert report.exit_status == 1, key
        assert any(finding.where.endswith(f"/{key}") for finding in report.findings), (key, report.findings)
        assert "put back" in str(report.findings[0])
    assert target.audit().findings == ()
