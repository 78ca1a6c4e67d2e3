"""What a client does, step by step, without doing it: generators that say what to ask next and judge the answers.

A driver carries the steps out, one for threads and one for tasks (`drive`), so that there is one logic for both.
Here every answer is held against a checkpoint that meets the policy, and every checkpoint against the newest one
that was ever verified.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from merklelog.client.heads import VerifiedHead
from merklelog.client.reads import Consistency
from merklelog.client.receipts import RangeProofs, SingleProofs, tree_before, tree_before_range
from merklelog.client.retry import Attempts, Retry
from merklelog.client.transport import Appended, Batch, Included, Stretch
from merklelog.client.trust import Trust, trusted_head
from merklelog.errors import (
    ForbiddenError,
    ForkError,
    FormatError,
    MerklelogError,
    NotFoundError,
    ProofError,
    RangeError,
    StaleError,
    UnauthenticatedError,
    UsageError,
    VerificationError,
)
from merklelog.formats.proof import ProofFile, format_proof
from merklelog.log import BatchReceipt, Receipt
from merklelog.protocol.advance import TrustedHead
from merklelog.tree.hashing import Hash, leaf_hash, leaf_hashes
from merklelog.tree.verify import verify_consistency, verify_inclusion, verify_range

Result = TypeVar("Result")
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Ask:
    """Call this method of the transport, `seconds` behind these arguments; send its answer or its error in."""

    method: str
    arguments: tuple[Any, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Local:
    """Call this, which may wait for this machine's disk; send in what it gives."""

    call: Callable[[], Any]


Step = Ask | Sleep | Local
Steps = Generator[Step, Any, Result]
Once = Callable[[Attempts], Steps[Result]]


