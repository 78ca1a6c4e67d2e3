"""`Log`: what an embedding program opens to append to a log and to read it."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from merklelog.errors import ClosedError, DamagedError, EntryError, MerklelogError, StoppedError
from merklelog.store import Store
from merklelog.tree import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Frontier, Hash, LeafIndex, TreeSize

from .config import LogConfig
from .create import LogInfo
from .directory import INDEX, WriterLock
from .head import Head, Signers
from .planner import Known
from .reader import LogReader, open_reader
from .receipt import BatchReceipt, Receipt
from .request import Request, check_identity, many, one, scoped_key
from .sequencer import Sequencer
from .world import Limits, World

if TYPE_CHECKING:
    from .identities import Identities

Settled = Receipt | BatchReceipt
_OPEN: weakref.WeakSet[Log] = weakref.WeakSet()


class Log(LogReader):
    """A log open for appending: the one writer of its directory.

    Appends may come from any number of threads and event loops; each returns when its entry is fsynced and under
    a signed checkpoint. Entries of one batch are contiguous and all or none; index order is the order in which
    appends were called.

    Every append takes `identity`, 32 bytes by which the entry is told apart where the log dedupes (default: its
    leaf hash), and `idempotency_key`, 1 to 128 bytes that belong to `submitter`: the same key and bytes again
    give the same index, other bytes ConflictError.

    Appends raise EntryError, ConflictError, OverloadedError, StorageFullError (then nothing of them was stored),
    StoppedError (then they may have been stored), ClosedError.
    """

    def __init__(
        self,
        path: Path,
        config: LogConfig,
        info: LogInfo,
        store: Store,
        head: Head,
        frontier: Frontier,
        signers: Signers,
        lock: WriterLock,
        world: World,
    ) -> None:
        super().__init__(path, config, info, store, head)
        self._lock = lock
        self._store = store
        self._frontier = frontier
        self._closed = False
        self._identities: Identities | None = None
        if config.dedupe or config.lookup:
            from .identities import (
                Identities,
            )  # brings numpy, which most logs and every short command do without

            self._identities = Identities(path / INDEX, store, self._leaf_tile, frontier.size)
        known = Known(
            remembered=store.remembered,
            leaf=self._leaf,
            duplicates=self._identities.duplicates if self._identities and config.dedupe else None,
        )
        self._sequencer = Sequencer(
            store,
            frontier,
            head,
            signers,
            known,
            self._identities.add if self._identities else None,
            _LateProofs(self),
            Limits(config.max_pending_bytes, config.min_free_bytes, config.idempotency_days),
            world,
        )
        self._process = os.getpid()
        _OPEN.add(self)

    @property
    def _head(self) -> Head:
        return self._sequencer.head

    def _leaf(self, index: int) -> Hash:
        at = HASH_SIZE * (index % TILE_WIDTH)
        return Hash(self._leaf_tile(index >> TILE_HEIGHT)[at : at + HASH_SIZE])

    def _leaf_tile(self, number: int) -> bytes:
        """A level-0 tile as it is written now, durable or not: for the sequencer's own thread."""
        if number == self._frontier.size >> TILE_HEIGHT:
            return self._frontier.partial(0)
        tile = self._store.tile(0, number)
        if tile is None:
            raise DamagedError(f"{self.path}: full tile 0/{number} is missing")
        return tile

    # --- appending ---------------------------------------------------------------------------------------------

    def append(
        self,
        entry: bytes,
        *,
        identity: bytes | None = None,
        idempotency_key: bytes | str | None = None,
        submitter: str = "",
    ) -> Receipt:
        """Append one entry (at most 65,535 bytes) and wait until it is durable and under a signed checkpoint."""
        request = self._one(entry, identity, idempotency_key, submitter)
        return _single(self._wait(request))

    def append_batch(
        self,
        entries: Sequence[bytes],
        *,
        identities: Sequence[bytes | None] | None = None,
        idempotency_key: bytes | str | None = None,
        idempotency_keys: Sequence[bytes | str | None] | None = None,
        submitter: str = "",
    ) -> BatchReceipt:
        """Append entries together: all or none, contiguous, in order. A key is for the batch or for each entry."""
        request = self._many(entries, identities, idempotency_key, idempotency_keys, submitter)
        return _batch(self._wait(request))

    def submit(
        self,
        entry: bytes,
        *,
        identity: bytes | None = None,
        idempotency_key: bytes | str | None = None,
        submitter: str = "",
    ) -> Future[Receipt]:
        """`append` without waiting: a future. Its callbacks run in the log's own thread and must be short."""
        request = self._one(entry, identity, idempotency_key, submitter)
        future: Future[Receipt] = Future()
        self._send(request, future)
        return future

    def submit_batch(
        self,
        entries: Sequence[bytes],
        *,
        identities: Sequence[bytes | None] | None = None,
        idempotency_key: bytes | str | None = None,
        idempotency_keys: Sequence[bytes | str | None] | None = None,
        submitter: str = "",
    ) -> Future[BatchReceipt]:
        """`append_batch` without waiting: a future."""
        request = self._many(entries, identities, idempotency_key, idempotency_keys, submitter)
        future: Future[BatchReceipt] = Future()
        self._send(request, future)
        return future

    async def append_async(
        self,
        entry: bytes,
        *,
        identity: bytes | None = None,
        idempotency_key: bytes | str | None = None,
        submitter: str = "",
    ) -> Receipt:
        """`append` for asyncio. A cancelled call may still have stored its entry."""
        request = self._one(entry, identity, idempotency_key, submitter)
        return _single(await self._ask(request))

    async def append_batch_async(
        self,
        entries: Sequence[bytes],
        *,
        identities: Sequence[bytes | None] | None = None,
        idempotency_key: bytes | str | None = None,
        idempotency_keys: Sequence[bytes | str | None] | None = None,
        submitter: str = "",
    ) -> BatchReceipt:
        """`append_batch` for asyncio."""
        request = self._many(entries, identities, idempotency_key, idempotency_keys, submitter)
        return _batch(await self._ask(request))

    def _one(self, entry: bytes, identity: bytes | None, key: bytes | str | None, submitter: str) -> Request:
        request = one(entry)
        if identity is not None:
            request.identities = self._identities_of([identity], 1)
        if key is not None:
            request.key = scoped_key(key, submitter)
        return request

    def _many(
        self,
        entries: Sequence[bytes],
        identities: Sequence[bytes | None] | None,
        key: bytes | str | None,
        keys: Sequence[bytes | str | None] | None,
        submitter: str,
    ) -> Request:
        request = many(entries)
        count = len(request.entries)
        if identities is not None:
            request.identities = self._identities_of(identities, count)
        if key is not None and keys is not None:
            raise EntryError("a batch has one idempotency key or one for each entry, not both")
        if key is not None:
            request.key = scoped_key(key, submitter)
        if keys is not None:
            if len(keys) != count:
                raise EntryError(f"{len(keys)} idempotency keys for {count} entries")
            request.keys = [None if each is None else scoped_key(each, submitter) for each in keys]
        return request

    def _identities_of(self, identities: Sequence[bytes | None], count: int) -> list[bytes | None]:
        if not self.config.dedupe:
            raise EntryError("an identity was given, but this log does not dedupe (log.dedupe = false)")
        if len(identities) != count:
            raise EntryError(f"{len(identities)} identities for {count} entries")
        return [check_identity(identity, i) for i, identity in enumerate(identities)]

    def _wait(self, request: Request) -> Settled:
        request.block()
        self._sequencer.submit(request)
        return request.wait()

    def _send(self, request: Request, future: Future[Receipt] | Future[BatchReceipt]) -> None:
        future.set_running_or_notify_cancel()  # what is queued can not be called back
        request.future = future  # type: ignore[assignment]  # the request's kind and the future's are the same
        self._sequencer.submit(request)

    async def _ask(self, request: Request) -> Settled:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Settled] = loop.create_future()
        request.loop, request.future = loop, future
        self._sequencer.submit(request)
        return await future

    # --- reading and closing -----------------------------------------------------------------------------------

    def find(self, leaf: Hash) -> LeafIndex | None:
        """The first entry with this leaf hash; through the index where the log has one, else by reading all."""
        if self._identities is None:
            return super().find(leaf)
        size = self.size
        try:
            return self._identities.find(leaf, size, lambda index: self._durable_leaf(index, size))
        except LookupError:
            return super().find(leaf)

    def _durable_leaf(self, index: int, size: int) -> Hash:
        number, at = divmod(index, TILE_WIDTH)
        hashes = self.tile(0, number, min(TILE_WIDTH, size - number * TILE_WIDTH))
        return Hash(hashes[HASH_SIZE * at : HASH_SIZE * (at + 1)])

    def listen(self, listener: Callable[[TreeSize], None]) -> Callable[[], None]:
        """Call `listener` with the size of each new durable checkpoint; gives the function that ends it.

        It is called from the log's own thread before the appends of that commit return: it must be quick and
        must not raise.
        """
        return self._sequencer.listen(lambda head: listener(head.size))

    def refresh(self) -> None:
        """Nothing to do: the writer sees its own commits."""

    @property
    def failure(self) -> BaseException | None:
        """The failure that stopped this log, for its operator's eyes; None while there was none."""
        return self._sequencer.failure

    @property
    def pending(self) -> tuple[int, int]:
        """How many appends no commit has taken yet, and how many bytes of appends are not durable yet.

        The bytes are what `log.max_pending_bytes` bounds: those of the entries, and some for each.
        """
        return self._sequencer.pending

    @property
    def stopped(self) -> bool:
        """Whether a failure stopped this log; appends raise StoppedError until it is opened again."""
        return self.failure is not None

    def close(self) -> None:
        """Commit what waits, store the last checkpoint, and let the next writer in; safe to call twice.

        Raises StoppedError when a failure had stopped the log, after everything was let go of.
        """
        if self._closed:
            return
        self._closed = True
        _OPEN.discard(self)
        try:
            self._sequencer.close()
            if self._identities is not None:
                self._identities.close()
            if not self.stopped:
                self._store.settle()
        finally:
            self._let_go()
        if self.stopped:
            raise StoppedError(f"{self.path}: the log had stopped: {self._sequencer.failure}")

    def _let_go(self) -> None:
        try:
            self._store.close()
        except MerklelogError:
            if not self.stopped:  # else the database says again what stopped the log, and says it worse
                raise
        finally:
            self._lock.release()

    def __exit__(self, *exc: object) -> None:
        try:
            self.close()
        except StoppedError:
            if not any(exc):  # else the failure is on its way already, and says more
                raise


class _LateProofs:
    """Proofs for receipts, also when the log was closed meanwhile."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:
        """See LogReader.inclusion_proof."""
        try:
            return self._log.inclusion_proof(index, size)
        except ClosedError:
            with open_reader(self._log.path) as reader:
                return reader.inclusion_proof(index, size)


def _single(settled: Settled) -> Receipt:
    if not isinstance(settled, Receipt):
        raise TypeError("a single append was settled as a batch")
    return settled


def _batch(settled: Settled) -> BatchReceipt:
    if not isinstance(settled, BatchReceipt):
        raise TypeError("a batch was settled as a single append")
    return settled


@atexit.register
def _close_all() -> None:
    """Programs that forget to close still get their last checkpoint stored and their files flushed."""
    for log in list(_OPEN):
        if log._process != os.getpid():
            continue  # a fork's copy: it has none of the threads, and the database is its parent's
        try:
            log.close()
        except StoppedError:
            continue  # its appends were told; an exit has nobody else to tell


__all__ = ["Log"]
