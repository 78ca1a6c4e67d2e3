"""What an append gives back: the index, and on demand the proof that leads to a signed note.

The note is a checkpoint, or for a log with publish targets a receipt note (formats.receipt) until the entry is
published: `upgrade` gives the same entry under the checkpoint that readers of the targets see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, overload

from merklelog.errors import UsageError
from merklelog.formats import ProofFile, format_proof
from merklelog.tree import Hash, LeafIndex, TreeSize


class ProofSource(Protocol):
    """Where a receipt gets its proof when asked for it."""

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:
        """The inclusion proof of an entry in the tree of this size."""
        ...


class Receipt:
    """One durable entry: `index`, `leaf_hash`, and the signed note over `size` entries that covers it.

    `note` is a checkpoint, and `epoch` None; or a receipt note of a log with targets, and `epoch` the one it was
    signed in: the entry is durable where the log is, and not published yet.

    The proof is built when it is first asked for (also after the log was closed: it is read from its directory),
    so that an append that nobody asks a proof of pays for none.
    """

    __slots__ = ("_proof", "_source", "_upgrade", "epoch", "index", "leaf_hash", "note", "size")

    def __init__(
        self,
        source: ProofSource,
        index: int,
        leaf_hash: Hash,
        size: int,
        note: bytes,
        *,
        epoch: int | None = None,
        upgrade: Upgrade | None = None,
    ) -> None:
        """`upgrade` waits for the entry's publication; None: nothing here can."""
        self._source = source
        self._proof: list[Hash] | None = None
        self._upgrade = upgrade
        self.index = LeafIndex(index)
        self.leaf_hash = leaf_hash
        self.size = TreeSize(size)
        self.note = note
        self.epoch = epoch

    def __repr__(self) -> str:
        epoch = "" if self.epoch is None else f", epoch={self.epoch}"
        return f"Receipt(index={self.index}, leaf_hash={self.leaf_hash.hex()}, size={self.size}{epoch})"

    @property
    def checkpoint(self) -> bytes:
        """The signed checkpoint it leads to. Raises UsageError for a receipt of what is not published yet."""
        if self.epoch is not None:
            raise UsageError(
                f"entry {self.index}: a receipt of epoch {self.epoch}; upgrade() gives its checkpoint"
            )
        return self.note

    @property
    def proof(self) -> list[Hash]:
        """The inclusion proof of this entry in the tree of `size` entries (RFC 6962 section 2.1.1)."""
        if self._proof is None:
            self._proof = self._source.inclusion_proof(self.index, self.size)
        return self._proof

    def to_bytes(self) -> bytes:
        """The proof file (c2sp.org/tlog-proof): everything a verifier needs but the entry and the log's key.

        That of a receipt note has the same layout, with the receipt note in the checkpoint's place: a verifier of
        proofs refuses it, and `merklelog receipt upgrade` makes a proof of it.
        """
        return format_proof(ProofFile(self.index, tuple(self.proof), self.note))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the proof file; gives its path back."""
        target = Path(path)
        target.write_bytes(self.to_bytes())
        return target

    def upgrade(self) -> Receipt:
        """The same entry under a published checkpoint, as soon as there is one; itself where that is so already.

        Raises LostError when the log lost the entry with its disk (append it again), ForkError with both notes
        for two histories, UnavailableError when it was not published in the time there is (it goes on and may be
        asked again), UsageError where nothing can look; and what reading from the log raises.
        """
        if self.epoch is None:
            return self
        if self._upgrade is None:
            raise UsageError(f"entry {self.index}: ask the client it is from: `client.upgrade(receipt)`")
        return self._upgrade(self)


Upgrade = Callable[[Receipt], Receipt]


class BatchReceipt(Sequence[Receipt]):
    """The receipts of one batch, made as they are asked for; all lead to one signed note: see Receipt."""

    __slots__ = ("_hashes", "_indexes", "_source", "_upgrade", "epoch", "note", "size")

    def __init__(
        self,
        source: ProofSource,
        indexes: Sequence[int],
        hashes: list[Hash],
        size: int,
        note: bytes,
        *,
        epoch: int | None = None,
        upgrade: Upgrade | None = None,
    ) -> None:
        self._source = source
        self._indexes = indexes
        self._hashes = hashes
        self._upgrade = upgrade
        self.size = TreeSize(size)
        self.note = note
        self.epoch = epoch

    @property
    def indexes(self) -> list[int]:
        """The index of each entry, in the batch's order."""
        return list(self._indexes)

    @property
    def checkpoint(self) -> bytes:
        """See Receipt."""
        if self.epoch is not None:
            raise UsageError(f"a batch of epoch {self.epoch} is not published yet; upgrade() its receipts")
        return self.note

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
            return BatchReceipt(
                self._source,
                self._indexes[at],
                self._hashes[at],
                self.size,
                self.note,
                epoch=self.epoch,
                upgrade=self._upgrade,
            )
        return self._one(self._indexes[at], self._hashes[at])

    def __iter__(self) -> Iterator[Receipt]:
        for index, leaf in zip(self._indexes, self._hashes, strict=True):
            yield self._one(index, leaf)

    def _one(self, index: int, leaf: Hash) -> Receipt:
        return Receipt(
            self._source, index, leaf, self.size, self.note, epoch=self.epoch, upgrade=self._upgrade
        )
