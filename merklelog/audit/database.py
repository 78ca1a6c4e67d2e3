"""The rows of a data directory, as an audit reads them: straight from the database, not as a reader shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from types import MappingProxyType

from merklelog.audit.heads import HeadReader
from merklelog.audit.report import FindingKind, Findings
from merklelog.audit.trust import AuditedHead
from merklelog.errors import DamagedError, MerklelogError, NotFoundError
from merklelog.formats import VerifierKey, is_receipt
from merklelog.log.acknowledged import check_acknowledged, read_acknowledged
from merklelog.log.directory import check_directory
from merklelog.log.head import read_epoch
from merklelog.log.reader import open_rows
from merklelog.store import layout
from merklelog.tree import (
    BUNDLE_LEVEL,
    HASH_SIZE,
    SIZE_LIMIT,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    TileHashes,
    root_hash,
)

_NODES_BYTES = 960
_TILE_LEVELS = 8
_IDENTITY_BYTES = 32
_ROWS_A_BEAT = 1024


class DatabaseRows:
    """A log's database, as it stood when this was opened, beside its writer or without one.

    Every scan asks for its status, so a damaged block is an error and never a shorter log; the rows behind it are
    read all the same.
    """

    pinned: Mapping[str, str] = MappingProxyType({})

    def __init__(self, path: Path) -> None:
        self._name = f"{path}/db"
        self._path = path
        check_directory(path)
        # Before the database: a writer may go on meanwhile.
        self._acknowledged = read_acknowledged(path)
        try:
            self._store, info = open_rows(path)
        except DamagedError as error:
            raise DamagedError(f"{error}{_unnamed(path / 'db', str(error))}") from error
        self.origin: str | None = info.origin
        self.keys: tuple[VerifierKey, ...] = info.verifiers()
        self.receipt_key: VerifierKey | None = info.keys().receipt
        self._newest = "checkpoint"

    # --- checkpoints -------------------------------------------------------------------------------------------

    def newest(self) -> bytes:
        """See AuditRows.newest."""
        note = self._store.newest()
        if note is None:
            # One is signed when a log is made, so this is no log that has signed nothing yet.
            raise DamagedError(f"{self._name}: it holds no newest checkpoint")
        self._newest = "receipt" if is_receipt(note) else "checkpoint"
        return note

    def kept(self, size: int) -> bytes:
        """See AuditRows.kept."""
        note = self._store.checkpoint(size)
        if note is None:
            raise NotFoundError(f"{self._name}: no checkpoint is kept for size {size}")
        return note

    def witnessed(self, size: int | None) -> tuple[str, bytes] | None:  # noqa: ARG002  the seam's signature
        """See AuditRows.witnessed: there is one."""
        note = self._store.witnessed()
        return None if note is None else (f"{self._name}: the newest cosigned checkpoint", note)

    def kept_sizes(self, findings: Findings) -> Iterator[int]:
        """See AuditRows.kept_sizes."""
        last = -1
        try:
            for key, _ in self._store.rows("heads", layout.kept_key(0)):
                last = int.from_bytes(key[1:], "big")
                yield last
        except MerklelogError as error:
            # What stands behind the damage is found from the other end.
            rest: list[int] = []
            with suppress(MerklelogError):  # the same damage, met from behind: it is told once, below
                rest.extend(takewhile(lambda size: size > last, self._store.stored_sizes()))
            between = f"sizes above {last}" + (f" and below {rest[-1]}" if rest else "")
            detail = f"checkpoints kept for {between} can not be read: {error}"
            disproven = isinstance(error, DamagedError)
            findings.add(FindingKind.CHECKPOINT, self._name, detail, disproven=disproven)
            yield from reversed(rest)

    def newest_kept(self, limit: int) -> list[int]:
        """See AuditRows.newest_kept."""
        sizes: list[int] = []
        with suppress(MerklelogError):  # `kept_sizes` tells of it
            sizes.extend(islice(self._store.stored_sizes(), limit))
        return sizes

    # --- entries -----------------------------------------------------------------------------------------------

    def bundles(self, first: int, last: int) -> Iterator[bytes | MerklelogError]:
        """See AuditRows.bundles. One scan over all of them, so that each block is decompressed once."""
        at = first
        while at < last:
            try:
                for found in self._scan(at, last):
                    yield found
                    at += 1
            except MerklelogError as error:
                # A scan ends at damage. The bundle it was in is lost, the ones behind it are tried again.
                yield error
                at += 1

    def _scan(self, first: int, last: int) -> Iterator[bytes | MerklelogError]:
        want, parts = first, list[tuple[int, bytes]]()
        for start, framed in self._store.segments(first << TILE_HEIGHT, last << TILE_HEIGHT):
            number = start >> TILE_HEIGHT
            if number < first:
                continue  # the scan begins at the segment before, in case that one reached over
            while number > want:
                yield self._join(want, parts)
                want, parts = want + 1, []
            parts.append((start, framed))
        while want < last:
            yield self._join(want, parts)
            want, parts = want + 1, []

    def _join(self, number: int, parts: list[tuple[int, bytes]]) -> bytes | MerklelogError:
        """The bundle that segments make, each in its place."""
        at = number << TILE_HEIGHT
        if len(parts) == 1 and parts[0][0] == at:
            return parts[0][1]
        for start, framed in parts:
            if start != at:
                return self._gap(at, start)
            at += _count(framed)
        if not parts:
            return self._gap(at, at + TILE_WIDTH)
        return b"".join([framed for _, framed in parts])

    def _gap(self, want: int, got: int) -> DamagedError:
        if got > want:
            return DamagedError(f"{self._name}: entries {want} to {got - 1} are missing")
        return DamagedError(f"{self._name}: a segment starts at entry {got}, want {want}")

    def bundle(self, index: int, width: int) -> bytes:
        """See AuditRows.bundle."""
        found = next(self._scan(index, index + 1))
        if isinstance(found, MerklelogError):
            raise found
        return found[: _end(found, width)]

    # --- the tree ----------------------------------------------------------------------------------------------

    def tile(self, level: int, index: int, width: int) -> bytes:
        """See AuditRows.tile."""
        hashes = self._store.tile(level, index)
        if hashes is None and width < TILE_WIDTH:
            hashes = self._store.edge(level, index)
        if hashes is None:
            raise DamagedError(f"{self._name}: the tile is missing")
        if len(hashes) < width * HASH_SIZE or len(hashes) > TILE_WIDTH * HASH_SIZE:
            raise DamagedError(f"{self._name}: the tile has {len(hashes)} bytes, want {width * HASH_SIZE}")
        return hashes[: width * HASH_SIZE]

    def nodes(self, level: int, index: int) -> bytes | None:
        """See AuditRows.nodes."""
        row = self._store.nodes(level, index)
        if row is None or len(row) != _NODES_BYTES:
            got = "are missing" if row is None else f"have {len(row)} bytes, want {_NODES_BYTES}"
            raise DamagedError(f"{self._name}: the inner hashes {got}")
        return row

    # --- what else there is ------------------------------------------------------------------------------------

    def check_beside(self, first: int, last: int, findings: Findings) -> None:
        """See AuditRows.check_beside: identities that came with entries. They can be read, not recomputed."""
        end = last << TILE_HEIGHT
        at = first << TILE_HEIGHT
        try:
            for index, identity in self._store.identities(at, end):
                if len(identity) != _IDENTITY_BYTES:
                    detail = f"its identity has {len(identity)} bytes, want {_IDENTITY_BYTES}"
                    findings.add(FindingKind.DATABASE, self._name, detail, (index, index + 1))
                at = index + 1
        except MerklelogError as error:
            findings.fault(FindingKind.DATABASE, self._name, error, (at, end))

    def check_rest(self, head: AuditedHead, findings: Findings, beat: Callable[[], None]) -> list[str]:
        """See AuditRows.check_rest: nothing behind the signed size, and every other row can be read.

        One commit writes entries, tiles and checkpoint together, so a row behind that size is none that this log
        wrote, whatever moment this is.
        """
        size = head.size
        try:
            check_acknowledged(self._path, self._acknowledged, size)
        except DamagedError as error:
            lost = (size, self._acknowledged)
            findings.fault(FindingKind.DATABASE, self._name, error, lost)
        for family in ("meta", "idempotency"):
            try:
                for at, _ in enumerate(self._store.rows(family)):
                    if at % _ROWS_A_BEAT == 0:
                        beat()
            except MerklelogError as error:
                findings.fault(FindingKind.DATABASE, self._name, error)
        try:
            for what in self._behind(size):
                findings.add(FindingKind.EXTRA, self._name, f"{what} behind the signed size {size}")
            return self._check_published(head, findings)
        except MerklelogError as error:
            findings.fault(FindingKind.DATABASE, self._name, error)
        return []

    def _check_published(self, head: AuditedHead, findings: Findings) -> list[str]:
        """What readers of a log with publish targets are shown: a checkpoint of its tree; the row of its epoch."""
        begun = read_epoch(self._store, self._name)
        if head.epoch is not None and (begun is None or begun.number < head.epoch):
            got = "no epoch was begun" if begun is None else f"the epoch that was begun is {begun.number}"
            detail = f"the newest receipt is of epoch {head.epoch}, and {got}"
            findings.add(FindingKind.DATABASE, self._name, detail)
        note = self._store.published()
        where = f"{self._name}: published"
        if note is None:
            if head.epoch is not None:
                findings.add(FindingKind.CHECKPOINT, where, "no checkpoint is there to be shown")
            return []
        shown = HeadReader(self, head.origin, head.keys).check(note, None, where, findings)
        if shown is None:
            return []
        if shown.size > head.size:
            findings.add(
                FindingKind.CHECKPOINT, where, f"it is of size {shown.size}, the tree has {head.size}"
            )
            return []
        root = root_hash(shown.size, TileHashes(shown.size, lambda tile: self.tile(*tile)))
        if root != shown.root:
            detail = f"its root is {shown.root.hex()}, and the tree has {root.hex()} at size {shown.size}"
            findings.add(FindingKind.CHECKPOINT, where, detail, (0, shown.size))
        return [f"{where}: readers are shown size {shown.size}"] if head.epoch is not None else []

    def _behind(self, size: int) -> Iterator[str]:
        start = size >> TILE_HEIGHT << TILE_HEIGHT
        for first, framed in self._store.segments(start, SIZE_LIMIT):
            if first >= start and first + _count(framed) > size:
                yield f"entries from {max(first, size)} on"
                break
        for index, _ in self._store.identities(size, SIZE_LIMIT):
            yield f"the identity of entry {index}"
            break
        for level in range(_TILE_LEVELS):
            end = size >> (TILE_HEIGHT * (level + 1))
            for key in (layout.tile_key(level, end), layout.nodes_key(level, end)):
                for found, _ in self._store.rows("tiles", key):
                    if found[:1] == key[:1]:
                        yield f"tile {level}/{int.from_bytes(found[1:], 'big')}"
                    break
        for newest in self._store.stored_sizes():
            if newest > size:
                yield f"a checkpoint of size {newest}"
            break

    # --- names -------------------------------------------------------------------------------------------------

    def place(self, tile: Tile) -> str:
        """See AuditRows.place."""
        return f"{self._name}: {tile.path}"

    def place_of_reading(self, tile: Tile) -> str:
        """See AuditRows.place_of_reading. Bundles share blocks: the entries say which, and are told together."""
        return self._name if tile.level == BUNDLE_LEVEL else self.place(tile)

    def place_of_nodes(self, level: int, index: int) -> str:
        """See AuditRows.place_of_nodes."""
        return f"{self._name}: inner hashes of {Tile(level, index, TILE_WIDTH).path}"

    def place_of_checkpoint(self, size: int | None) -> str:
        """See AuditRows.place_of_checkpoint."""
        return f"{self._name}: {self._newest if size is None else f'checkpoints/{size}'}"

    def close(self) -> None:
        """See AuditRows.close."""
        self._store.close()


def _unnamed(database: Path, text: str) -> str:
    """Which files a damage is in when RocksDB does not say: then it was reading its write-ahead logs."""
    try:
        files = {file.name: file.stat().st_size for file in database.iterdir()}
    except OSError:
        return ""  # then the text is about that
    if any(f"/{name}" in text for name in files) or "CURRENT" in text:
        return ""
    logs = sorted(name for name, size in files.items() if size and name.endswith(".log"))
    return f"; it is in {' or '.join(logs)}" if logs else ""


def _count(framed: bytes) -> int:
    """How many entries a segment holds, one that is cut off included: hashing finds that out."""
    end = len(framed)
    if end > 1 and 2 + (framed[0] << 8 | framed[1]) == end:
        return 1  # a log that commits entry by entry has a segment for each
    count = at = 0
    while at + 1 < end:
        at += 2 + (framed[at] << 8 | framed[at + 1])
        count += 1
    return count


def _end(framed: bytes, width: int) -> int:
    """Where the first `width` entries end."""
    at = 0
    for _ in range(width):
        if at + 1 >= len(framed):
            break
        at += 2 + (framed[at] << 8 | framed[at + 1])
    return at
