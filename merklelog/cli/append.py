"""`merklelog append`: entries from files, lines or standard input into a log."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import append_argument, command, receipt_key_option, trust_options
from merklelog.cli.files import STANDARD, output
from merklelog.cli.progress import progress_bar
from merklelog.cli.results import Origin, Root, Size
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session
from merklelog.cli.trust import read_believed
from merklelog.errors import UsageError

if TYPE_CHECKING:
    from merklelog.cli.feed import Tally
    from merklelog.cli.inputs import Inputs
    from merklelog.cli.sinks import Grown
    from merklelog.client.remote import Wait


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Entries are durable and under a signed note: a checkpoint, or until it is published a receipt."""

    origin: Origin
    entries: Annotated[int, "entries given"]
    appended: Annotated[int, "entries that are new; the others were in the log already"]
    start: Annotated[int, "the index of the first new entry, if there is one"]
    end: Annotated[int, "the index after the last new entry: start + appended, but where others append too"]
    index: Annotated[int | None, "the entry's index when exactly one was given"]
    size: Size
    root: Root
    checkpoint: Annotated[str | None, "the signed checkpoint of that size; null while it is not published"]
    receipt: Annotated[str | None, "until then, of a log with publish targets: the receipt note of that size"]
    epoch: Annotated[int | None, "the epoch that the receipt note was signed in"]
    proof: Annotated[str | None, "the proof file that -o named"]


@command(
    "append",
    example="merklelog append trail event.json\nmerklelog append trail --jsonl events.jsonl",
    result=AppendResult,
)
@append_argument
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@click.option(
    "--jsonl", is_flag=True, help="An entry a line (its newline is not part of it), not an entry a file."
)
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="1 to 128 bytes of your choice: the same input with the same key again is appended once.",
)
@click.option(
    "-o", "--receipt", metavar="FILE", type=click.Path(), help="Save the proof of a single entry to FILE."
)
@click.option(
    "--wait",
    type=click.Choice(["integrated", "published", "witnessed"]),
    default="integrated",
    help="When it is done: in the tree, seen by readers of the publish targets, or cosigned as the policy asks.",
)
@trust_options
@receipt_key_option
@server_options()
@click.pass_obj
def append(
    session: Session,
    target: str,
    files: tuple[str, ...],
    jsonl: bool,
    idempotency_key: str | None,
    receipt: str | None,
    wait: Wait,
    policy: str | None,
    vkeys: tuple[str, ...],
    receipt_key: str | None,
    reach: Reach,
) -> None:
    """Append entries and print their indexes.

    Without FILE, or for -, standard input is read. When this ends with status 0, all of them are on disk and
    under a signed checkpoint; a log with publish targets signs a receipt first, unless you wait for the
    publication, and -o then saves that receipt (see `merklelog receipt`). Lines are not looked into: any bytes
    will do. TARGET is a data directory, or a server's grpc(s):// or http(s)://, whose answers are verified: say
    by --vkey or --policy whom you trust. Over HTTP entries go one by one, and are waited for.
    """
    from merklelog.cli.feed import Tally
    from merklelog.cli.inputs import check, choose_inputs
    from merklelog.cli.sinks import open_sink

    trusted = read_believed(policy, vkeys, receipt_key)
    inputs = choose_inputs(files, lines=jsonl)
    key = None if idempotency_key is None else os.fsencode(idempotency_key)
    total = check(inputs)
    if receipt is not None and (len(inputs.paths) > 1 or total not in (None, 1)):
        raise UsageError(f"-o {receipt}: a proof is of one entry, and {total or 'more'} were given")
    if STANDARD in inputs.paths and sys.stdin.isatty():
        session.note("reading from the terminal; Ctrl-D ends the input")
    # The file for the proof comes first: what can not be written is better known before anything is appended.
    place = contextlib.nullcontext(None) if receipt is None else output(receipt, session)
    tally = Tally()
    try:
        with place as save, open_sink(target, trusted, reach, wait) as sink:
            batches = _batches(inputs, single=receipt is not None, key=key)
            with progress_bar("appending") as advance:
                sink.feed(batches, tally, key, lambda: advance(tally.entries, total))
            grown = sink.grown()
            if save is not None and tally.last is not None:
                last = tally.last[0]
                save((last if wait == "integrated" else sink.under(last, grown)).to_bytes())
            result = _result(grown, tally, receipt)
    except BaseException:
        if tally.entries:  # whatever comes now, these are durable
            session.note(f"appended before it stopped: {tally}")
        raise
    session.show(result, [_line(result)])


def _batches(inputs: Inputs, *, single: bool, key: bytes | None) -> Iterator[list[bytes]]:
    from merklelog.cli.inputs import batches, chunks

    found = chunks(inputs)
    if single:
        found = _only_one(found)
    hold = key is not None or not (inputs.lines and inputs.streams())
    return batches(found, hold=hold)


def _only_one(found: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The input, after looking that it is one entry. Raises UsageError, before anything is appended."""
    entries: list[bytes] = []
    for chunk in found:
        entries += chunk[:2]
        if len(entries) > 1:
            break
    if len(entries) != 1:
        raise UsageError(f"-o: a proof is of one entry, and {'more' if entries else 'none'} were given")
    yield entries


def _result(grown: Grown, tally: Tally, receipt: str | None) -> AppendResult:
    single = tally.last.indexes[0] if tally.last is not None and tally.entries == 1 else None
    return AppendResult(
        origin=grown.origin,
        entries=tally.entries,
        appended=grown.appended,
        start=grown.start,
        end=grown.end,
        index=single,
        size=grown.size,
        root=grown.root,
        checkpoint=grown.note.decode("utf-8") if grown.epoch is None else None,
        receipt=None if grown.epoch is None else grown.note.decode("utf-8"),
        epoch=grown.epoch,
        proof=receipt,
    )


def _line(result: AppendResult) -> str:
    repeated = result.entries - result.appended
    if result.index is not None:
        return f"index {result.index}" + (", there already" if repeated else "")
    new = f"{result.start}:{result.end}" if result.appended else "nothing"
    already = f", {repeated} of {result.entries} were there already" if repeated else ""
    return f"appended {new}{already}, size {result.size}"
