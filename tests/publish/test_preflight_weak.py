"""Stores that lack one thing: the probe that is for it fails, and says what it saw."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from merklelog.errors import UnreachableError
from merklelog.publish import preflight
from merklelog.publish import preflight_conditions as conditions
from merklelog.publish import preflight_locks as locks
from merklelog.publish import preflight_writes as writes
from merklelog.publish.preflight import Preflight
from merklelog.publish.preflight_look import Looker
from merklelog.publish.preflight_report import DefaultRetention, Finding, Outcome, Verdict
from merklelog.publish.preflight_scene import BESIDE_SECONDS, Scene, remove_below
from merklelog.publish.s3 import Retention
from tests.support import weak_s3 as weak
from tests.support.s3_servers import Bucket, S3Server
from tests.support.weak_s3 import Change, WeakClient

LOCK_SECONDS = 20
MODE = "COMPLIANCE"


@pytest.fixture(scope="module")
def bucket(versitygw: S3Server) -> Bucket:
    """One for all: every scene has a prefix of its own."""
    client, name = versitygw.client(), f"weak-{secrets.token_hex(8)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return Bucket(versitygw, name, client)


def scene(bucket: Bucket, *, lock_seconds: int = LOCK_SECONDS, **changes: Change) -> Scene:
    client = WeakClient(bucket.client, **changes)
    scratch = f"log/preflight/{secrets.token_hex(4)}/"
    options = bucket.server.options()
    return Scene(client, bucket.name, scratch, options, default=DefaultRetention(), lock_seconds=lock_seconds)


def fails(found: Finding | None, *words: str, outcome: Outcome = Outcome.FAIL) -> None:
    assert found is not None
    assert found.outcome is outcome, found
    for word in words:
        assert word in found.seen, found


# --- conditions ----------------------------------------------------------------------------------------------


def test_a_store_that_knows_no_if_none_match(bucket: Bucket) -> None:
    ignores = {"put_object": weak.without("IfNoneMatch")}
    fails(conditions.if_none_match(scene(bucket, **ignores), MODE), "a second write: 200", "b'second'")
    fails(conditions.if_none_match_race(scene(bucket, **ignores), MODE), "8 of 8 writers were told")


def test_a_store_that_knows_no_if_match(bucket: Bucket) -> None:
    ignores = {"put_object": weak.without("IfMatch")}
    fails(conditions.if_match(scene(bucket, **ignores), MODE), "where nothing is: 200")
    fails(conditions.if_match_race(scene(bucket, **ignores)), "8 of 8 writers were told")


def test_a_store_whose_tags_are_others_when_they_are_read(bucket: Bucket) -> None:
    other = scene(bucket, get_object=weak.answering(ETag='"other"'))
    fails(conditions.if_match(other, MODE), 'ETag "', '"other" when it is read')


def test_a_store_that_refuses_conditions(bucket: Bucket) -> None:
    refuses = {"put_object": weak.refused("NotImplemented", 501)}
    fails(conditions.if_none_match(scene(bucket, **refuses), MODE), "501 NotImplemented (request R1)")
    fails(conditions.if_match(scene(bucket, **refuses), MODE), "501 NotImplemented")
    fails(conditions.if_match_race(scene(bucket, **refuses)), "501 NotImplemented")
    found = conditions.if_none_match_race(scene(bucket, **refuses), MODE)
    fails(found, "none of 8 writers won: 501", outcome=Outcome.UNKNOWN)


# --- removing ------------------------------------------------------------------------------------------------


def test_a_preflight_beside_this_one_keeps_its_objects(bucket: Bucket) -> None:
    prefix, now = f"{secrets.token_hex(4)}/preflight/", int(time.time())
    own, beside = f"{prefix}{now}-0123abcd/a", f"{prefix}{now - 60}-89abcdef/a"
    for key in (own, beside, f"{prefix}{now - BESIDE_SECONDS - 60}-89abcdef/a", f"{prefix}other"):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"x")
    made = Scene(bucket.client, bucket.name, own[:-1], bucket.server.options(), default=DefaultRetention())
    assert remove_below(made, prefix) == 0
    listed = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=prefix)["Versions"]
    assert [row["Key"] for row in listed] == [beside]


# --- locks ---------------------------------------------------------------------------------------------------


def test_a_store_that_drops_locks(bucket: Bucket) -> None:
    drops = weak.without("ObjectLockMode", "ObjectLockRetainUntilDate")
    fails(locks.compliance(scene(bucket, put_object=drops)), "the lock can not be read back: 4")
    fails(locks.governance(scene(bucket, put_object=drops))[0], "can not be read back")


def test_who_may_only_shorten_goes_round_governance_all_the_same(bucket: Bucket) -> None:
    def keeps(call: Any, given: dict[str, Any]) -> dict[str, Any]:
        return weak.refused()(call, given) if "VersionId" in given else call(**given)

    _, bypass = locks.governance(scene(bucket, delete_object=keeps))
    fails(bypass, "it shortened a locked version")
    refuses = weak.refused()
    _, bypass = locks.governance(scene(bucket, delete_object=keeps, put_object_retention=refuses))
    fails(bypass, "refused: 403 AccessDenied", outcome=Outcome.PASS)


def test_a_store_that_locks_otherwise_than_asked(bucket: Bucket) -> None:
    weaker = {"put_object": weak.with_other(ObjectLockMode="GOVERNANCE")}
    fails(locks.compliance(scene(bucket, **weaker)), "the lock reads back as GOVERNANCE")
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
    shorter = {"put_object": weak.with_other(ObjectLockRetainUntilDate=soon)}
    fails(locks.compliance(scene(bucket, **shorter)), f"until {soon}, and")


def test_a_store_that_only_says_that_it_locks_in_compliance_mode(bucket: Bucket) -> None:
    kept: list[datetime] = []

    def put(call: Any, given: dict[str, Any]) -> dict[str, Any]:
        kept.append(given["ObjectLockRetainUntilDate"])
        return weak.with_other(ObjectLockMode="GOVERNANCE")(call, given)

    def told(call: Any, given: dict[str, Any]) -> dict[str, Any]:
        return {**call(**given), "Retention": {"Mode": "COMPLIANCE", "RetainUntilDate": kept[-1]}}

    found = locks.compliance(scene(bucket, put_object=put, get_object_retention=told))
    fails(found, "deletion with bypass: 204, it was done")


def test_a_store_that_says_no_and_deletes_all_the_same(bucket: Bucket) -> None:
    def delete(call: Any, given: dict[str, Any]) -> dict[str, Any]:
        call(**{**given, "BypassGovernanceRetention": True})
        return weak.refused()(call, given)

    found = locks.governance(scene(bucket, delete_object=delete))
    fails(found[0], "403 AccessDenied", "and yet the version is gone")


def test_a_lock_that_is_over_meanwhile_proves_nothing(bucket: Bucket) -> None:
    for found in (
        locks.compliance(scene(bucket, lock_seconds=2)),
        locks.versions(scene(bucket, lock_seconds=2)),
    ):
        fails(found, "the lock was nearly over", outcome=Outcome.UNKNOWN)
    assert {found.outcome for found in locks.governance(scene(bucket, lock_seconds=2))} == {Outcome.UNKNOWN}


def test_a_store_that_takes_no_longer_lock(bucket: Bucket) -> None:
    found = locks.compliance(scene(bucket, put_object_retention=weak.refused()))
    fails(found, "it can not be made longer: 403 AccessDenied")


def test_a_store_that_loses_what_was_written_over(bucket: Bucket) -> None:
    loses = {"get_object": weak.refused("NoSuchVersion", 404)}
    fails(locks.versions(scene(bucket, **loses)), "the locked version: 404 NoSuchVersion")


def test_a_store_without_legal_holds(bucket: Bucket) -> None:
    none = {"put_object_legal_hold": weak.refused("NotImplemented", 501)}
    fails(locks.legal_hold(scene(bucket, **none)), "it can not be set: 501 NotImplemented")
    idle = {"put_object_legal_hold": lambda call, given: {"ResponseMetadata": {"HTTPStatusCode": 200}}}
    fails(locks.legal_hold(scene(bucket, **idle)), "deleted while it was held")


# --- plain writes --------------------------------------------------------------------------------------------


def test_a_store_that_looks_at_no_checksum(bucket: Bucket) -> None:
    found = writes.checksum(scene(bucket, put_object=weak.without("ChecksumSHA256")))
    fails(found, "a wrong one: 200", "b'wrong'")


def test_a_store_that_answers_from_yesterday(bucket: Bucket) -> None:
    found = writes.read_after_write(scene(bucket, get_object=weak.stale()))
    fails(found, "turn 1: right after seen/same was written", "b'0'")
    empty = scene(bucket, list_objects_v2=weak.answering(Contents=[]))
    fails(writes.read_after_write(empty), "turn 0: a listing gives 0 of 2 keys")
    undead = scene(bucket, delete_object=lambda call, given: {"ResponseMetadata": {"HTTPStatusCode": 204}})
    fails(writes.read_after_write(undead), "still there right after its deletion")


def test_an_identity_that_is_not_told_what_is_missing(bucket: Bucket) -> None:
    def get(call: Any, given: dict[str, Any]) -> dict[str, Any]:
        try:
            return call(**given)
        except ClientError:
            return weak.refused()(call, given)

    found = writes.read_after_write(scene(bucket, get_object=get))
    fails(found, "what is not there: 403 AccessDenied", "who may not list")


def test_a_store_that_forgets_headers(bucket: Bucket) -> None:
    found = writes.headers(scene(bucket, put_object=weak.without("CacheControl", "ContentEncoding")))
    fails(found, "CacheControl: ''", "ContentEncoding: ''")


def test_a_store_that_decodes_what_it_gives(bucket: Bucket) -> None:
    def decoded(call: Any, given: dict[str, Any]) -> dict[str, Any]:
        import gzip
        import io

        answer = call(**given)
        return {**answer, "Body": io.BytesIO(gzip.decompress(answer["Body"].read()))}

    fails(writes.headers(scene(bucket, get_object=decoded)), "somebody decoded them")


def test_a_store_that_encrypts_otherwise(bucket: Bucket) -> None:
    plain = scene(bucket, put_object=weak.without("ServerSideEncryption"))
    plain.options = bucket.server.options(sse="AES256")
    fails(writes.encryption(plain), "asked for ServerSideEncryption AES256, got ServerSideEncryption None")
    plain.options = bucket.server.options()
    assert writes.encryption(plain) is None


def test_a_store_that_keeps_everything(bucket: Bucket) -> None:
    fails(writes.delete(scene(bucket, delete_object=weak.refused())), "an unlocked version: 403")
    one_by_one = scene(bucket, delete_objects=weak.refused("NotImplemented", 501))
    fails(writes.delete_many(one_by_one, MODE), "501 NotImplemented")


def test_a_store_that_deletes_what_is_locked_among_others(bucket: Bucket) -> None:
    unlocked = scene(bucket, put_object=weak.without("ObjectLockMode", "ObjectLockRetainUntilDate"))
    fails(writes.delete_many(unlocked, MODE), "there after it: none; refused: none")


# --- the settings --------------------------------------------------------------------------------------------


def look(bucket: Bucket, **changes: Change) -> Any:
    looker = Looker(WeakClient(bucket.client, **changes), bucket.name, "log/", "s3://b/log", clock)
    return {finding.probe: finding for finding in looker.look().findings}


def clock() -> float:
    return datetime.now(UTC).timestamp()


def test_what_may_not_be_asked_is_unknown(bucket: Bucket) -> None:
    names = ("get_bucket_versioning", "get_object_lock_configuration", "get_bucket_lifecycle_configuration")
    found = look(bucket, **{name: weak.refused() for name in names})
    for probe in ("versioning", "object-lock", "default-retention", "lifecycle"):
        fails(found[probe], "403 AccessDenied", outcome=Outcome.UNKNOWN)
    fails(look(bucket, list_object_versions=weak.refused())["version-listing"], "403 AccessDenied")


@pytest.mark.slow
def test_a_lock_that_holds_says_what_may_not_be_asked(bucket: Bucket) -> None:
    names = ("get_bucket_versioning", "get_object_lock_configuration")
    store = bucket.store()
    store.client = WeakClient(bucket.client, **{name: weak.refused() for name in names})
    report = Preflight(
        store, bucket.server.options(retention=Retention("COMPLIANCE", 1)), lock_seconds=12
    ).try_out()
    assert report.default.is_long  # it may be
    assert report.verdict is Verdict.FIT, report
    seen = {finding.probe: finding for finding in report.findings}
    fails(seen["versioning"], "it may not be asked (403", "a lock held", outcome=Outcome.PASS)


def test_a_clock_that_is_wrong(bucket: Bucket) -> None:
    def ask(ahead: float) -> Finding:
        looker = Looker(bucket.client, bucket.name, "log/", "s3://b/log", lambda: clock() + ahead)
        looked = looker.look()
        assert looked.skew == pytest.approx(-ahead if ahead else 0, abs=3)
        return next(finding for finding in looked.findings if finding.probe == "clock")

    fails(ask(0), "as far as can be told", outcome=Outcome.PASS)
    fails(ask(30), "behind this one", outcome=Outcome.PASS)
    fails(ask(300), " s behind this one")
    fails(ask(-300), " s ahead of this one")


RULES: list[tuple[dict[str, Any], bool]] = [
    ({"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}, True),
    ({"Filter": {"Prefix": "log/tile/"}, "Expiration": {"Days": 30}}, True),
    ({"Prefix": "lo", "Expiration": {"Date": datetime(2027, 1, 1, tzinfo=UTC)}}, True),
    ({"Filter": {"And": {"Prefix": "log/", "ObjectSizeGreaterThan": 1}}, "Expiration": {"Days": 1}}, True),
    ({"Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}, False),
    ({"Filter": {"Prefix": "log/preflight/"}, "Expiration": {"Days": 1}}, False),
    ({"Filter": {"Prefix": "log/staging/"}, "Expiration": {"Days": 30}}, True),
    ({"Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}, False),
    ({"Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}}, False),
    ({"Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}}, False),
    ({"Filter": {"And": {"Prefix": "log/", "Tags": [{}]}}, "Expiration": {"Days": 1}}, False),
    ({"Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}, False),
]


@pytest.mark.parametrize(("rule", "bad"), RULES)
def test_lifecycle_rules_that_end_what_is_published(bucket: Bucket, rule: dict[str, Any], bad: bool) -> None:
    rules = [{"ID": "the-rule", "Status": "Enabled", **rule}]

    def told(call: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
        return {"Rules": rules, "ResponseMetadata": {"HTTPStatusCode": 200}}

    found = look(bucket, get_bucket_lifecycle_configuration=told)["lifecycle"]
    assert (found.outcome is Outcome.FAIL) == bad, found
    if bad:
        assert "rule the-rule expires" in found.seen


@pytest.mark.slow
def test_a_store_that_falls_silent_leaves_the_probe_unknown(bucket: Bucket) -> None:
    store = bucket.store()
    store.client = WeakClient(bucket.client, put_object_legal_hold=weak.silent())
    made = Preflight(store, bucket.server.options(), lock_seconds=12)
    report = made.try_out()
    found = {finding.probe: finding for finding in report.findings}["legal-hold"]
    fails(found, "no answer", outcome=Outcome.UNKNOWN)
    broken = preflight._guarded(
        (("if-match",), lambda made: [conditions.if_match(made, MODE)]),
        scene(bucket, put_object=weak.refused("InternalError", 500)),
    )
    fails(broken[0], "500 InternalError", outcome=Outcome.UNKNOWN)
    store.client = WeakClient(bucket.client, list_objects_v2=weak.silent())
    with pytest.raises(UnreachableError, match="no answer"):
        Preflight(store, bucket.server.options()).look()


def test_a_bucket_of_another_region_is_said_with_its_region(bucket: Bucket) -> None:
    def elsewhere(call: Any, given: dict[str, Any]) -> dict[str, Any]:
        headers = {"x-amz-bucket-region": "eu-west-1"}
        meta = {"HTTPStatusCode": 301, "RequestId": "R2", "HTTPHeaders": headers}
        raise ClientError({"Error": {"Code": "PermanentRedirect"}, "ResponseMetadata": meta}, "ListObjectsV2")

    with pytest.raises(UnreachableError) as error:
        look(bucket, list_objects_v2=elsewhere)
    for words in ("ListObjectsV2", "301 PermanentRedirect", "R2", "eu-west-1", "publish.s3.region"):
        assert words in str(error.value)


def test_who_may_not_list_is_no_stranger(bucket: Bucket) -> None:
    found = look(bucket, list_objects_v2=weak.refused())
    fails(found["listing"], "403 AccessDenied")
    with pytest.raises(UnreachableError, match="403 AccessDenied"):
        look(bucket, list_objects_v2=weak.refused(), head_bucket=weak.refused())


def test_an_identity_that_deletes_nothing_proves_less_of_a_lock() -> None:
    held = [Finding("compliance", Outcome.PASS, "refused"), Finding("delete", Outcome.FAIL, "403")]
    assert "this identity deletes nothing" in preflight._sorted(held)[0].seen
    assert preflight._sorted([held[0], Finding("delete", Outcome.PASS, "204")])[0] == held[0]
