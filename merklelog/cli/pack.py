"""`merklelog pack`: everything an auditor needs for a range of entries, in one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import (
    Span,
    command,
    output_option,
    proven_size_option,
    span,
    target_argument,
    trust_options,
)
from merklelog.cli.files import STANDARD, Write, output
from merklelog.cli.progress import progress_bar
from merklelog.cli.results import Cosigners, ExistedBy, LogKey, Origin, Root, Size
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import open_verified, read_trust
from merklelog.errors import RangeError, UsageError

if TYPE_CHECKING:
    from merklelog.cli.sources import Reads
    from merklelog.client import VerifiedHead
    from merklelog.formats import Policy
    from merklelog.pack import Made
    from merklelog.tree import Hash


@dataclass(frozen=True, slots=True)
class PackResult:
    """A pack, every entry verified on its way into it."""

    origin: Origin
    start: Annotated[int, "the index of the first entry in it"]
    end: Annotated[int, "the index after that of the last entry in it"]
    size: Size
    root: Root
    log_key: LogKey
    cosigners: Cosigners
    existed_by: ExistedBy
    path: Annotated[str, "the file that -o named"]
    bytes: Annotated[int, "its length"]
    sha256: Annotated[str, "its SHA-256"]


@command("pack", example="merklelog pack trail 100:1100 -o evidence.mlpack", result=PackResult)
@target_argument
@click.argument("wanted", metavar="A:B", type=span)
@proven_size_option
@output_option("the pack")
@trust_options
@server_options()
@click.pass_obj
def pack(
    session: Session,
    target: str,
    wanted: Span,
    size: int | None,
    path: str | None,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Make an evidence pack of the entries from A to before B.

    The file is a ZIP of plain files: the entries, the hashes that tie them to a signed checkpoint, that checkpoint
    with its cosignatures, and a page that says what this proves. `merklelog verify FILE` checks it offline, years
    later, and so does tools/verify_pack.py with nothing but Python. Without A the range begins at 0, without B it
    ends with the log; -o - writes the pack to standard output.
    """
    from merklelog.cli.verdicts import cosigner_results, signer_lines
    from merklelog.formats import format_vkey

    if path is None or (path == STANDARD and session.json):
        raise UsageError(
            "pack: name its file with -o FILE; -o - writes it to standard output, without --json"
        )
    digest = hashlib.sha256()
    trusted = read_trust(policy, vkeys)
    with open_verified(target, trusted, reach) as reads, output(path, session) as write:

        def put(data: bytes) -> None:
            digest.update(data)
            write(data)

        made = _make(put, reads, trusted or _keys_of(target), wanted, size)
    verdict, checkpoint = made.verdict, made.checkpoint
    result = PackResult(
        origin=checkpoint.origin,
        start=made.start,
        end=made.end,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        log_key=format_vkey(verdict.log_key),
        cosigners=cosigner_results(verdict.cosigners),
        existed_by=verdict.existed_by,
        path=path,
        bytes=made.size,
        sha256=digest.hexdigest(),
    )
    lines = [
        f"pack of entries {made.start}:{made.end} of {visible(checkpoint.origin)}, in its tree of size "
        f"{checkpoint.size}: {visible(path)} ({made.size} bytes)",
        *signer_lines(verdict.log_key, verdict.cosigners, verdict.existed_by),
    ]
    if path != STANDARD:
        session.show(result, lines)


def _make(write: Write, reads: Reads, policy: Policy, wanted: Span, size: int | None) -> Made:
    """Write the pack under the checkpoint that the caller's policy chooses."""
    from merklelog.pack import make_pack

    head = reads.head(size)
    end = head.checkpoint.size if wanted.end is None else wanted.end
    if wanted.start >= end:
        raise RangeError(f"entries {wanted.start}:{end}: a pack holds at least one entry")
    with progress_bar("packing") as advance:
        return make_pack(
            write,
            _Source(reads, head),
            head.note,
            policy,
            wanted.start,
            end,
            progress=lambda done: advance(done, end - wanted.start),
        )


def _keys_of(directory: str) -> Policy:
    """The keys of a log's own directory: nothing else is read without a policy."""
    from merklelog import open_reader
    from merklelog.formats import single_log_policy

    with open_reader(directory) as log:
        return single_log_policy(log.vkeys)


class _Source:
    """One checkpoint's tree, as a pack is made from it."""

    def __init__(self, reads: Reads, head: VerifiedHead) -> None:
        self._reads = reads
        self._head = head

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """See PackSource."""
        return (entry for _, entry in self._reads.entries(self._head, start, end))

    def proof(self, index: int) -> Sequence[Hash]:
        """See PackSource."""
        return self._reads.inclusion(self._head, index)
