"""A published log and what may be wrong with it: the scenes that recovery is tested in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checker import check_log
from memory_log import MemoryLog

import merklelog
from merklelog.errors import NotFoundError
from merklelog.formats import SignatureType, SigningKey
from merklelog.log.head import Signers
from merklelog.log.recover import RecoveryReport, recover_log
from merklelog.protocol.publication import EpochHead, TreeHead
from merklelog.publish import publish_copy
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.layout import HEAD_KEY, encode_bundle, staging_key
from merklelog.publish.memory import MemoryStore
from merklelog.publish.pointer import format_head
from merklelog.publish.staging import format_staging
from merklelog.tree import EMPTY_ROOT, Hash, TileHashes, new_bundles, new_tiles, root_hash

ORIGIN = "recover.example/log"
SIGNERS = Signers(
    ORIGIN,
    SigningKey(ORIGIN, SignatureType.ED25519, b"\x01" * 32),
    SigningKey(ORIGIN, SignatureType.COSIGNATURE_MLDSA44, b"\x02" * 32),
)
VERIFIERS = (SIGNERS.ed25519.verifier, SIGNERS.mldsa44.verifier)
WRITER = "ab" * 16


class NamedStore(MemoryStore):
    """In memory, with the name of a directory: what a configuration takes for a target."""

    @property
    def location(self) -> str:
        return "dir:/memory/store"


class Scene:
    """A log in memory, its copy in `store`, and a place to recover it to."""

    def __init__(self, folder: Path, *sizes: int, encoding: str = "identity", salt: bytes = b"") -> None:
        self.path = folder / "recovered"
        self.store = NamedStore()
        self.encoding = encoding
        self.log = MemoryLog(ORIGIN, (SIGNERS.ed25519, SIGNERS.mldsa44))
        for size in sizes:
            self.log.grow(size, salt)
            publish_copy(self.log, self.store, verifiers=VERIFIERS, bundle_encoding=encoding)

    def root(self, size: int) -> Hash:
        if not size:
            return EMPTY_ROOT
        return root_hash(size, TileHashes(size, lambda tile: self.log.tile(*tile)))

    def head(self, size: int, *, epoch: int = 1, start: int = 0, root: Hash | None = None) -> EpochHead:
        """Make the copy a publish target whose `head` names that size."""
        head = EpochHead(epoch, start, size, root or self.root(size), WRITER)
        self.store.put(HEAD_KEY, format_head(head))
        return head

    def stage(self, old: int, size: int, *, origin: str = ORIGIN) -> dict[str, bytes]:
        """Put the staging object of a publication from `old` to `size`; gives what is in it."""
        encoding = BundleEncoding(self.encoding)
        objects: dict[str, bytes] = {}
        for bundle in new_bundles(old, size):
            objects[bundle.path] = encode_bundle(self.log.bundle(bundle.index, bundle.width), encoding)
        for tile in new_tiles(old, size):
            objects[tile.path] = self.log.tile(*tile)
        tree = TreeHead(size, self.root(size))
        lengths = [(key, len(data)) for key, data in objects.items()]
        self.store.put(staging_key(*tree), format_staging(origin, tree, lengths, list(objects.values())))
        return objects

    def recover(self, keys: Any = SIGNERS, **options: Any) -> RecoveryReport:
        settings = {"store.min_free_bytes": 0, **options.pop("settings", {})}
        try:
            self.store.get(HEAD_KEY)
        except NotFoundError:
            options.setdefault("static_copy", True)
        return recover_log(self.path, self.store, keys, settings=settings, parallel=2, **options)

    def check(self, report: RecoveryReport, size: int, kept: Sequence[int]) -> None:
        """The log is there, whole, and the one that was published."""
        assert (report.size, report.root) == (size, self.root(size))
        with merklelog.open_reader(self.path) as log:
            assert (log.size, log.root) == (size, self.root(size))
            check_log(log)
            assert list(log.entries(0, size)) == self.log.entries[:size]
            assert sorted(log.stored_sizes()) == sorted({*kept, size})
            for each in kept:
                assert log.checkpoint(each) == self.log.notes[each]
