"""A log with publish targets in memory, as a transport: epochs, receipts, publications, lost disks and lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from merklelog.client.transport import Appended, Batch, Epoch, Included, Stretch
from merklelog.errors import LevelError, NotFoundError, RangeError, UnavailableError, UsageError
from merklelog.formats import (
    Checkpoint,
    Note,
    SignatureType,
    format_checkpoint_text,
    format_note,
    generate_signing_key,
    sign_checkpoint,
)
from merklelog.formats.receipt import ReceiptNote, sign_receipt
from merklelog.tree import (
    Hash,
    NodeId,
    TreeSize,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    prove_range,
    root_hash,
)

ORIGIN = "memory.example/log"
KEY = generate_signing_key(ORIGIN, SignatureType.ED25519)
RECEIPT_KEY = generate_signing_key(f"{ORIGIN}/receipt", SignatureType.RECEIPT)
VKEYS = (KEY.verifier, RECEIPT_KEY.verifier)


def reader(leaves: Sequence[Hash]) -> Callable[[Sequence[NodeId]], list[Hash]]:
    """The hashes of a tree, by node."""

    def one_hash(node: NodeId) -> Hash:
        if node.height == 0:
            return leaves[node.index]
        return node_hash(
            one_hash(NodeId(node.height - 1, node.index * 2)),
            one_hash(NodeId(node.height - 1, node.index * 2 + 1)),
        )

    return lambda nodes: [one_hash(node) for node in nodes]


class TargetLog:
    """Entries, how many of them readers see, and the epoch. `waits` is called when somebody waits for more."""

    def __init__(self, entries: Sequence[bytes] = (), *, shown: int = 0, epoch: int = 1) -> None:
        self.log = list(entries)
        self.shown = shown
        self.number = epoch
        self.says: Epoch | None = None
        self.waits: Callable[[], object] = lambda: None
        self.keys: dict[bytes | None, list[int]] = {}
        self.appends = 0
        self.commits = [0, len(self.log)]  # sizes between appends
        self.receipt_key = RECEIPT_KEY
        self.targets = True

    # --- what happens to it --------------------------------------------------------------------------------------

    def publish(self, size: int | None = None) -> None:
        """Readers see this many."""
        self.shown = len(self.log) if size is None else size

    def restart(self) -> None:
        """A new epoch on the same disk."""
        self.number += 1

    def lose(self) -> None:
        """The disk is gone, and what was published brought back: keys are not."""
        del self.log[self.shown :]
        self.commits = [size for size in self.commits if size <= self.shown]
        self.keys.clear()
        self.restart()

    # --- what it signs -------------------------------------------------------------------------------------------

    @property
    def leaves(self) -> list[Hash]:
        return [leaf_hash(entry) for entry in self.log]

    def signed(self, size: int) -> bytes:
        """The checkpoint of a size."""
        checkpoint = Checkpoint(ORIGIN, TreeSize(size), self.root(size))
        return format_note(Note(format_checkpoint_text(checkpoint), (sign_checkpoint(checkpoint, KEY),)))

    def receipt(self, size: int) -> bytes:
        """The receipt note of a size, in this epoch."""
        note = ReceiptNote(ORIGIN, self.number, TreeSize(size), self.root(size), 1_700_000_000)
        return sign_receipt(note, self.receipt_key)

    def root(self, size: int) -> Hash:
        return root_hash(size, reader(self.leaves))

    # --- Transport -----------------------------------------------------------------------------------------------

    def checkpoint(self, size: int | None, seconds: float) -> bytes:
        if size is not None and size > self.shown:
            raise NotFoundError(f"checkpoint of size {size}")
        return self.signed(self.shown if size is None else size)

    def grown(self, size: int, seconds: float) -> bytes:
        if self.shown <= size:
            self.waits()
        return self.signed(self.shown)

    def inclusions(self, indexes: Sequence[int], size: int, root: Hash, seconds: float) -> list[Included]:
        read = reader(self.leaves)
        if size > len(self.log):
            raise RangeError(f"tree size {size}: the log has {len(self.log)}")
        return [Included(self.leaves[i], tuple(prove_inclusion(i, size, read))) for i in indexes]

    def range_proof(self, start: int, end: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        if size > len(self.log):
            raise RangeError(f"tree size {size}: the log has {len(self.log)}")
        return tuple(prove_range(start, end, size, reader(self.leaves)))

    def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        if size > len(self.log):
            raise RangeError(f"tree size {size}: the log has {len(self.log)}")
        return tuple(prove_consistency(old, size, reader(self.leaves)))

    def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        return Stretch(self.log[start:end], self.range_proof(start, end, size, root, seconds))

    def append(self, batch: Batch, seconds: float) -> Appended:
        self.appends += 1
        if batch.published and not self.targets:
            raise LevelError("the log has no publish targets")
        if batch.keys is not None:
            raise UsageError("one key a batch is all that this log takes")
        indexes = self.keys.get(batch.key)
        if indexes is None:
            start = len(self.log)
            self.log += batch.entries
            self.commits.append(len(self.log))
            indexes = self.keys[batch.key] = list(range(start, len(self.log)))
        size = len(self.log)
        proof = tuple(prove_inclusion(indexes[0], size, reader(self.leaves))) if len(indexes) == 1 else None
        if not self.targets:
            self.shown = size
            return Appended(indexes, self.signed(size), proof)
        if batch.published:
            before = self.number
            self.waits()
            if self.number != before:
                raise UnavailableError("the server went away")
            if self.shown > indexes[-1]:
                return Appended(indexes, self.signed(self.shown))
        return Appended(indexes, self.receipt(size), proof)

    def epoch(self, seconds: float) -> Epoch:
        return self.says or Epoch(self.number if self.targets else None, len(self.log))

    def close(self) -> None:
        return
