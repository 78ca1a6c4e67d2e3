"""`merklelog receipt upgrade`: from the receipt of a log with publish targets to a proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import click

from merklelog.cli.command import command, receipt_key_option, trust_options
from merklelog.cli.files import STANDARD, name_of, output, read_argument, read_bytes
from merklelog.cli.results import ExistedBy, Origin, Root, Size
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session
from merklelog.cli.trust import open_client, read_believed
from merklelog.errors import FormatError

if TYPE_CHECKING:
    from merklelog.client.believed import Believed
    from merklelog.client.upgrades import Claim

# The answer to an audit of several records has a receipt of each.
MAX_ANSWER_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The entry is under a published checkpoint."""

    origin: Origin
    index: Annotated[int, "the entry's index"]
    leaf_hash: Annotated[str, "the entry's leaf hash"]
    size: Size
    root: Root
    epoch: Annotated[int | None, "the epoch of the receipt; null when the file was a proof already"]
    existed_by: ExistedBy
    checkpoint: Annotated[str, "the signed checkpoint that the proof leads to"]
    proof: Annotated[str, "the file with the proof"]


@click.group("receipt")
def receipt() -> None:
    """Receipts of entries that are not published yet."""


@command(
    "upgrade",
    example="merklelog receipt upgrade event.tlog-proof --from trail\n"
    "merklelog receipt upgrade event.tlog-proof --from dir:/srv/copy "
    '--vkey "$(sed -n 1p trail.vkeys)" --vkey "$(sed -n 3p trail.vkeys)"\n'
    "merklelog receipt upgrade answer.json --record 7c5e --from trail",
    result=UpgradeResult,
)
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--from", "target", metavar="TARGET", required=True, help="The log, or a published copy of it.")
@click.option(
    "--entry", metavar="FILE", type=click.Path(), help="The entry, to verify the receipt itself by."
)
@click.option(
    "--record", metavar="ID", help="The record's ID, where FILE is the answer to an audit of several records."
)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(),
    help="Write the proof there.  [default: in the receipt's place; of an answer, beside it]",
)
@trust_options
@receipt_key_option
@server_options()
@click.pass_obj
def upgrade(
    session: Session,
    file: str,
    target: str,
    entry: str | None,
    record: str | None,
    path: str | None,
    policy: str | None,
    vkeys: tuple[str, ...],
    receipt_key: str | None,
    reach: Reach,
) -> None:
    """Make a proof of a receipt: the same entry under a published checkpoint.

    FILE is what `merklelog append -o` or a client's `save` wrote; the proof takes its place. Or it is the answer
    of POST /v1/audit, and the proof goes to FILE.tlog-proof, without the answer's .json. What is not published yet
    is waited for (--timeout), and then it ends with status 3: try again. Status 1 with LostError says that the
    log lost the entry with its disk, so append it again; with ForkError, that it has two histories, and prints the
    two signed notes.
    """
    from merklelog.formats.bundle import MAX_ENTRY

    trusted = read_believed(policy, vkeys, receipt_key)
    data = None if entry is None else read_argument(entry, MAX_ENTRY, "entry")
    saved, claim, beside = _read(file, data, record)
    path = path or beside
    with open_client(target, trusted, reach) as client:
        better = client.upgrade(saved, data)
    with output(path, session) as write:
        write(better.to_bytes())
    session.show(*_shown(claim, better.to_bytes(), better.leaf_hash, path, trusted))


def _read(file: str, entry: bytes | None, record: str | None) -> tuple[bytes, Claim, str]:
    """The receipt, its claim, and where the proof goes by itself. Raises FormatError naming the file, OSError."""
    from merklelog.client.upgrades import claim_of
    from merklelog.formats.proof import MAX_PROOF_BYTES

    saved, place = read_bytes(file, MAX_ANSWER_BYTES), file
    try:
        if saved[:64].lstrip()[:1] == b"{" or record is not None:
            from merklelog.ingest.audit_signal import receipt_in

            saved = receipt_in(saved, record)
            place = file if file == STANDARD else f"{file.removesuffix('.json')}.tlog-proof"
        return saved, claim_of(saved[: MAX_PROOF_BYTES + 1], entry), place
    except FormatError as error:
        raise FormatError(f"{name_of(file)}: {error}") from error


def _shown(
    claim: Claim, proof: bytes, leaf: bytes, path: str, trusted: Believed | None
) -> tuple[UpgradeResult, list[str]]:
    from merklelog.cli.verdicts import existed_lines, note_verdict
    from merklelog.formats import parse_checkpoint, parse_proof
    from merklelog.formats.receipt import is_receipt, parse_receipt

    note = parse_proof(proof).checkpoint
    checkpoint = parse_checkpoint(note).checkpoint
    verdict = note_verdict(note, None if trusted is None else trusted.policy)
    result = UpgradeResult(
        origin=checkpoint.origin,
        index=claim.index,
        leaf_hash=leaf.hex(),
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        epoch=parse_receipt(claim.note)[0].epoch if is_receipt(claim.note) else None,
        existed_by=None if verdict is None else verdict.existed_by,
        checkpoint=note.decode("utf-8"),
        proof=path,
    )
    if path == STANDARD:
        return result, []  # the proof is what is there
    line = f"{path}: entry {claim.index}, under the published checkpoint of size {checkpoint.size}"
    return result, [line, *existed_lines(result.existed_by)]


receipt.add_command(upgrade)
