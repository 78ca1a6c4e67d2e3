"""The partitions of a published log, tied to its tree: each file's entries, its range and the root it names.

The files are read in the order of their entries. Their leaf hashes grow one tree, and at the end of each file its
root is held against the file's name and against the audited tree: so every line is an entry of the tree at its
index, none is left out and none stands there twice. No bundle is read again, and of the tiles only a few a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Final

from merklelog.audit.report import FindingKind, Findings
from merklelog.errors import DamagedError, FormatError, MerklelogError, NotFoundError
from merklelog.publish import ObjectStore
from merklelog.publish.encoding import decompress
from merklelog.publish.objects import MAX_OBJECT_BYTES, ObjectReads
from merklelog.publish.partitions_layout import (
    MAX_STATE_BYTES,
    PARTITIONS,
    STATE_KEY,
    Part,
    PartitionState,
    parse_part_key,
    parse_state,
)
from merklelog.publish.partitions_lines import MAX_LINES_BYTES, parse_lines
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Frontier, Hash, root_hash

# Names come in the order of time, which is that of the entries unless partitions became coarser in between.
_OUT_OF_ORDER: Final = 4096
_LEVELS: Final = 8


def check_partitions(
    store: ObjectStore,
    reads: ObjectReads,
    tiles: VerifiedTiles,
    size: int,
    findings: Findings,
    beat: Callable[[], None] = lambda: None,
) -> list[str]:
    """Check what stands below `partitions/` against the tree of `size`, whose tiles these are; gives remarks.

    `store` lists the files and `reads` reads them. A target without partitions costs two requests. What could
    not be read, or is wrong, is a finding; nothing is raised. `beat` is called behind each file.
    """
    try:
        state = _read_state(store, reads)
    except MerklelogError as error:
        findings.fault(FindingKind.PARTITION, f"{store.location}/{STATE_KEY}", error)
        state = None
    check = _Check(store.location, reads, tiles, size, findings)
    try:
        for part in _in_order(_listed(store, findings)):
            check.take(part, state)
            beat()
    except MerklelogError as error:
        findings.fault(FindingKind.PARTITION, f"{store.location}/{PARTITIONS}", error)
    else:
        check.finish(state)
    return check.remarks


def _read_state(store: ObjectStore, reads: ObjectReads) -> PartitionState | None:
    try:
        return parse_state(reads.get(STATE_KEY, limit=MAX_STATE_BYTES).data)
    except NotFoundError:
        return None
    except FormatError as error:
        raise DamagedError(f"{store.location}/{STATE_KEY}: {error}") from error


def _listed(store: ObjectStore, findings: Findings) -> Iterator[Part]:
    for key in store.list_keys(PARTITIONS):
        try:
            yield parse_part_key(key)
        except FormatError:
            findings.add(FindingKind.EXTRA, f"{store.location}/{key}", "it is no file of the partitions")


def _in_order(parts: Iterator[Part]) -> Iterator[Part]:
    """The files by their entries; holds a bounded number of those that come too early."""
    waiting: list[tuple[int, int, str, Part]] = []
    at = 0
    for part in parts:
        heappush(waiting, (part.start, part.end, part.key, part))
        while waiting and (waiting[0][0] <= at or len(waiting) > _OUT_OF_ORDER):
            found = heappop(waiting)[3]
            at = max(at, found.end)
            yield found
    while waiting:
        yield heappop(waiting)[3]


class _Check:
    """One pass over the files."""

    def __init__(
        self, location: str, reads: ObjectReads, tiles: VerifiedTiles, size: int, findings: Findings
    ) -> None:
        self.remarks: list[str] = []
        self._location = location
        self._reads = reads
        self._tiles = tiles
        self._size = size
        self._findings = findings
        self._end = 0  # entries before it were in files
        self._files = 0
        self._last: Part | None = None
        self._tree: Frontier | None = Frontier()  # of the entries before `end`; None: not known

    def take(self, part: Part, state: PartitionState | None) -> None:
        where = f"{self._location}/{part.key}"
        written = 0 if state is None else state.closing.end if state.closing else state.end
        if part.end > max(self._size, written):
            self._wrong(where, "its entries are behind those that were published", part)
            return
        self._files += 1
        if part.start < self._end:
            last = min(part.end, self._end) - 1
            self._wrong(where, f"entries {part.start} to {last} are in another file", part)
        elif self._end < min(part.start, self._size):
            self._missing(min(part.start, self._size))
        self._end = max(self._end, part.end)
        if part.end > self._size:
            return  # published since the audit began
        self._check_order(part, where)
        try:
            self._compare(part, where)
        except MerklelogError as error:
            self._tree = None
            self._findings.fault(FindingKind.PARTITION, where, error, (part.start, part.end))

    def _check_order(self, part: Part, where: str) -> None:
        """Periods of one length follow each other as their entries do."""
        last = self._last
        if last and last.period.every is part.period.every and part.period.time < last.period.time:
            self._wrong(where, f"it stands before {last.key}, whose entries come first", part)
        self._last = part

    def finish(self, state: PartitionState | None) -> None:
        if state is None:
            if self._files:
                where = f"{self._location}/{STATE_KEY}"
                self._findings.add(
                    FindingKind.PARTITION, where, "it is not there, and files of partitions are"
                )
            return
        if self._end < min(state.end, self._size):
            self._missing(min(state.end, self._size))
        words = f"{self._location}/{PARTITIONS}: {self._files} files hold entries 0 to {self._end - 1}"
        if self._end:
            self.remarks.append(words)

    def _missing(self, end: int) -> None:
        detail = (
            f"entries {self._end} to {end - 1} are in no file, and {STATE_KEY} or a later file says they are"
        )
        self._findings.add(FindingKind.PARTITION, f"{self._location}/{PARTITIONS}", detail, (self._end, end))
        self._tree = None

    def _wrong(self, where: str, detail: str, part: Part) -> None:
        self._findings.add(FindingKind.PARTITION, where, detail, (part.start, part.end))

    def _compare(self, part: Part, where: str) -> None:
        """Hold one file against its name and the tree. Raises what reading raises."""
        leaves = self._leaves(part, where)
        right = root_hash(part.end, self._tiles.read)
        if part.root != right:
            detail = (
                f"its name says the root {part.root.hex()}, and the tree of size {part.end} has {right.hex()}"
            )
            self._wrong(where, detail, part)
        tree = (
            self._tree
            if self._tree is not None and self._tree.size == part.start
            else self._begin(part.start)
        )
        tree.extend(leaves)
        self._tree = tree
        if tree.root() == right:
            return
        self._tree = None
        for index, leaf in enumerate(leaves, part.start):
            at = index % TILE_WIDTH * HASH_SIZE
            if self._tiles.tile(0, index >> TILE_HEIGHT)[at : at + HASH_SIZE] != leaf:
                detail = "not the entry that the tree has"
                self._findings.add(FindingKind.PARTITION, where, detail, (index, index + 1))

    def _leaves(self, part: Part, where: str) -> list[Hash]:
        data = self._reads.get(part.key, limit=MAX_OBJECT_BYTES).data
        try:
            entries, leaves = parse_lines(decompress(data, MAX_LINES_BYTES), part.start)
        except FormatError as error:
            raise DamagedError(f"{where}: {error}") from error
        if len(entries) != part.end - part.start:
            raise DamagedError(f"{where}: it has {len(entries)} lines, want {part.end - part.start}")
        return leaves

    def _begin(self, size: int) -> Frontier:
        """The audited tree's right edge at a size."""
        partials = []
        for level in range(_LEVELS):
            index, width = size >> (TILE_HEIGHT * (level + 1)), (size >> (TILE_HEIGHT * level)) % TILE_WIDTH
            partials.append(self._tiles.tile(level, index)[: width * HASH_SIZE] if width else b"")
        return Frontier(size, partials)
