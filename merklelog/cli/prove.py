"""`merklelog prove` and `consistency`: what a log can prove, verified before it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import (
    command,
    number,
    output_option,
    proven_size_option,
    target_argument,
    trust_options,
)
from merklelog.cli.files import write_file
from merklelog.cli.results import Cosigners, ExistedBy, Origin, Root, Size
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import open_verified, read_trust, utc

if TYPE_CHECKING:
    from merklelog.client import Consistency
    from merklelog.formats import Policy


@dataclass(frozen=True, slots=True)
class ProveResult:
    """A proof file, verified under the policy before it was given."""

    origin: Origin
    index: Annotated[int, "the entry's index"]
    size: Size
    root: Root
    leaf_hash: Annotated[str, "the entry's leaf hash"]
    cosigners: Cosigners
    existed_by: ExistedBy
    path: Annotated[str | None, "the file that -o named"]
    proof: Annotated[str, "the proof file's text (c2sp.org/tlog-proof)"]


@command("prove", example="merklelog prove trail 102 -o event.tlog-proof", result=ProveResult)
@target_argument
@click.argument("index", metavar="INDEX", type=number)
@proven_size_option
@output_option("the proof file")
@trust_options
@server_options()
@click.pass_obj
def prove(
    session: Session,
    target: str,
    index: int,
    size: int | None,
    path: str | None,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Make a proof file for the entry at INDEX.

    The file (c2sp.org/tlog-proof) holds the inclusion proof and the signed checkpoint it leads to: with the
    entry and the log's key it is all that `merklelog verify` needs. The checkpoint meets the policy or the
    keys you give, else (a data directory) it is signed by the log's own; a published copy and a server need one
    of them.
    """
    from merklelog.cli.verdicts import existed_lines

    trusted = read_trust(policy, vkeys)
    with open_verified(target, trusted, reach) as reads:
        data = reads.prove(index, size)
        leaf = reads.entry(index, size)
    result = _prove_result(data, leaf, path, trusted)
    if path is None:
        if session.json:
            session.write_json(result)
        else:
            session.write(data)
        return
    write_file(path, data, session)
    tree = f"{visible(result.origin)}, in its tree of size {result.size}"
    line = f"proof of entry {index} of {tree}: {visible(path)}"
    session.show(result, [line, *existed_lines(result.existed_by)])


def _prove_result(data: bytes, entry: bytes, path: str | None, trusted: Policy | None) -> ProveResult:
    from merklelog.cli.verdicts import cosigner_results, note_verdict
    from merklelog.formats import parse_checkpoint, parse_proof
    from merklelog.tree import leaf_hash

    proof = parse_proof(data)
    checkpoint = parse_checkpoint(proof.checkpoint).checkpoint
    verdict = note_verdict(proof.checkpoint, trusted)
    return ProveResult(
        origin=checkpoint.origin,
        index=proof.index,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        leaf_hash=leaf_hash(entry).hex(),
        cosigners=[] if verdict is None else cosigner_results(verdict.cosigners),
        existed_by=None if verdict is None else verdict.existed_by,
        path=path,
        proof=data.decode("utf-8"),
    )


@dataclass(frozen=True, slots=True)
class ConsistencyResult:
    """The tree of the old checkpoint is the beginning of the tree of the new one."""

    origin: Origin
    old_size: Annotated[int, "the smaller size"]
    old_root: Annotated[str, "its signed root"]
    new_size: Annotated[int, "the larger size"]
    new_root: Annotated[str, "its signed root"]
    old_existed_by: Annotated[
        int | None, "a quorum had cosigned the older one by then; null when none was asked for"
    ]
    new_existed_by: Annotated[int | None, "the same of the newer one"]
    proof: Annotated[list[str], "the hashes of the consistency proof (RFC 6962 section 2.1.2)"]


@command("consistency", example="merklelog consistency trail 103 104", result=ConsistencyResult)
@target_argument
@click.argument("old", metavar="OLD", type=number)
@click.argument("new", metavar="NEW", type=number)
@output_option("the proof")
@trust_options
@server_options()
@click.pass_obj
def consistency(
    session: Session,
    target: str,
    old: int,
    new: int,
    path: str | None,
    policy: str | None,
    vkeys: tuple[str, ...],
    reach: Reach,
) -> None:
    """Prove that the log only grew from OLD to NEW.

    The tree of size OLD is the beginning of that of size NEW. Both sizes need a stored checkpoint, and both
    are verified. Prints the verdict, then the proof's hashes in base64, one a line (as in
    c2sp.org/tlog-witness); with -o only these go to FILE. Exit status 1 means that the log has two histories,
    and standard error then has both signed notes.
    """
    from merklelog.formats.wire import encode_base64

    with open_verified(target, read_trust(policy, vkeys), reach) as reads:
        proven = reads.consistency(old, new)
    hashes = [encode_base64(value).decode("ascii") for value in proven.proof]
    if path is not None:
        write_file(path, "".join(f"{line}\n" for line in hashes).encode("ascii"), session)
        hashes = []
    result = _consistency_result(proven)
    line = f"consistent: the tree of {visible(result.origin)} of size {old} begins that of size {new}"
    for size, time in ((old, result.old_existed_by), (new, result.new_existed_by)):
        if time is not None:
            line += f"; size {size} existed by {utc(time)}"
    session.show(result, [line, *hashes])


def _consistency_result(proven: Consistency) -> ConsistencyResult:
    first, second = proven.old.checkpoint, proven.new.checkpoint
    return ConsistencyResult(
        origin=second.origin,
        old_size=first.size,
        old_root=first.root.hex(),
        new_size=second.size,
        new_root=second.root.hex(),
        old_existed_by=proven.old.verdict.existed_by,
        new_existed_by=proven.new.verdict.existed_by,
        proof=[value.hex() for value in proven.proof],
    )
