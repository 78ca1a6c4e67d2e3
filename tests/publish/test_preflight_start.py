"""The dated record of a preflight, and what a start makes of it without writing."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merklelog.errors import ConfigError, FormatVersionError, StorageError
from merklelog.publish.preflight_record import (
    FILE,
    PreflightRecord,
    missing_probes,
    read_record,
    write_record,
)
from merklelog.publish.preflight_report import (
    PROBES,
    DefaultRetention,
    Finding,
    Need,
    Outcome,
    PreflightReport,
    Verdict,
    judge,
)
from merklelog.publish.preflight_start import StartCheck, check_start
from merklelog.publish.s3 import Retention, S3Store
from tests.support import weak_s3 as weak
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

DAY = 86_400
COMPLIANCE = Retention("COMPLIANCE", 2557)
GOVERNANCE = Retention("GOVERNANCE", 30)


def report(target: str = "s3://b/log", endpoint: str = "http://s3", **changes: Any) -> PreflightReport:
    """A whole preflight that found all to be well, but for `changes`."""
    findings = tuple(Finding(probe.name, Outcome.PASS, "200") for probe in PROBES)
    made = PreflightReport(target, endpoint, 1_000_000, COMPLIANCE, DefaultRetention(), findings, whole=True)
    return replace(made, **changes)


def but(outcome: Outcome, *probes: str) -> tuple[Finding, ...]:
    return tuple(
        Finding(probe.name, outcome if probe.name in probes else Outcome.PASS, "409 Because")
        for probe in PROBES
    )


# --- verdicts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "probe", "retention", "verdict"),
    [
        (Outcome.PASS, "", COMPLIANCE, Verdict.FIT),
        (Outcome.FAIL, "if-match", COMPLIANCE, Verdict.UNFIT),
        (Outcome.FAIL, "if-match", None, Verdict.UNFIT),
        (Outcome.UNKNOWN, "if-match", COMPLIANCE, Verdict.UNKNOWN),
        (Outcome.FAIL, "compliance", COMPLIANCE, Verdict.UNFIT),
        (Outcome.FAIL, "compliance", GOVERNANCE, Verdict.FIT),
        (Outcome.FAIL, "governance", GOVERNANCE, Verdict.UNFIT),
        (Outcome.FAIL, "governance", COMPLIANCE, Verdict.FIT),
        (Outcome.FAIL, "governance-bypass", GOVERNANCE, Verdict.FALLBACK),
        (Outcome.FAIL, "governance-bypass", COMPLIANCE, Verdict.FIT),
        (Outcome.FAIL, "object-lock", None, Verdict.FIT),
        (Outcome.FAIL, "object-lock", GOVERNANCE, Verdict.UNFIT),
        (Outcome.FAIL, "delete", COMPLIANCE, Verdict.FALLBACK),
        (Outcome.UNKNOWN, "version-listing", COMPLIANCE, Verdict.FALLBACK),
        (Outcome.FAIL, "listing", None, Verdict.UNFIT),
        (Outcome.FAIL, "legal-hold", COMPLIANCE, Verdict.FIT),
    ],
)
def test_a_verdict_is_by_what_the_log_needs(
    outcome: Outcome, probe: str, retention: Retention | None, verdict: Verdict
) -> None:
    assert judge(but(outcome, probe), retention) is verdict
    assert report(findings=but(outcome, probe), retention=retention).verdict is verdict


def test_what_was_only_looked_at_is_not_known_to_be_fit() -> None:
    assert report(whole=False).verdict is Verdict.UNKNOWN
    assert report(whole=False, findings=but(Outcome.FAIL, "object-lock")).verdict is Verdict.UNFIT


def test_every_probe_says_what_its_failure_costs() -> None:
    for probe in PROBES:
        assert probe.asks
        assert probe.cost
        assert bool(probe.fallback) == (probe.need is Need.FALLBACK), probe.name
    assert len({probe.name for probe in PROBES}) == len(PROBES)


# --- the record ----------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_record(tmp_path, "s3://b/log", "http://s3") is None
    made = report(default=DefaultRetention("COMPLIANCE", 7), findings=but(Outcome.FAIL, "if-match"), left=3)
    assert write_record(tmp_path, made) == tmp_path / FILE
    found = read_record(tmp_path, "s3://b/log", "http://s3")
    assert found is not None
    assert (found.report, missing_probes(found)) == (made, [])
    assert read_record(tmp_path, "s3://b/log", "http://other") is None
    assert read_record(tmp_path, "s3://b/log2", "http://s3") is None


def test_the_newest_of_a_target_stays_and_the_others_are_kept(tmp_path: Path) -> None:
    for target, moment in (("s3://b/log", 1), ("s3://c/log", 2), ("s3://b/log", 3)):
        write_record(tmp_path, report(target, time=moment, retention=None))
    records = json.loads((tmp_path / FILE).read_text())["records"]
    assert [(each["report"]["target"], each["report"]["time"]) for each in records] == [
        ("s3://c/log", 2),
        ("s3://b/log", 3),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": "1"}',
        '{"format": 1, "records": [{}]}',
        "\ud800",
        '{"format": 1, "records": 5}',
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=f"{FILE}.*preflight"):
        read_record(tmp_path, "s3://b/log", "http://s3")
    with pytest.raises(ConfigError):
        write_record(tmp_path, report())


def test_a_record_with_an_impossible_retention_is_named(tmp_path: Path) -> None:
    path = write_record(tmp_path, report())
    path.write_text(path.read_text().replace("2557", "-1"))
    with pytest.raises(ConfigError, match=FILE):
        read_record(tmp_path, "s3://b/log", "http://s3")


def test_a_newer_format_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"format": 2, "how": "new"}')
    for call in (lambda: read_record(tmp_path, "s3://b/log", "x"), lambda: write_record(tmp_path, report())):
        with pytest.raises(FormatVersionError, match="format 2 is newer than this version reads, 1"):
            call()
    assert "new" in (tmp_path / FILE).read_text()


def test_a_record_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none"):
        write_record(tmp_path / "none", report())


# --- the start -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def buckets(versitygw: S3Server) -> dict[bool, Bucket]:
    """One with locks and one without."""
    client = versitygw.client()
    found = {}
    for lock in (True, False):
        name = f"start-{str(lock).lower()}-{time.time_ns()}"
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        found[lock] = Bucket(versitygw, name, client)
    return found


def start(
    store: S3Store, retention: Retention | None = COMPLIANCE, *, days: float = 1, **changes: Any
) -> StartCheck:
    """A start so many days after a preflight that went well but for `changes`."""
    made = report(store.location, store.client.meta.endpoint_url, retention=retention, **changes)
    return check_start(store, retention, PreflightRecord("1", made), made.time + days * DAY)


def test_a_good_record_of_a_good_bucket_starts(buckets: dict[bool, Bucket]) -> None:
    assert start(buckets[True].store()) == StartCheck()
    listed = buckets[True].client.list_object_versions(Bucket=buckets[True].name)
    assert "Versions" not in listed


def test_without_a_record_nothing_starts(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    found = check_start(store, COMPLIANCE, None, time.time())
    (refusal,) = found.refusals
    assert f"run `merklelog preflight {store.location} --log DIR`" in refusal


def test_what_the_record_lacks_is_refused(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    findings = tuple(each for each in report().findings if each.probe not in ("if-match", "encryption"))
    assert "lacks if-match: run `merklelog preflight" in start(store, findings=findings).refusals[0]
    assert "tried nothing out" in start(store, whole=False).refusals[0]
    without = tuple(each for each in report().findings if each.probe != "encryption")
    assert start(store, findings=without) == StartCheck()


def test_what_failed_is_refused_by_what_this_log_needs(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    bad = but(Outcome.FAIL, "compliance")
    (refusal,) = start(store, COMPLIANCE, findings=bad).refusals
    assert "The cost: what was published is not immutable" in refusal
    assert "409 Because" in refusal
    assert start(store, GOVERNANCE, findings=bad).refusals == ()
    assert len(start(store, findings=but(Outcome.UNKNOWN, "if-match", "if-match-race")).refusals) == 2


def test_fallbacks_say_what_they_do_not_protect_from(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    found = start(store, GOVERNANCE, findings=but(Outcome.FAIL, "governance-bypass"))
    assert found.refusals == ()
    (fallback,) = found.fallbacks
    assert "not from who takes over the server" in fallback
    (unlocked,) = start(store, None).fallbacks
    assert "nothing is locked" in unlocked


def test_an_old_record_and_its_leftovers_are_warned_of(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    assert start(store, days=90).warnings == ()
    (old,) = start(store, days=91.5).warnings
    assert "the preflight is 91 days old" in old
    (left,) = start(store, left=2).warnings
    assert "left 2 objects below preflight/" in left


def test_what_the_bucket_says_now_goes_before_the_record(buckets: dict[bool, Bucket]) -> None:
    unlocked = buckets[False].store()
    refusals = start(unlocked).refusals
    assert any("not so: Object Lock is on" in each for each in refusals)
    assert any("not so: versioning is on" in each for each in refusals)
    found = start(unlocked, None)
    assert found.refusals == ()
    assert any("versioning" in each for each in found.warnings)


def test_a_default_retention_that_came_since_is_refused(s3_server: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(s3_server)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}}
    bucket.client.put_object_lock_configuration(
        Bucket=bucket.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    (refusal,) = start(bucket.store()).refusals
    assert "default retention was none at its preflight and is GOVERNANCE, 3 days" in refusal
    assert start(bucket.store(), default=DefaultRetention("COMPLIANCE", 1)).refusals == ()


def test_a_bucket_that_does_not_answer_is_unknown_and_no_refusal(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    store.client = weak.WeakClient(store.client, list_objects_v2=weak.silent())
    found = start(store)
    assert (found.refusals, found.fallbacks, found.warnings) == ((), (), ())
    assert "no answer" in found.unknown[0]


def test_what_may_not_be_asked_is_the_records_to_say(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    store.client = weak.WeakClient(store.client, get_bucket_versioning=weak.refused())
    assert start(store) == StartCheck()
    found = start(store, findings=but(Outcome.UNKNOWN, "versioning"))
    assert "versioning" in found.refusals[0]
    assert "versioning: 403 AccessDenied" in found.unknown[0]


def test_what_nothing_hangs_on_is_a_warning_and_not_asked_again(buckets: dict[bool, Bucket]) -> None:
    store = buckets[True].store()
    denied = weak.refused()
    store.client = weak.WeakClient(
        store.client, get_bucket_lifecycle_configuration=denied, list_object_versions=denied
    )
    found = start(store, findings=but(Outcome.UNKNOWN, "lifecycle"))
    assert (found.refusals, found.unknown) == ((), ())
    assert any("lifecycle: 403 AccessDenied" in each for each in found.warnings)


@pytest.mark.parametrize("operation", ["list_objects_v2", "get_object_lock_configuration"])
@pytest.mark.parametrize("code", ["404", ""])
def test_a_proxy_without_its_store_is_a_silent_bucket(
    buckets: dict[bool, Bucket], operation: str, code: str
) -> None:
    store = buckets[True].store()
    store.client = weak.WeakClient(store.client, **{operation: weak.refused(code, 404)})
    found = start(store)
    assert found.refusals == ()
    if operation == "list_objects_v2":
        assert "the store answered 404" in found.unknown[0]


def test_a_bucket_that_is_gone_is_an_error(versitygw: S3Server, buckets: dict[bool, Bucket]) -> None:
    gone = Bucket(versitygw, "gone-for-good", buckets[True].client)
    with pytest.raises(ConfigError, match=r"gone-for-good/log.*no such bucket"):
        start(gone.store())
