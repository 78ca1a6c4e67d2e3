"""`merklelog verify`: offline, and without anything of a log but bytes."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import click

from merklelog.cli.command import command, trust_options
from merklelog.cli.files import STANDARD, name_of, read_argument, read_bytes
from merklelog.cli.results import Cosigners, ExistedBy, LogKey, Origin, Root, Size
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import WANT_TRUST, read_trust
from merklelog.errors import FormatError, UsageError, VerificationError

if TYPE_CHECKING:
    from merklelog.formats import Policy
    from merklelog.pack import PackVerdict
    from merklelog.protocol import Verdict
    from merklelog.tree import Hash

# A proof may be of another project's log, whose entries are no tlog-tiles bundles and have no such bound.
MAX_FOREIGN_ENTRY: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """An entry is in a log, or those of a pack are and none between them is missing, as the policy wants it."""

    origin: Origin
    index: Annotated[int | None, "the entry's index; null for a pack"]
    leaf_hash: Annotated[str | None, "the entry's leaf hash; null for a pack"]
    start: Annotated[int | None, "the index of a pack's first entry; null for a proof"]
    end: Annotated[int | None, "the index after that of a pack's last entry; null for a proof"]
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
@click.argument("path", metavar="FILE")
@click.option("--entry", metavar="FILE", type=click.Path(), help="The entry that is to be proven.")
@click.option("--leaf-hash", metavar="HEX", help="Its leaf hash instead (RFC 6962), 64 hex digits.")
@trust_options
@click.pass_obj
def verify(
    session: Session,
    path: str,
    entry: str | None,
    leaf_hash: str | None,
    policy: str | None,
    vkeys: tuple[str, ...],
) -> None:
    """Verify a proof or an evidence pack offline.

    Is this entry, are all of these entries in the log? FILE is a tlog-proof file, or a pack, which holds its
    entries; -, here or for --entry, is standard input. Nothing is trusted but the keys you give: no log and no
    network is asked, and no key is taken from FILE. Exit status 0 means proven, 1 disproven.
    """
    from merklelog.formats.proof import MAX_PROOF_BYTES
    from merklelog.pack import is_pack

    trusted = read_trust(policy, vkeys)
    if trusted is None:
        raise UsageError(f"verify: whose log is it? {WANT_TRUST}")
    if path == entry == STANDARD:
        raise UsageError("FILE and --entry: only one of them can be standard input")
    beginning = read_bytes(path, MAX_PROOF_BYTES)
    if not is_pack(beginning):
        result, lines = _verify_proof(path, beginning, _leaf(entry, leaf_hash), trusted)
    elif entry is None and leaf_hash is None:
        result, lines = _verify_pack(path, beginning, trusted)
    else:
        raise UsageError(f"{name_of(path)}: a pack holds its entries: --entry and --leaf-hash are for proofs")
    session.show(result, lines)


def _verify_proof(path: str, data: bytes, leaf: Hash, policy: Policy) -> tuple[VerifyResult, list[str]]:
    from merklelog.formats import parse_proof
    from merklelog.protocol import verify_proof_file

    try:
        proof = parse_proof(data)
    except FormatError as error:
        raise FormatError(f"{name_of(path)}: {error}") from error
    try:
        verdict = verify_proof_file(proof, leaf, policy)
    except VerificationError as error:
        raise type(error)(f"{name_of(path)}: not proven: {error}") from error
    line = f"proven: entry {verdict.index} of {_tree(verdict)}"
    return _result(verdict, index=verdict.index, leaf_hash=leaf.hex()), [line, *_signers(verdict)]


def _verify_pack(path: str, beginning: bytes, policy: Policy) -> tuple[VerifyResult, list[str]]:
    from merklelog.cli.progress import progress_bar
    from merklelog.pack import verify_pack

    with _opened(path, beginning) as file, progress_bar("verifying") as advance:
        try:
            verdict = verify_pack(file, policy, progress=advance)
        except (FormatError, VerificationError) as error:
            raise type(error)(f"{name_of(path)}: not proven: {error}") from error
    count = verdict.end - verdict.start
    line = f"proven: entries {verdict.start}:{verdict.end}, all {count}, of {_tree(verdict)}"
    return _result(verdict, start=verdict.start, end=verdict.end), [line, *_signers(verdict)]


@contextlib.contextmanager
def _opened(path: str, beginning: bytes) -> Iterator[BinaryIO]:
    """A pack to seek in: what comes by standard input goes through a temporary file."""
    if path != STANDARD:
        with Path(path).open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as spool:
        spool.write(beginning)
        shutil.copyfileobj(sys.stdin.buffer, spool)
        yield spool


def _tree(verdict: Verdict | PackVerdict) -> str:
    return f"{visible(verdict.checkpoint.origin)}, in its tree of size {verdict.checkpoint.size}"


def _signers(verdict: Verdict | PackVerdict) -> Iterator[str]:
    from merklelog.cli.verdicts import signer_lines

    return signer_lines(verdict.log_key, verdict.cosigners, verdict.existed_by)


def _result(
    verdict: Verdict | PackVerdict,
    *,
    index: int | None = None,
    leaf_hash: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> VerifyResult:
    from merklelog.cli.verdicts import cosigner_results
    from merklelog.formats import format_vkey

    checkpoint = verdict.checkpoint
    return VerifyResult(
        origin=checkpoint.origin,
        index=index,
        leaf_hash=leaf_hash,
        start=start,
        end=end,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        log_key=format_vkey(verdict.log_key),
        cosigners=cosigner_results(verdict.cosigners),
        existed_by=verdict.existed_by,
    )


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
