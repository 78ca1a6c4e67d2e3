"""The newest head of a log, and the keys that sign it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from merklelog.errors import DamagedError, FormatError, RangeError, SignatureError
from merklelog.formats import (
    Checkpoint,
    Note,
    SigningKey,
    VerifierKey,
    format_checkpoint_text,
    format_note,
    parse_checkpoint,
    sign_checkpoint,
    verify_note,
)
from merklelog.store import StoreReader
from merklelog.tree import TILE_HEIGHT, Frontier, Hash, TreeSize


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head as readers see it: size, root, the signed note, and the tree's right edge at that size."""

    size: TreeSize
    root: Hash
    note: bytes
    partials: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Signers:
    """The log's private keys: Ed25519 for every commit, ML-DSA-44 as well for what is kept and published."""

    origin: str
    ed25519: SigningKey
    mldsa44: SigningKey

    def sign(self, size: int, root: Hash, *, both: bool) -> bytes:
        """A signed checkpoint note, Ed25519 first."""
        checkpoint = Checkpoint(self.origin, TreeSize(size), root)
        keys = (self.ed25519, self.mldsa44) if both else (self.ed25519,)
        text = format_checkpoint_text(checkpoint)
        return format_note(Note(text, tuple(sign_checkpoint(checkpoint, key) for key in keys)))


def read_head(
    store: StoreReader, origin: str, keys: tuple[VerifierKey, ...], where: str
) -> tuple[Head, Frontier]:
    """The store's newest head, proven: signed by the log's own keys, and the root of the stored right edge.

    Raises DamagedError naming `where` when the signature, the edge and the root do not belong together.
    """
    note = store.newest()
    if note is None:
        raise DamagedError(
            f"{where}: the database holds no checkpoint, and one was signed when the log was made"
        )
    try:
        signed = parse_checkpoint(note)
        verify_note(signed.note, keys)
    except (FormatError, SignatureError) as error:
        raise DamagedError(f"{where}: the newest checkpoint is not signed by this log: {error}") from error
    checkpoint = signed.checkpoint
    if checkpoint.origin != origin:
        raise DamagedError(f"{where}: the newest checkpoint is of {checkpoint.origin!r}, want {origin!r}")
    frontier = load_frontier(store, checkpoint.size, where)
    root = frontier.root()
    if root != checkpoint.root:
        raise DamagedError(
            f"{where}: the stored tree of size {checkpoint.size} has root {root.hex()}, "
            f"its checkpoint says {checkpoint.root.hex()}"
        )
    return Head(checkpoint.size, checkpoint.root, note, frontier.partials()), frontier


def load_frontier(store: StoreReader, size: int, where: str) -> Frontier:
    """The right edge at the store's newest size."""
    levels = (max(size, 1).bit_length() - 1) // TILE_HEIGHT + 1
    partials = [store.edge(level, size >> (TILE_HEIGHT * (level + 1))) for level in range(levels)]
    try:
        return Frontier(size, partials)
    except ValueError as error:
        raise DamagedError(f"{where}: the right edge of the stored tree is damaged: {error}") from error


HeadReader = Callable[[], Head]


def check_size(size: int | None, head: Head) -> int:
    """A tree size to prove in: the newest, or one that exists. Raises RangeError."""
    if size is None:
        return head.size
    if not 0 <= size <= head.size:
        raise RangeError(f"size {size}: the tree has {head.size} entries")
    return size


__all__ = ["Head", "HeadReader", "Signers", "check_size", "load_frontier", "read_head"]
