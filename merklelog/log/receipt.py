"""What an append gives back: the index, and on demand the proof that leads to a signed checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, overload

from merklelog.formats import ProofFile, format_proof
from merklelog.tree import Hash, LeafIndex, TreeSize


class ProofSource(Protocol):
    """Where a receipt gets its proof when asked for it."""

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:
        """The inclusion proof of an entry in the tree of this size."""
        ...


class Receipt:
    """One durable entry: `index`, `leaf_hash`, and the checkpoint over `size` entries that covers it.

    The proof is built when it is first asked for (also after the log was closed: it is read from its directory),
    so that an append that nobody asks a proof of pays for none.
    """

    __slots__ = ("_proof", "_source", "checkpoint", "index", "leaf_hash", "size")

    def __init__(
        self, source: ProofSource, index: int, leaf_hash: Hash, size: int, checkpoint: bytes
    ) -> None:
        self._source = source
        self._proof: list[Hash] | None = None
        self.index = LeafIndex(index)
        self.leaf_hash = leaf_hash
        self.size = TreeSize(size)
        self.checkpoint = checkpoint

    def __repr__(self) -> str:
        return f"Receipt(index={self.index}, leaf_hash={self.leaf_hash.hex()}, size={self.size})"

    @property
    def proof(self) -> list[Hash]:
        """The inclusion proof of this entry in the tree of `size` entries (RFC 6962 section 2.1.1)."""
        if self._proof is None:
            self._proof = self._source.inclusion_proof(self.index, self.size)
        return self._proof

    def to_bytes(self) -> bytes:
        """The proof file (c2sp.org/tlog-proof): everything a verifier needs but the entry and the log's key."""
        return format_proof(ProofFile(self.index, tuple(self.proof), self.checkpoint))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the proof file; gives its path back."""
        target = Path(path)
        target.write_bytes(self.to_bytes())
        return target


class BatchReceipt(Sequence[Receipt]):
    """The receipts of one batch, made as they are asked for; all lead to one checkpoint."""

    __slots__ = ("_hashes", "_indexes", "_source", "checkpoint", "size")

    def __init__(
        self, source: ProofSource, indexes: Sequence[int], hashes: list[Hash], size: int, checkpoint: bytes
    ) -> None:
        self._source = source
        self._indexes = indexes
        self._hashes = hashes
        self.size = TreeSize(size)
        self.checkpoint = checkpoint

    @property
    def indexes(self) -> list[int]:
        """The index of each entry, in the batch's order."""
        return list(self._indexes)

    def __repr__(self) -> str:
        first = self._indexes[0] if self._hashes else None
        return f"BatchReceipt({len(self)} entries, first index {first}, size={self.size})"

    def __len__(self) -> int:
        return len(self._hashes)

    @overload
    def __getitem__(self, at: int) -> Receipt: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Receipt]: ...
    def __getitem__(self, at: int | slice) -> Receipt | Sequence[Receipt]:
        if isinstance(at, slice):
            return BatchReceipt(self._source, self._indexes[at], self._hashes[at], self.size, self.checkpoint)
        return Receipt(self._source, self._indexes[at], self._hashes[at], self.size, self.checkpoint)

    def __iter__(self) -> Iterator[Receipt]:
        for index, leaf in zip(self._indexes, self._hashes, strict=True):
            yield Receipt(self._source, index, leaf, self.size, self.checkpoint)
