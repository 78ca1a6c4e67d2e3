"""What a preflight tries on a bucket, what came of it, and what each failure would cost.

`PROBES` is the one table of probes: the command, the record and docs/preflight.md tell what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from merklelog.publish.s3_options import Retention


class Outcome(StrEnum):
    """What came of a probe. Unknown: it could not be tried, so nothing is known."""

    PASS = "pass"  # noqa: S105  a word of the report
    FAIL = "fail"
    UNKNOWN = "unknown"


class Need(StrEnum):
    """What a log does without.

    Required: it does not publish there. Fallback: it goes on in a safe way, and says what that does not protect
    from. Advice: nothing that the log promises depends on it.
    """

    REQUIRED = "required"
    FALLBACK = "fallback"
    ADVICE = "advice"


class Verdict(StrEnum):
    """A bucket in a word. Unknown: something required could not be tried."""

    FIT = "fit"
    FALLBACK = "fit with fallbacks"
    UNFIT = "unfit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to a bucket.

    `asks` is what passes; `cost` what its failure would cost; `fallback` what the log does without it and what
    that does not protect from. `mode`: only a log that locks in this mode ("any": that locks at all) has that
    need; for others it is advice.
    """

    name: str
    asks: str
    cost: str
    need: Need = Need.REQUIRED
    fallback: str = ""
    mode: str = ""
    writes: bool = True

    def need_for(self, retention: Retention | None) -> Need:
        """What a log with this retention needs of it."""
        if not self.mode:
            return self.need
        meant = retention is not None and self.mode in ("any", retention.mode)
        return self.need if meant else Need.ADVICE


PROBES: Final = (
    Probe(
        "versioning",
        "versioning is on",
        "a write over an object, or its deletion, destroys it: there is nothing a lock could hold",
        mode="any",
        writes=False,
    ),
    Probe(
        "object-lock",
        "Object Lock is on",
        "no retention: who holds the operator's keys deletes and rewrites what was published",
        mode="any",
        writes=False,
    ),
    Probe(
        "default-retention",
        "the bucket's default retention can be read",
        "what is written without a lock of its own may stay for years: every object is given one",
        need=Need.ADVICE,
        writes=False,
    ),
    Probe(
        "listing",
        "keys below the prefix can be listed",
        "a store does not tell who may not list what is missing from what is denied: no log can start",
        writes=False,
    ),
    Probe(
        "version-listing",
        "versions below the prefix can be listed",
        "no search for what was put over published objects, and after a crash superseded versions stay",
        need=Need.FALLBACK,
        fallback="superseded versions are removed only as far as the writer remembers them; what others put over "
        "published objects is not noticed by this identity",
        writes=False,
    ),
    Probe(
        "clock",
        "the store's clock and this one agree",
        "locks end earlier than meant by the difference; beyond 15 minutes S3 refuses every request",
        need=Need.ADVICE,
        writes=False,
    ),
    Probe(
        "lifecycle",
        "no lifecycle rule expires what is published",
        "on that day delete markers hide published objects, and once their locks are over they are gone",
        need=Need.ADVICE,
        writes=False,
    ),
    Probe(
        "compliance",
        "a COMPLIANCE lock holds: no deletion, no shortening, no weaker mode, and it reads back as set",
        "what was published is not immutable: its operator can delete or rewrite it",
        mode="COMPLIANCE",
    ),
    Probe(
        "governance",
        "a GOVERNANCE lock holds against who does not ask to bypass it, and reads back as set",
        "locked objects can be deleted by mistake as by intent",
        mode="GOVERNANCE",
    ),
    Probe(
        "governance-bypass",
        "this identity can not bypass a GOVERNANCE lock",
        "who takes over the server, or its keys, deletes what GOVERNANCE locks",
        need=Need.FALLBACK,
        fallback="it locks all the same: that protects from mistakes, and not from who takes over the server or "
        "its keys; take s3:BypassGovernanceRetention from this identity, or lock in COMPLIANCE mode",
        mode="GOVERNANCE",
    ),
    Probe(
        "versions",
        "what is put over a locked object, a delete marker too, leaves it readable by its version",
        "who holds the keys makes published objects unreadable, though they are locked",
        mode="any",
    ),
    Probe(
        "legal-hold",
        "a legal hold can be set, holds when the lock is over, and can be released",
        "what `merklelog retention hold` is said to hold can be deleted when its lock is over",
        need=Need.ADVICE,
    ),
    Probe(
        "if-none-match",
        "an object that is there is never written again (If-None-Match)",
        "two writers overwrite each other's immutable objects without a word",
    ),
    Probe(
        "if-none-match-race",
        "of several writers at once exactly one creates an object",
        "two writers each believe that their object is the one that is there",
    ),
    Probe(
        "if-match",
        "an object is replaced only while it is the expected one (If-Match)",
        "two writers of one log go on side by side, and sign a fork",
    ),
    Probe(
        "if-match-race",
        "of several writers at once exactly one replaces an object",
        "two writers of one log go on side by side, and sign a fork",
    ),
    Probe(
        "checksum",
        "bytes that do not have the SHA-256 sent with them are refused",
        "bytes damaged on their way are stored and locked; only the audit finds them",
        need=Need.ADVICE,
    ),
    Probe(
        "read-after-write",
        "what was written, replaced or deleted is seen so by the next read and listing",
        "a reader sees a checkpoint and not what is under it; a writer decides by an old head",
    ),
    Probe(
        "headers",
        "Content-Type, Content-Encoding and Cache-Control come back as they were sent, and the bytes unchanged",
        "browsers and CDNs show entries wrongly; this project's readers ask merklelog.json and go on",
        need=Need.ADVICE,
    ),
    Probe(
        "encryption",
        "objects are encrypted as configured",
        "objects lie there in the clear, or under another key",
        need=Need.ADVICE,
    ),
    Probe(
        "delete",
        "what is not retained is deleted by its version, once its own short lock is over",
        "staging objects, old heads and partial tiles stay for good, or as long as the default retention says",
        need=Need.FALLBACK,
        fallback="nothing is collected: the bucket grows by a few objects a publication",
    ),
    Probe(
        "delete-many",
        "many versions are deleted in one request, locked ones excepted",
        "what is superseded is not collected",
        need=Need.FALLBACK,
        fallback="nothing is collected: the bucket grows by a few objects a publication",
    ),
    Probe(
        "anonymous",
        "without credentials nothing can be written or deleted",
        "anybody on the network moves the head, and fences the log off its own target",
    ),
)

