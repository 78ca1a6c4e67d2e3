"""`merklelog follow`: entries as they come, each head checked against the one before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from merklelog.cli.command import command, number, target_argument, trust_options
from merklelog.cli.results import EntryResult
from merklelog.cli.session import Session
from merklelog.cli.trust import OpenTarget, open_verified, read_trust
from merklelog.errors import ForkError, ProofError

if TYPE_CHECKING:
    from merklelog.protocol import TrustedHead
    from merklelog.tree import Hash


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
    with open_verified(target, read_trust(policy, vkeys)) as opened:
        for index, entry in _entries(session, opened, start, end, poll):
            session.write(as_json(index, entry) + b"\n" if session.json else as_line(index, entry))


def _entries(
    session: Session, opened: OpenTarget, start: int, end: int | None, poll: float
) -> Iterator[tuple[int, bytes]]:
    from merklelog.cli.entries import verified_entries
    from merklelog.publish.verified import VerifiedTiles

    trusted: TrustedHead | None = None
    at = start
    while end is None or at < end:
        trusted = _advance(opened, trusted)
        stop = trusted.size if end is None else min(end, trusted.size)
        if at < stop:
            tiles = VerifiedTiles(opened.source, trusted.size, trusted.root)
            yield from verified_entries(tiles, at, stop)
            at = stop
            session.flush()
        if end is None or at < end:
            time.sleep(poll)
            _refresh(opened)


def _advance(opened: OpenTarget, trusted: TrustedHead | None) -> TrustedHead:
    """The newest head, proven to extend the one before.

    Raises ForkError with both notes when it does not, StaleError for a smaller one.
    """
    from merklelog.formats import parse_checkpoint
    from merklelog.protocol import advance
    from merklelog.publish.verified import VerifiedTiles
    from merklelog.tree import prove_consistency

    head = opened.reads.head()
    size, root = head.checkpoint.size, head.checkpoint.root
    proof: list[Hash] = []
    if trusted is not None and trusted.size < size:
        proof = prove_consistency(trusted.size, size, VerifiedTiles(opened.source, size, root).read)
    try:
        return advance(trusted, parse_checkpoint(head.note), proof)
    except ProofError as error:
        if trusted is None:
            raise
        # Each hash of the proof leads to the new root, so it is not the proof that is wrong.
        raise ForkError(f"two histories of one log: {error}", trusted.note, head.note) from error


def _refresh(opened: OpenTarget) -> None:
    """A data directory shows one moment until it is asked for a later one; a published copy is read anew."""
    from merklelog.log import LogReader

    if isinstance(opened.source, LogReader):
        opened.source.refresh()
