"""What publication and every reader ask of a log: its stored checkpoints, its tiles and its entry bundles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from merklelog.tree.tiles import TILE_WIDTH


class TileReads(Protocol):
    """A tree's hashes and entries, as c2sp.org/tlog-tiles cuts them. Nothing that comes back is trusted."""

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` hashes of 32 bytes. Raises NotFoundError, or DamagedError when it is not whole."""

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` entries, each behind its length in two bytes, never compressed. Raises as `tile` does."""


class TileSource(TileReads, Protocol):
    """A log to read from: a data directory, a published copy, later a server.

    A source never shows a checkpoint whose tiles it can not give. Partial tiles and bundles may be asked for
    at the widths that the tree of a stored checkpoint has; where a source has only the full one left, it
    cuts. Not safe for threads unless the source says so.
    """

    def checkpoint(self, size: int | None = None) -> bytes:
        """The newest signed checkpoint, or the stored one of that size. Raises NotFoundError."""

    def stored_sizes(self) -> Iterator[int]:
        """The sizes that `checkpoint(size)` has, the newest first."""

    def close(self) -> None:
        """Give back what the source holds."""
