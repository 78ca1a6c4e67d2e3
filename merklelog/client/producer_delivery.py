"""Delivering a producer's batches: in order, many on their way at a time, sent again until the deadline.

Runs in the producer's own event loop. Three kinds of failure: what may come right by itself is tried again with
the same batches, keys and order; a refusal fails one batch; an answer that is disproven ends the producer. With an
outbox on disk a refusal that is not about the batch itself ends it too, as the batches there are to be sent once
the reason is gone. What a log with publish targets lost with its disk is sent again too: see `producer_kept`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from merklelog.client.retry import Attempts, Retry
from merklelog.errors import (
    CertificateError,
    ConflictError,
    EntryError,
    ForkError,
    FormatError,
    MerklelogError,
    NotFoundError,
    OverloadedError,
    ProofError,
    RangeError,
    StaleError,
    UnavailableError,
    VerificationError,
)
from merklelog.log.receipt import BatchReceipt

from .producer_batch import Batch
from .producer_buffer import Buffer, ProducerOptions
from .producer_checks import Answered, Checker
from .producer_kept import ASK_SECONDS, TEMPORARY, Kept, as_temporary
from .producer_outbox import Outbox
from .producer_transport import Answer, Sender

_SPOOLED = 64  # batches that go to disk together
_FATAL = (VerificationError, FormatError, StaleError)
# What a batch is refused for by itself; anything else that is refused would be refused of every batch.
_OF_BATCH = (EntryError, ConflictError)
# What is found when a receipt's tree is not there any more; a fork, unless its epoch is over.
_GONE = (ProofError, ForkError, RangeError, NotFoundError, StaleError)


class Delivery:
    """Takes batches out of a buffer, and settles each. `changed` is set when the buffer has more."""

    def __init__(
        self,
        buffer: Buffer,
        options: ProducerOptions,
        sender: Sender,
        checker: Checker,
        changed: asyncio.Event,
        outbox: Outbox | None = None,
    ) -> None:
        self._buffer = buffer
        self._options = options
        self._sender = sender
        self._checker = checker
        self._changed = changed
        self._outbox = outbox
        self._sent: deque[tuple[Batch, asyncio.Future[Answer]]] = deque()
        self._again: deque[Batch] = deque()
        self._kept = Kept(
            buffer,
            options,
            sender.proofs,
            checker,
            outbox,
            lost=self._send_again,
            doubt=self._doubt,
            changed=changed.set,
        )
        self._has_targets = False
        self._doubted = False  # whether what is kept is still there has to be asked before more is sent
        seconds = options.deadline_seconds
        # The batches have deadlines, not the tries; and each is to be tried within its own.
        self._retry = Retry(
            total=1e12, attempt=1e12, first=min(0.05, seconds / 8), most=min(2.0, seconds / 4)
        )
        self._attempts = Attempts(self._retry)
        self._not_before = 0.0
        self._trouble: MerklelogError | None = None
        self._answered: deque[Answered] = deque()
        self._checking: list[Answered] = []
        self._to_check = asyncio.Event()
        self._all_sent = False

    async def run(self) -> None:
        """Deliver until the buffer is closed and everything is settled. Raises what ends the producer."""
        await self._adopt()
        working = {asyncio.create_task(self._send()), asyncio.create_task(self._check())}
        tasks = {*working, asyncio.create_task(self._kept.watch())}
        try:
            left = set(tasks)
            while working & left:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _adopt(self) -> None:
        """What an earlier producer left in the outbox comes first."""
        if self._outbox is None:
            return
        left = await asyncio.to_thread(lambda outbox: list(outbox.left()), self._outbox)
        self._buffer.adopt(left)
        self._kept.adopt(batch for batch in left if batch.indexes is not None)
        self._again.extend(batch for batch in left if batch.indexes is None)
        self._doubted = self._has_targets = bool(self._kept)

    # --- sending ----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while not self._is_done():
            self._changed.clear()
            await self._collect()
            await self._expire(time.monotonic())
            if self._outbox is not None:
                await self._spool(self._outbox, time.monotonic())
            if await self._is_sure(time.monotonic()):
                await self._fill(time.monotonic())
            await self._pause()
        self._all_sent = True
        self._to_check.set()
        self._kept.stop()

    def _is_done(self) -> bool:
        left = self._sent or self._again or self._answered or self._checking or self._kept
        return not left and self._buffer.closed

    async def _is_sure(self, now: float) -> bool:
        """Whether more may be sent: not before it is known that what was answered is not to be sent first."""
        if not self._doubted:
            return True
        if not self._has_targets:
            self._doubted = False
            return True
        if self._answered or self._checking or now < self._not_before:
            return False
        self._doubted = False
        if not self._kept:
            return True
        try:
            await self._kept.recheck()
        except TEMPORARY as error:
            self._doubted = True
            self._trouble = error
            self._not_before = time.monotonic() + self._attempts.pause(as_temporary(error))
            return False
        return True

    async def _fill(self, now: float) -> None:
        while now >= self._not_before and len(self._sent) < self._options.max_in_flight:
            if self._again:
                batch = self._again.popleft()
            elif self._outbox is not None or (taken := self._buffer.take(now)) is None:
                return
            else:
                batch = taken
            entries = batch.entries
            if self._outbox is not None and not entries:
                entries = await asyncio.to_thread(self._outbox.entries, batch)
                batch.take_entries(entries)
            answer = self._sender.send(entries, batch.key)
            answer.add_done_callback(lambda _answer: self._changed.set())
            self._sent.append((batch, answer))
            batch.hashes  # noqa: B018 - made now, while the log is at work

    async def _spool(self, outbox: Outbox, now: float) -> None:
        """All that is ready goes to disk before it is sent; what is not sent soon leaves the memory."""
        batches: list[Batch] = []
        while len(batches) < _SPOOLED and (batch := self._buffer.take(now)) is not None:
            batches.append(batch)
        if not batches:
            return
        await asyncio.to_thread(outbox.store, batches)
        self._again.extend(batches)
        for batch in list(self._again)[self._options.max_in_flight :]:
            self._buffer.spooled(batch)
        if len(batches) == _SPOOLED:
            self._changed.set()

    def _send_again(self, batches: list[Batch]) -> None:
        """These too, in the order in which they were first sent."""
        merged = {batch.number: batch for batch in (*self._again, *batches)}
        self._again = deque(merged[number] for number in sorted(merged))
        self._changed.set()

    def _doubt(self) -> None:
        self._doubted = True
        self._changed.set()

    async def _pause(self) -> None:
        """Until something is answered or there is more to send."""
        if self._is_done():
            return
        loop = asyncio.get_running_loop()
        timer = None
        if (when := self._next_time()) is not None:
            timer = loop.call_later(max(0.0, when - time.monotonic()), self._changed.set)
        await self._changed.wait()
        if timer is not None:
            timer.cancel()

    def _next_time(self) -> float | None:
        """When there is something to do though nothing happens: something to send, or to give up."""
        collected = self._buffer.next()
        following = (self._again[0].created, 0.0) if self._again else collected
        times = []
        if following is not None and len(self._sent) < self._options.max_in_flight:
            times.append(max(self._not_before, following[1]))
        if self._outbox is not None and collected is not None:
            times.append(collected[1])
        if self._doubted and not self._answered and not self._checking:
            times.append(self._not_before)
        begun = [batch.created for batch, _ in self._sent] + [batch.created for batch in self._again]
        awaited = [self._kept.oldest_awaited(), following[0] if following is not None else None, *begun]
        if self._outbox is None:
            with_deadline = [each for each in awaited if each]
            if with_deadline:
                times.append(min(with_deadline) + self._options.deadline_seconds)
        return min(times, default=None)

    # --- what came of it --------------------------------------------------------------------------------------

    async def _collect(self) -> None:
        """Take the answers in, in order, up to the first that is not there yet or is an error."""
        while self._sent and self._sent[0][1].done():
            batch, answer = self._sent[0]
            error = answer.exception()
            if error is not None:
                await self._failed(error)
                return
            self._sent.popleft()
            self._answered.append(Answered(batch, answer.result()))
            self._has_targets = self._has_targets or bool(answer.result().epoch)
            self._to_check.set()
            if self._trouble is not None:
                self._trouble = None
                self._attempts = Attempts(self._retry)

    async def _failed(self, error: BaseException) -> None:
        if not isinstance(error, MerklelogError) or isinstance(error, _FATAL):
            raise error
        again = isinstance(error, TEMPORARY) and not isinstance(error, CertificateError)
        if self._outbox is not None and not again and not isinstance(error, _OF_BATCH):
            raise error  # what is on disk stays there
        refused = self._sent[0][0]
        await self._recall()
        if isinstance(error, TEMPORARY) and again:
            self._trouble = error
            self._not_before = time.monotonic() + self._attempts.pause(as_temporary(error))
            # Whoever is overloaded is there as before; else it may be another start, and another disk.
            self._doubted = self._doubted or not isinstance(error, OverloadedError)
        else:
            self._again.remove(refused)
            self._fail([refused], error)

    async def _recall(self) -> None:
        """Give up the connection: what was sent and not answered is to be sent again, in its order."""
        answers = [answer for _, answer in self._sent]
        self._send_again([batch for batch, _ in self._sent])
        self._sent.clear()
        await self._sender.reset()
        for answer in answers:
            answer.cancel()
            if answer.done() and not answer.cancelled():
                answer.exception()  # heard: the first of them said why

    async def _expire(self, now: float) -> None:
        """Fail what has waited for too long, unless an outbox on disk has it."""
        if self._outbox is not None:
            return
        before = now - self._options.deadline_seconds
        if any(self._is_late(batch, before) for batch, _ in self._sent):
            await self._recall()
        late = [batch for batch in self._again if self._is_late(batch, before)]
        for batch in late:
            self._again.remove(batch)
        if not self._sent and not self._again:
            late += self._buffer.expired(before)
        self._fail(late, self._too_late("the log did not take it"))
        text = "the log stored it but did not publish it"
        self._fail(self._kept.give_up(before), self._too_late(text))

    def _is_late(self, batch: Batch, before: float) -> bool:
        return batch.created < before and not self._buffer.is_settled(batch)

    def _too_late(self, what: str) -> MerklelogError:
        text = f"{what} within {self._options.deadline_seconds:g} s, and it may be stored or not"
        if self._trouble is None:
            return UnavailableError(text)
        text = f"{text}; the last answer: {self._trouble}"
        kind = OverloadedError if isinstance(self._trouble, OverloadedError) else UnavailableError
        error = kind(text)
        error.__cause__ = self._trouble
        return error

    def _fail(self, batches: list[Batch], error: MerklelogError) -> None:
        if batches and self._options.stop_on_error:
            self._buffer.close(error)  # before anybody hears of it, and sends what could not come any more
        for batch in batches:
            self._kept.end(batch, error)
        if batches and self._options.stop_on_error:
            raise error

    # --- checking ---------------------------------------------------------------------------------------------

    async def _check(self) -> None:
        attempts = Attempts(self._retry)
        while True:
            self._take_answered()
            self._to_check.clear()
            if not self._checking:
                if self._all_sent:
                    await self._checker.keep()
                    return
                self._changed.set()  # somebody may wait for all to be checked
                await self._to_check.wait()
                continue
            try:
                await self._check_group(self._checking)
            except TEMPORARY as error:
                self._trouble = error
                await asyncio.sleep(attempts.pause(as_temporary(error)))
                self._checking = self._unexpired(self._checking)
            except _GONE as error:
                if not await self._is_over(error):
                    raise
                for batch, answer in self._checking:
                    batch.indexes, batch.epoch = answer.indexes, answer.epoch
                    self._kept.hold(batch)
                self._checking = []
                self._doubted = True
            else:
                self._checking = []
                attempts = Attempts(self._retry)

    def _take_answered(self) -> None:
        """More of the same epoch: a tree has one history in each."""
        epoch = self._checking[0].answer.epoch if self._checking else None
        while self._answered and epoch in (None, self._answered[0].answer.epoch):
            self._checking.append(self._answered.popleft())
            epoch = self._checking[0].answer.epoch

    async def _is_over(self, error: MerklelogError) -> bool:
        """Whether what is missing is only lost: the log is in another epoch than it answered in."""
        try:
            return await self._kept.is_over(self._checking[0].answer.epoch)
        except TEMPORARY as away:
            raise error from away

    async def _check_group(self, group: list[Answered]) -> None:
        note = max((each.answer for each in group), key=lambda answer: answer.size).note
        receipts: list[BatchReceipt] | list[None] = [None] * len(group)
        if self._checker.believes(note):
            try:
                async with asyncio.timeout_at(self._deadline(group)):
                    receipts = await self._checker.check(group)
            except TimeoutError as error:
                raise UnavailableError("no proof came in time") from error
        for (batch, answer), found in zip(group, receipts, strict=True):
            batch.indexes, batch.epoch = answer.indexes, answer.epoch
            if found is not None and found.epoch is None:
                self._kept.end(batch, found)
            else:
                self._kept.add(batch, found)

    def _deadline(self, group: list[Answered]) -> float:
        """Until when a proof may take; what is sent again was begun long ago."""
        batch = group[0].batch
        if self._outbox is not None or self._buffer.is_settled(batch):
            return asyncio.get_running_loop().time() + 4 * ASK_SECONDS
        return batch.created + self._options.deadline_seconds

    def _unexpired(self, group: list[Answered]) -> list[Answered]:
        """Those whose deadline has not passed; the others fail."""
        if self._outbox is not None:
            return group
        before = time.monotonic() - self._options.deadline_seconds
        late = [each.batch for each in group if self._is_late(each.batch, before)]
        self._fail(late, self._too_late("the log stored it but did not prove it"))
        return [each for each in group if each.batch not in late]
