"""`merklelog verify-content`: do the records still have the content that their senders hashed?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import click

from merklelog.cli.command import Span, command, span, target_argument, trust_options
from merklelog.cli.progress import progress_bar
from merklelog.cli.results import ExistedBy, Origin, Root, Size
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import open_verified, read_trust, utc
from merklelog.errors import RangeError

if TYPE_CHECKING:
    from merklelog.cli.progress import Advance
    from merklelog.cli.sources import Reads
    from merklelog.ingest.recheck import Checked

LISTED: Final = 100
_PROGRESS: Final = 1_000  # entries between two looks at the bar


@dataclass(frozen=True, slots=True)
class ContentFinding:
    """A record whose content is not what was hashed, or an entry that can not be read as a record."""

    index: Annotated[int, "the entry's index; of a record in several entries the first one's"]
    kind: Annotated[
        str,
        "mismatch, malformed, or contradiction: the verdict stored on arrival is another one than today's",
    ]
    record_id: Annotated[str | None, "its audit.record.id"]
    stored: Annotated[str | None, 'what the log found on arrival: "ok", "mismatch" or "not checkable"']
    detail: Annotated[str, "what is wrong"]


@dataclass(frozen=True, slots=True)
class ContentResult:
    """What the records of a range claim of their content, checked again."""

    origin: Origin
    size: Size
    root: Root
    start: Annotated[int, "the first index"]
    end: Annotated[int, "the index after the last"]
    verdict: Annotated[str, '"proven" or "disproven": the exit status in a word']
    records: Annotated[int, "records that begin in the range"]
    ok: Annotated[int, "records with the content that was hashed"]
    mismatch: Annotated[int, "records with another"]
    not_checkable: Annotated[int, "records with a hash that JSON can not decide about"]
    protected: Annotated[int, "records of which the log took out or replaced something that was hashed"]
    unhashed: Annotated[int, "records that claim no content hash"]
    raw: Annotated[int, "entries that are no records"]
    malformed: Annotated[int, "entries that begin as a record's and are none"]
    findings: Annotated[list[ContentFinding], "the mismatches, malformed entries and contradictions"]
    unlisted: Annotated[int, "findings beyond those listed"]
    existed_by: ExistedBy


@command(
    "verify-content",
    example="merklelog verify-content trail\nmerklelog verify-content s3://audit-bucket/trail 0:5000 --vkey KEY",
    result=ContentResult,
)
@target_argument
@click.argument("wanted", metavar="[INDEX|A:B]", type=span, required=False)
@trust_options
@server_options()
@click.pass_context
def verify_content(
    context: click.Context,
    target: str,
    wanted: Span | None,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Check the content hashes of audit records again.

    Each entry is proven to be under a signed checkpoint, then the record in it is compared with its
    audit.content_hash, by both conventions: Python's json.dumps with sort_keys, and RFC 8785. Records without one,
    and entries that are no records, are counted. A:B is [A, B); B left out is the log's end. Exit status 1: a
    record has other content than was hashed, or the verdict that the log stored on arrival is not today's.
    """
    session: Session = context.obj
    with (
        open_verified(target, read_trust(policy, vkeys), reach) as reads,
        progress_bar("checking contents") as advance,
    ):
        result = _checked(reads, wanted, advance)
    session.show(result, _lines(result))
    context.exit(0 if result.verdict == "proven" else 1)


def _checked(reads: Reads, wanted: Span | None, advance: Advance) -> ContentResult:
    from merklelog.ingest.recheck import recheck

    head = reads.head()
    size = head.checkpoint.size
    start = 0 if wanted is None else wanted.start
    end = size if wanted is None or wanted.end is None else wanted.end
    if not start <= end <= size:
        raise RangeError(f"entries {start}:{end}: the log has {size} entries, the first is 0")

    def read(index: int) -> bytes:
        ((_, entry),) = reads.entries(head, index, index + 1)
        return entry

    counts: Counter[str] = Counter()
    findings: list[ContentFinding] = []
    found = 0
    for checked in recheck(reads.entries(head, start, end), start, size, read):
        counts[checked.outcome.value] += 1
        if (finding := _finding(checked)) is not None:
            found += 1
            if len(findings) < LISTED:
                findings.append(finding)
        if checked.index % _PROGRESS == 0:
            advance(checked.index - start, end - start)
    outside = {"raw", "malformed", "continued"}
    return ContentResult(
        origin=head.checkpoint.origin,
        size=size,
        root=head.checkpoint.root.hex(),
        start=start,
        end=end,
        verdict="disproven" if found else "proven",
        records=sum(count for name, count in counts.items() if name not in outside),
        ok=counts["ok"],
        mismatch=counts["mismatch"],
        not_checkable=counts["not checkable"],
        protected=counts["protected"],
        unhashed=counts["unhashed"],
        raw=counts["raw"],
        malformed=counts["malformed"],
        findings=findings,
        unlisted=found - len(findings),
        existed_by=head.verdict.existed_by,
    )


def _finding(checked: Checked) -> ContentFinding | None:
    stored = None if checked.stored is None else checked.stored.value
    kind, detail = str(checked.outcome.value), checked.reason
    if kind not in {"mismatch", "malformed"}:
        if not checked.contradicts:
            return None
        kind, detail = "contradiction", f"now its content is {kind}"
    return ContentFinding(checked.index, kind, checked.record_id, stored, detail)


def _lines(result: ContentResult) -> Iterator[str]:
    for each in result.findings:
        record = "" if each.record_id is None else f" (record {each.record_id})"
        stored = "" if each.stored is None else f"; on arrival: {each.stored}"
        yield visible(f"{each.kind}: entry {each.index}{record}: {each.detail}{stored}")
    if result.unlisted:
        yield f"and {result.unlisted} findings more"
    counts = (
        f"ok {result.ok}, mismatch {result.mismatch}, not checkable {result.not_checkable}, "
        f"protected {result.protected}, without a hash {result.unhashed}"
    )
    existed = "" if result.existed_by is None else f"; existed by {utc(result.existed_by)}"
    yield (
        f"{result.verdict}: {visible(result.origin)} at size {result.size}, entries {result.start}:{result.end}: "
        f"records {result.records} ({counts}), raw entries {result.raw}, malformed {result.malformed}{existed}"
    )
