"""A bucket whose versions can not be listed: who may not is told so, and what did not answer proves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from merklelog.audit import AuditReport, FindingKind, audit
from merklelog.audit.report import Findings
from merklelog.audit.versions import look_through
from merklelog.client import Access
from merklelog.formats import single_log_policy
from merklelog.publish import publish_copy
from merklelog.publish.s3 import Retention, S3Options, S3Store, parse_s3_url
from merklelog.publish.s3_client import make_client
from tests.publish.memory_log import MemoryLog
from tests.support.s3_proxy import Asked, Fault, Proxy, proxied
from tests.support.s3_servers import REGION, Bucket, MakeBucket, S3Server

DENIED = Fault("refused", 403, "AccessDenied")
ABSENT = Fault("refused", 501, "NotImplemented")
FAILING = Fault("refused", 500, "InternalError")
SLOW_DOWN = Fault("refused", 503, "SlowDown")
NOT_FOUND = Fault("refused", 404, "404")  # as something before the service answers while it restarts
DROPPED = Fault("dropped")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog().grow(300)


@pytest.fixture
def bucket(seaweedfs: S3Server, s3_bucket: MakeBucket, log: MemoryLog) -> Bucket:
    made = s3_bucket(seaweedfs)
    publish_copy(log, made.store(retention=Retention("GOVERNANCE", 1)), verifiers=log.vkeys)
    return made


@pytest.fixture
def proxy(seaweedfs: S3Server) -> Iterator[Proxy]:
    with proxied(seaweedfs.endpoint) as running:
        yield running


def spoil(proxy: Proxy, fault: Fault) -> None:
    """Every list of versions, and nothing else."""

    def judge(asked: Asked) -> Fault | None:
        names = {part.partition("=")[0] for part in asked.query.split("&")}
        return fault if asked.method == "GET" and "versions" in names else None

    proxy.judge = judge


def options(proxy: Proxy) -> S3Options:
    return S3Options(endpoint_url=proxy.endpoint, region=REGION)


def audited(bucket: Bucket, log: MemoryLog, proxy: Proxy) -> AuditReport:
    policy = single_log_policy(log.vkeys)
    return audit(bucket.url(), policy, access=Access(s3=options(proxy)), processes=1)


@pytest.mark.parametrize("fault", [DENIED, ABSENT], ids=["denied", "not implemented"])
def test_who_may_not_list_versions_is_told_so(
    bucket: Bucket, log: MemoryLog, proxy: Proxy, fault: Fault
) -> None:
    spoil(proxy, fault)
    report = audited(bucket, log, proxy)
    assert (report.exit_status, report.findings, report.entries) == (0, (), 300)
    assert ["its versions could not be listed" in remark for remark in report.remarks] == [True]


def test_versions_that_nobody_answered_for_are_not_proven(
    bucket: Bucket, log: MemoryLog, proxy: Proxy
) -> None:
    assert audited(bucket, log, proxy).exit_status == 0
    spoil(proxy, FAILING)
    report = audited(bucket, log, proxy)
    assert [(found.kind, found.disproven) for found in report.findings] == [(FindingKind.VERSION, False)]
    assert (report.exit_status, report.entries) == (3, 300)


@pytest.mark.parametrize("fault", [FAILING, SLOW_DOWN, NOT_FOUND, DROPPED], ids=lambda fault: fault.code)
def test_whatever_the_answer_was_that_was_none(bucket: Bucket, proxy: Proxy, fault: Fault) -> None:
    spoil(proxy, fault)
    where = parse_s3_url(bucket.url())
    waits: list[float] = []
    store = S3Store(make_client(options(proxy)), where, options(proxy), sleep=waits.append)
    findings = Findings()
    looked = look_through(store, findings)
    store.close()
    assert looked.remarks == []
    assert [(found.kind, found.where, found.disproven) for found in findings.listed] == [
        (FindingKind.VERSION, bucket.url(), False)
    ]
