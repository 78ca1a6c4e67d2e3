"""A log as a publisher sees it, in memory: its disk can be copied, lost, and rebuilt from what was published."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from typing import Any

from merklelog.errors import DamagedError
from merklelog.formats import Checkpoint
from merklelog.formats.bundle import parse_bundle
from merklelog.protocol.publication import TreeHead
from merklelog.publish.encoding import BundleEncoding, decompress
from merklelog.publish.layout import staging_key
from merklelog.publish.pointer import read_head
from merklelog.publish.staging import parse_staging
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.tree import Hash, TreeSize, leaf_hashes, width_at
from merklelog.tree.prove import root_hash
from merklelog.tree.tile_hashes import TileHashes


def _memory_log() -> Any:
    name = (
        "publish_tests_memory_log"  # as tests/publish/conftest.py calls it: one module, however it is found
    )
    if name not in sys.modules:
        path = Path(__file__).parent.parent / "publish" / "memory_log.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


memory_log = _memory_log()
ORIGIN, KEY, STRANGER, signed = memory_log.ORIGIN, memory_log.KEY, memory_log.STRANGER, memory_log.signed
entry = memory_log.entry


class Told:
    """What any disk of one log ever signed, and which entries each root stands for."""

    def __init__(self) -> None:
        self.signed: list[TreeHead] = []
        self.entries: dict[Hash, tuple[str, ...]] = {root_hash(0, TileHashes(0, lambda _: b"")): ()}


class DiskLog:
    """A PublishedLog whose disk is this object."""

    origin = ORIGIN

    def __init__(self, told: Told | None = None, keys: tuple[Any, ...] = (KEY,)) -> None:
        self.told = Told() if told is None else told
        self.tree = memory_log.MemoryLog(keys=keys)
        self.notes: dict[int, bytes] = {}
        self.last_shown: TreeHead | None = None
        self.last_epoch = 0

    @property
    def verifiers(self) -> tuple[Any, ...]:
        return self.tree.vkeys

    @property
    def entries(self) -> list[bytes]:
        return self.tree.entries

    def copy(self) -> DiskLog:
        """Another disk with the same bytes."""
        made = DiskLog(self.told, self.tree.keys)
        made.tree.entries = list(self.tree.entries)
        made.tree.levels = [bytearray(level) for level in self.tree.levels]
        made.notes, made.last_shown, made.last_epoch = dict(self.notes), self.last_shown, self.last_epoch
        return made

    def grow(self, count: int, salt: bytes = b"") -> DiskLog:
        """Append so many entries."""
        first = self.tree.size
        return self.append([entry(index, salt) for index in range(first, first + count)])

    def append(self, entries: list[bytes]) -> DiskLog:
        self.tree.append(entries)
        self.told.entries[self.integrated().root] = tuple(data.decode() for data in self.entries)
        return self

    def root_at(self, size: int) -> Hash:
        if size > self.tree.size:
            raise DamagedError(f"the tree has {self.tree.size} entries, not {size}")
        fetch = lambda tile: self.tree.tile(tile.level, tile.index, width_at(tile.level, tile.index, size))  # noqa: E731
        return root_hash(size, TileHashes(size, fetch))

    # --- PublishedLog

    def integrated(self) -> TreeHead:
        return TreeHead(self.tree.size, self.root_at(self.tree.size))

    def tiles(self) -> Any:
        return self.tree

    def epoch(self) -> int:
        return self.last_epoch

    def signed(self, size: int) -> bytes | None:
        return self.notes.get(size)

    def shown(self) -> TreeHead | None:
        return self.last_shown

    def sign(self, head: TreeHead) -> bytes:
        if self.root_at(head.size) != head.root:
            raise DamagedError(f"asked to sign {head}, which is not of this tree")
        if head.size not in self.notes:
            checkpoint = Checkpoint(self.origin, TreeSize(head.size), head.root)
            self.notes[head.size] = signed(checkpoint, self.tree.keys)
            self.told.signed.append(head)
            self.told.entries.setdefault(
                head.root, tuple(data.decode() for data in self.entries[: head.size])
            )
        return self.notes[head.size]

    def record_epoch(self, epoch: int, head: TreeHead) -> None:
        assert epoch >= self.last_epoch
        self.last_epoch = epoch

    def record_witnessed(self, head: TreeHead, note: bytes) -> None:
        """See PublishedLog: nobody is asked here."""

    def record_shown(self, head: TreeHead, note: bytes) -> None:
        assert self.last_shown is None or self.last_shown.size <= head.size
        self.last_shown = head


def recovered(store: Any, told: Told, keys: tuple[Any, ...] = (KEY,)) -> DiskLog:
    """A disk rebuilt from what a target holds: staging first, as `head` names it, then every bundle."""
    found, manifest = read_head(store), read_manifest(store)
    assert found is not None
    assert manifest is not None
    size, root = found.head.tree
    staged = {}
    if store.stat(staging_key(size, root)) is not None:
        staged = dict(parse_staging(store.get(staging_key(size, root)).data).objects)
    stored = StoredTiles(store, manifest.bundles)
    log = DiskLog(told, keys)
    for start in range(0, size, 256):
        width = min(256, size - start)
        path = f"tile/entries/{memory_log.Tile(-1, start // 256, width).path.removeprefix('tile/entries/')}"
        if path in staged:
            data = staged[path]
            data = decompress(data, 1 << 30) if manifest.bundles is BundleEncoding.GZIP else data
        else:
            data = stored.bundle(start // 256, width)
        log.tree.append(parse_bundle(data, width))
    assert log.integrated() == found.head.tree, "what was recovered is not what head names"
    assert len(leaf_hashes(log.entries)) == size
    told.entries[root] = tuple(data.decode() for data in log.entries)
    return log


def fresh_copy(value: Any) -> Any:
    """A deep copy, for what a test compares with later."""
    return copy.deepcopy(value)
