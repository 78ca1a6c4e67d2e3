"""`Log`: what an embedding program opens to append to a log and to read it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from merklelog.errors import ClosedError, DamagedError, MerklelogError, StoppedError
from merklelog.protocol.commit import Commit
from merklelog.store import Store
from merklelog.tree import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Frontier, Hash, LeafIndex, TreeSize

from .at_exit import forget, remember
from .config import LogConfig
from .create import LogInfo
from .directory import INDEX, WriterLock
from .freeze import Statements, read_freeze
from .head import Head, Signers
from .late import LateProofs
from .planner import Known
from .reader import LogReader
from .receipt import BatchReceipt, Receipt
from .request import Request, Requests, Settled, batch, single
from .sequencer import Sequencer
from .waiting import Outcome, Publication, Unpublished
from .world import Limits, World

if TYPE_CHECKING:
    from .identities import Identities
    from .publishing import PublishStatus
    from .publishing_targets import Targets
    from .witnessing import WitnessingStatus

PUBLISH_SECONDS = 10.0  # how long a log that is being closed publishes


class Log(LogReader):
    """A log open for appending: the one writer of its directory.

    Appends may come from any number of threads and event loops; each returns when its entry is fsynced and under
    a signed note: a checkpoint, or of a log with publish targets a receipt, which becomes a checkpoint when the
    entry is published (`wait_published`). Reads show what is published. Entries of one batch are contiguous and
    all or none; index order is the order in which appends were called.

    Every append takes `identity`, 32 bytes by which the entry is told apart where the log dedupes (default: its
    leaf hash), and `idempotency_key`, 1 to 128 bytes that belong to `submitter`: the same key and bytes again
    give the same index, other bytes ConflictError.

    Appends raise EntryError, ConflictError, OverloadedError, StorageFullError, UnavailableError while the log has
    not heard from its publish targets (then nothing of them was stored), StoppedError (then they may have been
    stored), ClosedError; FrozenError for good once the log has ended (`freeze`).
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
        *,
        published: Head | None = None,
        targets: Targets | None = None,
    ) -> None:
        """`published` is the head that readers see, where it is not `head`. A log with targets has to `begin`."""
        super().__init__(path, config, info, store, head, published)
        ended = read_freeze(store, head.size, info.keys())
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
            signers if targets is None or not targets.stores else None,
            known,
            self._identities.add if self._identities else None,
            LateProofs(self),
            Limits(config.max_pending_bytes, config.min_free_bytes, config.idempotency_days),
            world,
            is_open=targets is None,
        )
        self._requests = Requests(dedupes=config.dedupe)
        self.statements = Statements(info.keys(), signers, self._sequencer, ended)
        self.freeze = self.statements.freeze
        self._targets = targets
        self._publication: Publication = Unpublished(self._sequencer)
        if targets is not None:
            self._publication = targets.publishing(self, store, self._sequencer, signers, self._shown, world)
        remember(self)

    @property
    def integrated(self) -> Head:
        """See LogReader."""
        return self._sequencer.head

    @property
    def published(self) -> Head:
        """See LogReader."""
        return self._publication.head

    @property
    def epoch(self) -> int | None:
        """The epoch that this writer has begun at its publish targets; None while it has none."""
        return self._publication.epoch

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
        """Append one entry (at most 65,535 bytes) and wait until it is durable and under a signed note."""
        return single(self._wait(self._requests.one(entry, identity, idempotency_key, submitter)))

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
        request = self._requests.many(entries, identities, idempotency_key, idempotency_keys, submitter)
        return batch(self._wait(request))

    def submit(
        self,
        entry: bytes,
        *,
        identity: bytes | None = None,
        idempotency_key: bytes | str | None = None,
        submitter: str = "",
    ) -> Future[Receipt]:
        """`append` without waiting: a future. Its callbacks run in the log's own thread and must be short."""
        future: Future[Receipt] = Future()
        self._send(self._requests.one(entry, identity, idempotency_key, submitter), future)
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
        request = self._requests.many(entries, identities, idempotency_key, idempotency_keys, submitter)
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
        return single(await self._ask(self._requests.one(entry, identity, idempotency_key, submitter)))

    def append_to(self, entry: bytes, loop: asyncio.AbstractEventLoop, outcome: Outcome) -> None:
        """`append` for what runs in that loop and has no task to wait in: there `outcome` hears of it."""
        request = self._requests.one(entry, None, None, "")
        request.loop, request.future = loop, outcome  # type: ignore[assignment]  # all that is asked of one
        self._sequencer.submit(request)

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
        request = self._requests.many(entries, identities, idempotency_key, idempotency_keys, submitter)
        return batch(await self._ask(request))

    def _wait(self, request: Request) -> Settled:
        request.block()
        self._sequencer.submit(request)
        return request.wait()

    def _send(self, request: Request, future: Future[Receipt] | Future[BatchReceipt]) -> None:
        future.set_running_or_notify_cancel()  # what is queued can not be called back
        request.future = future  # type: ignore[assignment]  # the request's kind and the future's are the same
        self._sequencer.submit(request)

    async def _ask(self, request: Request) -> Settled:
        request.loop = asyncio.get_running_loop()
        request.future = future = request.loop.create_future()
        self._sequencer.submit(request)
        return await future  # type: ignore[no-any-return]

    def check_takes(self) -> None:
        """Raise what any append would at present: StoppedError, ClosedError, FrozenError, UnavailableError."""
        self._sequencer.check()

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
        """Call `listener` with the size of each new checkpoint that is shown; gives the function that ends it.

        It is called from the log's own threads (without publish targets, before the appends of that commit
        return): it must be quick and must not raise.
        """
        return self._publication.listen(lambda head: listener(head.size))

    def listen_integrated(self, listener: Callable[[TreeSize], None]) -> Callable[[], None]:
        """`listen` for the size of each new durable head, published or not."""
        return self._sequencer.listen(lambda head: listener(head.size))

    # --- publication and witnesses -------------------------------------------------------------------------------

    def begin(self, wait: float | None) -> None:
        """Ask the publish targets, and wait so long until appends are let in; None does not wait. For open_log."""
        self._publication.begin(wait)

    @property
    def starting(self) -> bool:
        """Whether appends are refused because a publish target has not answered yet; `publishing` says which."""
        return self._publication.is_starting

    @property
    def publishing(self) -> PublishStatus | None:
        """How the publication stands; None for a log without publish targets."""
        return self._publication.status

    def publish_now(self) -> Future[Head]:
        """Publish what is integrated, at once; a future of the published head that has it.

        Raises UsageError for a log without publish targets.
        """
        return self._publication.publish_now()

    def wait_published(self, size: int) -> Future[Head]:
        """A future of the first head with at least `size` entries that readers see: those entries are published.

        Of a log without publish targets, the first durable head. Fails with StoppedError when the log stops
        before, ClosedError when it is closed. A future that is cancelled is let go of.
        """
        return self._publication.wait(size)

    @property
    def witnessed(self) -> Head | None:
        """See LogReader."""
        return self._publication.witnessed

    @property
    def witnessing(self) -> WitnessingStatus | None:
        """How the log stands with its witnesses; None where none are configured."""
        return self._publication.witnessing

    def wait_witnessed(self, size: int) -> Future[Head]:
        """A future of the first checkpoint of at least `size` entries that meets the log's policy.

        Raises UsageError for a log without witnesses. Fails as `wait_published`.
        """
        return self._publication.wait_witnessed(size)

    async def wait_published_async(self, size: int) -> Head:
        """`wait_published` for asyncio; may be cancelled."""
        return await asyncio.wrap_future(self.wait_published(size))

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

    def close(self, *, publish_seconds: float = PUBLISH_SECONDS) -> None:
        """Commit what waits, store the last checkpoint, and let the next writer in; safe to call twice.

        A log with publish targets publishes what is not published yet, for at most so many seconds; what is left
        then is published when it is opened again. Raises StoppedError when a failure had stopped the log, after
        everything was let go of.
        """
        if self._closed:
            return
        self._closed = True
        forget(self)
        try:
            if self._targets is not None:
                self._drain()
                self._publication.close(publish_seconds)
            self._sequencer.close()
            self._publication.end(ClosedError("the log was closed before that was published"))
            if self._identities is not None:
                self._identities.close()
            if not self.stopped:
                self._store.settle()
        finally:
            self._let_go()
        if self.stopped:
            raise StoppedError(f"{self.path}: the log had stopped: {self._sequencer.failure}")

    def _drain(self) -> None:
        """Take no more appends, and wait until all that were taken are durable."""
        self._sequencer.refuse()
        while self.pending[1]:
            try:
                self._sequencer.write(Commit).result()
            except (StoppedError, ClosedError):
                return

    def _let_go(self) -> None:
        try:
            self._store.close()
        except MerklelogError:
            if not self.stopped:  # else the database says again what stopped the log, and says it worse
                raise
        finally:
            self._lock.release()
            if self._targets is not None:
                self._targets.close()

    def __exit__(self, *exc: object) -> None:
        try:
            self.close()
        except StoppedError:
            if not any(exc):  # else the failure is on its way already, and says more
                raise


__all__ = ["Log"]
