"""A server that is asked over gRPC, as a monitor reads every log: by tiles.

A server has no tiles on that door. But a monitor reads every entry anyway, which gives the tiles at the bottom;
and each hash of a tile above them is a whole subtree, whose root its first leaf's inclusion proof leads to.
Nothing is verified here: `VerifiedTiles` holds it all against the root, as it does what any other source gives.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from merklelog.client.access import Access
from merklelog.client.grpc_transport import GrpcTransport
from merklelog.client.grpc_wire import place_of
from merklelog.client.transport import Included
from merklelog.errors import FormatError, LevelError, NotFoundError, ProofError
from merklelog.formats.bundle import format_bundle
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.wire import quote
from merklelog.publish.layout import WITNESSED_KEY
from merklelog.tree import TILE_HEIGHT, TILE_WIDTH, Hash, leaf_hashes, node_hash

_AHEAD: Final = 4_096  # entries that one call asks for
_KEPT: Final = 32  # bundles
_NO_ROOT: Final = Hash(bytes(32))


class GrpcTiles:
    """A TileSource over gRPC. `origin` names the log; empty: the only one the server has.

    Its methods raise what the server says, UnavailableError and kin when it does not answer, and ProofError for
    answers that are none.
    """

    def __init__(self, target: str, access: Access, origin: str) -> None:
        """Nothing is asked yet. Raises UsageError."""
        self._target = target
        self._transport = GrpcTransport(place_of(target, access), origin)
        self._seconds = access.retry.attempt
        self._size = 0
        self._bundles: OrderedDict[int, list[bytes]] = OrderedDict()

    def checkpoint(self, size: int | None = None) -> bytes:
        """See TileSource."""
        note = self._transport.checkpoint(size, self._seconds)
        if size is None:
            self._size = _size_of(note)
        return note

    def pointer(self, key: str) -> bytes | None:
        """The newest cosigned checkpoint; other names stand for nothing on this door. See Pointing."""
        if key != WITNESSED_KEY:
            return None
        try:
            return self._transport.witnessed(self._seconds)
        except (NotFoundError, LevelError):
            return None

    def stored_sizes(self) -> Iterator[int]:
        """None: which checkpoints are kept can not be asked for on this door."""
        return iter(())

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """See TileReads."""
        return format_bundle(self._entries(index, width))

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """See TileReads."""
        if level == 0:
            return b"".join(leaf_hashes(self._entries(index, width)))
        height = level * TILE_HEIGHT
        first = index * TILE_WIDTH
        starts = [number << height for number in range(first, first + width)]
        size = max(self._size, (first + width) << height)
        found = self._transport.inclusions(starts, size, _NO_ROOT, self._seconds)
        if len(found) != width:
            raise ProofError(f"{self._target}: got {len(found)} inclusion proofs, want {width}")
        return b"".join(self._subtree(each, height) for each in found)

    def _subtree(self, first: Included, height: int) -> Hash:
        """The root of the whole subtree of that height that begins with this leaf."""
        if len(first.proof) < height:
            text = f"an inclusion proof of {len(first.proof)} hashes, want at least {height}"
            raise ProofError(f"{self._target}: {text}")
        node = first.leaf
        for right in first.proof[:height]:
            node = node_hash(node, right)
        return node

    def _entries(self, index: int, width: int) -> list[bytes]:
        kept = self._bundles.get(index)
        if kept is None or len(kept) < width:
            self._read(index, width)
            kept = self._bundles[index]
        return kept[:width]

    def _read(self, index: int, width: int) -> None:
        """That bundle, and some of what follows it, for it will be read next."""
        start = index * TILE_WIDTH
        end = max(start + width, min(start + _AHEAD, self._size))
        entries: list[bytes] = []
        while len(entries) < width:
            at = start + len(entries)
            stretch = self._transport.entries(at, end, max(self._size, end), _NO_ROOT, self._seconds)
            if not stretch.entries:
                raise NotFoundError(f"{self._target}: it has no entry {at}")
            entries += stretch.entries
        for offset in range(0, len(entries), TILE_WIDTH):
            part = entries[offset : offset + TILE_WIDTH]
            if len(part) >= width or not offset:
                self._bundles[index + offset // TILE_WIDTH] = part
        while len(self._bundles) > _KEPT:
            self._bundles.popitem(last=False)

    def close(self) -> None:
        """See TileSource."""
        self._transport.close()


def _size_of(note: bytes) -> int:
    try:
        return int(parse_checkpoint(note).checkpoint.size)
    except FormatError as error:
        raise FormatError(f"checkpoint {quote(note)}: {error}") from error


__all__ = ["GrpcTiles"]
