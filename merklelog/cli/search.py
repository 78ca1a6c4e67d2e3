"""`merklelog search`: entries by who, what, when and where."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import command, target_argument, trust_options
from merklelog.cli.files import output
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import is_bucket, is_server, open_verified, read_trust
from merklelog.errors import FormatError, LockedError, NotFoundError, StorageError, UsageError

if TYPE_CHECKING:
    from merklelog.client.searching import Search, SearchAnswer
    from merklelog.formats import Policy

_AUTOMATIC = "auto"


@dataclass(frozen=True, slots=True)
class FieldResult:
    """One field of an entry."""

    name: Annotated[str, "its name: actor, action, resource and so on"]
    value: Annotated[str, "its value"]


@dataclass(frozen=True, slots=True)
class HitResult:
    """One entry that the query fits."""

    index: Annotated[int, "its index, that of the first one where its record was split"]
    entries: Annotated[int, "how many entries its record stands in"]
    time: Annotated[str | None, "its time (RFC 3339, with nanoseconds); null when it says none"]
    fields: Annotated[list[FieldResult], "its fields of the audit model"]
    data: Annotated[list[str], "with --entries the bytes of its entries, in base64"]
    proof: Annotated[str | None, "the file its proof was written to; null without --proofs"]


@dataclass(frozen=True, slots=True)
class CountResult:
    """How many entries have a value."""

    value: Annotated[str, "the value, in lower case"]
    entries: Annotated[int, "how many entries have it"]


@dataclass(frozen=True, slots=True)
class BucketResult:
    """How many entries there are in a span of time."""

    time: Annotated[str, "when it begins (RFC 3339)"]
    entries: Annotated[int, "how many entries there are in it"]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found, and how far the index that found it has come."""

    hits: Annotated[list[HitResult], "a page of hits, in order of time"]
    total: Annotated[int | None, "how many there are in all; null on later pages"]
    cursor: Annotated[str, "what --cursor wants for the next page; empty on the last"]
    indexed_size: Annotated[
        int, "the index has the entries before this one: those after it were not looked at"
    ]
    size: Annotated[int, "the size of the log's newest checkpoint"]
    checkpoint: Annotated[
        str, "a signed checkpoint that the indexed entries are under; empty while there are none"
    ]
    counts: Annotated[list[CountResult], "with --count-by the most frequent values"]
    buckets: Annotated[list[BucketResult], "with --histogram spans of time with entries in them"]
    bucket_seconds: Annotated[int, "how long each span is; 0 without --histogram"]
    untimed: Annotated[int, "entries without a time, which are in no span"]
    verified: Annotated[bool, "whether every hit was read from the tree, proven and compared: with --verify"]
    disproven: Annotated[list[str], "what is wrong with which hit"]


