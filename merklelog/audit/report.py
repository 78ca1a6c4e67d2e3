"""What an audit says: findings, and how much was recomputed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from merklelog.errors import FormatError, MerklelogError, NotFoundError, VerificationError
from merklelog.tree import Hash, TreeSize

MAX_FINDINGS: Final = 100


class FindingKind(StrEnum):
    """What a finding is about."""

    ENTRY = "entry"  # an entry that has not the leaf hash the tree has for it
    BUNDLE = "bundle"  # an entry bundle that is missing, damaged or cut off
    TILE = "tile"
    NODES = "nodes"  # the inner hashes a data directory keeps beside a full tile
    ROOT = "root"  # the tree does not lead to the root that was signed
    CHECKPOINT = "checkpoint"
    SIGNATURE = "signature"
    EXTRA = "extra"  # something stands behind the signed size
    TARGET = "target"  # what a publication keeps beside the tree: its head, what it staged
    VERSION = "version"  # something was put over an object that must never change, or a pointer was put back
    LOCK = "lock"  # an object that must never change and that nothing locks
    DATABASE = "database"  # rows that no tree is made of, or the database as a whole
    POLICY = "policy"  # entries beyond what a quorum of the caller's policy has cosigned
    PARTITION = "partition"  # the entries once more, as lines by the time of their publication


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is wrong, or (`disproven` is False) that could not be read, or is beyond the policy's quorum.

    `where` is a file, or a place in a database; `entries` is the half-open range of entries it is about, None
    when it is about none in particular.
    """

    kind: FindingKind
    where: str
    detail: str
    entries: tuple[int, int] | None = None
    disproven: bool = True

    def __str__(self) -> str:
        first, last = (self.entries[0], self.entries[1] - 1) if self.entries else (0, -1)
        affected = f" [entry {first}]" if first == last else f" [entries {first} to {last}]"
        return f"{self.where}: {self.detail}{affected if self.entries else ''}"


@dataclass(frozen=True, slots=True)
class LockReport:
    """The locks that were read back: of how many `objects`, in which mode, under a legal hold (`held`).

    `unlocked` have none, those of `lapsed` ended; `earliest` is when the first one ends or ended, in UTC
    (RFC 3339), None when none has an end.
    """

    objects: int
    compliance: int
    governance: int
    held: int
    unlocked: int
    lapsed: int
    earliest: str | None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was audited, what was found, and how much was recomputed on the way.

    The log is proven when `findings` is empty: every entry leads to `root`, which the checkpoint of `size` says,
    and so do all stored checkpoints. `findings` holds at most MAX_FINDINGS; `unlisted` counts those beyond.
    `entries`, `bundles`, `tiles` (of all levels) and `bytes` (of bundles, uncompressed) count what could be read
    and was hashed; `checkpoints` the checkpoints whose root was compared. `signatures_checked` is False when the
    caller named no key and the target has none of its own: then nothing says who signed. `remarks` are sentences
    about what is no finding and still worth knowing. `origin`, `size` and `root` are None, 0 and None when not
    even a checkpoint could be read. `seconds` and `processes` are how long it took, and how many hashed. `locks`
    is what came of reading the locks back, None when that was not asked for. `existed_by` is when a quorum of the
    caller's policy had cosigned the checkpoint of `size`, in POSIX seconds; None when no quorum was asked for, or
    another checkpoint met it. `policy_size` is the size of the newest checkpoint that meets the policy, None
    without a policy and where none meets it; what of the tree no quorum has cosigned is a finding too.
    """

    target: str
    origin: str | None
    size: TreeSize
    root: Hash | None
    entries: int = 0
    bundles: int = 0
    tiles: int = 0
    bytes: int = 0
    checkpoints: int = 0
    signatures_checked: bool = False
    findings: tuple[AuditFinding, ...] = ()
    unlisted: int = 0
    remarks: tuple[str, ...] = ()
    processes: int = 1
    seconds: float = 0.0
    locks: LockReport | None = None
    existed_by: int | None = None
    policy_size: int | None = None

    @property
    def exit_status(self) -> int:
        """0 proven; 1 disproven; 3 nothing is wrong in what was read, but not all could be read."""
        if any(finding.disproven for finding in self.findings):
            return 1
        return 3 if self.findings else 0


@dataclass(slots=True)
class Findings:
    """Findings as they come: a bounded list, the count of the rest, neighbouring ranges joined."""

    listed: list[AuditFinding] = field(default_factory=list)
    unlisted: int = 0

    def add(
        self,
        kind: FindingKind,
        where: str,
        detail: str,
        entries: tuple[int, int] | None = None,
        *,
        disproven: bool = True,
    ) -> None:
        """Note one thing that is wrong."""
        self.take(AuditFinding(kind, where, detail, entries, disproven))

    def fault(
        self,
        kind: FindingKind,
        where: str,
        error: MerklelogError,
        entries: tuple[int, int] | None = None,
    ) -> None:
        """Note that something the tree requires could not be read.

        Damaged, not there, or not of its format: disproven, since a verified checkpoint requires it. Denied,
        unreachable, failing: could not tell.
        """
        disproven = isinstance(error, VerificationError | FormatError | NotFoundError)
        detail = str(error)
        name, separator, rest = detail.partition(": ")
        if separator and where.startswith(name):
            detail = rest  # said by `where` already
        self.take(AuditFinding(kind, where, detail, entries, disproven))

    def take(self, finding: AuditFinding) -> None:
        """Add a finding, or widen the one before when it says the same of the neighbouring entries."""
        last = self.listed[-1] if self.listed else None
        if last is not None and last.entries and finding.entries and last.entries[1] == finding.entries[0]:
            joined = replace(last, entries=(last.entries[0], finding.entries[1]))
            if joined == replace(finding, entries=joined.entries):
                self.listed[-1] = joined
                return
        if finding in self.listed:
            return  # a checkpoint that was looked at before its size came
        # One that disproves is never left out for one that could not tell: the exit status hangs on it.
        if len(self.listed) < MAX_FINDINGS:
            self.listed.append(finding)
            return
        self.unlisted += 1
        if finding.disproven and not any(known.disproven for known in self.listed):
            self.listed[-1] = finding

    def take_all(self, findings: tuple[AuditFinding, ...], unlisted: int) -> None:
        """Add what another collector found."""
        for finding in findings:
            self.take(finding)
        self.unlisted += unlisted
