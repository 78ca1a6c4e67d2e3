"""`merklelog monitor`: logs followed for ever, and every finding told."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import click

from merklelog.cli.command import command, number, trust_options
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import read_trust, utc
from merklelog.errors import UsageError

if TYPE_CHECKING:
    from merklelog.audit.monitor import Monitor, Round
    from merklelog.audit.monitor_sinks import Sink

_DAY: Final = 86_400
_YEAR: Final = 366 * _DAY


@dataclass(frozen=True, slots=True)
class MonitorResult:
    """One finding: a line, as soon as it is found."""

    time: Annotated[int, "when it was found"]
    kind: Annotated[
        str,
        "split, rollback, damaged, signature, quorum, stale, unreachable, lag, ahead, statement, thawed, "
        "matcher or match",
    ]
    origin: Annotated[str | None, "the log; null when it is not known"]
    source: Annotated[str, "the target or the witness that it is about"]
    detail: Annotated[str, "what was found; of a match, the patterns"]
    disproven: Annotated[bool, "what was shown is not what it claims to be"]
    over: Annotated[bool, "true: what was found before is so no more"]
    evidence: Annotated[list[str], "files in the state that hold the signed notes"]
    index: Annotated[int | None, "the index of a matched entry; null for other kinds"]
    data: Annotated[str | None, "its bytes, in base64"]


def _seconds(
    name: str, default: float, text: str, *, least: float = 0
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    kind = click.FloatRange(least, _YEAR)
    return click.option(name, metavar="SECONDS", type=kind, default=default, help=text)


@command(
    "monitor",
    example="merklelog monitor https://log.example.com dir:/srv/copy --policy policy --state watch\n"
    "merklelog monitor trail --state watch --match 'user=alice' --exec ./alert",
    result=MonitorResult,
)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option(
    "--state",
    "directory",
    metavar="DIR",
    required=True,
    type=click.Path(),
    help="Where it keeps what it knows.",
)
@click.option("--once", is_flag=True, help="Look, read all there is, and end.")
@click.option(
    "--match", "expressions", metavar="REGEX", multiple=True, help="Watch for entries whose bytes match."
)
@click.option(
    "--field", "fields", metavar="NAME=REGEX", multiple=True, help="Watch a field of entries that are JSON."
)
@click.option(
    "--from", "start", metavar="N", type=number, default=0, help="The first entry of a log that is new."
)
@click.option(
    "--exec", "words", metavar="COMMAND", help="Run it for each finding, with the JSON line as input."
)
@click.option("--webhook", metavar="URL", help="POST each finding to it, as JSON.")
@click.option(
    "--witness",
    "witnesses",
    metavar="NAME=URL",
    multiple=True,
    help="A witness' monitoring prefix.  [default: its URL in the policy]",
)
@_seconds("--poll", 10.0, "How often to look.", least=0.01)
@_seconds("--grace", 60.0, "How long something may not answer, or miss its quorum.")
@_seconds("--lag", 300.0, "How long a target may be behind another, or behind a witness.")
@_seconds("--witness-lag", 3_600.0, "How long a witness may be behind.")
@_seconds("--max-age", 7_200.0, "How old a quorum's newest cosignatures may be.")
@trust_options
@server_options(state=False)
@click.pass_context
def monitor(
    context: click.Context,
    targets: tuple[str, ...],
    directory: str,
    once: bool,
    expressions: tuple[str, ...],
    fields: tuple[str, ...],
    start: int,
    words: str | None,
    webhook: str | None,
    witnesses: tuple[str, ...],
    poll: float,
    grace: float,
    lag: float,
    witness_lag: float,
    max_age: float,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Follow logs for ever; tell of all that is wrong.

    Targets of one log (its server, its published copies) are held against one history, and so is what the policy's
    witnesses show. Every entry is verified, and those that match a pattern are findings too. Each finding is a
    line (with --json an object), and goes to --exec and --webhook until they take it. Goes on where it stopped.
    Ends at SIGTERM with exit status 0; with --once with 1 when something is disproven, 3 when something else is
    wrong or could not be told.
    """
    from merklelog.audit.monitor import Monitor, MonitorOptions, Patterns

    session: Session = context.obj
    options = MonitorOptions(poll, grace, lag, witness_lag, max_age, start=start)
    matcher = Patterns(expressions, fields) if expressions or fields else None
    with Monitor(
        targets,
        read_trust(policy, vkeys),
        directory,
        options=options,
        matcher=matcher,
        sinks=_sinks(session, words, webhook, reach),
        witnesses=_witnesses(witnesses),
        access=reach.access(),
        tell=lambda text: session.note(text, "merklelog:"),
    ) as watch:
        if once:
            last = watch.catch_up()
            for each in watch.waiting:
                session.note(f"not told yet: {each.kind}: {each.source}: {each.detail}", "merklelog:")
            context.exit(_status(watch, last))
        _run(watch)


def _run(watch: Monitor) -> None:
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    try:
        watch.run(stop)
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(watch: Monitor, last: Round) -> int:
    if any(each.disproven for each in watch.lasting):
        return 1
    return 3 if watch.lasting or last.unknown or last.behind or not last.told else 0


def _sinks(session: Session, words: str | None, webhook: str | None, reach: Reach) -> list[Sink]:
    from merklelog.audit.monitor import CommandSink, LineSink, WebhookSink
    from merklelog.client.access import Access

    def write(line: bytes) -> None:
        session.write(line if session.json else _line(line))
        session.flush()

    sinks: list[Sink] = [LineSink(write)]
    if words is not None:
        try:
            split = shlex.split(words)
        except ValueError as error:
            raise UsageError(f"--exec: {error}") from error
        if not split:
            raise UsageError("--exec: it names no command")
        sinks.append(CommandSink(split))
    if webhook is not None:
        sinks.append(WebhookSink(webhook, Access(retry=reach.access().retry)))
    return sinks


def _witnesses(words: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, separator, url = word.partition("=")
        if not separator or not url or name in found:
            raise UsageError(f"--witness {word!r}: want NAME=URL, each name once")
        found[name] = url
    return found


def _line(line: bytes) -> bytes:
    """A finding for a person: one line, and one for each file of evidence."""
    found = json.loads(line)
    word = "over" if found["over"] else "wrong" if found["disproven"] else "found"
    what = found["kind"] if found["index"] is None else f"{found['kind']} {found['index']}"
    origin = f" {visible(found['origin'])}" if found["origin"] else ""
    text = f"{utc(found['time'])} {word}: {what}{origin}: {visible(found['source'])}: {visible(found['detail'])}\n"
    return "".join([text, *(f"  evidence: {visible(each)}\n" for each in found["evidence"])]).encode(
        "utf-8", "surrogateescape"
    )
