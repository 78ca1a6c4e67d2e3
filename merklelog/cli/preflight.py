"""`merklelog preflight`: what a bucket really enforces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click

from merklelog.cli.command import command
from merklelog.cli.progress import progress_bar
from merklelog.cli.s3_targets import S3Place, log_option, s3_places
from merklelog.cli.session import Session, visible
from merklelog.errors import UsageError

if TYPE_CHECKING:
    from merklelog.publish.preflight_report import PreflightReport

_LEAST, _MOST = 10, 120  # seconds


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What came of one probe."""

    name: Annotated[str, "the probe"]
    asks: Annotated[str, "what passes"]
    outcome: Annotated[str, '"pass", "fail", or "unknown": it could not be tried']
    seen: Annotated[str, "what the store did and answered"]
    need: Annotated[
        str, '"required": a log does not publish without; "fallback": it does, see there; "advice"'
    ]
    cost: Annotated[str, "what a failure costs"]
    fallback: Annotated[str | None, "what a log does without it, and what that does not protect from"]


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One bucket and prefix."""

    target: Annotated[str, "the target"]
    endpoint: Annotated[str, "the URL that was asked"]
    time: Annotated[int, "when it began"]
    verdict: Annotated[str, '"fit", "fit with fallbacks", "unfit" or "unknown"']
    whole: Annotated[bool, "false: only what can be asked without writing was"]
    retention_mode: Annotated[str | None, "what the log locks with; null: nothing"]
    retention_days: Annotated[int | None, "for how many days"]
    default_mode: Annotated[str | None, 'what the bucket locks by itself; "unknown": it may not be asked']
    default_days: Annotated[int, "for how many days"]
    probes: Annotated[list[ProbeResult], "the probes"]
    left: Annotated[int, "scratch objects that could not be removed again"]
    record: Annotated[str | None, "the file that keeps this for `serve`; null: no log was named"]


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """What the buckets really enforce."""

    targets: Annotated[list[TargetResult], "the target, or each of the log's targets in S3"]


@command(
    "preflight",
    example="merklelog preflight s3://my-bucket/trail --log trail\n"
    "merklelog preflight s3://my-bucket/trail --print-setup",
    result=PreflightResult,
)
@click.argument("target", metavar="TARGET")
@log_option
@click.option("--yes", is_flag=True, help="Write though the bucket locks by itself for more than a day.")
@click.option("--read-only", is_flag=True, help="Only what can be asked without writing.")
@click.option(
    "--lock-seconds",
    metavar="N",
    type=click.IntRange(_LEAST, _MOST),
    default=60,
    help=f"How long the scratch objects are locked, {_LEAST} to {_MOST}; a slow store needs more.",
)
@click.option(
    "--print-setup", is_flag=True, help="Print the commands that make such a bucket, and do nothing."
)
@click.pass_context
def preflight(
    context: click.Context,
    target: str,
    log: str | None,
    yes: bool,
    read_only: bool,
    lock_seconds: int,
    print_setup: bool,
) -> None:
    """Find out what a bucket really enforces.

    TARGET is s3://BUCKET/PREFIX, or the data directory of a log: all its targets in S3. Objects are written below
    PREFIX/preflight/, locked for a minute, attacked, and removed when their locks are over. Says what each
    failure would cost. Exit status 0: a log may publish there; 1: it must not; 3: something that it needs could
    not be tried. With a log, DIR/preflight.json keeps the result, which `serve` trusts. A bucket that locks by
    itself what is written to it, for more than a day, is written to only with --yes: every object of the probes
    carries a short lock of its own, but this store may not heed it.
    """
    session: Session = context.obj
    places = s3_places(target, log)
    if print_setup:
        if session.json:
            raise UsageError("--print-setup prints a shell script, and no JSON")
        session.write("\n".join(_setup(place) for place in places).encode("utf-8"))
        return
    reports = [(place, _report(place, yes, read_only, lock_seconds, session)) for place in places]
    results = [_result(report, _record(place, report)) for place, report in reports]
    lines = (
        line for (_, report), result in zip(reports, results, strict=True) for line in _lines(report, result)
    )
    session.show(PreflightResult(results), lines)
    statuses = {_status(report) for _, report in reports}
    context.exit(1 if 1 in statuses else max(statuses))  # a certain no goes before not knowing


def _setup(place: S3Place) -> str:
    from merklelog.publish.preflight_setup import setup_script
    from merklelog.publish.s3_options import parse_s3_url

    return setup_script(parse_s3_url(place.target), place.options)


def _report(
    place: S3Place, yes: bool, read_only: bool, lock_seconds: int, session: Session
) -> PreflightReport:
    from merklelog.publish.preflight import Preflight

    made = Preflight(place.store(), place.options, lock_seconds=lock_seconds)
    looked = made.look()
    if read_only:
        return looked
    if looked.default.is_long and not yes:
        raise UsageError(
            f"{place.target}: nothing was written. The bucket locks what is written without a lock of its own: "
            f"{looked.default}. The probes carry locks of at most {lock_seconds} s, which a store that does not "
            "heed them would make as long: --yes to go on"
        )
    session.note(
        f"{place.target}: about {lock_seconds + 15} s: what is locked is removed when its locks are over"
    )
    with progress_bar("waiting for the locks", "s") as advance:
        return made.try_out(advance)


def _record(place: S3Place, report: PreflightReport) -> Path | None:
    from merklelog.publish.preflight_record import write_record

    return write_record(place.directory, report) if place.directory is not None and report.whole else None


_STATUS: Final = {"fit": 0, "fit with fallbacks": 0, "unfit": 1, "unknown": 3}


def _status(report: PreflightReport) -> int:
    """The exit status for one target; that nothing was tried out, as it was asked for, is none."""
    if not report.whole and report.verdict.value == "unknown":
        return 0
    return _STATUS[report.verdict.value]


def _lines(report: PreflightReport, result: TargetResult) -> Iterator[str]:
    width = max(len(each.name) for each in result.probes)
    yield visible(f"{result.target} at {result.endpoint}")
    for each in result.probes:
        yield visible(f"{each.outcome:8}{each.name:{width}}  {each.asks}: {each.seen}")
        if each.outcome != "pass":
            yield f"{'':8}{'':{width}}  {each.need}. The cost: {each.cost}"
            if each.fallback is not None and each.need == "fallback":
                yield f"{'':8}{'':{width}}  without it: {each.fallback}"
    if result.left:
        yield f"{result.left} scratch objects stay below preflight/; the next preflight removes them"
    retention = report.retention
    days = "" if retention is None else f"{retention.days} day{'s' * (retention.days != 1)}"
    locks = "nothing" if retention is None else f"in {retention.mode} mode for {days}"
    what = "" if result.whole else ", as far as can be asked without writing"
    yield f"{result.verdict}{what} (for a log that locks {locks}; the bucket by itself: {report.default})"
    if result.record is not None:
        yield visible(f"kept in {result.record}")


def _result(report: PreflightReport, record: Path | None) -> TargetResult:
    retention = report.retention
    return TargetResult(
        target=report.target,
        endpoint=report.endpoint,
        time=report.time,
        verdict=report.verdict.value,
        whole=report.whole,
        retention_mode=None if retention is None else retention.mode,
        retention_days=None if retention is None else retention.days,
        default_mode=report.default.mode,
        default_days=report.default.days,
        probes=[
            ProbeResult(
                name=each.probe,
                asks=each.about.asks,
                outcome=each.outcome.value,
                seen=each.seen,
                need=each.about.need_for(retention).value,
                cost=each.about.cost,
                fallback=each.about.fallback or None,
            )
            for each in report.findings
        ],
        left=report.left,
        record=None if record is None else str(record),
    )
