"""`merklelog follow`: entries as they come, each head checked against the one before."""

from __future__ import annotations

import click

from merklelog.cli.command import command, number, target_argument, trust_options
from merklelog.cli.results import EntryResult
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session
from merklelog.cli.trust import open_verified, read_trust


@command(
    "follow",
    example="merklelog follow trail --from 103 --jsonl | while read -r event; do ...; done",
    result=EntryResult,
)
@target_argument
@click.option("--from", "start", metavar="N", type=number, default=0, help="The first index.")
@click.option("--jsonl", is_flag=True, help="An entry a line, which is the default.")
@click.option(
    "--poll",
    metavar="SECONDS",
    type=click.FloatRange(0.01, 86_400),
    default=1.0,
    help="How often to look for new entries.",
)
@click.option(
    "--count", metavar="N", type=number, help="End after N entries.  [default: follow until interrupted]"
)
@trust_options
@server_options()
@click.pass_obj
def follow(
    session: Session,
    target: str,
    start: int,
    jsonl: bool,
    poll: float,
    count: int | None,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Print entries as they come, one a line.

    Goes on until it is interrupted (exit status 130). With --json each line is an object. Every entry is
    proven, and every new checkpoint is proven to extend the one before: a log that takes back what it showed
    ends this with exit status 1. A data directory may be appended to by another process meanwhile.
    """
    from merklelog.cli.entries import as_json, as_line

    if jsonl and session.json:
        raise click.UsageError("--jsonl prints entries as they are, --json as objects: give one of them")
    end = None if count is None else start + count
    with open_verified(target, read_trust(policy, vkeys), reach, poll=poll) as reads:
        for index, entry, last in reads.follow(start, end, poll):
            session.write(as_json(index, entry) + b"\n" if session.json else as_line(index, entry))
            if last:
                session.flush()