class Logic:
    """The steps of every operation of a client that believes `trust`."""

    def __init__(self, trust: Trust, retry: Retry, target: str = "") -> None:
        """`target` is how messages call the log."""
        self.trust = trust
        self._retry = retry
        self._where = f"{target}: " if target else ""

    def _retried(self, once: Once[Result]) -> Steps[Result]:
        attempts = Attempts(self._retry)
        while True:
            try:
                return (yield from once(attempts))
            except MerklelogError as error:
                pause = attempts.pause(error)
            yield Sleep(pause)

    def _verified(self, note: bytes) -> VerifiedHead:
        """See Trust.verify; the errors say where the note is from."""
        try:
            return self.trust.verify(note)
        except (FormatError, VerificationError) as error:
            raise type(error)(f"{self._where}{error}") from error

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint(self, size: int | None = None) -> Steps[VerifiedHead]:
        """The newest checkpoint, or the stored one of a size, of one history with all that was verified before."""
        return self._retried(lambda attempts: self._checkpoint(size, attempts))

    def grown(self, size: int, wait: float) -> Steps[TrustedHead]:
        """A head larger than `size`, or the newest after about `wait` seconds."""

        def once(attempts: Attempts) -> Steps[TrustedHead]:
            return (yield from self._grown(size, min(wait, attempts.seconds), attempts))

        return self._retried(once)

    def _checkpoint(self, size: int | None, attempts: Attempts) -> Steps[VerifiedHead]:
        before = self.trust.head
        note: bytes = yield Ask("checkpoint", (size,), attempts.seconds)
        head = self._verified(note)
        if size is not None and head.checkpoint.size != size:
            raise ProofError(f"checkpoint of size {size}: got one of size {head.checkpoint.size}")
        if size is None:
            _refuse_older(head, before)
        yield from self._learn(trusted_head(head), (), attempts)
        return head

    def _grown(self, size: int, wait: float, attempts: Attempts) -> Steps[TrustedHead]:
        before = self.trust.head
        note: bytes = yield Ask("grown", (size,), wait)
        head = self._verified(note)
        _refuse_older(head, before)
        new = trusted_head(head)
        yield from self._learn(new, (), attempts)
        return new

    def _learn(self, new: TrustedHead, proven: Sequence[TrustedHead], attempts: Attempts) -> Steps[None]:
        """Trust a verified head once it is proven to be of one history with all there is."""
        compared = list(proven)
        while (other := (yield Local(lambda: self.trust.settle(new, compared)))) is not None:
            old, larger = sorted((other, new), key=lambda head: head.size)
            yield from self._compare(old, larger, attempts)
            compared.append(other)

    def _compare(self, old: TrustedHead, new: TrustedHead, attempts: Attempts) -> Steps[tuple[Hash, ...]]:
        """The proof that `old` begins `new`, verified. Raises ForkError with both when it certainly does not."""
        if old.size == new.size and old.root != new.root:
            raise _fork(old, new, f"two roots for size {new.size}")
        if old.size in (0, new.size):
            return ()
        arguments = (old.size, new.size, new.root)
        try:
            proof: tuple[Hash, ...] = yield Ask("consistency", arguments, attempts.seconds)
        except (UsageError, NotFoundError) as error:
            # We asked for what any honest log has that showed both checkpoints.
            raise StaleError(f"no proof from size {old.size} to {new.size} is to be had: {error}") from error
        try:
            verify_consistency(old.size, new.size, old.root, new.root, proof)
        except ProofError as error:
            yield from self._accuse(old, new, error, attempts)
            raise
        return proof

    def _accuse(
        self, old: TrustedHead, new: TrustedHead, fault: ProofError, attempts: Attempts
    ) -> Steps[None]:
        """Whether a wrong consistency proof hides a fork, which takes more: that the new tree begins otherwise.

        The inclusion proof of leaf `old.size` leads to the new root or does not, and if it does, the root of all
        before that leaf comes out of it. Raises ForkError when that is not the old one.
        """
        try:
            found: list[Included] = yield Ask(
                "inclusions", ((old.size,), new.size, new.root), attempts.seconds
            )
            proof = found[0].proof
            verify_inclusion(found[0].leaf, old.size, new.size, proof, new.root)
        except (VerificationError, UsageError, NotFoundError, IndexError):
            raise fault from None
        if tree_before(old.size, new.size, proof) != old.root:
            raise _fork(old, new, str(fault)) from fault

    def _extends(self, size: int, root: Hash, new: TrustedHead) -> tuple[TrustedHead, ...]:
        """The trusted head when it is the tree of `size` under `root`, out of which `new` was proven to grow."""
        known = self.trust.head
        if known is None or known.size != size:
            return ()
        if known.root != root:
            raise _fork(known, new, f"the tree of size {new.size} does not begin with that of size {size}")
        return (known,)

    def _covering(self, index: int, attempts: Attempts) -> Steps[TrustedHead]:
        """A trusted head whose tree has this entry. Raises RangeError when the newest one has not."""
        head = self.trust.head
        if head is None or head.size <= index:
            head = trusted_head((yield from self._checkpoint(None, attempts)))
        if not 0 <= index < head.size:
            raise RangeError(f"entry {index}: the log has {head.size} entries, the first is 0")
        return head

    def _head(self, index: int, size: int | None, attempts: Attempts) -> Steps[TrustedHead]:
        if size is None:
            return (yield from self._covering(index, attempts))
        head = trusted_head((yield from self._checkpoint(size, attempts)))
        if not 0 <= index < size:
            raise RangeError(f"entry {index}: the tree of size {size} has none; the first is 0")
        return head

    # --- reads -------------------------------------------------------------------------------------------------

    def prove(self, index: int, size: int | None = None) -> Steps[bytes]:
        """A tlog-proof file for an entry."""

        def once(attempts: Attempts) -> Steps[bytes]:
            head = yield from self._head(index, size, attempts)
            found = yield from self._included((index,), head, attempts)
            return format_proof(ProofFile(index, found[0].proof, head.note))

        return self._retried(once)

    def _included(
        self, indexes: Sequence[int], head: TrustedHead, attempts: Attempts
    ) -> Steps[list[Included]]:
        found: list[Included] = yield Ask("inclusions", (indexes, head.size, head.root), attempts.seconds)
        if len(found) != len(indexes):
            raise ProofError(f"inclusion proofs: got {len(found)}, want {len(indexes)}")
        for index, each in zip(indexes, found, strict=True):
            verify_inclusion(each.leaf, index, head.size, each.proof, head.root)
        return found

    def entries(self, start: int, end: int | None, head: TrustedHead | None) -> Steps[list[bytes]]:
        """The first entries of [start, end) under `head` (None: a trusted one that has `start`)."""

        def once(attempts: Attempts) -> Steps[list[bytes]]:
            under = head or (yield from self._covering(start, attempts))
            stop = under.size if end is None else min(end, under.size)
            asked = (start, stop, under.size, under.root)
            found: Stretch = yield Ask("entries", asked, attempts.seconds)
            if not 1 <= len(found.entries) <= stop - start:
                raise ProofError(f"entries {start}:{stop}: got {len(found.entries)} of them")
            verify_range(leaf_hashes(found.entries), start, under.size, found.proof, under.root)
            return found.entries

        return self._retried(once)

    def range_head(self, start: int, end: int | None, size: int | None) -> Steps[TrustedHead]:
        """The head that a range is read under. Raises RangeError for a range that its tree has not."""

        def once(attempts: Attempts) -> Steps[TrustedHead]:
            known = self.trust.head
            if size is None and end is not None and known is not None and 0 <= start <= end <= known.size:
                return known
            head = trusted_head((yield from self._checkpoint(size, attempts)))
            if not 0 <= start <= (head.size if end is None else end) <= head.size:
                raise RangeError(f"entries {start}:{'' if end is None else end}: the log has {head.size}")
            return head

        return self._retried(once)

    def consistency(self, old: int, new: int) -> Steps[Consistency]:
        """The verified proof between two stored checkpoints."""
        if not 0 <= old <= new:
            raise RangeError(f"consistency of sizes {old} and {new}: want 0 <= old <= new")

        def once(attempts: Attempts) -> Steps[Consistency]:
            first = yield from self._checkpoint(old, attempts)
            second = yield from self._checkpoint(new, attempts)
            proof = yield from self._compare(trusted_head(first), trusted_head(second), attempts)
            return Consistency(first, second, proof)

        return self._retried(once)

    # --- appends -----------------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> Steps[Receipt]:
        """One entry, durable and proven under a trusted head."""
        leaf = leaf_hash(batch.entries[0])

        def once(attempts: Attempts) -> Steps[Receipt]:
            answer = yield from _appended(batch, attempts)
            return (yield from _reading(answer.indexes, self._prove_append(leaf, answer, attempts)))

        return self._retried(once)

    def _prove_append(self, leaf: Hash, answer: Appended, attempts: Attempts) -> Steps[Receipt]:
        index = answer.indexes[0]
        if answer.note:
            new = trusted_head(self._verified(answer.note))
            proof = answer.proof or ()
        else:
            new = yield from self._grown(index, attempts.seconds, attempts)
            if new.size <= index:
                raise StaleError(f"entry {index} is stored, and the newest checkpoint has size {new.size}")
            proof = (yield from self._included((index,), new, attempts))[0].proof
        verify_inclusion(leaf, index, new.size, proof, new.root)
        before = self._extends(index, tree_before(index, new.size, proof), new)
        yield from self._learn(new, before, attempts)
        return Receipt(SingleProofs({index: proof}), index, leaf, new.size, new.note)

    def append_batch(self, batch: Batch) -> Steps[BatchReceipt]:
        """Entries together, all durable and proven under one trusted head."""
        leaves = leaf_hashes(batch.entries)

        def once(attempts: Attempts) -> Steps[BatchReceipt]:
            answer = yield from _appended(batch, attempts)
            new = trusted_head(self._verified(answer.note))
            proven = self._prove_batch(leaves, list(answer.indexes), new, attempts)
            return (yield from _reading(answer.indexes, proven))

        return self._retried(once)

    def append_each(self, entries: Sequence[bytes], key: bytes) -> Steps[BatchReceipt]:
        """Entries one after the other, for a log that takes them so only; proven together at the end."""
        leaves = leaf_hashes(entries)
        indexes = []
        for position, entry in enumerate(entries):
            batch = Batch((entry,), hashlib.sha256(b"%d\0%b" % (position, key)).hexdigest().encode("ascii"))
            answer = yield from self._retried(partial(_appended, batch))
            indexes.append(answer.indexes[0])

        def once(attempts: Attempts) -> Steps[BatchReceipt]:
            new = yield from self._grown(max(indexes), attempts.seconds, attempts)
            return (yield from self._prove_batch(leaves, indexes, new, attempts))

        return (yield from _reading(indexes, self._retried(once)))

    def _prove_batch(
        self, leaves: list[Hash], indexes: list[int], new: TrustedHead, attempts: Attempts
    ) -> Steps[BatchReceipt]:
        if max(indexes) >= new.size:
            raise ProofError(f"append: got index {max(indexes)} under a checkpoint of size {new.size}")
        start, end = indexes[0], indexes[0] + len(indexes)
        source: RangeProofs | SingleProofs
        before: tuple[TrustedHead, ...] = ()
        if indexes == list(range(start, end)):
            proof: tuple[Hash, ...] = yield Ask(
                "range_proof", (start, end, new.size, new.root), attempts.seconds
            )
            verify_range(leaves, start, new.size, proof, new.root)
            before = self._extends(start, tree_before_range(start, proof), new)
            source = RangeProofs(leaves, start, new.size, proof)
        else:
            found = yield from self._included(indexes, new, attempts)
            for index, leaf, each in zip(indexes, leaves, found, strict=True):
                if each.leaf != leaf:
                    raise ProofError(f"entry {index}: got leaf hash {each.leaf.hex()}, want {leaf.hex()}")
            source = SingleProofs({index: each.proof for index, each in zip(indexes, found, strict=True)})
        yield from self._learn(new, before, attempts)
        return BatchReceipt(source, indexes, leaves, new.size, new.note)


