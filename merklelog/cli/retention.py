"""`merklelog retention`: the locks of a published copy, made longer, held, released."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import click

from merklelog.cli.command import Span, command, number, span
from merklelog.cli.progress import progress_bar
from merklelog.cli.s3_targets import S3Place, log_option, s3_places
from merklelog.cli.session import Session, visible
from merklelog.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from merklelog.publish.retention import Order, RetentionReport

_UNKNOWN: Final = 3
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LocksResult:
    """One bucket and prefix."""

    target: Annotated[str, "the target"]
    action: Annotated[str, '"extend", "hold" or "release"']
    until: Annotated[int | None, "what was extended is locked until then; null for holds"]
    objects: Annotated[int, "objects looked at: full tiles, full bundles, checkpoints, partitions"]
    changed: Annotated[int, "objects changed now"]
    already: Annotated[int, "objects that were so already"]
    failures: Annotated[int, "objects that could not be changed"]
    failed: Annotated[list[str], "why, of the first 100"]
    covers: Annotated[int, "objects over whose first version somebody put another, or a delete marker"]
    covered: Annotated[list[str], "the first 100 of them"]
    unheld: Annotated[
        list[int], "A and B: entries A:B were to be held and are in no full bundle yet; else empty"
    ]
    earliest: Annotated[int | None, "when the first lock lapses of those looked at; null: none is locked"]


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """Locks were looked after."""

    targets: Annotated[list[LocksResult], "the target, or each of the log's targets in S3"]


@click.group("retention")
def retention() -> None:
    """Look after the locks of a log's published copy in S3.

    TARGET is s3://BUCKET/PREFIX, or the data directory of a log: all its targets in S3. Each change is a line in
    that log's DIR/admin.jsonl before it is made, and one when it is done.
    """


def _date(value: str | datetime) -> datetime:
    """A day, from its first moment in UTC. Raises BadParameter naming it."""
    if isinstance(value, datetime):
        return value
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
            raise ValueError(value)
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no day such as 2033-01-31") from None


target_argument = click.argument("target", metavar="TARGET")
entries_option = click.option(
    "--entries",
    metavar="A:B",
    type=span,
    help="Only the bundles and tiles that these entries are in, and all checkpoints.  [default: everything]",
)


@command("extend", example="merklelog retention extend trail --until 2040-01-01", result=RetentionResult)
@target_argument
@log_option
@click.option("--until", metavar="DAY", type=_date, help="Lock until then, as in 2033-01-31 (0:00 UTC).")
@click.option("--days", metavar="N", type=number, help="Lock for so many days from now.")
@click.option(
    "--before",
    metavar="DAY",
    type=_date,
    help="Only what would lapse before then.  [default: what would lapse before the new date]",
)
@click.option(
    "--yes", is_flag=True, help="Lock in COMPLIANCE mode for more than a day: nobody can take it back."
)
@click.pass_context
def extend(
    context: click.Context,
    target: str,
    log: str | None,
    until: datetime | None,
    days: int | None,
    before: datetime | None,
    yes: bool,
) -> None:
    """Renew the locks that would lapse before a date.

    Of each full tile, full bundle, checkpoint and partition the version that was written first is locked until
    the new date, in the mode that it has; what is locked that long already is passed over. A lock is never made
    shorter. Run it again when it was broken off.
    """
    from merklelog.publish.retention import Action, Order, check_until

    now = datetime.now(UTC)
    if (until is None) == (days is None):
        raise UsageError("extend: say either --until DAY or --days N")
    end = check_until(until if until is not None else _later(now, days or 0), now)
    places = s3_places(target, log)
    orders = []
    for place in places:
        understood = yes or place.understood
        _check_understood(place, end, now, understood=understood)
        mode = None if place.options.retention is None else place.options.retention.mode
        orders.append(Order(Action.EXTEND, end, before or end, mode, understood))
    details: dict[str, Any] = {"until": _shown(end), "before": _shown(before or end)}
    _run(context, list(zip(places, orders, strict=True)), details)


def _later(now: datetime, days: int) -> datetime:
    try:
        return now + timedelta(days=days)
    except OverflowError:
        raise UsageError(f"--days {days}: more than 100 years from now, the most that S3 takes") from None


def _check_understood(place: S3Place, end: datetime, now: datetime, *, understood: bool) -> None:
    """Raises ConfigError for what nobody could take back within a day, unless that was agreed to."""
    from merklelog.publish.retention_policy import UNDERSTOOD_KEY

    retention = place.options.retention
    if retention is not None and retention.mode == "COMPLIANCE" and end - now > _DAY and not understood:
        raise ConfigError(
            f"{place.target}: COMPLIANCE locks until {_shown(end)} can be taken back by nobody, and are paid for "
            f"until then: say --yes, or set {UNDERSTOOD_KEY} = true in the log's configuration"
        )


@command("hold", example="merklelog retention hold trail --entries 1000:2000", result=RetentionResult)
@target_argument
@log_option
@entries_option
@click.pass_context
def hold(context: click.Context, target: str, log: str | None, entries: Span | None) -> None:
    """Set legal holds: nothing is deleted until they are released, whatever its lock says.

    Only full bundles can be held. Entries that are in none yet are named, and the exit status is 3: run it again
    when the log has grown.
    """
    from merklelog.publish.retention import Action, Order

    order = Order(Action.HOLD, entries=_entries(entries))
    _run(context, [(place, order) for place in s3_places(target, log)], _range(entries))


@command("release", example="merklelog retention release trail", result=RetentionResult)
@target_argument
@log_option
@entries_option
@click.pass_context
def release(context: click.Context, target: str, log: str | None, entries: Span | None) -> None:
    """Release legal holds; locks stay as they are, and no command makes them shorter."""
    from merklelog.publish.retention import Action, Order

    order = Order(Action.RELEASE, entries=_entries(entries))
    _run(context, [(place, order) for place in s3_places(target, log)], _range(entries))


retention.add_command(extend)
retention.add_command(hold)
retention.add_command(release)


def _entries(given: Span | None) -> tuple[int, int] | None:
    from merklelog.publish.retention import NO_END

    return None if given is None else (given.start, NO_END if given.end is None else given.end)


def _range(given: Span | None) -> dict[str, Any]:
    if given is None:
        return {"entries": None}
    return {"entries": f"{given.start}:{'' if given.end is None else given.end}"}


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _run(context: click.Context, orders: list[tuple[S3Place, Order]], details: dict[str, Any]) -> None:
    from merklelog.publish.retention import change_locks

    session: Session = context.obj
    results: list[LocksResult] = []
    for place, order in orders:
        told = {"target": place.target, **details}
        _note(place.directory, f"retention {order.action}", told, session)
        with progress_bar(f"{order.action}: {place.target}", "objects") as advance:
            report = change_locks(place.store(), order, parallel=place.options.parallel, advance=advance)
        counts: dict[str, Any] = {
            "changed": report.changed,
            "already": report.already,
            "failed": report.failures,
        }
        if report.unheld is not None:
            counts["unheld"] = f"{report.unheld[0]}:{report.unheld[1]}"
        _note(place.directory, f"retention {order.action} done", {**told, **counts}, session)
        results.append(_result(report, order))
    session.show(RetentionResult(results), (line for each in results for line in _lines(each)))
    context.exit(_UNKNOWN if any(each.failures or each.unheld for each in results) else 0)


def _note(directory: Path | None, what: str, details: dict[str, Any], session: Session) -> None:
    """A line in admin.jsonl. Raises StorageError: then nothing is done."""
    if directory is None:
        if not what.endswith("done"):
            session.note("no log's admin.jsonl notes this: name the log with --log DIR")
        return
    from merklelog.servers.admin_log import note

    note(directory, what, details)


def _result(report: RetentionReport, order: Order) -> LocksResult:
    return LocksResult(
        target=report.target,
        action=report.action.value,
        until=None if order.until is None else int(order.until.timestamp()),
        objects=report.objects,
        changed=report.changed,
        already=report.already,
        failures=report.failures,
        failed=report.failed,
        covers=report.covers,
        covered=report.covered,
        unheld=list(report.unheld or ()),
        earliest=None if report.earliest is None else int(report.earliest.timestamp()),
    )


def _lines(result: LocksResult) -> Iterator[str]:
    for text in result.failed:
        yield visible(f"failed: {text}")
    for key in result.covered:
        yield visible(f"covered: {result.target}/{key}: a later version or a delete marker lies over it")
    what = {"extend": "extended", "hold": "held", "release": "released"}[result.action]
    when = "" if result.until is None else f" until {_shown(datetime.fromtimestamp(result.until, UTC))}"
    yield visible(
        f"{result.target}: {result.changed} of {result.objects} objects {what}{when}, {result.already} were so "
        f"already, {result.failures} failed"
    )
    if result.unheld:
        yield visible(
            f"{result.target}: entries {result.unheld[0]}:{result.unheld[1]} are not in a full bundle yet and are "
            "not held: run it again when they are"
        )
    if result.earliest is not None:
        yield f"the first of their locks lapses {_shown(datetime.fromtimestamp(result.earliest, UTC))}"
