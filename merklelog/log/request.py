"""One append on its way through the sequencer, and how its caller is told."""

from __future__ import annotations

import sys
from _thread import allocate_lock
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import repeat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

from merklelog.errors import EntryError, MerklelogError
from merklelog.formats import MAX_ENTRY
from merklelog.formats.statement import RESERVED, refuse_statement
from merklelog.tree import Hash

from .head import Head
from .receipt import BatchReceipt, ProofSource, Receipt

if TYPE_CHECKING:
    import asyncio  # which who only reads need not load

IDENTITY_BYTES = 32
MAX_KEY_BYTES = 128
# What one waiting entry costs beside its bytes: the objects that carry it. Counted, so that a flood of tiny
# entries is bounded like one of large ones.
OVERHEAD_BYTES = 160
Settled = Receipt | BatchReceipt


class Source(ProofSource, Protocol):
    """The log an append was for: where its receipt gets proofs, and a checkpoint once the entry is published."""

    def upgrade(self, receipt: Receipt) -> Receipt:
        """See Receipt.upgrade."""
        ...


class Sink(Protocol):
    """Where the outcome of an append goes."""

    def settle(self, request: Request) -> None:
        """Tell the caller; `request.error` or its receipt says what."""
        ...


class Request:
    """One append: what was asked, and after its commit what came of it.

    `indexes` is None while the entries are contiguous from `first`: the common case carries no list. `make` is for
    a statement of the log's own (see `freeze`): it gives the entry, once the index is known.
    """

    __slots__ = (
        "cost",
        "entries",
        "error",
        "first",
        "future",
        "hashes",
        "head",
        "identities",
        "indexes",
        "key",
        "keys",
        "loop",
        "make",
        "single",
        "source",
        "waiter",
    )

    def __init__(self, entries: list[bytes], cost: int, *, single: bool) -> None:
        self.entries = entries
        self.cost = cost
        self.single = single
        self.make: Callable[[int], bytes] | None = None
        self.identities: Sequence[bytes | None] | None = None
        self.key: bytes | None = None
        self.keys: list[bytes | None] | None = None
        self.first = -1
        self.indexes: list[int] | None = None
        self.hashes: list[Hash] = []
        self.head: Head | None = None
        self.error: MerklelogError | None = None
        self.source: Source | None = None
        self.waiter: object = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: Future[Receipt | BatchReceipt] | asyncio.Future[Receipt | BatchReceipt] | None = None

    def receipt(self) -> Receipt | BatchReceipt:
        """What the caller gets; only after the commit is durable."""
        source, head = self.source, self.head
        if source is None or head is None:
            raise MerklelogError("an append was settled before it was committed")
        if self.single:
            index, leaf = self.first if self.indexes is None else self.indexes[0], self.hashes[0]
            if head.epoch is None:
                return Receipt(source, index, leaf, head.size, head.note)
            return Receipt(
                source, index, leaf, head.size, head.note, epoch=head.epoch, upgrade=source.upgrade
            )
        indexes = range(self.first, self.first + len(self.hashes)) if self.indexes is None else self.indexes
        upgrade = None if head.epoch is None else source.upgrade
        return BatchReceipt(
            source, indexes, self.hashes, head.size, head.note, epoch=head.epoch, upgrade=upgrade
        )

    def settle(self) -> None:
        """Tell the caller, in the thread that the caller's kind of future needs."""
        future = self.future
        if future is None:
            self.waiter.release()  # type: ignore[attr-defined]  # a lock; _thread names no public type for it
        elif future.done():
            return  # cancelled by its caller; the entry is stored all the same
        elif self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.receipt())

    def wait(self) -> Receipt | BatchReceipt:
        """Block until settled; raises the append's error."""
        self.waiter.acquire()  # type: ignore[attr-defined]
        if self.error is not None:
            raise self.error
        return self.receipt()

    def block(self) -> None:
        """Prepare for `wait`."""
        self.waiter = allocate_lock()
        self.waiter.acquire()


def single(settled: Settled) -> Receipt:
    """The receipt of a request for one entry."""
    if not isinstance(settled, Receipt):
        raise TypeError("a single append was settled as a batch")
    return settled


def batch(settled: Settled) -> BatchReceipt:
    """The receipts of a batch."""
    if not isinstance(settled, BatchReceipt):
        raise TypeError("a batch was settled as a single append")
    return settled


def _settle_all(requests: list[Request]) -> None:
    """Settle what one event loop waits for, in one of its callbacks."""
    for request in requests:
        request.settle()


def one(entry: bytes) -> Request:
    """A request for one entry. Raises EntryError."""
    if type(entry) is not bytes:
        entry = as_bytes(entry, 0)
    size = len(entry)
    if size > MAX_ENTRY:
        raise EntryError(f"entry of {size:,} bytes: an entry has at most {MAX_ENTRY:,} (c2sp.org/tlog-tiles)")
    if entry.startswith(RESERVED):
        refuse_statement(entry, "entry")
    return Request([entry], size + OVERHEAD_BYTES, single=True)


