"""`merklelog verify`: offline, and without anything of a log but bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import click

from merklelog.cli.command import command, trust_options
from merklelog.cli.files import name_of, read_argument, read_bytes
from merklelog.cli.results import Cosigners, ExistedBy, LogKey, Origin, Root, Size
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import WANT_TRUST, read_trust
from merklelog.errors import FormatError, UsageError, VerificationError

if TYPE_CHECKING:
    from merklelog.formats import ProofFile
    from merklelog.tree import Hash

# A proof may be of another project's log, whose entries are no tlog-tiles bundles and have no such bound.
MAX_FOREIGN_ENTRY: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """An entry is in a log, as the policy wants it proven."""

    origin: Origin
    index: Annotated[int, "the entry's index"]
    leaf_hash: Annotated[str, "the entry's leaf hash"]
    size: Size
    root: Root
    log_key: LogKey
    cosigners: Cosigners
    existed_by: ExistedBy


@command(
    "verify",
    example='merklelog verify event.tlog-proof --entry event.json --vkey "$(head -n 1 trail.vkeys)"',
    result=VerifyResult,
)
@click.argument("proof", metavar="FILE")
@click.option("--entry", metavar="FILE", type=click.Path(), help="The entry that is to be proven.")
@click.option("--leaf-hash", metavar="HEX", help="Its leaf hash instead (RFC 6962), 64 hex digits.")
@trust_options
@click.pass_obj
def verify(
    session: Session,
    proof: str,
    entry: str | None,
    leaf_hash: str | None,
    policy: str | None,
    vkeys: tuple[str, ...],
) -> None:
    """Verify a proof offline: is this entry in the log?

    FILE is a tlog-proof file; -, here or for --entry, is standard input. Nothing is trusted but the keys you
    give: no log and no network is asked. Exit status 0 means proven, 1 disproven.
    """
    from merklelog.cli.verdicts import cosigner_results, signer_lines
    from merklelog.formats import format_vkey
    from merklelog.protocol import verify_proof_file

    trusted = read_trust(policy, vkeys)
    if trusted is None:
        raise UsageError(f"verify: whose log is it? {WANT_TRUST}")
    if proof == entry == "-":
        raise UsageError("FILE and --entry: only one of them can be standard input")
    leaf = _leaf(entry, leaf_hash)
    file = _read_proof(proof)
    try:
        verdict = verify_proof_file(file, leaf, trusted)
    except VerificationError as error:
        raise type(error)(f"{name_of(proof)}: not proven: {error}") from error
    checkpoint = verdict.checkpoint
    result = VerifyResult(
        origin=checkpoint.origin,
        index=verdict.index,
        leaf_hash=leaf.hex(),
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        log_key=format_vkey(verdict.log_key),
        cosigners=cosigner_results(verdict.cosigners),
        existed_by=verdict.existed_by,
    )
    lines = [
        f"proven: entry {verdict.index} of {visible(checkpoint.origin)}, in its tree of size {checkpoint.size}",
        *signer_lines(verdict.log_key, verdict.cosigners, verdict.existed_by),
    ]
    session.show(result, lines)


def _leaf(entry: str | None, leaf_hash: str | None) -> Hash:
    """The leaf hash that is to be proven. Raises UsageError, OSError."""
    from merklelog.tree import HASH_SIZE, Hash
    from merklelog.tree import leaf_hash as hash_of

    if (entry is None) == (leaf_hash is None):
        raise UsageError("verify: give the entry with --entry FILE, or its hash with --leaf-hash HEX")
    if entry is not None:
        return hash_of(read_argument(entry, MAX_FOREIGN_ENTRY, "entry"))
    text = leaf_hash or ""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != HASH_SIZE or len(text) != 2 * HASH_SIZE:
        raise UsageError(f"--leaf-hash {text[:80]!r}: want {2 * HASH_SIZE} hex digits")
    return Hash(value)


def _read_proof(path: str) -> ProofFile:
    """The proof file. Raises FormatError naming it, OSError."""
    from merklelog.formats import parse_proof
    from merklelog.formats.proof import MAX_PROOF_BYTES

    try:
        return parse_proof(read_bytes(path, MAX_PROOF_BYTES))
    except FormatError as error:
        raise FormatError(f"{name_of(path)}: {error}") from error
