"""Which checkpoint is audited, with which keys its signatures are checked, and whether it meets the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from merklelog.audit.heads import HeadReader
from merklelog.audit.report import FindingKind, Findings
from merklelog.audit.rows import AuditRows
from merklelog.errors import FormatError, MerklelogError, NotFoundError, PolicyUnmetError, SignatureError
from merklelog.formats import (
    Policy,
    VerifierKey,
    is_receipt,
    parse_checkpoint,
    parse_receipt,
    verify_receipt,
)
from merklelog.formats.policy import QUORUM_NONE
from merklelog.formats.wire import quote
from merklelog.protocol import evaluate_policy
from merklelog.tree import HASH_SIZE, Hash, Tile, TileHashes, TreeSize, root_hash, width_at

# How far back from the newest checkpoint one is looked for that is whole, or meets the policy: a log signs with
# all its keys about once a second and keeps only such checkpoints, so the next one nearly always does.
_TRIED: Final = 64


# A checkpoint: the size it is kept under (None: it is the newest one), where it stands, and its bytes.
_Candidate = tuple[int | None, str, bytes]


@dataclass(frozen=True, slots=True)
class AuditedHead:
    """The checkpoint under which a tree is audited, where it stands, and the keys that its log is known by.

    In the data directory of a log with publish targets it is the newest receipt, of that `epoch`. `existed_by` is
    when a quorum of the policy had cosigned this very checkpoint, in POSIX seconds; None where none is asked for.
    `policy_size` is the size of the newest checkpoint that meets the policy.
    """

    origin: str
    size: TreeSize
    root: Hash
    where: str
    keys: tuple[VerifierKey, ...]
    remarks: tuple[str, ...] = ()
    epoch: int | None = None
    existed_by: int | None = None
    policy_size: int | None = None


def choose_head(
    rows: AuditRows, policy: Policy | None, size: int | None, findings: Findings
) -> AuditedHead | None:
    """The newest checkpoint, or the one kept for `size`; when it is damaged, the newest one before that is not.

    What is wrong with a checkpoint that was looked at is noted; None: there is none that can be read. Raises
    NotFoundError when there is nothing to audit, or no checkpoint of `size`.
    """
    readable: AuditedHead | None = None
    for kept, where, note in _candidates(rows, size, findings):
        scratch = Findings()
        head = _read(rows, policy, kept, where, note, scratch)
        findings.take_all(tuple(scratch.listed), scratch.unlisted)
        if head is not None and not scratch.listed:
            return head if policy is None else _under_policy(rows, policy, head, note, size, findings)
        readable = readable or head
    return readable


def _candidates(rows: AuditRows, size: int | None, findings: Findings) -> Iterator[_Candidate]:
    if size is None:
        yield from _readable(rows, None, rows.newest, findings)
        for kept in rows.newest_kept(_TRIED):
            yield from _readable(rows, kept, partial(rows.kept, kept), findings)
        return
    try:
        yield from _readable(rows, size, partial(rows.kept, size), findings)
    except NotFoundError:
        newest = rows.newest()
        if _size_of(newest) == size:
            yield size, rows.place_of_checkpoint(None), newest
            return
        # A data directory keeps about one a second, and the newest that was cosigned whatever its size.
        found = rows.witnessed(size)
        if found is None or _size_of(found[1]) != size:
            raise
        yield size, *found


def _readable(
    rows: AuditRows, kept: int | None, read: Callable[[], bytes], findings: Findings
) -> Iterator[_Candidate]:
    """A checkpoint; nothing, and a finding, when it is there and can not be read."""
    try:
        note = read()
    except NotFoundError:
        raise
    except MerklelogError as error:
        findings.fault(FindingKind.CHECKPOINT, rows.place_of_checkpoint(kept), error)
    else:
        yield kept, rows.place_of_checkpoint(kept), note


def _size_of(note: bytes) -> int | None:
    try:
        return parse_checkpoint(note).checkpoint.size
    except FormatError:
        return None  # then it is not the one asked for


def _read(
    rows: AuditRows, policy: Policy | None, kept: int | None, where: str, note: bytes, findings: Findings
) -> AuditedHead | None:
    if rows.receipt_key is not None and is_receipt(note):
        return _read_receipt(rows, rows.receipt_key, policy, where, note, findings)
    try:
        origin = rows.origin or parse_checkpoint(note).checkpoint.origin
    except FormatError as error:
        findings.fault(FindingKind.CHECKPOINT, where, error)
        return None
    keys = known_keys(rows.keys, policy, origin)
    checkpoint = HeadReader(rows, origin, keys).check(note, kept, where, findings)
    if checkpoint is None:
        return None
    remarks = () if keys else (f"{where}: signatures were not checked: no key of {quote(origin)} was given",)
    return AuditedHead(origin, checkpoint.size, checkpoint.root, where, keys, remarks)


def _read_receipt(
    rows: AuditRows, key: VerifierKey, policy: Policy | None, where: str, note: bytes, findings: Findings
) -> AuditedHead | None:
    """The newest head of a log with publish targets: what it has not published is under no checkpoint yet."""
    try:
        receipt, _ = parse_receipt(note)
    except FormatError as error:
        findings.fault(FindingKind.CHECKPOINT, where, error)
        return None
    try:
        verify_receipt(note, key)
    except SignatureError as error:
        findings.fault(FindingKind.SIGNATURE, where, error)
    if receipt.origin != rows.origin:
        want = quote(rows.origin or "")
        findings.add(
            FindingKind.CHECKPOINT, where, f"it is a receipt of {quote(receipt.origin)}, want {want}"
        )
        return None
    keys = known_keys(rows.keys, policy, receipt.origin)
    words = f"{where}: the tree of size {receipt.size} is signed by a receipt of epoch {receipt.epoch}"
    return AuditedHead(receipt.origin, receipt.size, receipt.root, where, keys, (words,), receipt.epoch)


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
    refused: MerklelogError
    if head.epoch is None:
        try:
            verdict = evaluate_policy(policy, parse_checkpoint(note))
            return replace(head, existed_by=verdict.existed_by, policy_size=head.size)
        except (PolicyUnmetError, SignatureError, FormatError) as error:
            refused = error
    else:
        refused = PolicyUnmetError("it is a receipt, and no checkpoint of its tree meets the policy")
    quorum = policy.quorum != QUORUM_NONE
    met = _under_witnesses(rows, policy, head, size, findings) if quorum else None
    if met is not None and met.size > head.size:
        detail = f"{met.where} meets the policy at size {met.size}, and came when this had begun: audit again"
        findings.add(FindingKind.POLICY, head.where, detail, (0, head.size), disproven=False)
        return head
    for kept in rows.newest_kept(_TRIED) if size is None else ():
        if met is not None and kept <= met.size:
            break
        try:
            if kept <= head.size and _refusal(policy, rows.kept(kept)) is None:
                met = _Met(rows.place_of_checkpoint(kept), kept, None)
                break
        except MerklelogError:
            continue  # it is a finding when its size comes
    if met is None or (
        quorum and met.size == 0 != head.size
    ):  # of the empty tree it says nothing of any entry
        findings.fault(FindingKind.SIGNATURE, head.where, refused)
        return head
    if met.size == head.size:
        return replace(head, existed_by=met.existed_by, policy_size=met.size)
    words = f"{met.where} is the newest checkpoint that meets the policy"
    if quorum:
        detail = f"no quorum has cosigned what is behind size {met.size}: {words}"
        findings.add(FindingKind.POLICY, head.where, detail, (met.size, head.size), disproven=False)
        return replace(head, policy_size=met.size)
    signed = "the log's other keys" if head.epoch is None else "the log's receipt key"
    words = f"{words}; what was audited behind size {met.size} is signed by {signed}"
    return replace(head, remarks=(*head.remarks, words), policy_size=met.size)


@dataclass(frozen=True, slots=True)
class _Met:
    """The newest checkpoint that meets the policy: where it stands, its size, and since when a quorum has it.

    It may be newer than the audited one, for the log goes on.
    """

    where: str
    size: int
    existed_by: int | None


def _under_witnesses(
    rows: AuditRows, policy: Policy, head: AuditedHead, size: int | None, findings: Findings
) -> _Met | None:
    """What witnesses cosigned is kept apart: in a data directory, and where readers do not wait for them.

    None where there is none that meets the policy, or it is not of the audited tree, which is a finding.
    """
    where = rows.place_of_checkpoint(None)
    try:
        if (found := rows.witnessed(size)) is None:
            return None
        where, note = found
        signed = parse_checkpoint(note)
        checkpoint = signed.checkpoint
        if size not in {None, checkpoint.size}:
            return None
        verdict = evaluate_policy(policy, signed)
        if checkpoint.size > head.size:
            return _Met(where, checkpoint.size, None)  # of a tree that nothing is known of here
        root = head.root if checkpoint.size == head.size else _root(rows, head, checkpoint.size)
    except PolicyUnmetError:
        return None
    except MerklelogError as error:
        findings.fault(FindingKind.CHECKPOINT, where, error)
        return None
    if checkpoint.root != root:
        detail = (
            f"its root is {checkpoint.root.hex()}, and the tree has {root.hex()} at size {checkpoint.size}"
        )
        findings.add(FindingKind.CHECKPOINT, where, detail, (0, checkpoint.size))
        return None
    return _Met(where, checkpoint.size, verdict.existed_by)


def _root(rows: AuditRows, head: AuditedHead, size: int) -> Hash:
    """The root at a smaller size, out of tiles that the audit holds against the entries."""

    def fetch(tile: Tile) -> bytes:
        width = width_at(tile.level, tile.index, head.size)
        return rows.tile(tile.level, tile.index, width)[: tile.width * HASH_SIZE]

    return root_hash(size, TileHashes(size, fetch))


def _refusal(policy: Policy, note: bytes) -> MerklelogError | None:
    """Why a checkpoint does not meet the policy; None when it does."""
    try:
        evaluate_policy(policy, parse_checkpoint(note))
    except (PolicyUnmetError, SignatureError, FormatError) as error:
        return error
    return None
