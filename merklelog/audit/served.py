"""The tlog-tiles paths of an HTTP server, as an audit reads them: this project's server or any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from merklelog.audit.report import Findings
from merklelog.audit.rows import first_witnessed
from merklelog.audit.trust import AuditedHead
from merklelog.client.access import Access
from merklelog.client.http_source import HttpObjects
from merklelog.errors import MerklelogError
from merklelog.formats import VerifierKey
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.publish.layout import CHECKPOINT_KEY, checkpoint_key
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.tree import TILE_WIDTH, Tile


class HttpRows:
    """A log below a URL. A server has no list of what it keeps, so only what is asked for by name is audited."""

    origin: str | None = None
    keys: tuple[VerifierKey, ...] = ()
    receipt_key: VerifierKey | None = None
    pinned: Mapping[str, str] = MappingProxyType({})

    def __init__(self, target: str, access: Access) -> None:
        """Nothing is asked yet. Raises UsageError."""
        self._objects = HttpObjects(target, access)
        self._tiles: StoredTiles | None = None

    # --- checkpoints -------------------------------------------------------------------------------------------

    def newest(self) -> bytes:
        """See AuditRows.newest."""
        return self._objects.get(CHECKPOINT_KEY, limit=MAX_NOTE_BYTES).data

    def kept(self, size: int) -> bytes:
        """See AuditRows.kept."""
        return self._objects.get(checkpoint_key(size), limit=MAX_NOTE_BYTES).data

    def witnessed(self, size: int | None) -> tuple[str, bytes] | None:
        """See AuditRows.witnessed."""
        return first_witnessed(self._objects, size)

    def kept_sizes(self, findings: Findings) -> Iterator[int]:  # noqa: ARG002  the seam's signature
        """See AuditRows.kept_sizes: none can be listed."""
        return iter(())

    def newest_kept(self, limit: int) -> list[int]:  # noqa: ARG002  the seam's signature
        """See AuditRows.newest_kept: none can be listed."""
        return []

    # --- the tree ----------------------------------------------------------------------------------------------

    def bundles(self, first: int, last: int) -> Iterator[bytes | MerklelogError]:
        """See AuditRows.bundles."""
        for index in range(first, last):
            found: bytes | MerklelogError
            try:
                found = self._stored().bundle(index)
            except MerklelogError as error:
                found = error
            yield found

    def bundle(self, index: int, width: int) -> bytes:
        """See AuditRows.bundle."""
        return self._stored().bundle(index, width)

    def tile(self, level: int, index: int, width: int) -> bytes:
        """See AuditRows.tile."""
        return self._stored().tile(level, index, width)

    def nodes(self, level: int, index: int) -> bytes | None:  # noqa: ARG002  a server shows tiles alone
        """See AuditRows.nodes."""
        return None

    def _stored(self) -> StoredTiles:
        if self._tiles is None:
            manifest = read_manifest(self._objects)
            self._tiles = StoredTiles(self._objects, manifest.bundles if manifest else None)
        return self._tiles

    # --- what else there is ------------------------------------------------------------------------------------

    def check_beside(self, first: int, last: int, findings: Findings) -> None:
        """See AuditRows.check_beside: there is nothing beside the tree."""

    def check_rest(
        self,
        head: AuditedHead,  # noqa: ARG002  the seam's
        findings: Findings,  # noqa: ARG002  as above
        beat: Callable[[], None],  # noqa: ARG002  as above
    ) -> list[str]:
        """See AuditRows.check_rest: says what an audit over a network can not do."""
        return [
            f"{self._objects.location}: a server lists nothing, so earlier checkpoints were not compared",
        ]

    # --- names -------------------------------------------------------------------------------------------------

    def place(self, tile: Tile) -> str:
        """See AuditRows.place."""
        return f"{self._objects.location}/{tile.path}"

    def place_of_reading(self, tile: Tile) -> str:
        """See AuditRows.place_of_reading."""
        return self.place(tile)

    def place_of_nodes(self, level: int, index: int) -> str:
        """See AuditRows.place_of_nodes."""
        return self.place(Tile(level, index, TILE_WIDTH))

    def place_of_checkpoint(self, size: int | None) -> str:
        """See AuditRows.place_of_checkpoint."""
        return f"{self._objects.location}/{CHECKPOINT_KEY if size is None else checkpoint_key(size)}"

    def close(self) -> None:
        """See AuditRows.close."""
        self._objects.close()
