"""The probes of a preflight that write nothing: how the bucket is set up, and whether it answers at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from merklelog.errors import UnreachableError
from merklelog.publish.layout import PREFLIGHT
from merklelog.publish.preflight_report import DefaultRetention, Finding, Outcome
from merklelog.publish.preflight_scene import Answer, Clock, ask
from merklelog.publish.s3_client import Requests
from merklelog.publish.s3_problems import Kind, error_of

SKEW_SECONDS: Final = 60
_SAME: Final = 2.0  # seconds: servers make the header once a second, and may be late with it
_DAYS_A_YEAR: Final = 365
_DENIED: Final = (401, 403)
_NO_CODE: Final = ("", "none", "404")
_NO_RULES: Final = (404, 501)  # none, or a store that has no such thing


@dataclass(frozen=True, slots=True)
class Look:
    """What the probes that write nothing found; `skew` is the store's clock less this one, in seconds."""

    findings: tuple[Finding, ...]
    default: DefaultRetention
    skew: float = 0.0

    def outcome(self, probe: str) -> Outcome:
        """What came of that probe."""
        return next((each.outcome for each in self.findings if each.probe == probe), Outcome.UNKNOWN)


class Looker:
    """The questions, asked of one bucket and prefix ("" or ending in a slash) through boto3's client."""

    def __init__(self, client: Any, bucket: str, prefix: str, place: str, clock: Clock) -> None:
        self._requests = Requests(client)
        self._bucket = bucket
        self._prefix = prefix
        self._place = place
        self._clock = clock

    def look(self) -> Look:
        """All of them. Raises ConfigError or UnreachableError when the bucket can not be used at all."""
        clock, skew = self._reach()
        versioning = self._versioning()
        lock, default, default_finding = self._object_lock()
        listings = (
            self._listing("listing", "list_objects_v2"),
            self._listing("version-listing", "list_object_versions"),
        )
        findings = (versioning, lock, default_finding, *listings, clock, self._lifecycle())
        return Look(findings, default, skew)

    def _ask(self, operation: str, **arguments: Any) -> Answer:
        return ask(self._requests, self._place, operation, Bucket=self._bucket, **arguments)

    def _reach(self) -> tuple[Finding, float]:
        before = self._clock()
        # Not HeadBucket, whose errors have no body and so no code.
        found = self._ask("list_objects_v2", Prefix=self._prefix, MaxKeys=1)
        after = self._clock()
        # Who may not list may still publish, as far as the bucket is there.
        if found.problem is not None and not (found.code == "AccessDenied" and self._ask("head_bucket").ok):
            if found.problem.kind is Kind.ABSENT:  # not S3's words for a bucket that is not there
                raise UnreachableError(
                    f"{self._place}: ListObjectsV2: the store answered {found}: no S3 service answers at that "
                    "endpoint now; look at publish.s3.endpoint_url"
                )
            raise error_of(found.problem, self._place)
        if found.date is None:
            return Finding("clock", Outcome.UNKNOWN, "its answer has no date"), 0.0
        # The header has whole seconds, so the middle of one is the best guess.
        skew = found.date + 0.5 - (before + after) / 2
        if abs(skew) <= max(_SAME, after - before):
            return Finding("clock", Outcome.PASS, "as far as can be told"), 0.0
        outcome = Outcome.PASS if abs(skew) <= SKEW_SECONDS else Outcome.FAIL
        way = "ahead of" if skew > 0 else "behind"
        return Finding("clock", outcome, f"the store's is {abs(skew):.0f} s {way} this one"), skew

    def _versioning(self) -> Finding:
        found = self._ask("get_bucket_versioning")
        if not found.ok:
            return Finding("versioning", Outcome.UNKNOWN, str(found))
        status = str(found.fields.get("Status", "never turned on"))
        return Finding("versioning", Outcome.PASS if status == "Enabled" else Outcome.FAIL, status)

    def _object_lock(self) -> tuple[Finding, DefaultRetention, Finding]:
        found = self._ask("get_object_lock_configuration")
        if not found.ok:
            # Amazon says ObjectLockConfigurationNotFoundError; other stores say it in other words. A 404 without
            # any is a proxy's, before the store.
            if found.status == 404 and found.code not in _NO_CODE:
                off = Finding("object-lock", Outcome.FAIL, str(found))
                none = DefaultRetention()
                return off, none, Finding("default-retention", Outcome.PASS, str(none))
            unread = DefaultRetention("unknown")
            lock = Finding("object-lock", Outcome.UNKNOWN, str(found))
            return lock, unread, Finding("default-retention", Outcome.UNKNOWN, str(found))
        settings = found.fields.get("ObjectLockConfiguration", {})
        status = str(settings.get("ObjectLockEnabled", "off"))
        lock = Finding("object-lock", Outcome.PASS if status == "Enabled" else Outcome.FAIL, status)
        default = _default(settings.get("Rule", {}).get("DefaultRetention", {}))
        return lock, default, Finding("default-retention", Outcome.PASS, str(default))

    def _listing(self, probe: str, operation: str) -> Finding:
        found = self._ask(operation, Prefix=self._prefix, MaxKeys=1)
        if found.ok:
            return Finding(probe, Outcome.PASS, found.short)
        return Finding(probe, Outcome.FAIL if found.status in _DENIED else Outcome.UNKNOWN, str(found))

    def _lifecycle(self) -> Finding:
        found = self._ask("get_bucket_lifecycle_configuration")
        if not found.ok:
            if found.status in _NO_RULES:
                return Finding("lifecycle", Outcome.PASS, f"no rules ({found.short})")
            return Finding("lifecycle", Outcome.UNKNOWN, str(found))
        rules = found.fields.get("Rules", [])
        bad = [str(rule.get("ID", "")) or "without a name" for rule in rules if _expires(rule, self._prefix)]
        if bad:
            return Finding("lifecycle", Outcome.FAIL, f"rule {', '.join(bad)} expires objects of this prefix")
        return Finding("lifecycle", Outcome.PASS, f"{len(rules)} rules, none of which expires what stays")


def _default(settings: Mapping[str, Any]) -> DefaultRetention:
    if "Mode" not in settings:
        return DefaultRetention()
    days = settings.get("Days") or settings.get("Years", 0) * _DAYS_A_YEAR
    return DefaultRetention(str(settings["Mode"]), days)


def _expires(rule: Mapping[str, Any], prefix: str) -> bool:
    """Whether a lifecycle rule ends the newest versions of objects that are to stay."""
    expiration = rule.get("Expiration", {})
    if rule.get("Status") != "Enabled" or not {"Days", "Date"} & set(expiration):
        return False
    where = rule.get("Filter", {})
    both = where.get("And", {})
    if "Tag" in where or both.get("Tags"):
        return False  # this project's objects carry no tags
    only = str(rule.get("Prefix") or where.get("Prefix") or both.get("Prefix") or "")
    if only.startswith(prefix + PREFLIGHT):
        return False  # nothing there has a future; a staging object may be all that is left of a publication
    return only.startswith(prefix) or prefix.startswith(only)
