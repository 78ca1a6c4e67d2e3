"""`Client` and `AsyncClient`: a log that is not trusted, by whatever transport, everything verified."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

from merklelog.client.appends import Appends
from merklelog.client.drive import drive, drive_async
from merklelog.client.heads import VerifiedHead
from merklelog.client.reads import Consistency
from merklelog.client.retry import Retry
from merklelog.client.steps import Logic, Steps, new_key
from merklelog.client.transport import AsyncTransport, Batch, Transport
from merklelog.client.trust import Trust, trusted_head
from merklelog.client.upgrades import Upgrades, claim_of
from merklelog.errors import EntryError, RangeError, UsageError
from merklelog.formats.bundle import MAX_ENTRY
from merklelog.log import BatchReceipt, Receipt
from merklelog.protocol.advance import TrustedHead
from merklelog.tree.hashing import HASH_SIZE

Result = TypeVar("Result")
# How far an append waits: until it is in the tree, or until readers of the log's publish targets see it.
Wait = Literal["integrated", "published", "witnessed"]
# How long a follower's question stands before it is asked again.
_WAIT: Final = 10.0
MAX_KEY_BYTES: Final = 128


class Client:
    """A log, as `merklelog.connect` gives it. Safe for threads.

    What comes back is verified under the policy, and so is that every checkpoint is of one history with all
    before, those of the state file included. Reads of what the newest verified checkpoint covers are under
    that one; `checkpoint` looks for a newer one.

    Every method may raise: SignatureError, PolicyUnmetError, ProofError, FormatError and DamagedError for
    what does not hold; ForkError, with both signed notes, for two histories; StaleError for a log that went
    back; RangeError, NotFoundError, ConflictError, EntryError as the log says; UnavailableError and
    OverloadedError when the deadline passed in which it was tried again; UnreachableError,
    UnauthenticatedError, ForbiddenError; StorageError for the state file.
    """

    def __init__(self, transport: Transport, trust: Trust, retry: Retry, target: str = "") -> None:
        self._transport = transport
        self._trust = trust
        self._seconds = retry.attempt
        self._logic = Logic(trust, retry, target)
        self._appends = Appends(self._logic, self.upgrade)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back connections and files; safe to call twice."""
        self._transport.close()

    @property
    def trusted(self) -> TrustedHead | None:
        """The newest verified checkpoint, None before the first."""
        return self._trust.head

    def size(self) -> int:
        """How many entries the log has, published or not, so far as it says: at least those of its checkpoint."""
        shown = self.checkpoint().checkpoint.size
        return max(shown, self._transport.epoch(self._seconds).size or 0)

    def checkpoint(self, size: int | None = None) -> VerifiedHead:
        """The newest checkpoint, or the one stored for a size."""
        return self._run(self._logic.checkpoint(size))

    def append(
        self,
        entry: bytes,
        *,
        identity: bytes | None = None,
        idempotency_key: bytes | None = None,
        wait: Wait = "integrated",
    ) -> Receipt:
        """Append an entry: durable, and proven under a verified note, when this returns.

        The note is a checkpoint. A log with publish targets signs one when it publishes: until then it gives a
        receipt, which `upgrade` leads to a checkpoint; `wait="published"` waits for that at once, and so does
        every append where no receipt key is trusted, and over HTTP. A log without targets refuses it: LevelError.

        Tried again under one idempotency key, so it is stored once. After an UnavailableError it may have been
        stored: give a key of your own to be able to find out by asking again.
        """
        batch = one(entry, identity, idempotency_key, wait=checked_wait(wait))
        return self._run(self._appends.append(batch))

    def append_batch(
        self,
        entries: Sequence[bytes],
        *,
        identities: Sequence[bytes | None] | None = None,
        idempotency_key: bytes | None = None,
        idempotency_keys: Sequence[bytes | None] | None = None,
        wait: Wait = "integrated",
    ) -> BatchReceipt:
        """Append entries together, all or none, contiguous and in order; else as `append`. Not over HTTP."""
        batch = batch_of(entries, identities, idempotency_key, idempotency_keys, wait=checked_wait(wait))
        return self._run(self._appends.append_batch(batch))

    def append_each(
        self, entries: Sequence[bytes], *, idempotency_key: bytes | None = None, wait: Wait = "integrated"
    ) -> BatchReceipt:
        """Append entries one after the other, in order, proven together at the end; the way to do so over HTTP.

        When it fails some may be stored: the same key again stores only the others.
        """
        each = each_of(entries, idempotency_key)
        return self._run(self._appends.append_each(*each, wait=checked_wait(wait)))

    def upgrade(self, receipt: Receipt | bytes, entry: bytes | None = None) -> Receipt:
        """A receipt, or the bytes that one was saved as, led to a published checkpoint.

        Waits for the publication as long as for any answer, and then raises UnavailableError: ask again later.
        With `entry`, or a receipt that still knows its leaf, what the receipt says is verified on its own too.
        Raises LostError when the log lost the entry with its disk: append it again; ForkError, with the receipt
        note and the checkpoint, when the log has two histories; SignatureError, FormatError and ProofError for a
        receipt that is none of this log's, UsageError without a receipt key.
        """
        return self._run(Upgrades(self._logic).upgrade(claim_of(receipt, entry)))

    def prove(self, index: int, size: int | None = None) -> bytes:
        """A proof file (c2sp.org/tlog-proof) for an entry, to a verified checkpoint or the stored one of
        `size`.
        """
        return self._run(self._logic.prove(index, size))

    def consistency(self, old: int, new: int) -> Consistency:
        """The proof that the tree of one stored checkpoint begins that of another."""
        return self._run(self._logic.consistency(old, new))

    def entry(self, index: int) -> bytes:
        """One entry's bytes."""
        check_index(index)
        return self._run(self._logic.entries(index, index + 1, None))[0]

    def entries(self, start: int = 0, end: int | None = None, size: int | None = None) -> Iterator[bytes]:
        """The entries [start, end), to the newest without an end, some at a time. The range is checked at once."""
        head = self._run(self._logic.range_head(start, end, size))
        return self._entries(start, head.size if end is None else end, head)

    def entries_under(self, head: VerifiedHead, start: int, end: int) -> Iterator[bytes]:
        """The entries [start, end) under a checkpoint that this client gave. Raises RangeError at once."""
        if not 0 <= start <= end <= head.checkpoint.size:
            raise RangeError(f"entries {start}:{end}: the log has {head.checkpoint.size}")
        return self._entries(start, end, trusted_head(head))

    def _entries(self, start: int, end: int, head: TrustedHead) -> Iterator[bytes]:
        while start < end:
            found = self._run(self._logic.entries(start, end, head))
            yield from found
            start += len(found)

    def follow(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """(index, entry) from `start` on, for ever: waits for what is not there yet."""
        head = self._trust.head
        while True:
            if head is None or head.size <= start:
                head = self._run(self._logic.grown(start, _WAIT))
                continue
            for entry in self._run(self._logic.entries(start, None, head)):
                yield start, entry
                start += 1

    def _run(self, steps: Steps[Result]) -> Result:
        return drive(steps, self._transport)


class AsyncClient:
    """The same for tasks, as `merklelog.connect_async` gives it: see Client. For the event loop it was made in."""

    def __init__(self, transport: AsyncTransport, trust: Trust, retry: Retry, target: str = "") -> None:
        self._transport = transport
        self._trust = trust
        self._logic = Logic(trust, retry, target)
        self._appends = Appends(self._logic)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give back connections and files; safe to call twice."""
        await self._transport.close()

    @property
    def trusted(self) -> TrustedHead | None:
        """The newest verified checkpoint, None before the first."""
        return self._trust.head

    async def checkpoint(self, size: int | None = None) -> VerifiedHead:
        """See Client."""
        return await self._run(self._logic.checkpoint(size))

    async def append(
        self,
        entry: bytes,
        *,
        identity: bytes | None = None,
        idempotency_key: bytes | None = None,
        wait: Wait = "integrated",
    ) -> Receipt:
        """See Client; a receipt is upgraded by `upgrade` here. Cancelled, the entry may have been stored."""
        batch = one(entry, identity, idempotency_key, wait=checked_wait(wait))
        return await self._run(self._appends.append(batch))

    async def append_batch(
        self,
        entries: Sequence[bytes],
        *,
        identities: Sequence[bytes | None] | None = None,
        idempotency_key: bytes | None = None,
        idempotency_keys: Sequence[bytes | None] | None = None,
        wait: Wait = "integrated",
    ) -> BatchReceipt:
        """See Client."""
        batch = batch_of(entries, identities, idempotency_key, idempotency_keys, wait=checked_wait(wait))
        return await self._run(self._appends.append_batch(batch))

    async def append_each(
        self, entries: Sequence[bytes], *, idempotency_key: bytes | None = None, wait: Wait = "integrated"
    ) -> BatchReceipt:
        """See Client."""
        each = each_of(entries, idempotency_key)
        return await self._run(self._appends.append_each(*each, wait=checked_wait(wait)))

    async def upgrade(self, receipt: Receipt | bytes, entry: bytes | None = None) -> Receipt:
        """See Client."""
        return await self._run(Upgrades(self._logic).upgrade(claim_of(receipt, entry)))

    async def prove(self, index: int, size: int | None = None) -> bytes:
        """See Client."""
        return await self._run(self._logic.prove(index, size))

    async def consistency(self, old: int, new: int) -> Consistency:
        """See Client."""
        return await self._run(self._logic.consistency(old, new))

    async def entry(self, index: int) -> bytes:
        """See Client."""
        check_index(index)
        return (await self._run(self._logic.entries(index, index + 1, None)))[0]

    async def entries(
        self, start: int = 0, end: int | None = None, size: int | None = None
    ) -> AsyncIterator[bytes]:
        """See Client; here the range is checked when the first entry is asked for."""
        head = await self._run(self._logic.range_head(start, end, size))
        stop = head.size if end is None else end
        while start < stop:
            found = await self._run(self._logic.entries(start, stop, head))
            for entry in found:
                yield entry
            start += len(found)

    async def follow(self, start: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """See Client."""
        head = self._trust.head
        while True:
            if head is None or head.size <= start:
                head = await self._run(self._logic.grown(start, _WAIT))
                continue
            for entry in await self._run(self._logic.entries(start, None, head)):
                yield start, entry
                start += 1

    async def _run(self, steps: Steps[Result]) -> Result:
        return await drive_async(steps, self._transport, disk=self._trust.durable)


def check_index(index: int) -> None:
    """Raises RangeError for what is no index."""
    if index < 0:
        raise RangeError(f"entry {index}: the first is 0")


def checked_wait(wait: str) -> str:
    """What an append waits for. Raises UsageError for a level that is not known."""
    if wait not in {"integrated", "published", "witnessed"}:
        raise UsageError(f"wait: got {wait!r}, want 'integrated', 'published' or 'witnessed'")
    return wait


def one(entry: bytes, identity: bytes | None, key: bytes | None, *, wait: str = "integrated") -> Batch:
    """A batch of one. Raises EntryError."""
    return batch_of((entry,), None if identity is None else (identity,), key, None, wait=wait)


def each_of(entries: Sequence[bytes], key: bytes | None) -> tuple[tuple[bytes, ...], bytes]:
    """The entries, and the key that theirs are made of. Raises EntryError."""
    batch = batch_of(entries, None, key, None)
    return batch.entries, batch.key or new_key()


def batch_of(
    entries: Sequence[bytes],
    identities: Sequence[bytes | None] | None,
    key: bytes | None,
    keys: Sequence[bytes | None] | None,
    *,
    wait: str = "integrated",
) -> Batch:
    """The batch that a caller means, with a key of ours where it has none. Raises EntryError."""
    if not entries:
        raise EntryError("append_batch: no entries are given")
    for i, entry in enumerate(entries):
        if not isinstance(entry, bytes) or len(entry) > MAX_ENTRY:
            got = f"{len(entry):,} bytes" if isinstance(entry, bytes) else f"a {type(entry).__name__}"
            raise EntryError(f"entry {i}: got {got}, want at most {MAX_ENTRY:,} bytes")
    for each in (key, *(keys or ())):
        if each is not None and not 1 <= len(each) <= MAX_KEY_BYTES:
            raise EntryError(f"idempotency key: got {len(each)} bytes, want 1 to {MAX_KEY_BYTES}")
    for each in identities or ():
        if each is not None and len(each) != HASH_SIZE:
            raise EntryError(f"identity: got {len(each)} bytes, want {HASH_SIZE}")
    if key is not None and keys is not None:
        raise EntryError("append_batch: give a key for the batch or keys for its entries, not both")
    for name, values in (("identities", identities), ("idempotency_keys", keys)):
        if values is not None and len(values) != len(entries):
            raise EntryError(f"append_batch: got {len(values)} {name} for {len(entries)} entries")
    if keys is not None:
        # Where one has none, ours: tried again, it is to be stored once too.
        keys = [new_key() if each is None else each for each in keys]
    elif key is None:
        key = new_key()
    return Batch(
        tuple(entries),
        key,
        None if keys is None else tuple(keys),
        None if identities is None else tuple(identities),
        wait,
    )
