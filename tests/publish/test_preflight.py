"""Whole preflights of real servers: what each enforces is found out, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from merklelog.errors import ConfigError, UnreachableError
from merklelog.publish.preflight import Preflight
from merklelog.publish.preflight_report import PROBES, Need, Outcome, PreflightReport, Verdict
from merklelog.publish.s3 import Retention, S3Options, open_s3
from tests.support.s3_servers import READER, Bucket, MakeBucket, S3Server

pytestmark = pytest.mark.slow
LOCK_SECONDS = 12
# versitygw deletes what is held, once its lock is over.
UNHELD = {"seaweedfs": set(), "versitygw": {"legal-hold"}}
COMPLIANCE = Retention("COMPLIANCE", 1)


def preflight(bucket: Bucket, retention: Retention | None = COMPLIANCE, **settings: Any) -> PreflightReport:
    options = bucket.server.options(retention=retention, **settings)
    return Preflight(bucket.store(), options, lock_seconds=LOCK_SECONDS).try_out()


def outcomes(report: PreflightReport, outcome: Outcome) -> set[str]:
    return {finding.probe for finding in report.findings if finding.outcome is outcome}


def everything(bucket: Bucket) -> list[dict[str, Any]]:
    page = bucket.client.list_object_versions(Bucket=bucket.name)
    return [*page.get("Versions", []), *page.get("DeleteMarkers", [])]


def seen(report: PreflightReport, probe: str) -> str:
    return next(finding.seen for finding in report.findings if finding.probe == probe)


def set_default(bucket: Bucket, mode: str, days: int) -> None:
    rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
    bucket.client.put_object_lock_configuration(
        Bucket=bucket.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )


@dataclass(frozen=True)
class Tried:
    """A whole preflight of a bucket with locks, what was waited for, and what is left of it."""

    report: PreflightReport
    waited: list[tuple[int, int | None]]
    left: list[dict[str, Any]]


TRIED: dict[str, Tried] = {}


@pytest.fixture
def tried(s3_bucket: MakeBucket) -> Callable[[S3Server], Tried]:
    """One for each server: most of a preflight is waiting."""

    def get(server: S3Server) -> Tried:
        if server.name not in TRIED:
            bucket, waited = s3_bucket(server), []
            made = Preflight(bucket.store(), server.options(retention=COMPLIANCE), lock_seconds=LOCK_SECONDS)
            report = made.try_out(lambda done, of: waited.append((done, of)))
            TRIED[server.name] = Tried(report, waited, everything(bucket))
        return TRIED[server.name]

    return get


def test_a_bucket_with_locks_is_fit(s3_server: S3Server, tried: Callable[[S3Server], Tried]) -> None:
    found = tried(s3_server)
    report = found.report
    assert report.verdict is Verdict.FIT, report
    assert outcomes(report, Outcome.UNKNOWN) == set()
    # Both servers' admin may bypass GOVERNANCE, which costs nothing under COMPLIANCE.
    assert outcomes(report, Outcome.FAIL) == {"governance-bypass"} | UNHELD[s3_server.name]
    assert [each.probe for each in report.findings] == [p.name for p in PROBES if p.name != "encryption"]
    assert (report.whole, report.left, found.left) == (True, 0, [])
    assert found.waited == sorted(found.waited)
    assert all(done <= (of or 0) <= LOCK_SECONDS + 3 for done, of in found.waited)


def test_what_a_server_does_otherwise_is_told(
    s3_server: S3Server, tried: Callable[[S3Server], Tried]
) -> None:
    report = tried(s3_server).report
    one = s3_server.name == "seaweedfs"
    assert ("where nothing is: 412 (Amazon S3: 404)" in seen(report, "if-match")) == one
    over = "over a delete marker too (412; Amazon S3 creates there)"
    assert (over in seen(report, "if-none-match")) == (not one)
    assert ("501" in seen(report, "lifecycle")) == (not one)


def test_a_governance_log_is_told_that_its_identity_goes_round_the_locks(
    seaweedfs: S3Server, tried: Callable[[S3Server], Tried]
) -> None:
    report = replace(tried(seaweedfs).report, retention=Retention("GOVERNANCE", 30))
    assert report.verdict is Verdict.FALLBACK
    assert [finding.probe for finding in report.failed(Need.FALLBACK)] == ["governance-bypass"]
    assert "deleted a locked version" in seen(report, "governance-bypass")


def test_a_bucket_without_locks_is_unfit_for_a_log_that_locks(
    s3_server: S3Server, s3_bucket: MakeBucket
) -> None:
    bucket = s3_bucket(s3_server, lock=False)
    report = preflight(bucket)
    assert report.verdict is Verdict.UNFIT
    assert outcomes(report, Outcome.FAIL) == {
        *("versioning", "object-lock", "compliance", "governance", "governance-bypass", "versions"),
        "legal-hold",
    }
    assert everything(bucket) == []
    assert replace(report, retention=None).verdict is Verdict.FIT  # it then needs conditional writes alone


def test_under_a_long_default_nothing_stays(s3_server: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(s3_server)
    set_default(bucket, "COMPLIANCE", 2557)
    looked = Preflight(bucket.store(), s3_server.options(retention=COMPLIANCE)).look()
    assert (looked.default.mode, looked.default.days, looked.default.is_long) == ("COMPLIANCE", 2557, True)
    assert (looked.whole, looked.verdict, everything(bucket)) == (False, Verdict.UNKNOWN, [])
    report = preflight(bucket)
    assert report.verdict is Verdict.FIT, report
    assert "after its own lock of 3 s, under a default of COMPLIANCE, 2557 days" in seen(report, "delete")
    assert (report.left, everything(bucket)) == (0, [])


def test_what_an_interrupted_preflight_left_is_removed_by_the_next(
    versitygw: S3Server, s3_bucket: MakeBucket
) -> None:
    bucket = s3_bucket(versitygw, lock=False)
    for key in ("log/preflight/1-aa/plain/x", "log/preflighting", "log/tile/0/000"):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"x")
    assert preflight(bucket, None).left == 0
    assert sorted(row["Key"] for row in everything(bucket)) == ["log/preflighting", "log/tile/0/000"]


def test_who_may_only_read_publishes_nothing(
    seaweedfs: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_bucket(seaweedfs)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    report = preflight(bucket)
    assert report.verdict is Verdict.UNFIT
    assert "403 AccessDenied" in seen(report, "compliance")
    assert "403 AccessDenied" in seen(report, "if-match")
    assert everything(bucket) == []


def test_a_bucket_that_anybody_writes_to_is_unfit(versitygw: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(versitygw, lock=False)
    resources = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=policy)
    report = preflight(bucket, None)
    assert report.verdict is Verdict.UNFIT
    assert outcomes(report, Outcome.FAIL) >= {"anonymous"}
    assert "replace" in seen(report, "anonymous")
    assert everything(bucket) == []


def test_what_can_not_be_used_at_all_is_said(
    s3_server: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_bucket(s3_server)
    missing = Bucket(s3_server, "not-there", bucket.client)
    with pytest.raises(ConfigError, match=r"s3://not-there/log.*404 NoSuchBucket.*no such bucket"):
        Preflight(missing.store(), s3_server.options()).look()
    closed = S3Options(endpoint_url="http://127.0.0.1:9", region="us-east-1")
    store = open_s3(bucket.url(), closed)
    with pytest.raises(UnreachableError, match=r"no answer"):
        Preflight(store, closed).look()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UnreachableError, match=r"403 SignatureDoesNotMatch.*secret key") as error:
        Preflight(bucket.store(), s3_server.options()).look()
    assert "wrong" not in str(error.value)