def _reading(indexes: Sequence[int], steps: Steps[Result]) -> Steps[Result]:
    """The proof of what was appended; says what is missing to a caller who may append and not read."""
    try:
        return (yield from steps)
    except (ForbiddenError, UnauthenticatedError) as error:
        text = f"stored from index {indexes[0]} on and not proven, which takes the scope read: {error}"
        raise type(error)(text) from error


def new_key() -> bytes:
    """An idempotency key that nobody else has: what makes it safe to send an append again."""
    return os.urandom(_KEY_BYTES).hex().encode("ascii")


def unverified(retry: Retry, size: int | None) -> Steps[bytes]:
    """A checkpoint as it comes, for who has no key to verify it with."""
    attempts = Attempts(retry)
    while True:
        try:
            note: bytes = yield Ask("checkpoint", (size,), attempts.seconds)
        except MerklelogError as error:
            pause = attempts.pause(error)
        else:
            return note
        yield Sleep(pause)


def _appended(batch: Batch, attempts: Attempts) -> Steps[Appended]:
    answer: Appended = yield Ask("append", (batch,), attempts.seconds)
    if len(answer.indexes) != len(batch.entries):
        raise ProofError(f"append: got {len(answer.indexes)} indexes for {len(batch.entries)} entries")
    return answer


def _refuse_older(head: VerifiedHead, before: TrustedHead | None) -> None:
    if before is not None and head.checkpoint.size < before.size:
        raise StaleError(f"checkpoint: got size {head.checkpoint.size}, trusted is {before.size}")


def _fork(old: TrustedHead, new: TrustedHead, why: str) -> ForkError:
    return ForkError(f"two histories of {old.origin!r}: {why}", old.note, new.note)


__all__ = ["Ask", "Local", "Logic", "Sleep", "Step", "Steps", "new_key", "unverified"]
