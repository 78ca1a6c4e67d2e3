"""Reading a log: what `merklelog.open_reader` gives, and the reading half of `Log`.

All reads are bounded by the head that readers are shown: the newest *durable* one, so that nothing is shown that a
power cut could take back; of a log with publish targets what is published, so that nothing is shown that a lost
disk could. Only proofs reach further, where they are asked for at the size that a receipt names.
Reads may come from any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from merklelog.errors import DamagedError, NotALogError, NotFoundError, RangeError
from merklelog.formats import LENGTHS, ProofFile, VerifierKey, format_proof
from merklelog.protocol.statement import Chain
from merklelog.store import RocksStore, StoreReader
from merklelog.tree import (
    HASH_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    Hash,
    LeafIndex,
    Tile,
    TileHashes,
    TreeSize,
    prove_consistency,
    prove_inclusion,
    prove_inclusions,
    prove_leaves,
    prove_range,
    root_hash,
    width_at,
)

from .acknowledged import check_acknowledged, read_acknowledged
from .config import LogConfig, load_config
from .create import LogInfo, read_info
from .directory import DATABASE, check_directory, check_stored_format
from .freeze import read_chain
from .head import Head, check_size, read_epoch, read_head, read_published, read_tile


class LogReader:
    """A log as it stood when this was opened, beside its writer or without one. Opens no private key.

    `vkeys` are the keys of its checkpoints, `receipt_vkey` that of its receipts, None in a log that has none.
    """

    def __init__(
        self,
        path: Path,
        config: LogConfig,
        info: LogInfo,
        store: StoreReader,
        head: Head,
        published: Head | None = None,
    ) -> None:
        self.path = path
        self.config = config
        keys = info.keys()
        self.vkeys: tuple[VerifierKey, ...] = keys.verifiers
        self.receipt_vkey: VerifierKey | None = keys.receipt
        self._info = info
        self._reads: StoreReader = store
        self._newest = head
        self._shown = published or head
        self._hashes: TileHashes | None = None
        self._where = str(path)

    @property
    def origin(self) -> str:
        """The log's name, the first line of its checkpoints."""
        return self._info.origin

    @property
    def integrated(self) -> Head:
        """The newest durable head; of a log with publish targets its note is a receipt."""
        return self._newest

    @property
    def published(self) -> Head:
        """The head that readers are shown, a checkpoint; in a log without publish targets the integrated one."""
        return self._shown

    @property
    def size(self) -> TreeSize:
        """Entries under the newest checkpoint that is shown."""
        return self.published.size

    @property
    def root(self) -> Hash:
        """The root hash of the newest checkpoint that is shown."""
        return self.published.root

    @property
    def chain(self) -> Chain:
        """Which log this one follows, and whether it has ended, under the newest checkpoint that is shown.

        Raises DamagedError.
        """
        return read_chain(self._reads, self.size, self._info.keys())

    @property
    def levels(self) -> tuple[str, ...]:
        """What an append of this log may wait for, by its configuration: integrated, published, witnessed."""
        more = (("published", self.config.publish.targets), ("witnessed", self.config.witness.policy))
        return ("integrated", *(level for level, there in more if there))

    @property
    def witnessed(self) -> Head | None:
        """The newest checkpoint with the cosignatures that the log's policy asks for; None where there is none.

        Of a log whose readers see no more (`witness.mode = hold`) it is shown. Raises ConfigError, PolicyError.
        """
        from .witnessing import read_witnessed_by  # brings the client of witnesses

        return read_witnessed_by(self._reads, self.config.witness, self.path, self.vkeys)

    def pointer(self, key: str) -> bytes | None:
        """For `checkpoint.witnessed` the newest cosigned one, whatever policy it meets; None for others."""
        return self._reads.witnessed() if key == "checkpoint.witnessed" else None

    @property
    def epoch(self) -> int | None:
        """The newest epoch that this log began at its publish targets; None when it never had any."""
        begun = read_epoch(self._reads, self._where)
        return None if begun is None else begun.number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; safe to call twice."""
        self._reads.close()

    def refresh(self) -> None:
        """See what the writer committed since. Not while another thread reads through this object."""
        store, _, head, published = _open_head(self.path, self.origin)
        old, self._reads, self._hashes = self._reads, store, None
        self._newest, self._shown = head, published
        old.close()

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint(self, size: int | None = None) -> bytes:
        """The newest signed checkpoint, or the one stored for `size`: a signed note (c2sp.org/tlog-checkpoint).

        About one a second is stored. Nothing is ever signed on demand: raises NotFoundError when none is stored
        for that size, RangeError for a size the tree never had.
        """
        head = self.published
        if size is None or size == head.size:
            return head.note
        check_size(size, head)
        note = self._reads.checkpoint(size)
        if note is None:
            raise NotFoundError(f"no checkpoint is stored for size {size}: about one a second is kept")
        return note

    def stored_sizes(self) -> Iterator[TreeSize]:
        """Sizes with a stored checkpoint, largest first; the newest checkpoint's is the first."""
        head = self.published
        yield head.size
        for size in self._reads.stored_sizes():
            if size < head.size:
                yield TreeSize(size)

    # --- entries -----------------------------------------------------------------------------------------------

    def entry(self, index: int) -> bytes:
        """The bytes of one entry. Raises RangeError, DamagedError."""
        if not 0 <= index < self.size:
            raise RangeError(f"entry {index}: the log has {self.size} entries, the first is 0")
        return next(self.entries(index, index + 1))

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries of [start, end), in order, streamed. Raises RangeError before the first is given."""
        if not 0 <= start <= end <= self.size:
            raise RangeError(f"entries {start}:{end}: want 0 <= start <= end <= {self.size}")
        return self._entries(start, end)

    def _entries(self, start: int, end: int) -> Iterator[bytes]:
        at = start
        for first, framed in self._reads.segments(start, end) if start < end else ():
            if first > at:
                raise DamagedError(f"{self.path}: entries {at} to {first - 1} are missing")
            index, offset, length = first, 0, len(framed)
            while offset < length and at < end:
                stop = offset + 2 + int.from_bytes(framed[offset : offset + 2], "big")
                if stop > length:
                    raise DamagedError(f"{self.path}: entry {index} runs over the end of its segment")
                if index >= at:
                    yield framed[offset + 2 : stop]
                    at = index + 1
                index, offset = index + 1, stop
        if at != end:
            raise DamagedError(f"{self.path}: entries {at} to {end - 1} are missing")

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """An entry bundle, uncompressed (c2sp.org/tlog-tiles, "Log entries"). Raises RangeError, DamagedError."""
        return self._bundle(index, width, self._check_tile("bundle", 0, index, width, self.published))

    def _bundle(self, index: int, width: int, size: int) -> bytes:
        start = index << TILE_HEIGHT
        segments = list(self._reads.segments(start, start + width))
        joined = b"".join(framed for _, framed in segments)
        if segments and segments[0][0] == start and segments[-1][0] < start + width:
            known = width_at(0, index, size)
            if width == TILE_WIDTH or (width == known and self._ends(segments[-1], start + width)):
                return joined
        return b"".join(LENGTHS[len(entry)] + entry for entry in self._entries(start, start + width))

    def _ends(self, segment: tuple[int, bytes], end: int) -> bool:
        """Whether a segment's last entry is the one before `end`; later commits may stand behind it."""
        index, framed = segment
        offset = 0
        while offset < len(framed):
            offset += 2 + int.from_bytes(framed[offset : offset + 2], "big")
            index += 1
        return index == end

    # --- the tree ----------------------------------------------------------------------------------------------

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """The first `width` hashes of a tile, 32 bytes each (c2sp.org/tlog-tiles, "Merkle Tree").

        Raises RangeError for what the tree does not have, DamagedError.
        """
        self._check_tile("tile", level, index, width, self.published)
        return read_tile(self._reads, self.integrated, level, index, width, self._where)

    def integrated_tiles(self) -> IntegratedTiles:
        """The tiles and bundles up to the integrated head as it is now: what a publication reads."""
        return IntegratedTiles(self)

    def _check_tile(self, what: str, level: int, index: int, width: int, head: Head) -> int:
        there = width_at(level, index, head.size) if level >= 0 and index >= 0 else 0
        if not 1 <= width <= there:
            raise RangeError(
                f"{what} {level}/{index} of width {width}: at size {head.size} it has width {there}"
            )
        return head.size

    def _fetch(self, tile: Tile) -> bytes:
        return read_tile(self._reads, self.integrated, tile.level, tile.index, tile.width, self._where)

    def _inner(self, level: int, index: int) -> bytes | None:
        return self._reads.nodes(level, index)

    def _hashes_at(self, size: int) -> TileHashes:
        """The tree's node hashes at a size; those of the last size asked for stay cached."""
        hashes = self._hashes
        if hashes is None or hashes.size != size:
            hashes = TileHashes(size, self._fetch, nodes=self._inner)
            self._hashes = hashes
        return hashes

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:
        """The inclusion proof of an entry in the tree of `size` (RFC 6962 section 2.1.1). Raises RangeError."""
        at = check_size(size, self.published, self.integrated)
        return prove_inclusion(index, at, self._hashes_at(at))

    def inclusion_proofs(self, indexes: list[int], size: int | None = None) -> list[list[Hash]]:
        """Many inclusion proofs with one pass over the tiles they share. Raises RangeError."""
        at = check_size(size, self.published, self.integrated)
        return prove_inclusions(indexes, at, self._hashes_at(at))

    def leaves_and_proofs(
        self, indexes: list[int], size: int | None = None
    ) -> tuple[list[Hash], list[list[Hash]]]:
        """Leaf hashes and what `inclusion_proofs` gives, out of the same tiles. Raises RangeError."""
        at = check_size(size, self.published, self.integrated)
        return prove_leaves(indexes, at, self._hashes_at(at))

    def range_proof(self, start: int, end: int, size: int | None = None) -> list[Hash]:
        """One proof for all entries of [start, end) in the tree of `size`: see `tree.verify_range`.

        It is the hashes left and right of the range, at most 126: with its leaf hashes they make the root. Raises
        RangeError.
        """
        at = check_size(size, self.published, self.integrated)
        return prove_range(start, end, at, self._hashes_at(at))

    def consistency_proof(self, old: int, new: int | None = None) -> list[Hash]:
        """The proof that the tree of `new` extends that of `old` (RFC 6962 section 2.1.2). Raises RangeError."""
        at = check_size(new, self.published, self.integrated)
        return prove_consistency(old, at, self._hashes_at(at))

    def prove(self, index: int, size: int | None = None) -> bytes:
        """A proof file for an entry (c2sp.org/tlog-proof), to the newest or to a stored checkpoint.

        Raises RangeError, NotFoundError.
        """
        head = self.published
        at = check_size(size, head)
        # A busy log has a newer head by now, and the note of this one may be nowhere else.
        note = head.note if at == head.size else self.checkpoint(at)
        if not 0 <= index < at:
            raise RangeError(f"entry {index}: the tree of size {at} has none; the first is 0")
        return format_proof(ProofFile(index, tuple(self.inclusion_proof(index, at)), note))

    def find(self, leaf: Hash) -> LeafIndex | None:
        """The first entry with this leaf hash, by reading all leaf hashes; None when there is none."""
        size = self.size
        for number in range((size + TILE_WIDTH - 1) >> TILE_HEIGHT):
            hashes = self.tile(0, number, width_at(0, number, size))
            at = hashes.find(leaf)
            while at >= 0:
                if at % HASH_SIZE == 0:
                    return LeafIndex((number << TILE_HEIGHT) + at // HASH_SIZE)
                at = hashes.find(leaf, at + 1)
        return None


class IntegratedTiles:
    """Tiles and bundles of the integrated tree of a log, published or not: what a publisher reads."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self.head = log.integrated

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """See LogReader.tile."""
        self._log._check_tile("tile", level, index, width, self.head)
        return self._log._fetch(Tile(level, index, width))

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """See LogReader.bundle."""
        size = self._log._check_tile("bundle", 0, index, width, self.head)
        return self._log._bundle(index, width, size)

    def consistency_proof(self, old: int, new: int) -> list[Hash]:
        """The proof that the tree of `new` extends that of `old`. Raises RangeError, DamagedError."""
        if not 0 <= old <= new <= self.head.size:
            raise RangeError(f"sizes {old} and {new}: the tree has {self.head.size} entries")
        return prove_consistency(old, new, TileHashes(new, self._log._fetch, nodes=self._log._inner))

    def root_at(self, size: int) -> Hash:
        """The root that the tree had at a size. Raises RangeError, DamagedError."""
        if not 0 <= size <= self.head.size:
            raise RangeError(f"size {size}: the tree has {self.head.size} entries")
        return root_hash(size, TileHashes(size, self._log._fetch, nodes=self._log._inner))


def open_rows(path: Path) -> tuple[RocksStore, LogInfo]:
    """The rows of a log's data directory, open beside its writer, and which log it is; no row is judged.

    For an audit, which judges them all. Raises NotALogError, FormatVersionError, DamagedError, StorageError;
    changes nothing.
    """
    check_directory(path)
    store = RocksStore.open_beside(path / DATABASE)
    try:
        check_stored_format(store, path)
        info = read_info(store)
        if info is None:
            raise DamagedError(f"{path}: the database does not say which log it is")
    except BaseException:
        store.close()
        raise
    return store, info


def _open_head(path: Path, origin: str) -> tuple[RocksStore, LogInfo, Head, Head]:
    acknowledged = read_acknowledged(path)  # before opening: a writer may go on meanwhile
    store, info = open_rows(path)
    try:
        if info.origin != origin:
            raise NotALogError(
                f"{path}: the configuration says log.origin = {origin!r}, the database is of {info.origin!r}"
            )
        keys = info.keys()
        head, _ = read_head(store, info.origin, keys.verifiers, str(path), keys.receipt)
        check_acknowledged(path, acknowledged, head.size)
        published = read_published(store, head, keys, str(path))
    except BaseException:
        store.close()
        raise
    return store, info, head, published


def open_reader(path: str | os.PathLike[str]) -> LogReader:
    """Open a log's data directory for reading, also while another process appends to it.

    Raises NotALogError, FormatVersionError, ConfigError, DamagedError, StorageError; changes nothing.
    """
    directory = Path(path).absolute()
    check_directory(directory)
    config = load_config(directory)
    store, info, head, published = _open_head(directory, config.origin)
    return LogReader(directory, config, info, store, head, published)


__all__ = ["IntegratedTiles", "LogReader", "open_reader", "open_rows"]