@command(
    "search",
    example="merklelog search trail actor:alice action:delete after:2026-01-01\n"
    "merklelog search https://log.example.com 'outcome:failure' --count-by actor --verify --vkey KEY",
    result=SearchResult,
)
@target_argument
@click.argument("query", metavar="QUERY...", nargs=-1)
@click.option("--limit", metavar="N", type=click.IntRange(1, 1000), default=100, help="Hits of a page.")
@click.option(
    "--cursor",
    metavar="CURSOR",
    default="",
    show_default=False,
    help="The next page, as the page before said.",
)
@click.option("--newest-first", is_flag=True, help="Newest first, instead of oldest first.")
@click.option("--entries", is_flag=True, help="Print each hit's entry below it.")
@click.option(
    "--proofs", metavar="FOLDER", type=click.Path(), help="Write FOLDER/INDEX.tlog-proof for each hit."
)
@click.option(
    "--count-by",
    metavar="FIELD",
    default="",
    show_default=False,
    help="Count the entries of each value of a field.",
)
@click.option(
    "--histogram", metavar="SECONDS", help="Count entries in spans of time; auto: some dozens of them."
)
@click.option("--verify", is_flag=True, help="Read each hit from the tree, prove it, and compare.")
@click.option("--no-update", is_flag=True, help="Of a data directory: take the index as it is.")
@trust_options
@server_options()
@click.pass_context
def search(
    context: click.Context,
    target: str,
    query: tuple[str, ...],
    limit: int,
    cursor: str,
    newest_first: bool,
    entries: bool,
    proofs: str | None,
    count_by: str,
    histogram: str | None,
    verify: bool,
    no_update: bool,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Find entries by who, what, when and where.

    actor:alice action:delete after:2026-01-01 finds what meets all three; words alone are looked for anywhere.
    docs/search.md has the whole language. TARGET is a server, or a data directory, whose index is brought up to
    date first. What an index says proves nothing: with --verify each hit is read from the tree, proven under a
    checkpoint that you trust, and compared with the query; exit status 1 when one does not hold. What the index
    left out is not found that way; `merklelog index rebuild` makes it anew.
    """
    from merklelog.client.searching import Search

    session: Session = context.obj
    wanted = Search(
        " ".join(query),
        limit,
        cursor,
        newest_first,
        entries,
        proofs is not None,
        count_by,
        _seconds(histogram),
    )
    trusted = read_trust(policy, vkeys)
    answer = _ask(target, wanted, reach, _origin(trusted), no_update=no_update)
    disproven = _disproven(target, trusted, reach, wanted, answer) if verify else []
    written = _write_proofs(proofs, answer, session) if proofs is not None else {}
    result = _result(answer, written, verified=verify and not disproven, disproven=disproven)
    session.show(result, _lines(result, answer))
    _tell(session, answer, result)
    if disproven:
        context.exit(1)


def _seconds(text: str | None) -> int | None:
    if text is None or text == _AUTOMATIC:
        return None if text is None else 0
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:12]) < 2**32 or len(text) > 10:
        raise click.BadParameter(f"--histogram: {text!r} is neither auto nor whole seconds")
    return int(text)


def _origin(trusted: Policy | None) -> str:
    """The only log that the caller trusts, which is meant on a server of several; "" where nobody said."""
    names = {log.key.name for log in trusted.logs} if trusted is not None else set()
    return names.pop() if len(names) == 1 else ""


def _ask(target: str, wanted: Search, reach: Reach, origin: str, *, no_update: bool) -> SearchAnswer:
    from merklelog.client.searching import search_server

    if is_server(target):
        return search_server(target, wanted, reach.access(), origin)
    if is_bucket(target) or target.startswith("dir:"):
        raise UsageError(
            f"{visible(target)}: a published copy has no index; search a server, or a log's data directory"
        )
    from merklelog.cli.index import bring_up, needs_tantivy
    from merklelog.log import open_reader

    needs_tantivy()
    from merklelog.index.answer import answer
    from merklelog.index.files import search_directory
    from merklelog.index.search import Searcher

    with open_reader(target) as log:
        if not no_update:
            # Fed by a server already, or not ours to write: then what is there answers, and says how far it is.
            with contextlib.suppress(LockedError, StorageError):
                bring_up(log)
        return answer(log, Searcher(search_directory(log.path)), wanted)


def _disproven(
    target: str, trusted: Policy | None, reach: Reach, wanted: Search, answer: SearchAnswer
) -> list[str]:
    """What does not hold of what the index said, each hit read and proven under a checkpoint that is trusted.

    Raises NotFoundError when nothing is wrong with the others, for a hit behind the newest checkpoint that has its
    quorum: witnesses may be slower than the index, which says under which checkpoint of the log its hits are.
    """
    from merklelog.formats.policy import QUORUM_NONE
    from merklelog.index.query import parse_query
    from merklelog.index.verify import judge_hit

    condition = parse_query(wanted.query)
    found: list[str] = []
    beyond: int | None = None
    with open_verified(target, trusted, reach) as reads:
        head = reads.head()
        size: int = head.checkpoint.size
        signed = size
        if trusted is not None and trusted.quorum != QUORUM_NONE:
            signed = max(size, _signed_size(trusted, answer.checkpoint))
        if answer.indexed_size > signed:
            found.append(
                f"the index says it has {answer.indexed_size} entries, the newest checkpoint is of {signed}"
            )
        for hit in answer.hits:
            if not 0 < hit.entries <= signed - hit.index:
                found.append(f"entry {hit.index}: it is not in the tree of size {signed}")
                continue
            if hit.entries > size - hit.index:
                beyond = hit.index if beyond is None else beyond
                continue
            data = [entry for _, entry in reads.entries(head, hit.index, hit.index + hit.entries)]
            if wrong := judge_hit(condition, hit, data):
                found.append(wrong)
            elif hit.data and list(hit.data) != data:
                found.append(f"entry {hit.index}: its bytes are others in the tree")
    if beyond is not None and not found:
        text = f"no checkpoint that meets the policy has it yet, the newest is of size {size}"
        raise NotFoundError(f"entry {beyond}: {text}")
    return found


def _signed_size(trusted: Policy, note: str) -> int:
    """The size of a checkpoint that the log signed, whoever cosigned it; 0 for what is none."""
    from merklelog.formats import parse_checkpoint
    from merklelog.protocol.verdict import is_signed_by_log

    try:
        signed = parse_checkpoint(note.encode("utf-8"))
    except FormatError:
        return 0
    return signed.checkpoint.size if is_signed_by_log(trusted, signed) else 0


def _write_proofs(folder: str, answer: SearchAnswer, session: Session) -> dict[int, str]:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    written: dict[int, str] = {}
    for hit in answer.hits:
        path = str(place / f"{hit.index}.tlog-proof")
        with output(path, session) as write:
            write(hit.proof.encode("utf-8"))
        written[hit.index] = path
    return written


def _moment(nanoseconds: int) -> str | None:
    if not nanoseconds:
        return None
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _result(
    answer: SearchAnswer, written: dict[int, str], *, verified: bool, disproven: list[str]
) -> SearchResult:
    from merklelog.formats.wire import encode_base64
    from merklelog.index.document import FIELDS

    order = defaultdict(lambda: len(FIELDS), {name: place for place, name in enumerate(FIELDS)})
    hits = [
        HitResult(
            hit.index,
            hit.entries,
            _moment(hit.time),
            # Over gRPC they come in any order.
            [FieldResult(name, hit.fields[name]) for name in sorted(hit.fields, key=order.__getitem__)],
            [encode_base64(data).decode("ascii") for data in hit.data],
            written.get(hit.index),
        )
        for hit in answer.hits
    ]
    buckets = [
        BucketResult(f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}", entries)
        for second, entries in answer.buckets
    ]
    counts = [CountResult(value, entries) for value, entries in answer.counts]
    return SearchResult(
        hits,
        answer.total,
        answer.cursor,
        answer.indexed_size,
        answer.tree_size,
        answer.checkpoint,
        counts,
        buckets,
        answer.bucket_seconds,
        answer.untimed,
        verified,
        disproven,
    )


def _lines(result: SearchResult, answer: SearchAnswer) -> Iterator[str]:
    for hit, found in zip(result.hits, answer.hits, strict=True):
        fields = " ".join(f"{field.name}={visible(field.value)}" for field in hit.fields)
        yield f"{hit.index}  {hit.time or '-'}  {fields}".rstrip()
        for data in found.data:
            yield f"    {visible(data.decode('utf-8', 'backslashreplace'))}"
    for count in result.counts:
        yield f"{count.entries:>10}  {visible(count.value)}"
    for bucket in result.buckets:
        yield f"{bucket.entries:>10}  {bucket.time}"
    for wrong in result.disproven:
        yield f"wrong: {visible(wrong)}"


def _tell(session: Session, answer: SearchAnswer, result: SearchResult) -> None:
    shown = (
        f"{len(answer.hits)} hits" if answer.total is None else f"{len(answer.hits)} of {answer.total} hits"
    )
    behind = answer.tree_size - answer.indexed_size
    stale = f", {behind} entries behind the log" if behind > 0 else ""
    proven = "; every hit proven" if result.verified else ""
    more = f"; next page: --cursor {answer.cursor}" if answer.cursor else ""
    session.note(f"{shown}; indexed: {answer.indexed_size} entries{stale}{proven}{more}")


__all__ = ["search"]
