"""Producer: many entries into a log from one process, batched, in order, and every batch verified.

producer            the class that programs use
producer_batch      a batch, and the handle of one entry of it
producer_buffer     batches being filled, bounded in bytes; options
producer_delivery   sending in order, trying again, deadlines
producer_checks     what the log answered against what it signed
producer_kept       what a log with publish targets has not published yet
producer_outbox     the same on disk, for the next start
producer_transport  what is asked of the way to the log
producer_stream     that way over gRPC
producer_targets    from the name of a log to a producer for it
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from merklelog.client.trust import Trust
from merklelog.errors import ClosedError, MerklelogError, OverloadedError, StoppedError, UsageError
from merklelog.protocol.advance import TrustedHead

from .producer_batch import Sent, fresh
from .producer_buffer import Buffer, ProducerOptions
from .producer_checks import Checker
from .producer_delivery import Delivery
from .producer_outbox import Outbox
from .producer_transport import Sender

LOGGER: Final = logging.getLogger("merklelog.producer")
_DEFAULTS: Final = ProducerOptions()
_ROOM_SECONDS: Final = 0.005
_EXIT_SECONDS: Final = 5.0

Connect = Callable[[], Sender]
_living: Final[weakref.WeakSet[Producer]] = weakref.WeakSet()


class Producer:
    """Sends entries to a log in batches, and verifies each batch before anybody is told that it is there.

    Entries stand in the log in the order they were sent in, each once, however often the network made it send
    them again. `connect` makes the way to the log, in the producer's own thread; `trust` holds the verifier's
    policy and the newest head, which every later tree must extend. Safe for threads; `await sent` serves event
    loops. Made before a fork, it is of no use in the child.

    Once the log is disproven (VerificationError) nothing more is sent, and every `send` raises that error.
    """

    def __init__(
        self,
        connect: Connect,
        trust: Trust,
        options: ProducerOptions = _DEFAULTS,
        *,
        close_at_exit: bool = True,
    ) -> None:
        self._connect = connect
        self._trust = trust
        self._options = options
        self._block = options.block_seconds
        self._outbox = None if options.outbox is None else Outbox(options.outbox, trust.origin)
        first = 0 if self._outbox is None else self._outbox.next_number
        self._buffer = Buffer(options, self._wake, first)
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._checker: Checker | None = None
        self._at_exit = close_at_exit
        self._thread = threading.Thread(target=self._run, name="merklelog-producer", daemon=True)
        _living.add(self)
        self._thread.start()

    # --- sending ----------------------------------------------------------------------------------------------

    def send(self, entry: bytes, on_done: Callable[[Sent], object] | None = None) -> Sent:
        """Take one entry; gives its future. `on_done` is called with it once the outcome is known.

        Blocks while `max_pending_bytes` wait (`ProducerOptions.block_seconds`), but never in a callback. Raises
        EntryError for what is no entry or too long, OverloadedError without room, ClosedError, and what ended the
        producer. Nothing of an entry that raised here is sent.
        """
        sent = self._buffer.add(entry, 0 if threading.current_thread() is self._thread else self._block)
        if on_done is not None:
            sent.add_done_callback(on_done)
        return sent

    async def send_async(self, entry: bytes) -> Sent:
        """`send` for a coroutine: waits for room without blocking its event loop."""
        end = None if self._block is None else time.monotonic() + self._block
        while True:
            try:
                return self._buffer.add(entry, 0)
            except OverloadedError:
                if end is not None and time.monotonic() >= end:
                    raise
            await asyncio.sleep(_ROOM_SECONDS)

    @property
    def pending(self) -> tuple[int, int]:
        """Entries and bytes that were sent and whose outcome is not known yet."""
        return self._buffer.pending

    @property
    def head(self) -> TrustedHead | None:
        """The newest head that was verified."""
        return self._trust.head if self._checker is None else self._checker.head

    @property
    def unpublished(self) -> int:
        """Entries that the log has and did not publish yet: kept here, or in the outbox, until it has."""
        return self._buffer.unpublished

    def flush(self, timeout: float | None = None) -> None:
        """Send what is collected, and wait until all that was sent before is durable and verified.

        Raises TimeoutError after `timeout` seconds, and the first error of an entry since the last flush: so who
        keeps no futures hears of it.
        """
        self._refuse_own_thread("flush")
        if not self._buffer.flush(timeout):
            raise TimeoutError(f"flush: {self.pending[0]:,} entries have no outcome after {timeout} s")
        failure = self._buffer.take_failure()
        if failure is not None:
            raise fresh(failure)

    def close(self, timeout: float | None = None) -> None:
        """Flush, wait until it is published where the log has targets, and end.

        What is not settled after `timeout` seconds (for the publication: at most `deadline_seconds`) fails with
        ClosedError; with an outbox it is there for the next producer. Raises what `flush` does. Closing again does
        nothing.
        """
        self._refuse_own_thread("close")
        self._buffer.close(ClosedError("the producer was closed"))
        most = self._options.deadline_seconds
        if timeout is None and self._outbox is not None:
            timeout = most
        ends = time.monotonic() + (most if timeout is None else timeout)
        done = self._buffer.flush(timeout)
        if not done:
            self._buffer.abandon(
                ClosedError("the producer was closed before this was settled: stored or not")
            )
        elif not self._buffer.wait_published(max(most if timeout is None else ends - time.monotonic(), 0.0)):
            self._buffer.abandon(ClosedError("the producer was closed before this was published"))
            done = False
        if not done:
            self._call(self._stop)
        self._thread.join(None if timeout is None else max(timeout, 1.0))
        if self._outbox is not None and not self._thread.is_alive():
            self._outbox.close()
        failure = self._buffer.take_failure()
        if failure is not None:
            raise fresh(failure)

    def _refuse_own_thread(self, what: str) -> None:
        if threading.current_thread() is self._thread:
            raise UsageError(
                f"{what} waits for the producer's thread, so a callback in that thread can not call it"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except MerklelogError:
            if error is None:
                raise  # else the block's own error is the news

    # --- the producer's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._deliver())
        except asyncio.CancelledError:
            self._buffer.abandon(ClosedError("the producer was closed"))
        except MerklelogError as error:
            self._buffer.abandon(error)
        except BaseException as error:
            LOGGER.exception("the producer failed")
            stopped = StoppedError(f"the producer failed: {type(error).__name__}: {error}")
            stopped.__cause__ = error
            self._buffer.abandon(stopped)

    async def _deliver(self) -> None:
        sender = self._connect()
        try:
            checker = self._checker = Checker(self._trust, sender.proofs)
            delivery = Delivery(self._buffer, self._options, sender, checker, self._changed, self._outbox)
            await delivery.run()
        finally:
            await sender.close()

    def _wake(self) -> None:
        self._call(self._changed.set)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop has ended, and nothing is left to be told to it
            return

    def _stop(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def owns(self, thread: int | None) -> bool:
        """Whether that is the producer's own thread."""
        return thread == self._thread.ident

    def leave(self) -> None:
        """At the end of the program: give what is collected a last chance, and say what came too late."""
        if not self._at_exit:
            return
        try:
            self.close(_EXIT_SECONDS)
        except (MerklelogError, TimeoutError) as error:
            LOGGER.error("entries were not stored, or not verified, when the program ended: %s", error)

    def forget(self) -> None:
        """In a forked child: this producer takes nothing any more."""
        self._buffer.forget()


def _forget_all() -> None:
    for producer in list(_living):
        producer.forget()


def _leave_all() -> None:
    for producer in list(_living):
        producer.leave()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_leave_all)
