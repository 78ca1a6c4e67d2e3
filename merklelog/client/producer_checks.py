"""Holding a log to what it answered: after each answer the tree it signed must have these very leaves.

A producer that is alone with its log needs no proof: it knows the peaks of the tree it verified last, adds its own
leaf hashes and must come to the root that was signed. Where others append too, one range proof shows all of its
entries, and one consistency proof that the new tree extends the last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from merklelog.client.trust import Trust, trusted_head
from merklelog.errors import ForkError, ProofError, StaleError
from merklelog.log.receipt import BatchReceipt
from merklelog.protocol.advance import TrustedHead
from merklelog.tree import (
    CompactRange,
    Hash,
    verify_consistency,
    verify_inclusion,
    verify_range,
)

from .producer_batch import Batch
from .producer_transport import Answer, Proofs

_KEEP_SECONDS: Final = 1.0

# Runs a question to the log from any thread and gives its answer.
Ask = Callable[[Callable[[Proofs], Coroutine[Any, Any, Any]]], Any]


class Answered(NamedTuple):
    """A batch, and what the log says of it."""

    batch: Batch
    answer: Answer


@dataclass(slots=True)
class _Run:
    """Entries of one or more batches that the log says stand side by side."""

    start: int
    hashes: list[Hash] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.hashes)


class Checker:
    """Verifies answers, in the order they were given, against a trust that only advances.

    The trust's own head is moved at most once a second, and by `keep`: where it is a file, that costs a sync.
    """

    def __init__(self, trust: Trust, proofs: Proofs, ask: Ask) -> None:
        self._trust = trust
        self._proofs = proofs
        self._ask = ask
        self._kept = trust.head
        self._head = trust.head  # verified to extend `_kept`
        self._tree: CompactRange | None = (
            None if self._head is not None and self._head.size else CompactRange()
        )
        self._keep_at = 0.0

    @property
    def head(self) -> TrustedHead | None:
        """The newest head that was verified."""
        return self._head

    async def check(self, group: Sequence[Answered]) -> list[BatchReceipt]:
        """The receipts of these batches, all under the newest of the signed notes that came with them.

        Raises VerificationError and FormatError where the log is disproven; what the proofs raise where it could
        not be told, and then it may be asked again.
        """
        newest = max((each.answer for each in group), key=lambda answer: answer.size)
        head = trusted_head(self._trust.verify(newest.note))
        if head.size != newest.size:
            raise ProofError(f"answer: got a checkpoint of size {head.size}, want {newest.size}")
        if self._head is not None and head.size < self._head.size:
            raise StaleError(f"the log answers with size {head.size}; {self._head.size} was verified already")
        runs, scattered = _arranged(group, head.size)
        tree, extends = await self._place(runs, head)
        await self._find(scattered, head)
        if not extends:
            await self._extend(self._head, head)
        self._head, self._tree = head, tree
        if time.monotonic() >= self._keep_at:
            await self.keep()
        return [self._receipts(batch, answer, head) for batch, answer in group]

    async def keep(self) -> None:
        """Move the trust's head to the newest one; where another was quicker, prove that both are one history."""
        self._keep_at = time.monotonic() + _KEEP_SECONDS
        head = self._head
        if head is None or head is self._kept:
            return
        proven = [] if self._kept is None else [self._kept]
        while (other := self._trust.settle(head, proven)) is not None:
            await self._extend(*sorted((other, head), key=lambda each: each.size))
            proven.append(other)
        self._kept = self._trust.head
        if self._kept is not None and self._kept.size > head.size:
            self._head, self._tree = self._kept, None

    async def _place(self, runs: list[_Run], head: TrustedHead) -> tuple[CompactRange | None, bool]:
        """Verify that every run stands where the log says; gives the tree's peaks, and whether they were seen to
        extend the last tree.
        """
        held = self._tree
        tree: CompactRange | None = None
        extends = False
        known = held is not None and len(runs) == 1 and (runs[0].start, runs[0].end) == (held.end, head.size)
        for run in runs:
            if known and held is not None:
                proof: Sequence[Hash] = held.hashes
            else:
                proof = await self._proofs.range_proof(run.start, run.end, head.size)
            tree = verify_range(run.hashes, run.start, head.size, proof, head.root)
            # The proof begins with the peaks of the tree before the run (`tree.tree_from_range`).
            if held is not None and run.start == held.end:
                extends = extends or tuple(proof[: run.start.bit_count()]) == held.hashes
        return tree, extends

    async def _find(self, scattered: list[Answered], head: TrustedHead) -> None:
        """Verify entries that do not stand side by side: repeats in a log that dedupes."""
        for batch, answer in scattered:
            proofs = await self._proofs.inclusion_proofs(answer.indexes, head.size)
            if len(proofs) != len(answer.indexes):
                raise ProofError(f"proofs: got {len(proofs)}, want {len(answer.indexes)}")
            for leaf, index, proof in zip(batch.hashes, answer.indexes, proofs, strict=True):
                verify_inclusion(leaf, index, head.size, proof, head.root)

    async def _extend(self, old: TrustedHead | None, new: TrustedHead) -> None:
        """Demand that the new head's tree begins with the old one's."""
        if old is None or old.size == 0:
            return
        proof: Sequence[Hash] = ()
        if new.size > old.size:
            proof = await self._proofs.consistency_proof(old.size, new.size)
        try:
            verify_consistency(old.size, new.size, old.root, new.root, proof)
        except ProofError as error:
            raise ForkError(f"two histories of one log: {error}", old.note, new.note) from error

    def _receipts(self, batch: Batch, answer: Answer, head: TrustedHead) -> BatchReceipt:
        source = _ProofsOnDemand(self._ask, answer.indexes, batch.hashes, head.root)
        return BatchReceipt(source, answer.indexes, batch.hashes, head.size, head.note)


class _ProofsOnDemand:
    """The inclusion proofs of one batch's entries, asked for one at a time and verified."""

    __slots__ = ("_ask", "_hashes", "_indexes", "_root")

    def __init__(self, ask: Ask, indexes: Sequence[int], hashes: list[Hash], root: Hash) -> None:
        self._ask = ask
        self._indexes = indexes
        self._hashes = hashes
        self._root = root

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:
        """The verified proof. Raises ProofError, and what the transport raises."""
        tree_size = size or 0
        found = self._ask(lambda proofs: proofs.inclusion_proofs([index], tree_size))
        if len(found) != 1:
            raise ProofError(f"proofs: got {len(found)}, want 1")
        proof = list(found[0])
        leaf = self._hashes[self._indexes.index(index)]
        verify_inclusion(leaf, index, tree_size, proof, self._root)
        return proof


def _arranged(group: Sequence[Answered], size: int) -> tuple[list[_Run], list[Answered]]:
    """The batches as runs of neighbours, and those whose entries are not neighbours. Raises ProofError."""
    runs: list[_Run] = []
    scattered: list[Answered] = []
    for each in group:
        batch, answer = each
        if len(answer.indexes) != len(batch.hashes):
            raise ProofError(f"answer: got {len(answer.indexes)} indexes, want {len(batch.hashes)}")
        if max(answer.indexes) >= size:
            raise ProofError(f"answer: got index {max(answer.indexes)}, want less than the tree size {size}")
        if not isinstance(answer.indexes, range):
            scattered.append(each)
            continue
        if not runs or runs[-1].end != answer.indexes.start:
            runs.append(_Run(answer.indexes.start))
        runs[-1].hashes += batch.hashes
    return runs, scattered
