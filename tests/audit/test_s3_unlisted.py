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
from merklelog.publish.s3_options import ObjectVersion
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


class Disordered:
    """A bucket that lists the two newest versions of `checkpoint` in the wrong order, the first `times` times."""

    def __init__(self, store: S3Store, times: int) -> None:
        self._store, self._left = store, times
        self.location, self.get_version = store.location, store.get_version
        self.lists = 0

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        listed = list(self._store.versions(key_prefix))
        self.lists += 1
        if self._left:
            self._left -= 1
            at = next(i for i, version in enumerate(listed) if version.key == "checkpoint")
            assert listed[at + 1].key == "checkpoint"
            listed[at : at + 2] = listed[at + 1], listed[at]
        yield from listed


@pytest.mark.parametrize(("times", "findings", "lists"), [(0, 0, 1), (1, 0, 2), (100, 1, 4)])
def test_a_pointer_is_put_back_only_when_it_stays_so(
    bucket: Bucket, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, times: int, findings: int, lists: int
) -> None:
    """Stores list a version that is being written before they call it the newest."""
    monkeypatch.setattr("merklelog.audit.versions._PAUSE", 0.0)
    store = bucket.store(retention=Retention("GOVERNANCE", 1))
    publish_copy(log.grow(400), store, verifiers=log.vkeys)
    listing, found = Disordered(store, times), Findings()
    look_through(listing, found)  # type: ignore[arg-type]
    store.close()
    assert [(each.kind, each.disproven) for each in found.listed] == [(FindingKind.VERSION, True)] * findings
    assert all("says size 400, and the newer one" in each.detail for each in found.listed)
    assert listing.lists == lists
