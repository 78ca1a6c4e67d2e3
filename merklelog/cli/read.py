"""`merklelog checkpoint`, `vkey` and `get`: what a log has."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import (
    Span,
    command,
    directory_argument,
    number,
    output_option,
    span,
    target_argument,
    trust_options,
)
from merklelog.cli.files import Write, output
from merklelog.cli.records import record_lines
from merklelog.cli.results import Cosigners, EntryResult, ExistedBy, Origin, Root, Size, Vkeys
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session
from merklelog.cli.trust import WANT_TRUST, is_server, open_client, open_verified, policy_for, read_trust
from merklelog.errors import RangeError, UsageError

if TYPE_CHECKING:
    from merklelog.cli.entries import Indexed
    from merklelog.client import VerifiedHead
    from merklelog.formats import Policy


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """A stored checkpoint."""

    origin: Origin
    size: Size
    root: Root
    checkpoint: Annotated[str, "the signed note, byte for byte"]
    verified: Annotated[bool, "whether it was verified: false when nobody said by which key"]
    log_key: Annotated[str | None, "the verifier key of the log that signed; null when not verified"]
    cosigners: Cosigners
    existed_by: ExistedBy


@command("checkpoint", example="merklelog checkpoint trail > trail.checkpoint", result=CheckpointResult)
@target_argument
@click.option(
    "--size", metavar="N", type=number, help="The stored checkpoint of that size.  [default: the newest]"
)
@trust_options
@server_options()
@click.pass_obj
def checkpoint(
    session: Session, target: str, size: int | None, policy: str | None, vkeys: tuple[str, ...], reach: Reach
) -> None:
    """Print a signed checkpoint: the newest, or a stored one.

    It is verified first: under the policy or the keys you give, else (a data directory) by the log's own. That
    of a published copy or a server without either is printed as it is, and standard error says so. About one
    checkpoint a second is stored.
    """
    trusted = read_trust(policy, vkeys)
    result = _checkpoint(target, trusted, size, reach)
    if not result.verified:
        session.note(f"not verified: {WANT_TRUST}")
    if session.json:
        session.write_json(result)
    else:
        session.write(result.checkpoint.encode("utf-8"))


def _checkpoint(target: str, policy: Policy | None, size: int | None, reach: Reach) -> CheckpointResult:
    from merklelog.client import VerifiedReads, open_target
    from merklelog.client.connecting import unverified_checkpoint

    if reach.state is not None or (policy is not None and is_server(target)):
        with open_client(target, policy, reach) as client:
            return _verified(client.checkpoint(size))
    if is_server(target):
        return _unverified(unverified_checkpoint(target, size, reach.access()))
    with contextlib.closing(open_target(target)) as source:
        trust = policy_for(source, policy)
        if trust is not None:
            return _verified(VerifiedReads(source, trust).head(size))
        return _unverified(source.checkpoint(size))


def _unverified(note: bytes) -> CheckpointResult:
    from merklelog.formats import parse_checkpoint

    plain = parse_checkpoint(note).checkpoint
    return CheckpointResult(
        plain.origin, plain.size, plain.root.hex(), note.decode("utf-8"), False, None, [], None
    )


def _verified(head: VerifiedHead) -> CheckpointResult:
    from merklelog.cli.verdicts import cosigner_results
    from merklelog.formats import format_vkey

    return CheckpointResult(
        origin=head.checkpoint.origin,
        size=head.checkpoint.size,
        root=head.checkpoint.root.hex(),
        checkpoint=head.note.decode("utf-8"),
        verified=True,
        log_key=format_vkey(head.verdict.log_key),
        cosigners=cosigner_results(head.verdict.cosigners),
        existed_by=head.verdict.existed_by,
    )


@dataclass(frozen=True, slots=True)
class VkeyResult:
    """Whose signatures to expect."""

    origin: Origin
    vkeys: Vkeys


@command("vkey", example="merklelog vkey trail > trail.vkeys", result=VkeyResult)
@directory_argument()
@click.pass_obj
def vkey(session: Session, directory: str) -> None:
    """Print the log's verifier keys, one a line.

    Ed25519 first, then ML-DSA-44, then that of receipts, which a log with publish targets signs. Give them to
    whoever verifies; they are no secret. No private key is read.
    """
    from merklelog.formats import format_vkey
    from merklelog.log import open_reader

    with open_reader(directory) as reader:
        keys = [*reader.vkeys, *filter(None, [reader.receipt_vkey])]
        vkeys = [format_vkey(key) for key in keys]
        session.show(VkeyResult(reader.origin, vkeys), vkeys)


@dataclass(frozen=True, slots=True)
class GetResult:
    """Verified entries of a log."""

    origin: Origin
    size: Size
    root: Root
    start: Annotated[int, "the first index"]
    end: Annotated[int, "the index after the last"]
    existed_by: ExistedBy
    entries: Annotated[list[EntryResult], "the entries, in order"]


@command(
    "get",
    example=(
        "merklelog get trail 102 > event.json\n"
        "merklelog get trail 0:100 --jsonl > events.jsonl\n"
        "merklelog get trail 102 --record"
    ),
    result=GetResult,
)
@target_argument
@click.argument("wanted", metavar="INDEX|A:B", type=span)
@click.option("--jsonl", is_flag=True, help="An entry a line: a newline after each.")
@click.option("--record", is_flag=True, help="The records that the entries hold, a line each.")
@click.option("--otlp", is_flag=True, help="The records as OTLP/JSON, a line each.")
@output_option("the entries")
@trust_options
@server_options()
@click.pass_obj
def get(
    session: Session,
    target: str,
    wanted: Span,
    jsonl: bool,
    record: bool,
    otlp: bool,
    path: str | None,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Print an entry's bytes, or a range of entries.

    A:B is [A, B); B left out is the log's end. Entries of a range follow each other without anything between
    them unless --jsonl or --json says otherwise. Each is proven to be under a signed checkpoint before it is
    printed. --record prints of an entry that came as an audit event what its sender said, in its canonical form,
    and joins one that stands in several entries.
    """
    records = record or otlp
    if records and (jsonl or session.json):
        raise UsageError("--record: it prints a line of JSON for each record; leave --json and --jsonl out")
    trusted = read_trust(policy, vkeys)
    with open_verified(target, trusted, reach) as reads:
        head = reads.head()
        size, root = head.checkpoint.size, head.checkpoint.root
        start, end = wanted.start, size if wanted.end is None else wanted.end
        if not start <= end <= size:
            asked = f"entries {start}:{end}" if wanted.is_range else f"entry {start}"
            raise RangeError(f"{asked}: the log has {size} entries, the first is 0")
        if records:
            with output(path, session) as write:
                for line in record_lines(reads, head, start, end, otlp=otlp):
                    write(line)
            return
        entries = reads.entries(head, start, end)
        existed_by = head.verdict.existed_by
        result = GetResult(head.checkpoint.origin, size, root.hex(), start, end, existed_by, [])
        with output(path, session) as write:
            _write_entries(write, entries, result if session.json else None, jsonl=jsonl)


def _write_entries(write: Write, entries: Indexed, result: GetResult | None, *, jsonl: bool) -> None:
    """The entries as JSON (`result` without them is how it begins), as lines, or as they are."""
    from merklelog.cli.entries import as_json, as_line

    if result is None:
        for index, entry in entries:
            write(as_line(index, entry) if jsonl else entry)
        return
    write(json.dumps(asdict(result), ensure_ascii=False, separators=(",", ":")).removesuffix("]}").encode())
    for position, (index, entry) in enumerate(entries):
        write((b"," if position else b"") + as_json(index, entry))
    write(b"]}\n")
