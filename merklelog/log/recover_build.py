"""A database from published entries: every leaf, tile, root and signature is verified on the way.

The entries make the tree, nothing else is believed: their leaf hashes grow one frontier, as appends would, and
every checkpoint that is kept must have the root that they make at its size, and the last one that of the whole. A
tile that is published otherwise is a damaged tile when the root confirms the entries, and shows which entry is
wrong when it does not.

What is written is what commits write, but for the partial tiles, which come last: so that any multiple of 256
entries that is synced is a place to go on from.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Final

from merklelog.errors import DamagedError, ForkError, FormatError, NotFoundError, SignatureError
from merklelog.formats import parse_bundle
from merklelog.formats.wire import quote
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.publish.pointer import format_head
from merklelog.publish.verified import VerifiedTiles, edge_tiles, tile_root
from merklelog.store import Store
from merklelog.tree import (
    HASH_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    EdgePiece,
    Frontier,
    FullTile,
    Growth,
    Hash,
    Tile,
    bundle_path,
    leaf_hashes,
    node_hash,
    root_hash,
    width_at,
)

from .recover_source import Aim, Published

COMMIT_BUNDLES: Final = 64
COMMIT_BYTES: Final = 8 << 20
_REMARKS: Final = 20

Progress = Callable[[int, int], object]


class Rebuild:
    """Brings the tree of `aim` from `source` into `store`, from entry `done` on, a multiple of 256.

    `frontier` is the tree of the first `done` entries. `saved(done, root)` is called after each sync, from
    another thread. `checkpoints` counts those that were verified and kept; `remarks` say what of the copy is
    damaged and was not needed.
    """

    def __init__(
        self,
        source: Published,
        store: Store,
        aim: Aim,
        frontier: Frontier,
        progress: Progress,
        saved: Callable[[int, Hash], None],
    ) -> None:
        self.checkpoints = 0
        self.remarks: list[str] = []
        self._unlisted = 0
        self._source = source
        self._store = store
        self._aim = aim
        self._size = aim.tree.size
        self._frontier = frontier
        self._progress = progress
        self._saved = saved
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="merklelog-recover")
        self._syncing: Future[None] | None = None
        self._sizes = _sizes(source, aim, frontier.size + 1 if frontier.size else 0)
        self._next = 0

    def run(self) -> Frontier:
        """Do it; gives the whole tree's frontier, whose root is that of the aim.

        Raises DamagedError naming the entry or the file, ForkError with two notes, and what reading the copy and
        writing the store raise. The store holds no head yet when this returns, and its partial tiles are written.
        """
        full = self._size >> TILE_HEIGHT
        first = self._frontier.size >> TILE_HEIGHT
        self._source.expect(first, full, self._sizes)
        self._progress(self._frontier.size, self._size)
        with self._syncer:
            self._take_checkpoints()
            while first < full:
                first = self._commit(first, full)
                self._progress(first << TILE_HEIGHT, self._size)
            if self._syncing is not None:
                self._syncing.result()
            self._finish()
        return self._frontier

    def _commit(self, first: int, full: int) -> int:
        """One commit of full bundles from `first` on; gives the index after the last."""
        segments: list[tuple[int, bytes]] = []
        leaves: list[Hash] = []
        at, cost = first, 0
        while at < full and at - first < COMMIT_BUNDLES and cost < COMMIT_BYTES:
            framed, hashes = self._bundle(at, TILE_WIDTH)
            segments.append((at << TILE_HEIGHT, framed))
            leaves += hashes
            cost += len(framed)
            at += 1
        growth = self._grow(leaves)
        self._store.write(Commit(segments=tuple(segments), growth=growth))
        self._sync(self._frontier.size, self._frontier.root())
        return at

    def _sync(self, done: int, root: Hash) -> None:
        """Have what is written synced, while the next commit is hashed; at most one of them is not yet."""
        if self._syncing is not None:
            self._syncing.result()
        self._syncing = self._syncer.submit(self._make_durable, done, root)

    def _make_durable(self, done: int, root: Hash) -> None:
        self._store.sync()
        self._saved(done, root)

    def _grow(self, leaves: list[Hash]) -> Growth:
        """Extend the tree, stopping at each size that a checkpoint is kept for; gives its full tiles."""
        start, end = self._frontier.size, self._frontier.size + len(leaves)
        stops = [start]
        upcoming = self._next
        while upcoming < len(self._sizes) and self._sizes[upcoming] <= end:
            stops.append(self._sizes[upcoming])
            upcoming += 1
        full = list[FullTile]()
        for before, after in pairwise(dict.fromkeys([*stops, end])):
            full += self._frontier.extend(leaves[before - start : after - start]).full
            self._take_checkpoints()
        for tile in full:
            if tile.level:
                upper = Tile(tile.level, tile.index, TILE_WIDTH)
                self._remark_tile(upper, self._difference(upper, tile.hashes))
        return Growth(tuple(full), ())

    def _bundle(self, index: int, width: int) -> tuple[bytes, list[Hash]]:
        """A bundle and its leaf hashes, held against its tile; read again where older versions are kept."""
        try:
            framed, hashes = self._read(index, width)
            words = self._difference(Tile(0, index, width), b"".join(hashes))
            if not words or not self._source.forget_served():
                self._remark_tile(Tile(0, index, width), words)
                return framed, hashes
        except DamagedError:
            if not self._source.forget_served():
                raise
        self._source.expect(index, self._size >> TILE_HEIGHT, self._sizes[self._next :])
        framed, hashes = self._read(index, width)
        self._remark_tile(Tile(0, index, width), self._difference(Tile(0, index, width), b"".join(hashes)))
        return framed, hashes

    def _read(self, index: int, width: int) -> tuple[bytes, list[Hash]]:
        name = f"{self._source.location}/{bundle_path(index, width)}"
        try:
            framed = self._source.tiles.bundle(index, width)
            return framed, leaf_hashes(parse_bundle(framed, width))
        except NotFoundError as error:
            raise DamagedError(f"{error}; nothing else has its entries") from error
        except FormatError as error:
            raise DamagedError(f"{name}: {error}") from error

    def _difference(self, tile: Tile, made: bytes) -> str:
        """How the published tile is not the one that the entries make; the root tells later which is wrong."""
        try:
            same = self._source.tiles.tile(tile.level, tile.index, tile.width) == made
        except NotFoundError:
            return "it is not there"
        except DamagedError as error:
            return str(error)
        return "" if same else "it is not what its entries make"

    def _remark_tile(self, tile: Tile, words: str) -> None:
        if words:
            self._remark(f"{self._source.location}/{tile.path}: {words}; made anew from the entries")

    def _remark(self, text: str) -> None:
        if len(self.remarks) < _REMARKS:
            self.remarks.append(text)
        else:
            self._unlisted += 1

    # --- checkpoints -------------------------------------------------------------------------------------------

    def _take_checkpoints(self) -> None:
        """The checkpoint of the size that the tree has now, if one is kept for it."""
        while self._next < len(self._sizes) and self._sizes[self._next] <= self._frontier.size:
            self._take_checkpoint(self._sizes[self._next])
            self._next += 1

    def _take_checkpoint(self, size: int) -> None:
        newest = self._aim.newest
        try:
            head = newest if newest is not None and newest.size == size else self._source.checkpoint(size)
        except (DamagedError, SignatureError, NotFoundError) as error:
            self._remark(f"{error}; left out")
            return
        if head.root != self._frontier.root():
            verified = VerifiedTiles(self._source.tiles, *self._aim.tree)
            other = format_head(self._aim.head) if self._aim.staged and self._aim.head else b""
            if newest is not None and size < self._size and root_hash(size, verified.read) != head.root:
                raise ForkError(
                    f"{self._source.location}: two histories of {quote(head.origin)}: its checkpoint of size "
                    f"{size} is not of the tree of size {self._size}",
                    head.note,
                    other or newest.note,
                )
            raise self._blame(verified)
        self._store.write(Commit(checkpoint=Checkpointed(size, head.note, keep=True)))
        self.checkpoints += 1

    def _blame(self, verified: VerifiedTiles) -> DamagedError:
        """Which entry or file is why the entries do not make the root. Raises what is found instead."""
        for index in range(self._size >> TILE_HEIGHT):
            above = verified.tile(1, index >> TILE_HEIGHT)
            at = index % TILE_WIDTH * HASH_SIZE
            if tile_root(b"".join(self._read(index, TILE_WIDTH)[1])) != above[at : at + HASH_SIZE]:
                verified.bundle(index)  # names the entry
        if self._size % TILE_WIDTH:
            verified.bundle(self._size >> TILE_HEIGHT)
        return DamagedError(
            f"{self._source.location}: its entries make the root {self._frontier.root().hex()} at size "
            f"{self._frontier.size}, which is not the one that was signed"
        )

    # --- the right edge ----------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """The last, partial bundle, the whole tree's root, and the partial tiles."""
        width = width_at(0, self._size >> TILE_HEIGHT, self._size)
        segments: tuple[tuple[int, bytes], ...] = ()
        if width:
            framed, hashes = self._bundle(self._size >> TILE_HEIGHT, width)
            segments = ((self._frontier.size, framed),)
            self._grow(hashes)
        if self._frontier.root() != self._aim.tree.root:
            raise self._blame(VerifiedTiles(self._source.tiles, *self._aim.tree))
        for tile, made in zip(edge_tiles(self._size), filter(None, self._frontier.partials()), strict=True):
            if tile.level:
                self._remark_tile(tile, self._difference(tile, made))
        self._store.write(Commit(segments=segments, growth=Growth((), edge_pieces(self._frontier))))
        self._store.sync()
        self._progress(self._size, self._size)
        if self._unlisted:
            self.remarks.append(f"and {self._unlisted} such remarks more: audit the copy")


