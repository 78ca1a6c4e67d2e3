"""The kept checkpoints: each is read, its signatures are checked, and its root is held against the tree's.

Whoever hashes a range of entries reads the checkpoints whose sizes lie in it and knows the part of their roots
that lies in the range; who has all ranges compares the roots.
"""

from __future__ import annotations

from dataclasses import dataclass

from merklelog.audit.peaks import Peaks
from merklelog.audit.report import FindingKind, Findings
from merklelog.audit.rows import AuditRows
from merklelog.errors import FormatError, MerklelogError, SignatureError
from merklelog.formats import Checkpoint, VerifierKey, parse_checkpoint, verify_note
from merklelog.formats.wire import quote
from merklelog.tree import Hash

_LISTED = 8  # checkpoints that disagree and are findings of their own; the others are counted


@dataclass(frozen=True, slots=True)
class HeadClaim:
    """A kept checkpoint: its size, the root it says (None: it can not be read, which is a finding already), and
    the root over the entries from the beginning of a range to that size (None: some could not be read).
    """

    size: int
    root: Hash | None
    tail: Hash | None


@dataclass(frozen=True, slots=True)
class HeadReader:
    """Reads kept checkpoints of the log with this origin; `keys` empty: signatures are not checked."""

    rows: AuditRows
    origin: str
    keys: tuple[VerifierKey, ...]

    def claim(self, size: int, tail: Hash | None, findings: Findings) -> HeadClaim:
        """What the checkpoint kept under `size` says; what is wrong with it is noted."""
        where = self.rows.place_of_checkpoint(size)
        try:
            note = self.rows.kept(size)
        except MerklelogError as error:
            findings.fault(FindingKind.CHECKPOINT, where, error)
            return HeadClaim(size, None, tail)
        checkpoint = self.check(note, size, where, findings)
        return HeadClaim(size, checkpoint.root if checkpoint else None, tail)

    def check(self, note: bytes, size: int | None, where: str, findings: Findings) -> Checkpoint | None:
        """A checkpoint read and its signatures checked; None when it is no checkpoint of this log, or of another
        size than the one it is kept under.
        """
        try:
            signed = parse_checkpoint(note)
        except FormatError as error:
            findings.fault(FindingKind.CHECKPOINT, where, error)
            return None
        checkpoint = signed.checkpoint
        if checkpoint.origin != self.origin:
            detail = f"it is a checkpoint of {quote(checkpoint.origin)}, want {quote(self.origin)}"
            findings.add(FindingKind.CHECKPOINT, where, detail)
            return None
        if size is not None and checkpoint.size != size:
            findings.add(FindingKind.CHECKPOINT, where, f"it is for size {checkpoint.size}")
            return None
        if self.keys:
            try:
                signers = {verified.key.name for verified in verify_note(signed.note, self.keys)}
            except SignatureError as error:
                findings.fault(FindingKind.SIGNATURE, where, error)
            else:
                if self.origin not in signers:
                    findings.add(FindingKind.SIGNATURE, where, "cosigned, but no key of the log signed it")
        return checkpoint


class HeadComparison:
    """Compares the roots of kept checkpoints with the tree's, smallest size first."""

    def __init__(self, rows: AuditRows, findings: Findings) -> None:
        self._rows = rows
        self._findings = findings
        self.compared = 0
        self.agreed = 0  # the largest size so far whose checkpoint agrees
        self._others: list[int] = []  # first and last of those that disagree and are not listed
        self._disagreed = 0
        self._unknown: list[int] = []  # first and last of those that nothing could be compared with

    def compare(self, claim: HeadClaim, before: Peaks) -> None:
        """Compare one claim; `before` are the subtrees of all that stands before the claim's range."""
        if claim.root is None:
            return
        root = before.fold((claim.tail,))
        if root is None:
            self._unknown = [*self._unknown[:1], claim.size]
            return
        self.compared += 1
        if root == claim.root:
            self.agreed = claim.size
            return
        self._disagreed += 1
        if self._disagreed > _LISTED:
            self._others = [*self._others[:1], claim.size]
            return
        detail = f"its root is {claim.root.hex()}, and the entries make {root.hex()} at size {claim.size}"
        where = self._rows.place_of_checkpoint(claim.size)
        self._findings.add(FindingKind.CHECKPOINT, where, detail, (self.agreed, claim.size))

    def finish(self) -> None:
        """Say what was only counted."""
        if self._others:
            first, last = self._others[0], self._others[-1]
            detail = (
                f"{self._disagreed - _LISTED} more checkpoints, of sizes {first} to {last}, have other roots "
                f"than the entries make"
            )
            self._findings.add(FindingKind.CHECKPOINT, self._rows.place_of_checkpoint(first), detail)
        if self._unknown:
            first, last = self._unknown[0], self._unknown[-1]
            detail = (
                f"the roots of checkpoints of sizes {first} to {last} could not be compared: see what could "
                f"not be read"
            )
            where = self._rows.place_of_checkpoint(first)
            self._findings.add(FindingKind.CHECKPOINT, where, detail, disproven=False)
