"""Tiles and bundles kept, in memory and on request in a directory, so that none is fetched twice.

Only what can never change is kept: full tiles and bundles, and in memory partial ones too, whose width is part of
their name. What is kept is believed no more than what is fetched: a reader that finds it wrong says so by
`forget_served`, and it is fetched anew.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from merklelog.client.source import Dated, Expectant, Forgetful, Pointing, TileSource
from merklelog.errors import StorageError
from merklelog.formats.bundle import MAX_BUNDLE_BYTES
from merklelog.tree.tiles import BUNDLE_LEVEL, TILE_WIDTH, tile_path

_MEMORY: Final = 64 << 20
_COST: Final = 200  # what an object costs beside its bytes


class CachedSource:
    """A TileSource that asks `source` for what it does not keep: `memory` bytes, and all of `directory` if given.

    The directory is for one log; processes may share it, and it may be deleted at any time. Checkpoints are
    never kept. Safe for threads when `source` is. Raises what `source` raises; StorageError when the
    directory can not be made or written.
    """

    def __init__(
        self, source: TileSource, *, memory: int = _MEMORY, directory: str | os.PathLike[str] | None = None
    ) -> None:
        self._source = source
        self._most = memory
        self._directory = None if directory is None else Path(directory)
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._served: set[str] = set()
        self._lock = threading.Lock()
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _fault(self._directory, error) from error

    def checkpoint(self, size: int | None = None) -> bytes:
        """As the source's."""
        return self._source.checkpoint(size)

    def pointer(self, key: str) -> bytes | None:
        """As the source's, never kept; None for a source that shows one checkpoint alone."""
        return self._source.pointer(key) if isinstance(self._source, Pointing) else None

    def stored_sizes(self) -> Iterator[int]:
        """As the source's."""
        return self._source.stored_sizes()

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """As the source's, or kept."""
        return self._find(level, index, width, lambda: self._source.tile(level, index, width))

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """As the source's, or kept."""
        return self._find(BUNDLE_LEVEL, index, width, lambda: self._source.bundle(index, width))

    def epoch(self) -> int | None:
        """As the source's, never kept; None for a source that knows of none."""
        return self._source.epoch() if isinstance(self._source, Dated) else None

    def expect(self, start: int, end: int, size: int) -> None:
        """As the source's, from the first bundle on that is not kept."""
        if isinstance(self._source, Expectant):
            first = start // TILE_WIDTH
            while first * TILE_WIDTH < end and self._has(tile_path(BUNDLE_LEVEL, first)):
                first += 1
            self._source.expect(max(start, first * TILE_WIDTH), end, size)

    def close(self) -> None:
        """Close the source; what is in the directory stays."""
        self._source.close()

    def forget_served(self) -> bool:
        """Let go of everything that came from the cache since this was last asked; whether there was any.

        Where there was none, the source is told, and lets go as it can: then everything in memory is its too.
        """
        if self._forget():
            return True
        if not isinstance(self._source, Forgetful) or not self._source.forget_served():
            return False
        with self._lock:
            self._kept.clear()
            self._bytes = 0
        return True

    def _forget(self) -> bool:
        with self._lock:
            served, self._served = self._served, set()
            for path in served:
                data = self._kept.pop(path, None)
                self._bytes -= 0 if data is None else len(data) + _COST
        for path in served:
            if self._directory is not None:
                with contextlib.suppress(OSError):  # another process may have been quicker; it is read anew
                    (self._directory / path).unlink(missing_ok=True)
        return bool(served)

    def _find(self, level: int, index: int, width: int, fetch: Callable[[], bytes]) -> bytes:
        path = tile_path(level, index, width)
        with self._lock:
            data = self._kept.get(path)
            if data is not None:
                self._kept.move_to_end(path)
                self._served.add(path)
                return data
        stays = self._directory is not None and width == TILE_WIDTH
        data = self._read(path) if stays else None
        if data is None:
            data = fetch()
            if stays:
                self._write(path, data)
            self._keep(path, data, served=False)
        else:
            self._keep(path, data, served=True)
        return data

    def _has(self, path: str) -> bool:
        with self._lock:
            if path in self._kept:
                return True
        return self._directory is not None and (self._directory / path).is_file()

    def _keep(self, path: str, data: bytes, *, served: bool) -> None:
        with self._lock:
            if served:
                self._served.add(path)
            if path in self._kept or len(data) + _COST > self._most:
                return
            self._kept[path] = data
            self._bytes += len(data) + _COST
            while self._bytes > self._most:
                gone, old = self._kept.popitem(last=False)
                self._bytes -= len(old) + _COST
                self._served.discard(gone)

    # --- the directory -----------------------------------------------------------------------------------------

    def _read(self, path: str) -> bytes | None:
        if self._directory is None:
            return None
        try:
            with (self._directory / path).open("rb") as file:
                return file.read(MAX_BUNDLE_BYTES + 1)
        except OSError:
            return None  # not kept, or not to be read: the source has it

    def _write(self, path: str, data: bytes) -> None:
        """Whole or not at all; not synced, for a wrong one is found out and fetched again."""
        if self._directory is None:
            return
        place = self._directory / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            handle, new = tempfile.mkstemp(dir=place.parent, prefix=".new")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(new).replace(place)
            except BaseException:
                Path(new).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _fault(place, error) from error


def _fault(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cache {path}: {error.strerror or error}")
