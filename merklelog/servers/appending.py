"""Answering appends: one entry, a batch, and a stream of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, NamedTuple

from merklelog.errors import ClosedError, FieldError, MerklelogError
from merklelog.log import BatchReceipt, Log, Receipt
from merklelog.log.head import Head
from merklelog.v1 import log_pb2 as pb

from .asked import appended, check_data, check_detail, check_identity, check_key, check_level
from .waits import Waits

MAX_WAITING_REQUESTS: Final = 1_024
MAX_WAITING_BYTES: Final = 8 << 20
# What one request costs beside its bytes while it waits.
_OVERHEAD: Final = 256


async def append(log: Log, request: pb.AppendRequest, submitter: str, waits: Waits) -> pb.AppendResponse:
    """Append one entry."""
    level = check_level("wait", request.wait, log)
    detail = check_detail(request.detail)
    if not request.HasField("entry"):
        raise FieldError("entry", "missing: want an entry, whose data may be empty")
    entry = request.entry
    data = check_data("entry.data", entry.data)
    if entry.identity or entry.idempotency_key:
        receipt = await log.append_async(
            data,
            identity=check_identity("entry.identity", entry.identity, log),
            idempotency_key=check_key("entry.idempotency_key", entry.idempotency_key),
            submitter=submitter,
        )
    else:
        receipt = await log.append_async(data)
    reached = await _reach(log, level, receipt.size, waits)
    # Fields are set where they are wanted: a None given for one costs more than all the rest of the message.
    response = pb.AppendResponse(
        entry={"index": receipt.index, "leaf_hash": receipt.leaf_hash},
        tree_size=receipt.size,
        level=pb.LEVEL_INTEGRATED,
    )
    _fill(response, receipt, reached, detail)
    if detail == pb.DETAIL_PROOF:
        proof = receipt.proof
        if reached is not None:
            proof = log.inclusion_proof(receipt.index, reached.head.size)
        response.entry.proof.extend(proof)
    return response


class _Reached(NamedTuple):
    """A level beyond INTEGRATED that was waited for and reached: by which head."""

    level: pb.Level
    head: Head


async def _reach(log: Log, level: int, size: int, waits: Waits) -> _Reached | None:
    """Wait until so many entries have come to that level; None when it took too long, or for none to wait for."""
    if level == pb.LEVEL_PUBLISHED:
        head = await waits.published(log, size)
        return None if head is None else _Reached(pb.LEVEL_PUBLISHED, head)
    if level == pb.LEVEL_WITNESSED:
        head = await waits.witnessed(log, size)
        return None if head is None else _Reached(pb.LEVEL_WITNESSED, head)
    return None


def _fill(
    response: pb.AppendResponse | pb.AppendBatchResponse | pb.AppendStreamResponse,
    receipt: Receipt | BatchReceipt,
    reached: _Reached | None,
    detail: int,
) -> None:
    """The size, the note and what else says how far it has come; `response` is that of an INTEGRATED append."""
    if reached is not None:
        response.level = reached.level
        response.tree_size = reached.head.size
    elif receipt.epoch is not None:
        response.epoch = receipt.epoch
    if detail != pb.DETAIL_INDEX:
        response.signed_note = receipt.note if reached is None else reached.head.note


async def append_batch(
    log: Log, request: pb.AppendBatchRequest, submitter: str, waits: Waits
) -> pb.AppendBatchResponse:
    """Append entries together."""
    level = check_level("wait", request.wait, log)
    detail = check_detail(request.detail)
    receipt = await _batch(log, request, submitter)
    reached = await _reach(log, level, receipt.size, waits)
    indexes = receipt.indexes
    response = pb.AppendBatchResponse(
        first_index=indexes[0],
        count=len(indexes),
        tree_size=receipt.size,
        level=pb.LEVEL_INTEGRATED,
    )
    _fill(response, receipt, reached, detail)
    if detail == pb.DETAIL_PROOF:
        proofs = await asyncio.to_thread(log.inclusion_proofs, indexes, response.tree_size)
        for each, proof in zip(receipt, proofs, strict=True):
            response.entries.add(index=each.index, leaf_hash=each.leaf_hash, proof=proof)
    elif not contiguous(indexes):
        for each in receipt:
            response.entries.add(index=each.index, leaf_hash=each.leaf_hash)
    return response


def contiguous(indexes: list[int]) -> bool:
    """Whether they go up one by one."""
    return len(indexes) == 1 or indexes == list(range(indexes[0], indexes[0] + len(indexes)))


async def _batch(
    log: Log, request: pb.AppendBatchRequest | pb.AppendStreamRequest, submitter: str
) -> BatchReceipt:
    asked = appended(request.entries, request.idempotency_key, log)
    return await log.append_batch_async(
        asked.entries,
        identities=asked.identities,
        idempotency_key=asked.key,
        idempotency_keys=asked.keys,
        submitter=submitter,
    )


class _Stored(NamedTuple):
    """What became of one request: its receipt, and the head that covers it, if it waited for one."""

    receipt: BatchReceipt
    reached: _Reached | None


def _level(reached: _Reached | None) -> int:
    return pb.LEVEL_INTEGRATED if reached is None else reached.level


class _Waiting:
    """One request of a stream on its way: its task, and what it holds meanwhile."""

    __slots__ = ("cost", "detail", "task")

    def __init__(self, task: asyncio.Task[_Stored], cost: int, detail: int) -> None:
        self.task = task
        self.cost = cost
        self.detail = detail

    @property
    def stored(self) -> _Stored | None:
        """What is to be answered, if it can be now."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None


