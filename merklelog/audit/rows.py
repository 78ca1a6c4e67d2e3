"""What an audit reads: the rows of a data directory, or the files of a published copy, behind one Protocol.

Nothing that comes back is trusted, and nothing is passed over: what can not be read is an error of this project,
which the caller turns into a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from merklelog.audit.report import Findings
from merklelog.client import open_target
from merklelog.client.access import Access
from merklelog.client.source import pointer_of
from merklelog.client.targets import HTTP_SCHEMES, S3_SCHEMES, options_of, published_store, scheme_of
from merklelog.errors import MerklelogError, NotALogError
from merklelog.formats import VerifierKey
from merklelog.publish.layout import WITNESSED_KEY, cosigned_key
from merklelog.publish.objects import ObjectReads
from merklelog.tree import Tile

if TYPE_CHECKING:
    from merklelog.audit.trust import AuditedHead


class AuditRows(Protocol):
    """A log as it is stored. Methods raise DamagedError, NotFoundError and what else reading may end in."""

    @property
    def origin(self) -> str | None:
        """The origin that the checkpoints must have; None when the target does not say it apart from them."""

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The log's own verifier keys, where the target has them besides its checkpoints."""

    @property
    def receipt_key(self) -> VerifierKey | None:
        """The log's receipt key, where its newest head may be a receipt."""

    @property
    def pinned(self) -> Mapping[str, str]:
        """The versions of objects that are to be read, by key, where others were put over them."""

    def newest(self) -> bytes:
        """The newest checkpoint, a signed note; of a data directory with publish targets a receipt."""

    def kept(self, size: int) -> bytes:
        """The checkpoint kept under a size."""

    def witnessed(self, size: int | None) -> tuple[str, bytes] | None:
        """The newest checkpoint with its witnesses' cosignatures, behind its place, where it is kept apart;
        the one of `size` where there are several, which the caller holds against it.
        """

    def kept_sizes(self, findings: Findings) -> Iterator[int]:
        """All sizes a checkpoint is kept under, smallest first; what can not be listed becomes a finding."""

    def newest_kept(self, limit: int) -> list[int]:
        """The largest sizes a checkpoint is kept under, as far as they can be listed, largest first."""

    def bundles(self, first: int, last: int) -> Iterator[bytes | MerklelogError]:
        """The full bundles [first, last) in their order, uncompressed: each the bytes, or why there are none."""

    def bundle(self, index: int, width: int) -> bytes:
        """The first `width` entries of a bundle."""

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile; its length is right."""

    def nodes(self, level: int, index: int) -> bytes | None:
        """The inner hashes kept beside a full tile; None for a target that keeps none."""

    def check_beside(self, first: int, last: int, findings: Findings) -> None:
        """Check what is kept of the entries of the bundles [first, last) beside the tree."""

    def check_rest(self, head: AuditedHead, findings: Findings, beat: Callable[[], None]) -> list[str]:
        """Check what no entry and no tile of the tree under `head` accounts for; gives remarks.

        Where that takes its time `beat` is called every few milliseconds, or behind each file of a partition:
        others wait for who has called this.
        """

    def place(self, tile: Tile) -> str:
        """Where a tile or bundle stands, for a finding about its content."""

    def place_of_reading(self, tile: Tile) -> str:
        """Where it is read from, for a finding that it can not be."""

    def place_of_nodes(self, level: int, index: int) -> str:
        """Where the inner hashes of a full tile stand."""

    def place_of_checkpoint(self, size: int | None) -> str:
        """Where the checkpoint kept under a size stands; None: the newest one."""

    def close(self) -> None:
        """Give back what is held."""


def first_witnessed(reads: ObjectReads, size: int | None) -> tuple[str, bytes] | None:
    """See AuditRows.witnessed, of a published copy: each that was cosigned stays under its size."""
    keys = (WITNESSED_KEY,) if size is None else (cosigned_key(size), WITNESSED_KEY)
    for key in keys:
        if (note := pointer_of(reads, key)) is not None:
            return f"{reads.location}/{key}", note
    return None


def open_rows(
    target: str,
    findings: Findings,
    access: Access | None = None,
    *,
    pinned: Mapping[str, str] | None = None,
) -> AuditRows:
    """Open a target as an audit reads it; damage that does not stand in the way becomes a finding.

    `access` is how to get to a server or a bucket; a server is asked nothing yet. `pinned` is what the rows of the
    same target said of theirs, in another process.

    Raises UsageError for a kind of target that this version can not audit, NotALogError, FormatVersionError,
    ConfigError, DamagedError, UnreachableError, StorageError.
    """
    # Each kind brings in what it needs only when it is asked for.
    scheme = scheme_of(target)
    if target.startswith("dir:") or scheme in S3_SCHEMES:
        from merklelog.audit.files import FileReads
        from merklelog.audit.published import PublishedRows

        store = published_store(target, access)
        if scheme in S3_SCHEMES:
            parallel = options_of(access).parallel
            return PublishedRows(store, store, findings, pinned=pinned, parallel=parallel)
        return PublishedRows(store, FileReads(target.removeprefix("dir:"), store.location), findings)
    if scheme in HTTP_SCHEMES:
        from merklelog.audit.served import HttpRows

        return HttpRows(target, access or Access())
    if not target or "://" in target:
        open_target(target).close()  # says what is wrong with it
        raise NotALogError(
            f"target {target[:200]!r}: this version audits a PATH, dir:PATH, s3:// and servers"
        )
    from merklelog.audit.database import DatabaseRows

    try:
        return DatabaseRows(Path(target).absolute())
    except NotALogError:
        open_target(target).close()  # says what it is instead, where that can be told
        raise