BY_NAME: Final = {probe.name: probe for probe in PROBES}


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one probe; `seen` is what the store did and answered."""

    probe: str
    outcome: Outcome
    seen: str

    @property
    def about(self) -> Probe:
        """The probe's row of the table."""
        return BY_NAME[self.probe]


@dataclass(frozen=True, slots=True)
class DefaultRetention:
    """What a bucket locks by itself. Mode None: nothing; "unknown": it could not be read."""

    mode: str | None = None
    days: int = 0

    @property
    def is_long(self) -> bool:
        """Whether what is written without a lock of its own stays for more than a day, or may."""
        return self.mode is not None and (self.days > 1 or self.mode == "unknown")

    def __str__(self) -> str:
        """For people."""
        if self.mode is None:
            return "none"
        return (
            self.mode if self.mode == "unknown" else f"{self.mode}, {self.days} day{'s' * (self.days != 1)}"
        )


def judge(findings: tuple[Finding, ...], retention: Retention | None) -> Verdict:
    """The verdict over these findings, for a log with this retention."""
    failed = {finding.about.need_for(retention) for finding in findings if finding.outcome is Outcome.FAIL}
    open_ = {finding.about.need_for(retention) for finding in findings if finding.outcome is Outcome.UNKNOWN}
    if Need.REQUIRED in failed:
        return Verdict.UNFIT
    if Need.REQUIRED in open_:
        return Verdict.UNKNOWN
    return Verdict.FALLBACK if Need.FALLBACK in failed | open_ else Verdict.FIT


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """A whole preflight of one target.

    `time` is when it began (POSIX seconds); `whole` is false where only probes that write nothing ran; `left`
    counts scratch objects that could not be removed.
    """

    target: str
    endpoint: str
    time: int
    retention: Retention | None
    default: DefaultRetention
    findings: tuple[Finding, ...]
    whole: bool
    left: int = 0
    remarks: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """What it comes to; unknown where nothing was tried out."""
        found = judge(self.findings, self.retention)
        return found if self.whole or found is Verdict.UNFIT else Verdict.UNKNOWN

    def failed(self, need: Need) -> tuple[Finding, ...]:
        """The findings of that need that did not pass."""
        return tuple(
            finding
            for finding in self.findings
            if finding.outcome is not Outcome.PASS and finding.about.need_for(self.retention) is need
        )
