"""The work of an audit: a range of full bundles hashed and held against their tiles.

A task is a range of bundles that starts at a multiple of its own length, so its tiles make perfect subtrees, and
needs nothing of what stands before it. What comes back is small: a hash a tile, and the findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from merklelog.audit.hashing import bundle_hashes, leading_hashes
from merklelog.audit.heads import HeadClaim, HeadReader
from merklelog.audit.judge import TileJudge, differences, entries_of
from merklelog.audit.peaks import Peak, Peaks, inner_peaks
from merklelog.audit.report import AuditFinding, FindingKind, Findings
from merklelog.audit.rows import AuditRows
from merklelog.errors import FormatError, MerklelogError
from merklelog.tree import BUNDLE_LEVEL, TILE_HEIGHT, TILE_WIDTH, Hash, Tile

TASK_BUNDLES: Final = 128  # 32,768 entries, some 40 ms: long beside a message
SHORT_TASK_BUNDLES: Final = 16  # short beside what waits at the end; a divisor of the other


@dataclass(frozen=True, slots=True)
class Task:
    """The full bundles [first, last), and the sizes of the kept checkpoints in ([first, last) * 256]."""

    first: int
    last: int
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a task came to: the root of each tile (None: neither it nor its bundle could be read), the subtrees
    they make, the kept checkpoints with the part of their roots that lies in the task, and counts.
    """

    task: Task
    roots: tuple[Hash | None, ...]
    peaks: tuple[Peak, ...]
    heads: tuple[HeadClaim, ...]
    findings: tuple[AuditFinding, ...]
    unlisted: int
    bundles: int
    tiles: int
    bytes: int


def scan(rows: AuditRows, size: int, task: Task, heads: HeadReader) -> Scanned:
    """Hash every entry of a task's bundles and check their tiles, inner hashes and kept checkpoints."""
    findings = Findings()
    judge = TileJudge(rows, size, findings)
    peaks, roots, claims = Peaks(), list[Hash | None](), list[HeadClaim]()
    bundles = total = 0
    sizes = iter(task.sizes)
    due = next(sizes, None)
    for index, data in enumerate(rows.bundles(task.first, task.last), task.first):
        computed = read_bundle(rows, Tile(BUNDLE_LEVEL, index, TILE_WIDTH), data, findings)
        if computed is not None:
            bundles += 1
            total += len(data) if isinstance(data, bytes) else 0
        tile = Tile(0, index, TILE_WIDTH)
        nodes = judge.settle(tile, computed)
        root = judge.root_above(tile) if nodes is None else Hash(nodes[TILE_HEIGHT])
        end = (index + 1) << TILE_HEIGHT
        while due is not None and due < end:
            inner = [None] if nodes is None else inner_peaks(nodes, due % TILE_WIDTH)
            claims.append(heads.claim(due, peaks.fold(inner), findings))
            due = next(sizes, None)
        peaks.push(TILE_HEIGHT, root)
        roots.append(root)
        if due == end:
            claims.append(heads.claim(due, peaks.fold(), findings))
            due = next(sizes, None)
        # In stretches of one length whatever the task's is: what is found must not hang on who hashes what.
        stretch = index % SHORT_TASK_BUNDLES
        if stretch == SHORT_TASK_BUNDLES - 1 or index == task.last - 1:
            rows.check_beside(index - stretch, index + 1, findings)
    return Scanned(
        task,
        tuple(roots),
        tuple(peaks.row),
        tuple(claims),
        tuple(findings.listed),
        findings.unlisted,
        bundles,
        judge.tiles,
        total,
    )


def read_bundle(
    rows: AuditRows, bundle: Tile, data: bytes | MerklelogError, findings: Findings
) -> bytes | None:
    """The leaf hashes of a bundle; None, with a finding, when it was not there or is not whole."""
    start, end = entries_of(bundle)
    if not isinstance(data, bytes):
        findings.fault(FindingKind.BUNDLE, rows.place_of_reading(bundle), data, (start, end))
        return None
    try:
        return bundle_hashes(data, bundle.width)
    except FormatError as error:
        first = min(end - 1, start + _whole_entries(rows, bundle, data))
        findings.fault(FindingKind.BUNDLE, rows.place(bundle), error, (first, end))
        return None


def _whole_entries(rows: AuditRows, bundle: Tile, data: bytes) -> int:
    """How many entries at the beginning of a broken bundle are those that its tile has."""
    try:
        want = rows.tile(0, bundle.index, bundle.width)
    except MerklelogError:
        return 0  # the tile is a finding of its own when it is read in its turn
    got = leading_hashes(data, bundle.width)
    return next(differences(got, want), bundle.width)
