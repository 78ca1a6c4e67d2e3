"""What a server asks of its bucket at each start: nothing that writes, and the dated record of a preflight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Final

from merklelog.errors import UnknownError
from merklelog.publish.preflight import Bucket
from merklelog.publish.preflight_look import Look, Looker
from merklelog.publish.preflight_record import PreflightRecord, missing_probes, read_record
from merklelog.publish.preflight_report import Finding, Need, Outcome
from merklelog.publish.s3 import open_s3
from merklelog.publish.s3_options import SCHEME, Retention, S3Options

OLD_DAYS: Final = 90
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class StartCheck:
    """What was found, in sentences.

    `refusals`: a log must not publish there; the sentence says what to do. `fallbacks`: it may, and this is not
    protected. `warnings`: worth a line in the server's log. `unknown`: the bucket did not answer, or would not
    say what the log requires; nothing is known, and it may be asked again.
    """

    refusals: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def check_targets(directory: Path, targets: Sequence[str], options: S3Options, now: float) -> StartCheck:
    """`check_start` of each target in S3, with the records in the log's data directory; other targets need none.

    A bucket that is silent takes a while, half a minute for one that swallows connections. Raises ConfigError
    for a record that can not be read, a target that is none, or a bucket that is not there.
    """
    found = []
    for target in targets:
        if target.startswith(SCHEME):
            store = open_s3(target, options)
            record = read_record(directory, store.location, str(store.client.meta.endpoint_url))
            found.append(check_start(store, options.retention, record, now))
            store.close()
    return StartCheck(
        tuple(text for each in found for text in each.refusals),
        tuple(text for each in found for text in each.fallbacks),
        tuple(text for each in found for text in each.warnings),
        tuple(text for each in found for text in each.unknown),
    )


def check_start(
    store: Bucket, retention: Retention | None, record: PreflightRecord | None, now: float
) -> StartCheck:
    """Judge a target before a log publishes to it, by what can be read and by the record of a preflight.

    `retention` is what the log locks with, None for no locks; `now` POSIX seconds. Asks a few questions and
    writes nothing; a bucket that does not answer, or that can not be used now, is `unknown`. Raises ConfigError
    for a bucket that is not there.
    """
    place = store.location
    command = f"merklelog preflight {place} --log DIR"
    refusals, fallbacks, warnings = _of_record(place, command, retention, record, now)
    prefix = f"{store.prefix.removesuffix('/')}/" if store.prefix else ""
    try:
        looked = Looker(store.client, store.bucket, prefix, place, time.time).look()
    except UnknownError as error:
        return StartCheck(tuple(refusals), tuple(fallbacks), tuple(warnings), (str(error),))
    unknown: list[str] = []
    for finding in looked.findings:
        need = finding.about.need_for(retention)
        if finding.outcome is Outcome.FAIL and need is Need.REQUIRED:
            refusals.append(f"{place}: {_wrong(finding)}")
        elif finding.outcome is Outcome.FAIL:
            warnings.append(f"{place}: {_wrong(finding)}")
        elif finding.outcome is Outcome.UNKNOWN and not _was_tried(record, finding):
            # What nothing hangs on is not worth asking for again and again.
            told = unknown if need is Need.REQUIRED else warnings
            told.append(f"{place}: {finding.probe}: {finding.seen}")
    refusals += _changed(place, command, looked, record)
    return StartCheck(tuple(refusals), tuple(fallbacks), tuple(warnings), tuple(unknown))


def _of_record(
    place: str, command: str, retention: Retention | None, record: PreflightRecord | None, now: float
) -> tuple[list[str], list[str], list[str]]:
    """What the record refuses, falls back from and warns of."""
    if record is None:
        return [f"{place}: nobody has tried out what this bucket enforces: run `{command}`"], [], []
    report = record.report
    date = time.strftime("%Y-%m-%d", time.gmtime(report.time))
    missing = missing_probes(record)
    if missing or not report.whole:
        what = f"lacks {', '.join(missing)}" if missing else "tried nothing out"
        return (
            [f"{place}: the preflight of {date} (version {record.version}) {what}: run `{command}`"],
            [],
            [],
        )
    bad = [each for each in report.findings if each.outcome is not Outcome.PASS]
    by_need = {need: [each for each in bad if each.about.need_for(retention) is need] for need in Need}
    refusals = [
        f"{place}: the preflight of {date}: {_wrong(each)}; when that is mended, run `{command}`"
        for each in by_need[Need.REQUIRED]
    ]
    fallbacks = [f"{place}: {_wrong(each)}; {each.about.fallback}" for each in by_need[Need.FALLBACK]]
    if retention is None:
        fallbacks.append(
            f"{place}: nothing is locked (publish.s3.retention_mode is none): that does not protect what was "
            "published from who holds the bucket's keys"
        )
    warnings = []
    if (age := floor((now - report.time) / _DAY)) > OLD_DAYS:
        warnings.append(f"{place}: the preflight is {age} days old: run `{command}` again")
    if report.left:
        warnings.append(f"{place}: the preflight of {date} left {report.left} objects below preflight/")
    return refusals, fallbacks, warnings


def _wrong(finding: Finding) -> str:
    return f"not so: {finding.about.asks} ({finding.seen}). The cost: {finding.about.cost}"


def _was_tried(record: PreflightRecord | None, finding: Finding) -> bool:
    """Whether the record knows what this identity may not ask."""
    return record is not None and any(
        each.probe == finding.probe and each.outcome is Outcome.PASS for each in record.report.findings
    )


def _changed(place: str, command: str, looked: Look, record: PreflightRecord | None) -> list[str]:
    """A default retention that came or went since: what is not to be locked is then written otherwise."""
    if record is None or "unknown" in (looked.default.mode, record.report.default.mode):
        return []
    if (looked.default.mode is None) == (record.report.default.mode is None):
        return []
    was, now = record.report.default, looked.default
    return [
        f"{place}: the bucket's default retention was {was} at its preflight and is {now}: run `{command}`"
    ]
