"""`merklelog audit`: everything recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import command, number, target_argument, trust_options
from merklelog.cli.progress import progress_bar
from merklelog.cli.results import ExistedBy
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import read_trust, utc

if TYPE_CHECKING:
    from merklelog.audit import AuditFinding, AuditReport, LockReport


@dataclass(frozen=True, slots=True)
class FindingResult:
    """One thing that is wrong, or that could not be read."""

    kind: Annotated[
        str,
        "entry, bundle, tile, nodes, root, checkpoint, signature, extra, target, version, lock, policy, partition "
        "or database",
    ]
    where: Annotated[str, "the file, or the place in a database"]
    detail: Annotated[str, "what is wrong with it"]
    start: Annotated[int | None, "the first entry it is about; null when it is about none in particular"]
    end: Annotated[int | None, "the index after the last one"]
    disproven: Annotated[bool, "false: it could not be read, or no quorum has cosigned it yet"]


@dataclass(frozen=True, slots=True)
class LocksResult:
    """The locks that were read back."""

    objects: Annotated[int, "objects whose lock was read"]
    compliance: Annotated[int, "those with a COMPLIANCE lock"]
    governance: Annotated[int, "those with a GOVERNANCE lock"]
    held: Annotated[int, "those under a legal hold"]
    unlocked: Annotated[int, "those that nothing locks"]
    lapsed: Annotated[int, "those whose lock ended"]
    earliest: Annotated[str | None, "when the first lock ends or ended (RFC 3339); null: none has an end"]


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What was audited, what was found, and how much was recomputed on the way."""

    target: Annotated[str, "what was audited"]
    origin: Annotated[str | None, "the log's name; null when not even a checkpoint could be read"]
    size: Annotated[int, "the size of the checkpoint that everything was compared with"]
    root: Annotated[str | None, "its root hash"]
    verdict: Annotated[str, '"proven", "disproven" or "unknown": the exit status in a word']
    signatures_checked: Annotated[bool, "whether the checkpoint's signatures were verified"]
    entries: Annotated[int, "entries hashed"]
    bundles: Annotated[int, "entry bundles read"]
    tiles: Annotated[int, "tiles compared"]
    bytes: Annotated[int, "bytes of entry bundles, uncompressed"]
    checkpoints: Annotated[int, "stored checkpoints whose root was compared"]
    findings: Annotated[list[FindingResult], "what is wrong; nothing when the log is proven"]
    unlisted: Annotated[int, "findings beyond those listed"]
    remarks: Annotated[list[str], "what is no finding and still worth knowing"]
    processes: Annotated[int, "processes that hashed"]
    seconds: Annotated[float, "how long it took"]
    locks: Annotated[LocksResult | None, "what came of --retention; null without it"]
    existed_by: ExistedBy
    policy_size: Annotated[
        int | None,
        "the size of the newest checkpoint that meets the policy; null without one, or when none does",
    ]


@command(
    "audit",
    example="merklelog audit trail\nmerklelog audit https://log.example.com --vkey KEY",
    result=AuditResult,
)
@target_argument
@click.option(
    "--size",
    metavar="N",
    type=number,
    help="Audit the tree of that stored checkpoint.  [default: the newest]",
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, 1024),
    help="How many processes hash.  [default: one a core]",
)
@click.option(
    "--retention", is_flag=True, help="Of an s3:// target: read the lock of every locked object back."
)
@trust_options
@server_options(state=False)
@click.pass_context
def audit(
    context: click.Context,
    target: str,
    size: int | None,
    processes: int | None,
    retention: bool,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Recompute and compare everything: leaves, tiles, roots.

    Everything stored is recomputed from the entries up, and compared with what is stored and signed. Says
    which entry or file is wrong. Exit status 0: everything leads to the signed root; 1: something does not;
    3: nothing is wrong in what could be read, but not all could, or your policy's quorum has not cosigned all of
    it (then --size audits up to where it has). A published copy (dir:PATH, s3://), or a server's over HTTP, is
    compared with its own checkpoint, whose signature is verified when you say by which key. In a bucket, what was
    put over an object that must never change is named and read past. Over gRPC there are no tiles: every entry is
    hashed, and you have to say by which key.
    """
    from merklelog.audit import audit as run_audit

    session: Session = context.obj
    trusted = read_trust(policy, vkeys)
    with progress_bar("auditing") as advance:
        report = run_audit(
            target,
            trusted,
            size=size,
            processes=processes,
            progress=advance,
            access=reach.access(),
            retention=retention,
        )
    session.show(_result(report), _lines(report))
    context.exit(report.exit_status)


def _verdict(report: AuditReport) -> str:
    return {0: "proven", 1: "disproven"}.get(report.exit_status, "unknown")


def _word(finding: AuditFinding) -> str:
    if finding.disproven:
        return "wrong"
    return "unproven" if finding.kind == "policy" else "unread"


def _lines(report: AuditReport) -> Iterator[str]:
    for finding in report.findings:
        yield f"{_word(finding)}: {visible(str(finding))}"
    if report.unlisted:
        yield f"and {report.unlisted} findings more"
    for remark in report.remarks:
        yield f"remark: {visible(remark)}"
    if report.locks is not None:
        yield _locks_line(report.locks)
    signed = "signatures checked" if report.signatures_checked else "signatures not checked"
    what = f"{visible(report.origin or report.target)} at size {report.size}"
    counts = f"entries {report.entries}, tiles {report.tiles}, checkpoints {report.checkpoints}"
    existed = "" if report.existed_by is None else f"; existed by {utc(report.existed_by)}"
    if report.policy_size is not None and report.policy_size < report.size:
        what += f", the policy is met up to size {report.policy_size}"
    yield f"{_verdict(report)}: {what} ({counts}; {signed}{existed})"


def _locks_line(locks: LockReport) -> str:
    counts = f"COMPLIANCE {locks.compliance}, GOVERNANCE {locks.governance}, legal holds {locks.held}"
    ends = "" if locks.earliest is None else f"; the first one ends {locks.earliest}"
    return f"locks: objects {locks.objects} ({counts}, none {locks.unlocked}, ended {locks.lapsed}){ends}"


def _result(report: AuditReport) -> AuditResult:
    findings = [
        FindingResult(
            kind=str(finding.kind),
            where=finding.where,
            detail=finding.detail,
            start=finding.entries[0] if finding.entries else None,
            end=finding.entries[1] if finding.entries else None,
            disproven=finding.disproven,
        )
        for finding in report.findings
    ]
    return AuditResult(
        target=report.target,
        origin=report.origin,
        size=report.size,
        root=None if report.root is None else report.root.hex(),
        verdict=_verdict(report),
        signatures_checked=report.signatures_checked,
        entries=report.entries,
        bundles=report.bundles,
        tiles=report.tiles,
        bytes=report.bytes,
        checkpoints=report.checkpoints,
        findings=findings,
        unlisted=report.unlisted,
        remarks=list(report.remarks),
        processes=report.processes,
        seconds=report.seconds,
        locks=None if report.locks is None else LocksResult(**asdict(report.locks)),
        existed_by=report.existed_by,
        policy_size=report.policy_size,
    )
