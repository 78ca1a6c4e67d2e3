"""An audit by way of a client, for a server that shows entries and proofs but no tiles: every entry is hashed, and
the tree grown anew.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from merklelog.audit.report import AuditReport, FindingKind, Findings
from merklelog.client.heads import VerifiedHead
from merklelog.client.remote import Client
from merklelog.errors import FormatError, MerklelogError, NotFoundError, PolicyUnmetError, VerificationError
from merklelog.tree import EMPTY_ROOT, TILE_WIDTH, CompactRange, TreeSize, leaf_hashes, tree_from_range

# What is not believed of a stretch of entries is passed over, and the audit goes on behind it.
STRETCH: Final = 16 * TILE_WIDTH


def audit_service(
    client: Client, target: str, size: int | None, progress: Callable[[int, int], None], findings: Findings
) -> AuditReport:
    """Audit the tree of the newest checkpoint, or of the stored one of `size`; what is wrong is in `findings`.

    The client holds each stretch of entries against the root by its range proof, so that what is wrong is found at
    its place; here all of them together are held against it by nothing but their hashes. Raises NotFoundError when
    nothing is stored for `size`, and what keeps a server from answering at all.
    """
    try:
        head = client.checkpoint(size)
    except NotFoundError as error:
        if not isinstance(error.__cause__, PolicyUnmetError):
            raise
        findings.fault(FindingKind.SIGNATURE, f"{target}: checkpoint", error.__cause__)
        return AuditReport(target, None, TreeSize(0), None)
    except (VerificationError, FormatError) as error:
        findings.fault(FindingKind.CHECKPOINT, f"{target}: checkpoint", error)
        return AuditReport(target, None, TreeSize(0), None)
    run = _Run(client, head, target, findings)
    end = head.checkpoint.size
    for start in range(0, end, STRETCH):
        progress(start, end)
        run.stretch(start, min(start + STRETCH, end))
    progress(end, end)
    return run.report()


class _Run:
    def __init__(self, client: Client, head: VerifiedHead, target: str, findings: Findings) -> None:
        self._client = client
        self._head = head
        self._target = target
        self._findings = findings
        self._tree: CompactRange | None = CompactRange()
        self._entries = self._bundles = self._bytes = 0

    def stretch(self, start: int, end: int) -> None:
        """Read and hash the entries [start, end)."""
        entries = self._client.entries_under(self._head, start, end)
        at = start
        while at < end:
            try:
                found = list(islice(entries, TILE_WIDTH))
            except MerklelogError as error:
                self._findings.fault(FindingKind.BUNDLE, f"{self._target}: entries", error, (at, end))
                self._tree = None
                return
            self._grow(at, found)
            at += len(found)

    def _grow(self, start: int, entries: list[bytes]) -> None:
        self._entries += len(entries)
        self._bundles += 1
        self._bytes += sum(len(entry) + 2 for entry in entries)
        if self._tree is not None:
            peaks = self._tree.hashes
            self._tree = tree_from_range(leaf_hashes(entries), start, start + len(entries), peaks)

    def report(self) -> AuditReport:
        """What came of it, the findings apart."""
        checkpoint = self._head.checkpoint
        if self._tree is not None:
            root = self._tree.root() if checkpoint.size else EMPTY_ROOT
            if root != checkpoint.root:
                detail = f"all entries together make {root.hex()}, and {checkpoint.root.hex()} was signed"
                self._findings.add(FindingKind.ROOT, f"{self._target}: root", detail, (0, checkpoint.size))
        return AuditReport(
            self._target,
            checkpoint.origin,
            checkpoint.size,
            checkpoint.root,
            entries=self._entries,
            bundles=self._bundles,
            bytes=self._bytes,
            checkpoints=1,
            signatures_checked=True,
            existed_by=self._head.verdict.existed_by,
            policy_size=checkpoint.size,
            remarks=(
                f"{self._target}: over gRPC every entry is hashed, and tiles and earlier checkpoints are not seen",
            ),
        )