class AppendStream:
    """One stream of appends: requests are submitted as they come, answered in order, together where they can be.

    At most MAX_WAITING_REQUESTS of them, and about MAX_WAITING_BYTES, wait at a time; then the stream is not read
    on, and flow control holds the client back. The first error ends it, after the answers to all before it.
    """

    def __init__(self, log: Log, submitter: str, waits: Waits) -> None:
        self._waits = waits
        self._log = log
        self._submitter = submitter
        self._waiting: deque[_Waiting] = deque()
        self._cost = 0
        self._read_to_end = False
        self._failure: BaseException | None = None  # why reading ended
        self._refused: BaseException | None = None  # why an append failed
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Read no more: what was read is answered, then the stream ends with ClosedError."""
        if self._failure is None and not self._read_to_end:
            self._failure = ClosedError("the server is shutting down")
        if self._reader is not None:
            self._reader.cancel()
        self._changed.set()

    async def answers(
        self, first: pb.AppendStreamRequest, requests: AsyncIterator[pb.AppendStreamRequest]
    ) -> AsyncGenerator[pb.AppendStreamResponse, None]:
        """The answers to `first` and all that follow it."""
        self._take(first)
        self._reader = asyncio.create_task(self._read(requests))
        try:
            while True:
                while self._waiting:
                    await self._waiting[0].task
                    yield self._answer()
                if self._failure is not None:
                    raise self._failure
                if self._read_to_end:
                    return
                self._changed.clear()
                await self._changed.wait()
        finally:
            await self._clear()

    async def _read(self, requests: AsyncIterator[pb.AppendStreamRequest]) -> None:
        try:
            async for request in requests:
                self._take(request)
                while len(self._waiting) >= MAX_WAITING_REQUESTS or self._cost >= MAX_WAITING_BYTES:
                    self._room.clear()
                    await self._room.wait()
            self._read_to_end = True
        except Exception as error:  # noqa: BLE001 - raised again by `answers`, behind the answers due before it
            self._failure = self._failure or error
        finally:
            self._changed.set()

    def _take(self, request: pb.AppendStreamRequest) -> None:
        cost = request.ByteSize() + _OVERHEAD
        self._cost += cost
        # Tasks begin in the order they are made in, and each submits before it first waits: so order is kept.
        task = asyncio.create_task(self._append(request))
        self._waiting.append(_Waiting(task, cost, request.detail))
        self._changed.set()

    async def _append(self, request: pb.AppendStreamRequest) -> _Stored:
        if self._refused is not None:
            raise self._refused
        try:
            level = check_level("wait", request.wait, self._log)
            check_detail(request.detail, proofs=False)
            receipt = await _batch(self._log, request, self._submitter)
            return _Stored(receipt, await _reach(self._log, level, receipt.size, self._waits))
        except MerklelogError as error:
            self._refused = error  # what was read behind it is not submitted any more
            raise

    def _answer(self) -> pb.AppendStreamResponse:
        """The answer to the first that waits and to those behind it that are stored too."""
        detail = self._waiting[0].detail
        response = pb.AppendStreamResponse(level=pb.LEVEL_INTEGRATED)
        while True:
            done = self._waiting.popleft()
            self._cost -= done.cost
            receipt, reached = done.task.result()
            indexes = receipt.indexes
            place = response.appended.add(first_index=indexes[0], count=len(indexes))
            if not contiguous(indexes):
                place.indexes.extend(indexes)
            following = self._waiting[0] if self._waiting else None
            if following is None or following.detail != detail:
                break
            stored = following.stored
            if stored is None or _level(stored.reached) != _level(reached):
                break
        self._room.set()
        # The last one's tree is the largest: requests become durable, and published, in the order of submission.
        response.tree_size = receipt.size
        _fill(response, receipt, reached, detail)
        return response

    async def _clear(self) -> None:
        """End what is still under way, and hear every error, so that none is reported as unheard."""
        tasks: list[asyncio.Task[None] | asyncio.Task[_Stored]] = [each.task for each in self._waiting]
        if self._reader is not None:
            tasks.append(self._reader)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
