"""Which checkpoint is audited, with which keys its signatures are checked, and whether it meets the policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from merklelog.audit.heads import HeadReader
from merklelog.audit.report import FindingKind, Findings
from merklelog.audit.rows import AuditRows
from merklelog.errors import FormatError, MerklelogError, NotFoundError, PolicyUnmetError, SignatureError
from merklelog.formats import Policy, VerifierKey, parse_checkpoint
from merklelog.formats.wire import quote
from merklelog.protocol import evaluate_policy
from merklelog.tree import Hash, TreeSize

# How far back from the newest checkpoint one is looked for that is whole, or meets the policy: a log signs with
# all its keys about once a second and keeps only such checkpoints, so the next one nearly always does.
_TRIED: Final = 64


@dataclass(frozen=True, slots=True)
class AuditedHead:
    """The checkpoint under which a tree is audited, where it stands, and the keys that its log is known by."""

    origin: str
    size: TreeSize
    root: Hash
    where: str
    keys: tuple[VerifierKey, ...]
    remarks: tuple[str, ...] = ()


def choose_head(
    rows: AuditRows, policy: Policy | None, size: int | None, findings: Findings
) -> AuditedHead | None:
    """The newest checkpoint, or the one kept for `size`; when it is damaged, the newest one before that is not.

    What is wrong with a checkpoint that was looked at is noted; None: there is none that can be read. Raises
    NotFoundError when there is nothing to audit, or no checkpoint of `size`.
    """
    readable: AuditedHead | None = None
    for where, note in _candidates(rows, size, findings):
        scratch = Findings()
        head = _read(rows, policy, where, note, scratch)
        findings.take_all(tuple(scratch.listed), scratch.unlisted)
        if head is not None and not scratch.listed:
            return head if policy is None else _under_policy(rows, policy, head, note, size, findings)
        readable = readable or head
    return readable


def _candidates(rows: AuditRows, size: int | None, findings: Findings) -> Iterator[tuple[str, bytes]]:
    if size is not None:
        yield _asked(rows, size)
        return
    where = rows.place_of_checkpoint(None)
    try:
        yield where, rows.newest()
    except NotFoundError:
        raise
    except MerklelogError as error:
        findings.fault(FindingKind.CHECKPOINT, where, error)
    for kept in _newest_kept(rows):
        where = rows.place_of_checkpoint(kept)
        try:
            yield where, rows.kept(kept)
        except MerklelogError as error:
            findings.fault(FindingKind.CHECKPOINT, where, error)


def _newest_kept(rows: AuditRows) -> list[int]:
    """Some sizes to fall back to, largest first. What can not be listed is a finding of the audit itself."""
    return list(reversed(deque(rows.kept_sizes(Findings()), maxlen=_TRIED)))


def _asked(rows: AuditRows, size: int) -> tuple[str, bytes]:
    try:
        return rows.place_of_checkpoint(size), rows.kept(size)
    except NotFoundError as error:
        newest = rows.newest()
        try:
            if parse_checkpoint(newest).checkpoint.size == size:
                return rows.place_of_checkpoint(None), newest
        except FormatError:
            pass  # then it is not the one asked for either
        raise NotFoundError(str(error)) from error


def _read(
    rows: AuditRows, policy: Policy | None, where: str, note: bytes, findings: Findings
) -> AuditedHead | None:
    try:
        origin = rows.origin or parse_checkpoint(note).checkpoint.origin
    except FormatError as error:
        findings.fault(FindingKind.CHECKPOINT, where, error)
        return None
    keys = known_keys(rows.keys, policy, origin)
    checkpoint = HeadReader(rows, origin, keys).check(note, where, findings)
    if checkpoint is None:
        return None
    remarks = () if keys else (f"{where}: signatures were not checked: no key of {quote(origin)} was given",)
    return AuditedHead(origin, checkpoint.size, checkpoint.root, where, keys, remarks)


def known_keys(own: tuple[VerifierKey, ...], policy: Policy | None, origin: str) -> tuple[VerifierKey, ...]:
    """The keys that checkpoints of this log are checked with: its own, the policy's for it, its witnesses'."""
    logs = [log.key for log in policy.logs if log.key.name == origin] if policy else []
    if not own and not logs:
        return ()
    witnesses = [witness.key for witness in policy.witnesses] if policy else []
    return tuple(dict.fromkeys([*own, *logs, *witnesses]))


def _under_policy(
    rows: AuditRows, policy: Policy, head: AuditedHead, note: bytes, size: int | None, findings: Findings
) -> AuditedHead:
    """Look for the newest checkpoint that meets the policy, and say so when that is not the audited one."""
    refused = _refusal(policy, note)
    if refused is None:
        return head
    for kept in _newest_kept(rows) if size is None else ():
        try:
            met = kept <= head.size and _refusal(policy, rows.kept(kept)) is None
        except MerklelogError:
            continue  # it is a finding when its size comes
        if met:
            words = (
                f"{rows.place_of_checkpoint(kept)} is the newest checkpoint that meets the policy; what was "
                f"audited behind size {kept} is signed by the log's other keys"
            )
            return replace(head, remarks=(*head.remarks, words))
    findings.fault(FindingKind.SIGNATURE, head.where, refused)
    return head


def _refusal(policy: Policy, note: bytes) -> MerklelogError | None:
    """Why a checkpoint does not meet the policy; None when it does."""
    try:
        evaluate_policy(policy, parse_checkpoint(note))
    except (PolicyUnmetError, SignatureError, FormatError) as error:
        return error
    return None
