"""What a client does, step by step, without doing it: generators that say what to ask next and judge the answers.

A driver carries the steps out, one for threads and one for tasks (`drive`), so that there is one logic for both.
Here every answer is held against a checkpoint that meets the policy, and every checkpoint against the newest one
that was ever verified.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from merklelog.client.epochs import ReceiptHead
from merklelog.client.heads import VerifiedHead, refuse_fork
from merklelog.client.reads import Consistency
from merklelog.client.receipts import tree_before
from merklelog.client.retry import Attempts, Retry
from merklelog.client.transport import Epoch, Included, Stretch
from merklelog.client.trust import Trust, trusted_head
from merklelog.errors import (
    ForbiddenError,
    ForkError,
    FormatError,
    LevelError,
    MerklelogError,
    NotFoundError,
    PolicyUnmetError,
    ProofError,
    RangeError,
    StaleError,
    UnavailableError,
    UsageError,
    VerificationError,
)
from merklelog.formats.policy import QUORUM_NONE
from merklelog.formats.proof import ProofFile, format_proof
from merklelog.protocol.advance import TrustedHead
from merklelog.tree.hashing import Hash, leaf_hashes
from merklelog.tree.verify import verify_consistency, verify_inclusion, verify_range

Result = TypeVar("Result")
_KEY_BYTES = 16
_FOR_WITNESSES = 0.5  # seconds between two looks at a checkpoint that witnesses have yet to cosign


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

    def retried(self, once: Once[Result]) -> Steps[Result]:
        """Once, and again as long as that may help and there is time."""
        attempts = Attempts(self._retry)
        while True:
            try:
                return (yield from once(attempts))
            except MerklelogError as error:
                pause = attempts.pause(error)
            yield Sleep(pause)

    def verified(self, note: bytes) -> VerifiedHead:
        """See Trust.verify; the errors say where the note is from."""
        try:
            return self.trust.verify(note)
        except (FormatError, VerificationError) as error:
            raise type(error)(f"{self._where}{error}") from error

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint(self, size: int | None = None) -> Steps[VerifiedHead]:
        """The newest checkpoint, or the stored one of a size, of one history with all that was verified before."""
        return self.retried(lambda attempts: self._checkpoint(size, attempts))

    def grown(self, size: int, wait: float) -> Steps[TrustedHead]:
        """A head larger than `size`, or the newest after about `wait` seconds."""

        def once(attempts: Attempts) -> Steps[TrustedHead]:
            return (yield from self.newest_beyond(size, min(wait, attempts.seconds), attempts))

        return self.retried(once)

    def _checkpoint(self, size: int | None, attempts: Attempts) -> Steps[VerifiedHead]:
        before = self.trust.head
        note: bytes = yield Ask("checkpoint", (size,), attempts.seconds)
        head = yield from self._met(note, size, attempts)
        if size is not None and head.checkpoint.size != size:
            raise ProofError(f"checkpoint of size {size}: got one of size {head.checkpoint.size}")
        if size is None:
            _refuse_older(head, before)
        yield from self.learn(trusted_head(head), (), attempts)
        return head

    def _met(self, note: bytes, size: int | None, attempts: Attempts) -> Steps[VerifiedHead]:
        """The checkpoint, verified. One that lacks cosignatures of the policy's witnesses gives way to the newest
        that has them, where a log shows both (`witness.mode = continue`), and `size` is that one's or None.

        Raises as `verified`; ForkError where the log signed both, for one size; NotFoundError where none that is
        shown has its quorum: it may come.
        """
        try:
            return self.verified(note)
        except PolicyUnmetError as error:
            if self.trust.policy.quorum == QUORUM_NONE:
                raise
            unmet = error
        try:
            cosigned: bytes = yield Ask("witnessed", (), attempts.seconds)
            head = self._beside(note, cosigned)
        except (NotFoundError, LevelError, ForbiddenError, PolicyUnmetError):
            head = None  # none there, no such level, or who has none forbids it
        if head is None or size not in {None, head.checkpoint.size}:
            if size is not None:
                raise unmet
            raise NotFoundError(f"no checkpoint that is shown meets the policy: {unmet}") from unmet
        return head

    def _beside(self, note: bytes, cosigned: bytes) -> VerifiedHead | None:
        """The cosigned checkpoint that is shown beside `note`, verified."""
        head = self.verified(cosigned)
        refuse_fork(self.trust.policy, note, head)
        return head

    def newest_beyond(self, size: int, wait: float, attempts: Attempts) -> Steps[TrustedHead]:
        """See `grown`: one try."""
        before = self.trust.head
        note: bytes = yield Ask("grown", (size,), wait)
        try:
            head = yield from self._met(note, None, attempts)
        except NotFoundError as error:
            raise UnavailableError(
                str(error)
            ) from error  # who waits for a larger one waits for the quorum too
        _refuse_older(head, before)
        if head.note != note and head.checkpoint.size <= size:
            yield Sleep(min(wait, _FOR_WITNESSES))  # who comes back at once would be told the same
        new = trusted_head(head)
        yield from self.learn(new, (), attempts)
        return new

    def learn(self, new: TrustedHead, proven: Sequence[TrustedHead], attempts: Attempts) -> Steps[None]:
        """Trust a verified head once it is proven to be of one history with all there is."""
        compared = list(proven)
        while (other := (yield Local(lambda: self.trust.settle(new, compared)))) is not None:
            old, larger = sorted((other, new), key=lambda head: head.size)
            yield from self.compare(old, larger, attempts)
            compared.append(other)

    def compare(self, old: TrustedHead, new: TrustedHead, attempts: Attempts) -> Steps[tuple[Hash, ...]]:
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

    def begins(self, size: int, root: Hash, new: TrustedHead) -> tuple[TrustedHead, ...]:
        """The trusted head when it is the tree of `size` under `root`, out of which `new` was proven to grow."""
        return _begins(self.trust.head, size, root, new)

    # --- receipts ----------------------------------------------------------------------------------------------

    def verified_receipt(self, note: bytes) -> ReceiptHead:
        """See Trust.verify_receipt; the errors say where the note is from."""
        try:
            return self.trust.verify_receipt(note)
        except (FormatError, VerificationError) as error:
            raise type(error)(f"{self._where}{error}") from error

    def learn_receipt(
        self, new: ReceiptHead, size: int, before: Hash | None, attempts: Attempts
    ) -> Steps[None]:
        """Hold a verified receipt against those of its epoch, and against the newest checkpoint.

        `before` is the root of the first `size` leaves of its tree, where that was proven. Raises ForkError;
        UnavailableError when its epoch is over, as who sends the append again is answered in the new one.
        """
        epochs = self.trust.epochs
        newest = epochs.newest
        if newest is not None and new.epoch < newest.epoch:
            raise _over(new, newest.epoch)
        of_epoch = None if newest is None or newest.epoch != new.epoch else newest.head
        proven = [] if before is None else list(_begins(of_epoch, size, before, new.head))
        while (other := epochs.settle(new, proven)) is not None:
            yield from self.compare(*_in_order(other, new.head), attempts)
            proven.append(other)
        checkpoint = self.trust.head
        if checkpoint is None or checkpoint == epochs.held_to:
            return
        try:
            if before is None or not _begins(checkpoint, size, before, new.head):
                yield from self.compare(*_in_order(checkpoint, new.head), attempts)
        except ForkError as fork:
            later = yield from self.later_epoch(new.epoch, attempts)
            if later is None:
                raise
            raise _over(new, later) from fork
        epochs.settle_checkpoint(new, checkpoint)

    def later_epoch(self, epoch: int, attempts: Attempts) -> Steps[int | None]:
        """The epoch that the log is in when this one is over; None while it is not, so far as the log says."""
        newest = self.trust.epochs.newest
        if newest is not None and newest.epoch > epoch:
            return newest.epoch
        found: Epoch = yield Ask("epoch", (), attempts.seconds)
        return found.number if found.number is not None and found.number > epoch else None

    # --- heads for reading ---------------------------------------------------------------------------------------

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
            found = yield from self.included((index,), head, attempts)
            return format_proof(ProofFile(index, found[0].proof, head.note))

        return self.retried(once)

    def included(
        self, indexes: Sequence[int], head: TrustedHead, attempts: Attempts
    ) -> Steps[list[Included]]:
        """Verified proofs under a head, in the order of the indexes; whose leaves they are is for the caller."""
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

        return self.retried(once)

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

        return self.retried(once)

    def consistency(self, old: int, new: int) -> Steps[Consistency]:
        """The verified proof between two stored checkpoints."""
        if not 0 <= old <= new:
            raise RangeError(f"consistency of sizes {old} and {new}: want 0 <= old <= new")

        def once(attempts: Attempts) -> Steps[Consistency]:
            first = yield from self._checkpoint(old, attempts)
            second = yield from self._checkpoint(new, attempts)
            proof = yield from self.compare(trusted_head(first), trusted_head(second), attempts)
            return Consistency(first, second, proof)

        return self.retried(once)


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


def _refuse_older(head: VerifiedHead, before: TrustedHead | None) -> None:
    if before is not None and head.checkpoint.size < before.size:
        raise StaleError(f"checkpoint: got size {head.checkpoint.size}, trusted is {before.size}")


def _begins(known: TrustedHead | None, size: int, root: Hash, new: TrustedHead) -> tuple[TrustedHead, ...]:
    if known is None or known.size != size:
        return ()
    if known.root != root:
        raise _fork(known, new, f"the tree of size {new.size} does not begin with that of size {size}")
    return (known,)


def _in_order(one: TrustedHead, other: TrustedHead) -> tuple[TrustedHead, TrustedHead]:
    return (one, other) if one.size <= other.size else (other, one)


def _over(receipt: ReceiptHead, later: int) -> UnavailableError:
    return UnavailableError(f"answered in epoch {receipt.epoch}, which is over: the log is in epoch {later}")


def _fork(old: TrustedHead, new: TrustedHead, why: str) -> ForkError:
    return ForkError(f"two histories of {old.origin!r}: {why}", old.note, new.note)


__all__ = ["Ask", "Local", "Logic", "Sleep", "Step", "Steps", "new_key", "unverified"]
