"""A pack judged, offline, by a policy that the verifier brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO, Final

from merklelog.errors import FormatError, ProofError
from merklelog.formats import Checkpoint, Policy, SignedCheckpoint, VerifierKey, parse_checkpoint
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.formats.policy import MAX_POLICY_BYTES
from merklelog.formats.wire import quote
from merklelog.pack.archive import FIRST_BYTES, Archive
from merklelog.pack.fold import RangeFold
from merklelog.pack.layout import (
    CHECKPOINT,
    MAX_ENTRIES_BYTES,
    POLICY,
    PROOF,
    README,
    names_at,
    parse_entries,
    spans,
)
from merklelog.pack.page import format_page
from merklelog.pack.statement import MAX_STATEMENT_BYTES, Statement, parse_statement
from merklelog.protocol import Cosigner, evaluate_policy
from merklelog.tree import leaf_hashes

_MAX_POLICY: Final = MAX_POLICY_BYTES + 4096  # and what the pack says above it
_MAX_README: Final = 16384 + 4 * MAX_NOTE_BYTES  # an origin is as long as its note, and may be escaped


@dataclass(frozen=True, slots=True)
class PackVerdict:
    """The entries [start, end) are in a log, and no other: under `checkpoint`, which meets the policy.

    `existed_by` is in POSIX seconds: each of them existed then. None with `quorum none`.
    """

    start: int
    end: int
    checkpoint: Checkpoint
    log_key: VerifierKey
    cosigners: tuple[Cosigner, ...]
    existed_by: int | None


def is_pack(beginning: bytes) -> bool:
    """Whether a file that begins like this may be a pack: no other thing that is verified does."""
    return beginning.startswith(FIRST_BYTES)


def verify_pack(
    file: BinaryIO, policy: Policy, *, progress: Callable[[int, int], object] | None = None
) -> PackVerdict:
    """Verify the pack in `file`, which can be sought in: its entries are those of the log, none missing.

    Nothing in the pack is believed: keys and quorum are those of `policy`. Holds a file of up to 1,024 entries at
    a time; `progress` is told how many of how many are verified. Raises
    FormatError for what is no pack, naming the file in it; ProofError when the entries do not lead to the root;
    what `evaluate_policy` raises; OSError.
    """
    files = _Files(Archive(file))
    readme = files.take((README,), _MAX_README)[1]
    statement = parse_statement(files.take((PROOF,), MAX_STATEMENT_BYTES)[1])
    signed = _checkpoint(files.take((CHECKPOINT,), MAX_NOTE_BYTES)[1])
    told = files.take((POLICY,), _MAX_POLICY)[1]
    checkpoint = signed.checkpoint
    verdict = evaluate_policy(policy, signed)
    if not 0 <= statement.start < statement.end <= checkpoint.size:
        raise ProofError(
            f"{PROOF}: entries {statement.start} to {statement.end}: {CHECKPOINT} has size {checkpoint.size}"
        )
    fold = RangeFold(statement.start, statement.end, checkpoint.size, statement.beside)
    _check_told(statement, checkpoint, readme, told)
    count = statement.end - statement.start
    for done, leaves in files.leaves(statement.start, statement.end):
        fold.push(leaves)
        if progress is not None:
            progress(done - statement.start, count)
    files.check_end()
    if (root := fold.root()) != checkpoint.root:
        raise ProofError(
            f"entries {statement.start} to {statement.end}, with the hashes of {PROOF}, lead to root "
            f"{root.hex()}, want {checkpoint.root.hex()}: an entry or a hash was changed"
        )
    return PackVerdict(
        statement.start, statement.end, checkpoint, verdict.log_key, verdict.cosigners, verdict.existed_by
    )


def _checkpoint(data: bytes) -> SignedCheckpoint:
    try:
        return parse_checkpoint(data)
    except FormatError as error:
        raise FormatError(f"{CHECKPOINT}: {error}") from error


def _check_told(statement: Statement, checkpoint: Checkpoint, readme: bytes, told: bytes) -> None:
    """What people read beside the entries is what the pack was made with."""
    if readme != format_page(statement.start, statement.end, checkpoint):
        raise FormatError(f"{README}: it is not the page of this pack: it was changed")
    if sha256(told).digest() != statement.policy:
        raise FormatError(f"{POLICY}: it is not the one that {PROOF} names: it was changed")


class _Files:
    """The files of a pack, each taken in its turn."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._members = archive.members()

    def take(self, names: tuple[str, ...], limit: int) -> tuple[str, bytes]:
        """The next file, which has one of `names`: its name and bytes. Raises FormatError."""
        member = next(self._members, None)
        if member is None or member.name not in names:
            raise self._disorder(None if member is None else member.name, names)
        return member.name, self._archive.read(member, limit)

    def leaves(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The leaf hashes of [start, end), file by file: the index after each file's last, and its hashes."""
        for first, stop in spans(start, end):
            name, data = self.take(names_at(first), MAX_ENTRIES_BYTES)
            yield stop, b"".join(leaf_hashes(parse_entries(name, data, stop - first)))

    def check_end(self) -> None:
        """Raise FormatError unless every file was taken."""
        if (member := next(self._members, None)) is not None:
            raise self._disorder(member.name, ())

    def _disorder(self, got: str | None, names: tuple[str, ...]) -> FormatError:
        """Why the next file is not the one it should be."""
        wanted = " or ".join(names)
        is_there, times = False, 0
        for name in self._archive.names() if got is not None else ():  # never a list: it may be long
            is_there = is_there or name in names
            times += name == got
        if names and not is_there:
            return FormatError(f"{wanted}: it is missing")
        shown = quote(got or "")
        if times > 1:
            return FormatError(f"{shown}: it is there twice")
        return FormatError(f"{shown}: it stands where {wanted or 'nothing'} should: moved or added")
