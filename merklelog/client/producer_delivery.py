"""Delivering a producer's batches: in order, many on their way at a time, sent again until the deadline.

Runs in the producer's own event loop. Three kinds of failure: what may come right by itself is tried again with
the same batches, keys and order; a refusal fails one batch; an answer that is disproven ends the producer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from merklelog.client.retry import Attempts, Retry
from merklelog.errors import (
    FormatError,
    MerklelogError,
    OverloadedError,
    StaleError,
    UnavailableError,
    UnreachableError,
    VerificationError,
)

from .producer_batch import Batch
from .producer_buffer import Buffer, ProducerOptions
from .producer_checks import Answered, Checker
from .producer_transport import Answer, Sender

# Whoever did not answer may have stored it: to go on before that is known would break the order.
TEMPORARY = (OverloadedError, UnreachableError)
_FATAL = (VerificationError, FormatError, StaleError)


class Delivery:
    """Takes batches out of a buffer, and settles each. `changed` is set when the buffer has more."""

    def __init__(
        self,
        buffer: Buffer,
        options: ProducerOptions,
        sender: Sender,
        checker: Checker,
        changed: asyncio.Event,
    ) -> None:
        self._buffer = buffer
        self._options = options
        self._sender = sender
        self._checker = checker
        self._changed = changed
        self._sent: deque[tuple[Batch, asyncio.Future[Answer]]] = deque()
        self._again: deque[Batch] = deque()
        seconds = options.deadline_seconds
        # The batches have deadlines, not the tries; and each is to be tried within its own.
        self._retry = Retry(
            total=1e12, attempt=1e12, first=min(0.05, seconds / 8), most=min(2.0, seconds / 4)
        )
        self._attempts = Attempts(self._retry)
        self._not_before = 0.0
        self._trouble: MerklelogError | None = None
        self._answered: list[Answered] = []
        self._to_check = asyncio.Event()
        self._all_sent = False

    async def run(self) -> None:
        """Deliver until the buffer is closed and everything is settled. Raises what ends the producer."""
        tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._check())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- sending ----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while self._sent or self._again or not self._buffer.closed:
            self._changed.clear()
            await self._collect()
            await self._expire(time.monotonic())
            self._fill(time.monotonic())
            await self._pause()
        self._all_sent = True
        self._to_check.set()

    def _fill(self, now: float) -> None:
        while now >= self._not_before and len(self._sent) < self._options.max_in_flight:
            batch = self._again.popleft() if self._again else self._buffer.take(now)
            if batch is None:
                return
            answer = self._sender.send(batch.entries, batch.key)
            answer.add_done_callback(lambda _answer: self._changed.set())
            self._sent.append((batch, answer))
            batch.hashes  # noqa: B018 - made now, while the log is at work

    async def _pause(self) -> None:
        """Until something is answered or there is more to send."""
        if self._buffer.closed and not self._sent and not self._again:
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
        oldest = self._sent[0][0] if self._sent else self._again[0] if self._again else None
        following = (self._again[0].created, 0.0) if self._again else self._buffer.next()
        times = []
        if following is not None and len(self._sent) < self._options.max_in_flight:
            times.append(max(self._not_before, following[1]))
        if oldest is not None:
            times.append(oldest.created + self._options.deadline_seconds)
        elif following is not None:
            times.append(following[0] + self._options.deadline_seconds)
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
            self._to_check.set()
            if self._trouble is not None:
                self._trouble = None
                self._attempts = Attempts(self._retry)

    async def _failed(self, error: BaseException) -> None:
        if not isinstance(error, MerklelogError) or isinstance(error, _FATAL):
            raise error
        await self._recall()
        if isinstance(error, TEMPORARY):
            self._trouble = error
            self._not_before = time.monotonic() + self._attempts.pause(_as_temporary(error))
        else:
            self._fail([self._again.popleft()], error)

    async def _recall(self) -> None:
        """Give up the connection: what was sent and not answered is to be sent again, in its order."""
        answers = [answer for _, answer in self._sent]
        self._again.extendleft(reversed([batch for batch, _ in self._sent]))
        self._sent.clear()
        await self._sender.reset()
        for answer in answers:
            answer.cancel()
            if answer.done() and not answer.cancelled():
                answer.exception()  # heard: the first of them said why

    async def _expire(self, now: float) -> None:
        """Fail what has waited for too long."""
        before = now - self._options.deadline_seconds
        if self._sent and self._sent[0][0].created < before:
            await self._recall()
        late = []
        while self._again and self._again[0].created < before:
            late.append(self._again.popleft())
        if not self._sent and not self._again:
            late += self._buffer.expired(before)
        self._fail(late, self._too_late("the log did not take it"))

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
            self._buffer.settle(batch, error)
        if batches and self._options.stop_on_error:
            raise error

    # --- checking ---------------------------------------------------------------------------------------------

    async def _check(self) -> None:
        attempts = Attempts(self._retry)
        group: list[Answered] = []
        while True:
            group += self._answered
            self._answered.clear()
            self._to_check.clear()
            if not group:
                if self._all_sent:
                    await self._checker.keep()
                    return
                await self._to_check.wait()
                continue
            try:
                await self._check_group(group)
            except TEMPORARY as error:
                self._trouble = error
                await asyncio.sleep(attempts.pause(_as_temporary(error)))
                group = self._unexpired(group)
            else:
                group = []
                attempts = Attempts(self._retry)

    async def _check_group(self, group: list[Answered]) -> None:
        try:
            async with asyncio.timeout_at(group[0].batch.created + self._options.deadline_seconds):
                receipts = await self._checker.check(group)
        except TimeoutError as error:
            raise UnavailableError("no proof came in time") from error
        for (batch, _), receipt in zip(group, receipts, strict=True):
            self._buffer.settle(batch, receipt)

    def _unexpired(self, group: list[Answered]) -> list[Answered]:
        """Those whose deadline has not passed; the others fail."""
        before = time.monotonic() - self._options.deadline_seconds
        late = [each.batch for each in group if each.batch.created < before]
        self._fail(late, self._too_late("the log stored it but did not prove it"))
        return [each for each in group if each.batch.created >= before]


def _as_temporary(error: OverloadedError | UnreachableError) -> OverloadedError | UnavailableError:
    """As one of the errors after which `retry` knows a pause."""
    return error if isinstance(error, OverloadedError | UnavailableError) else UnavailableError(str(error))
