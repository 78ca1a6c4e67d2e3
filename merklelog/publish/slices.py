"""What is new between two sizes of a tree: as objects to put, and as one staging object of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from merklelog.errors import DamagedError
from merklelog.protocol.publication import TreeHead
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.layout import encode_bundle, kind_of
from merklelog.publish.objects import NewObject
from merklelog.publish.pace import Pace
from merklelog.publish.source import TileReads
from merklelog.publish.staging import StagingWriter
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.hashing import HASH_SIZE
from merklelog.tree.prove import root_hash
from merklelog.tree.tiles import BUNDLE_LEVEL, TILE_WIDTH, Tile, new_bundles, new_tiles

# A publication ends at the first full bundle at or beyond this, counted as tiles and uncompressed bundles; a
# bundle has at most 16 MiB, so what is staged has at most 32 MiB and a little for its header.
SLICE_BYTES: Final = 16 << 20


def tiles_to_put(old: int, new: int) -> Iterator[Tile]:
    """The bundles and tiles that growing from `old` to `new` leaves adds or widens.

    First each bundle and the level-0 tile of its hashes, left to right, then the levels above.
    """
    for bundle in new_bundles(old, new):
        yield bundle
        yield Tile(0, bundle.index, bundle.width)
    for tile in new_tiles(old, new):
        if tile.level:
            yield tile


def object_of(tiles: VerifiedTiles, tile: Tile, encoding: BundleEncoding) -> NewObject:
    """A tile or bundle as it is put. Raises as VerifiedTiles does."""
    if tile.level == BUNDLE_LEVEL:
        data = encode_bundle(tiles.bundle(tile.index), encoding)
    else:
        data = tiles.tile(tile.level, tile.index)
    return NewObject(tile.path, data, kind_of(tile, encoding))


def new_objects(
    tiles: VerifiedTiles, old: int, new: int, encoding: BundleEncoding
) -> Iterator[tuple[Tile, NewObject]]:
    """What `tiles_to_put` names, made one at a time; `new` is the size of `tiles`."""
    for tile in tiles_to_put(old, new):
        yield tile, object_of(tiles, tile, encoding)


@dataclass(frozen=True, slots=True)
class Slice:
    """All that is new from size `old` up to `head`, held once: as the staging object's bytes.

    `places` says where in them each object's bytes are: its tile, start and length.
    """

    old: int
    head: TreeHead
    encoding: BundleEncoding
    staging: bytes = field(repr=False)
    places: tuple[tuple[Tile, int, int], ...] = field(repr=False)

    def objects(self) -> Iterator[tuple[Tile, NewObject]]:
        """The objects, in the order of `tiles_to_put`."""
        for tile, start, length in self.places:
            data = self.staging[start : start + length]
            yield tile, NewObject(tile.path, data, kind_of(tile, self.encoding))


def next_head(
    source: TileReads, old: TreeHead, newest: TreeHead, pace: Pace, limit: int = SLICE_BYTES
) -> TreeHead:
    """The head to publish next after `old`: `newest`, or an earlier one where that would be over `limit` bytes.

    An earlier one ends at a full bundle, so that nothing partial is put for it at the lowest level. Its root is
    checked to be one of the tree of `newest`, and that tree to begin with `old`. Raises DamagedError.
    """
    tiles = VerifiedTiles(source, newest.size, newest.root)
    if root_hash(old.size, tiles.read) != old.root:
        raise DamagedError(
            f"the log's tree of size {newest.size} does not begin with the one of size {old.size} and root "
            f"{old.root.hex()}, which was published"
        )
    held = 0
    for bundle in pace.over(new_bundles(old.size, newest.size)):
        # Only measured here; what is cut then is checked.
        held += len(source.bundle(bundle.index, bundle.width)) + bundle.width * HASH_SIZE
        end = (bundle.index + 1) * TILE_WIDTH
        if held >= limit and end < newest.size:
            return TreeHead(end, root_hash(end, tiles.read))
    return newest


def cut_slice(
    source: TileReads, origin: str, old: int, head: TreeHead, encoding: BundleEncoding, pace: Pace
) -> Slice:
    """Read and check what is new from `old` up to `head`. Raises DamagedError as VerifiedTiles does."""
    tiles = VerifiedTiles(source, head.size, head.root)
    writer = StagingWriter(origin, head, list(tiles_to_put(old, head.size)))
    for _, new in pace.over(new_objects(tiles, old, head.size, encoding)):
        writer.add(new.data)
    return Slice(old, head, encoding, writer.finish(), tuple(writer.places))