def _sizes(source: Published, aim: Aim, start: int) -> array[int]:
    """The sizes of the kept checkpoints from `start` on, up to the newest one, which counts whatever is listed.

    Larger ones have a tree that was never shown. Eight bytes each.
    """
    if aim.newest is None:
        return array("q")
    sizes = source.kept_sizes(start, aim.newest.size)
    if aim.newest.size >= start and (not sizes or sizes[-1] != aim.newest.size):
        sizes.append(aim.newest.size)
    return sizes


def edge_pieces(frontier: Frontier) -> tuple[EdgePiece, ...]:
    """The partial tiles of a tree, each as one piece."""
    return tuple(
        EdgePiece(level, frontier.size >> (TILE_HEIGHT * (level + 1)), 0, hashes)
        for level, hashes in enumerate(frontier.partials())
        if hashes
    )


def frontier_at(store: Store, size: int) -> Frontier | None:
    """The tree of the first `size` entries, a multiple of 256, from the full tiles of a store.

    None when one of them is not there. Reads the inner hashes of at most 255 tiles a level.
    """
    partials = [b""]
    level = 1
    while size >> (TILE_HEIGHT * level):
        count = size >> (TILE_HEIGHT * level)
        roots = b""
        for index in range(count // TILE_WIDTH * TILE_WIDTH, count):
            nodes = store.nodes(level - 1, index)
            if nodes is None:
                return None
            roots += node_hash(Hash(nodes[-2 * HASH_SIZE : -HASH_SIZE]), Hash(nodes[-HASH_SIZE:]))
        partials.append(roots)
        level += 1
    return Frontier(size, partials)


__all__ = ["Rebuild", "edge_pieces", "frontier_at"]
