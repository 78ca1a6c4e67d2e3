"""An audit from end to end: which head, the ranges, the levels above them, the right edge, and what is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final

from merklelog.audit.hashing import partial_rows
from merklelog.audit.heads import HeadComparison, HeadReader
from merklelog.audit.judge import TileJudge
from merklelog.audit.peaks import Peaks, inner_peaks
from merklelog.audit.report import AuditReport, FindingKind, Findings, LockReport
from merklelog.audit.rows import AuditRows, open_rows
from merklelog.audit.scan import SHORT_TASK_BUNDLES, TASK_BUNDLES, Scanned, Task, read_bundle, scan
from merklelog.audit.trust import AuditedHead, choose_head
from merklelog.audit.upper import EdgeTile, UpperLevels, settle_edge
from merklelog.audit.worker import Setup
from merklelog.audit.workers import AHEAD, Workers, can_start
from merklelog.client.access import Access
from merklelog.client.targets import GRPC_SCHEMES, S3_SCHEMES, scheme_of
from merklelog.errors import DamagedError, FormatError, MerklelogError, StorageError, UsageError
from merklelog.formats import Policy
from merklelog.tree import BUNDLE_LEVEL, EMPTY_ROOT, TILE_HEIGHT, TILE_WIDTH, Tile, TreeSize, width_at

# Another process costs 0.1 to 0.2 s to start, and in that time hashes about so many bundles.
_BUNDLES_A_PROCESS: Final = 512

Progress = Callable[[int, int], None]


def _no_progress(_done: int, _total: int) -> None:
    """The progress callback that does nothing."""


def audit(
    target: str,
    policy: Policy | None = None,
    *,
    processes: int | None = None,
    progress: Progress = _no_progress,
    size: int | None = None,
    access: Access | None = None,
    retention: bool = False,
) -> AuditReport:
    """Recompute a whole log, and say exactly what is wrong with it.

    `target` is a data directory (also beside its writer), a published copy, `dir:PATH` or `s3://bucket/prefix`, or
    on a server an http(s):// prefix or grpc(s)://; `access` gets to a bucket or a server. Audited is the tree of
    the newest checkpoint, or of the stored one of `size`: every entry against its leaf hash, every tile of every
    level, the inner hashes kept beside them, the root that was signed, and every stored checkpoint up to that
    size. Signatures are checked with the log's own keys (a data directory has them) and with those of `policy`,
    which the newest checkpoint, or one shortly before it, must meet; with neither, the report says that they
    were not checked. What a quorum of the policy has not cosigned is recomputed and not proven: a finding names
    it. A finding does not end the audit.

    In a bucket every version of every object is listed too: what was put over an object that must never change is
    a finding, and read past. With `retention` the lock of each such object is read back, and one that has none, or
    none any more, is a finding.

    `processes` is how many hash, this one among them (None: as many as there are cores, fewer for a small log);
    with 1 no other process is started. `progress(done, total)` counts entries; locks are counted anew. Memory does
    not grow with the log, but for eight bytes a checkpoint that a published copy keeps.

    What is wrong with the log is in the report. Raises what keeps an audit from beginning: UsageError for a
    target that can not be audited or has no locks to read back, NotALogError, FormatVersionError, NotFoundError
    when nothing is published yet or no checkpoint of `size` is stored, UnreachableError; and StorageError when an
    audit process dies.
    """
    if retention and scheme_of(target) not in S3_SCHEMES:
        raise UsageError(f"{target[:200]}: there are no locks to read back; want s3://bucket/prefix")
    begun = time.monotonic()
    findings = Findings()
    report = AuditReport(target, None, TreeSize(0), None)
    reach = access or Access()
    try:
        if scheme_of(target) in GRPC_SCHEMES:
            return _finished(_over_grpc(target, policy, size, reach, progress, findings), findings, begun)
        rows = open_rows(target, findings, reach)
    except (DamagedError, FormatError, StorageError) as error:
        # Nothing can be read: that is a finding about the log, not a failure of the audit.
        findings.fault(FindingKind.DATABASE, target, error)
    else:
        with closing(rows):
            head = choose_head(rows, policy, size, findings)
            if head is not None:
                report = _Run(target, rows, head, findings, progress, reach).report(
                    processes, rest=size is None
                )
                locks = _read_locks(rows, head.size, findings, progress) if retention else None
                report = replace(report, locks=locks)
    return _finished(report, findings, begun)


def _finished(report: AuditReport, findings: Findings, begun: float) -> AuditReport:
    return replace(
        report,
        findings=tuple(findings.listed),
        unlisted=findings.unlisted,
        seconds=time.monotonic() - begun,
    )


def _read_locks(rows: AuditRows, size: int, findings: Findings, progress: Progress) -> LockReport | None:
    """Read back the locks of a copy; its progress counts full tiles and bundles, then checkpoints."""
    from merklelog.audit.published import PublishedRows, locked_objects

    if not isinstance(rows, PublishedRows):
        return None
    total = locked_objects(size)
    return rows.check_locks(size, findings, lambda done: progress(min(done, total), max(total, 1)))


def _over_grpc(
    target: str,
    policy: Policy | None,
    size: int | None,
    access: Access,
    progress: Progress,
    findings: Findings,
) -> AuditReport:
    """An audit of what gRPC shows. Raises UsageError without a policy: its answers are verified or nothing."""
    from merklelog.audit.service import audit_service
    from merklelog.client.believed import Believed
    from merklelog.client.connecting import connect_with

    with connect_with(target, None if policy is None else Believed(policy), access) as client:
        return audit_service(client, target, size, progress, findings)


class _Run:
    """One audit of the tree under `head`."""

    def __init__(
        self,
        target: str,
        rows: AuditRows,
        head: AuditedHead,
        findings: Findings,
        progress: Progress,
        access: Access,
    ) -> None:
        self._access = access
        self._target = target
        self._rows = rows
        self._head = head
        self._findings = findings
        self._progress = progress
        self._judge = TileJudge(rows, head.size, findings)
        self._upper = UpperLevels(self._judge)
        self._passed = Peaks()
        self._heads = HeadComparison(rows, findings)
        self._reader = HeadReader(rows, head.origin, head.keys)
        self._sizes = _Sizes(rows.kept_sizes(findings), head.size)
        self._entries = self._bundles = self._tiles = self._bytes = 0

    def report(self, processes: int | None, *, rest: bool) -> AuditReport:
        """Audit the tree, and with `rest` what stands beside it."""
        size, full = self._head.size, self._head.size >> TILE_HEIGHT
        self._progress(0, size)
        for kept in self._sizes.up_to(0):
            self._heads.compare(self._reader.claim(kept, EMPTY_ROOT, self._findings), Peaks())
        count = _processes(processes, full)
        beside = Findings()
        remarks = self._scan_all(count, full, beside if rest else None)
        self._finish_edge()
        self._heads.finish()
        self._findings.take_all(tuple(beside.listed), beside.unlisted)
        self._progress(size, size)
        return AuditReport(
            self._target,
            self._head.origin,
            self._head.size,
            self._head.root,
            entries=self._entries,
            bundles=self._bundles,
            tiles=self._tiles + self._judge.tiles,
            bytes=self._bytes,
            checkpoints=self._heads.compared + 1,
            signatures_checked=bool(self._head.keys),
            remarks=(*self._head.remarks, *remarks),
            processes=count,
            existed_by=self._head.existed_by,
            policy_size=self._head.policy_size,
        )

    def _scan_all(self, count: int, full: int, beside: Findings | None) -> list[str]:
        """Hash all full bundles; gives remarks on the rest, what is wrong with which goes into `beside`."""
        head, rows = self._head, self._rows
        setup = Setup(self._target, head.size, head.origin, head.keys, self._access, rows.pinned)
        tasks = tasks_of(full, count, self._sizes.up_to)
        with Workers(setup, count - 1, tasks, self._take) as workers:
            workers.beat()
            # Now, while the workers hash, and not when they have nothing to do any more.
            remarks = [] if beside is None else rows.check_rest(head, beside, workers.beat)
            workers.finish(lambda task: scan(rows, head.size, task, self._reader))
        return remarks

    def _take(self, found: Scanned) -> None:
        self._findings.take_all(found.findings, found.unlisted)
        for claim in found.heads:
            self._heads.compare(claim, self._passed)
        for height, digest in found.peaks:
            self._passed.push(height, digest)
        for root in found.roots:
            self._upper.push(root)
        self._bundles += found.bundles
        self._entries += found.bundles * TILE_WIDTH
        self._tiles += found.tiles
        self._bytes += found.bytes
        self._progress(min(found.task.last * TILE_WIDTH, self._head.size), self._head.size)

    def _finish_edge(self) -> None:
        """The entries behind the last full bundle, and the partial tiles of all levels."""
        size = self._head.size
        index, width = size >> TILE_HEIGHT, width_at(0, size >> TILE_HEIGHT, size)
        edge: list[EdgeTile] = []
        if width:
            tile = Tile(0, index, width)
            edge.append(EdgeTile(tile, self._hash_edge(index, width), self._judge.stored(tile)))
        for tile, computed in self._upper.edge():
            edge.append(EdgeTile(tile, computed, self._judge.stored(tile)))
        right = settle_edge(self._judge, edge, self._head.root, self._heads.agreed, self._head.where)
        rows = partial_rows(right[0]) if width and 0 in right else None
        for kept in self._sizes.up_to(size):
            inner = [None] if rows is None else inner_peaks(rows, kept - (index << TILE_HEIGHT))
            tail = Peaks().fold(inner)
            self._heads.compare(self._reader.claim(kept, tail, self._findings), self._passed)

    def _hash_edge(self, index: int, width: int) -> bytes | None:
        bundle = Tile(BUNDLE_LEVEL, index, width)
        data: bytes | MerklelogError
        try:
            data = self._rows.bundle(index, width)
        except MerklelogError as error:
            data = error
        hashes = read_bundle(self._rows, bundle, data, self._findings)
        if hashes is not None and isinstance(data, bytes):
            self._bundles += 1
            self._entries += width
            self._bytes += len(data)
        return hashes


class _Sizes:
    """The kept sizes of a tree, handed out in stretches."""

    def __init__(self, sizes: Iterator[int], size: int) -> None:
        self._sizes = sizes
        self._size = size
        self._next = next(sizes, None)

    def up_to(self, end: int) -> tuple[int, ...]:
        """The sizes up to and with `end` that were not handed out yet."""
        taken: list[int] = []
        while self._next is not None and self._next <= min(end, self._size):
            taken.append(self._next)
            self._next = next(self._sizes, None)
        return tuple(taken)


def tasks_of(full: int, count: int, sizes: Callable[[int], tuple[int, ...]]) -> Iterator[Task]:
    """The full bundles [0, full) as tasks for `count` processes, short ones at the end: all are done at one time.

    `sizes(end)` gives the kept sizes up to `end` that it has not given before.
    """
    first = 0
    while first < full:
        is_long = first + count * AHEAD * TASK_BUNDLES < full
        last = min(first + (TASK_BUNDLES if is_long else SHORT_TASK_BUNDLES), full)
        yield Task(first, last, sizes(last << TILE_HEIGHT))
        first = last


def _processes(asked: int | None, bundles: int) -> int:
    """How many processes hash: never more than there are tasks."""
    tasks = max(1, -(-bundles // TASK_BUNDLES))
    if asked is not None:
        return max(1, min(asked, tasks))
    if not can_start():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, bundles // _BUNDLES_A_PROCESS))


__all__ = ["Progress", "audit"]