def many(entries: Sequence[bytes]) -> Request:
    """A request for a batch. Raises EntryError naming the first entry that can not be one."""
    taken = list(entries)
    if not taken:
        raise EntryError("a batch of no entries")
    if set(map(type, taken)) != {bytes}:
        taken = [entry if type(entry) is bytes else as_bytes(entry, i) for i, entry in enumerate(taken)]
    sizes = list(map(len, taken))
    if max(sizes) > MAX_ENTRY:
        bad = next(i for i, size in enumerate(sizes) if size > MAX_ENTRY)
        raise EntryError(
            f"entry {bad} of the batch has {sizes[bad]:,} bytes: an entry has at most {MAX_ENTRY:,}"
        )
    if any(map(bytes.startswith, taken, repeat(RESERVED))):
        for at, entry in enumerate(taken):
            refuse_statement(entry, f"entry {at} of the batch")
    return Request(taken, sum(sizes) + OVERHEAD_BYTES * len(taken), single=False)


def as_bytes(entry: object, position: int) -> bytes:
    """Bytes of a bytearray or memoryview. Raises EntryError for anything else."""
    if isinstance(entry, bytes | bytearray | memoryview):
        return bytes(entry)
    raise EntryError(f"entry {position} is of type {type(entry).__name__}: an entry is bytes")


class Requests:
    """Makes the requests of one log, checked. Raises EntryError."""

    def __init__(self, *, dedupes: bool) -> None:
        self._dedupes = dedupes

    def one(self, entry: bytes, identity: bytes | None, key: bytes | str | None, submitter: str) -> Request:
        """For one entry; see Log.append."""
        request = one(entry)
        if identity is not None:
            request.identities = self._identities([identity], 1)
        if key is not None:
            request.key = scoped_key(key, submitter)
        return request

    def many(
        self,
        entries: Sequence[bytes],
        identities: Sequence[bytes | None] | None,
        key: bytes | str | None,
        keys: Sequence[bytes | str | None] | None,
        submitter: str,
    ) -> Request:
        """For a batch; see Log.append_batch."""
        request = many(entries)
        count = len(request.entries)
        if identities is not None:
            request.identities = self._identities(identities, count)
        if key is not None and keys is not None:
            raise EntryError("a batch has one idempotency key or one for each entry, not both")
        if key is not None:
            request.key = scoped_key(key, submitter)
        if keys is not None:
            if len(keys) != count:
                raise EntryError(f"{len(keys)} idempotency keys for {count} entries")
            request.keys = [None if each is None else scoped_key(each, submitter) for each in keys]
        return request

    def _identities(self, identities: Sequence[bytes | None], count: int) -> list[bytes | None]:
        if not self._dedupes:
            raise EntryError("an identity was given, but this log does not dedupe (log.dedupe = false)")
        if len(identities) != count:
            raise EntryError(f"{len(identities)} identities for {count} entries")
        return [check_identity(identity, i) for i, identity in enumerate(identities)]


def check_identity(identity: bytes | None, position: int) -> bytes | None:
    """Raises EntryError unless it is 32 bytes or None."""
    if identity is None or (isinstance(identity, bytes) and len(identity) == IDENTITY_BYTES):
        return identity
    shown = f"{len(identity)} bytes" if isinstance(identity, bytes) else type(identity).__name__
    raise EntryError(f"identity of entry {position} is {shown}: an identity is {IDENTITY_BYTES} bytes")


def scoped_key(key: bytes | str, submitter: str) -> bytes:
    """The 32 bytes under which a log remembers a submitter's idempotency key.

    Raises EntryError unless the key has 1 to 128 bytes (a str counts as its UTF-8).
    """
    try:
        raw = key.encode() if isinstance(key, str) else key
        who = submitter.encode()
    except UnicodeEncodeError as error:
        raise EntryError(f"idempotency key or submitter {error.object!a}: it is not Unicode text") from None
    if not isinstance(raw, bytes) or not 1 <= len(raw) <= MAX_KEY_BYTES:
        shown = f"{len(raw)} bytes" if isinstance(raw, bytes) else type(raw).__name__
        raise EntryError(f"idempotency key of {shown}: a key has 1 to {MAX_KEY_BYTES} bytes")
    return blake3(len(who).to_bytes(8, "big") + who + raw).digest()


def tell(requests: list[Request]) -> None:
    """Settle requests; those of an event loop in one callback of that loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Request]] = {}
    for request in requests:
        if request.loop is None:
            try:
                request.settle()
            except BaseException as error:  # noqa: BLE001 - see _report
                _report(error, request)
        else:
            loops.setdefault(request.loop, []).append(request)
    for loop, group in loops.items():
        try:
            loop.call_soon_threadsafe(_settle_all, group)
        except RuntimeError:  # the loop was closed: nobody is left to be told
            continue


def _report(error: BaseException, request: Request) -> None:
    """What a callback of a caller's future let out, such as SystemExit: said, and not let near the others.

    Their appends are as durable as this one, and this thread is not the caller's to end.
    """
    said = SimpleNamespace(
        exc_type=type(error),
        exc_value=error,
        exc_traceback=error.__traceback__,
        err_msg="Exception in a callback of an append",
        object=request.future,
    )
    sys.unraisablehook(said)  # it takes anything with these names
