"""A `logging.Handler` that puts a program's log records into a transparency log.

It never holds the program up for longer than it was told to, never raises into it, and never logs what it does
itself. What it could not deliver is counted, and said in an entry of its own as soon as something gets through.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Unpack

from merklelog.client.trust import Trusted
from merklelog.errors import ClosedError, MerklelogError, UsageError

from .logging_format import JsonFormatter, entry_of, gap_entry
from .producer import LOGGER, Producer
from .producer_batch import Sent, fresh
from .producer_buffer import ProducerOptions
from .producer_targets import Connection, producer_maker

DEFAULTS: Final = ProducerOptions(
    linger_seconds=0.1, max_pending_bytes=16 << 20, block_seconds=0, deadline_seconds=600
)
_SAY_SECONDS: Final = 60.0
_FORKED: Final = (
    "this process was forked off one that had logged before, and gRPC does not work in such a process: "
    "fork first, then log"
)

# grpc.aio's event loops take one another's events; asyncio then tells of it in the thread of any of them.
_POLLER: Final = "PollerCompletionQueue"


class MerklelogHandler(logging.Handler):
    """Sends records to the log at grpc(s)://host:port; every one that is stored is verified to be.

    `trust` and the connection's arguments are those of `connect`. `options` are those of the producer, or a
    mapping of some of them: what `logging.config` can say. By default a record that finds 16 MiB waiting is
    dropped rather than waited for (`block_seconds=0`). `flush` and `close` wait for `close_seconds` at most, each.

    Records are made into JSON unless another formatter is set. The connection is made with the first record, in a
    thread of the handler's own; in a forked child with the child's first, but a child of a process that had logged
    before can send nothing (gRPC has threads that a fork leaves behind). What is lost is counted, written into
    the log once there is room, and said on stderr at most once a minute unless `logging.raiseExceptions` is false.

    Raises at once what `open_producer` raises for arguments that can not be meant.
    """

    def __init__(
        self,
        target: str,
        trust: Trusted,
        options: ProducerOptions | Mapping[str, Any] = DEFAULTS,
        *,
        level: int | str = logging.NOTSET,
        close_seconds: float = 5.0,
        **connection: Unpack[Connection],
    ) -> None:
        super().__init__(level)
        if not isinstance(options, ProducerOptions):
            options = _options(options)
        self._make = producer_maker(target, trust, options, close_at_exit=False, **connection)
        self._close_seconds = close_seconds
        self._begin(None)
        self.setFormatter(JsonFormatter())

    def _begin(self, ended: ClosedError | None) -> None:
        """Everything that belongs to one process; `ended` is why it can send nothing."""
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._here = threading.local()
        self._producer: Producer | None = None
        self._ended = ended
        self._stored = 0
        self._lost = 0
        self._unsaid = 0  # of those lost, how many no entry tells of yet
        self._reason = ""
        self._say_at = 0.0

    @property
    def stored(self) -> int:
        """How many records are in the log, verified."""
        return self._stored

    @property
    def lost(self) -> int:
        """How many records were given up: no room, refused, or not taken in time."""
        return self._lost

    # --- logging.Handler ---------------------------------------------------------------------------------------

    def createLock(self) -> None:  # noqa: N802 - the name in logging
        """None: a thread that waits for room must not hold up the others, and the producer has its own."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and emit, without the lock."""
        passed: Any = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        self._follow_fork()
        if getattr(self._here, "busy", False) or self._is_own(record):
            return
        self._here.busy = True
        try:
            entry = entry_of(record, self.format(record))
            self._current().send(entry, self._settled)
        except MerklelogError as error:
            self._lose(1, error)
        except Exception:  # noqa: BLE001 - logging's rule: a record that can not be formatted is reported, not raised
            self.handleError(record)
        finally:
            self._here.busy = False

    def flush(self) -> None:
        """Wait until all records so far have an outcome, but no longer than `close_seconds`."""
        self._follow_fork()
        producer = self._producer
        if producer is None:
            return
        try:
            producer.flush(self._close_seconds)
        except TimeoutError as error:
            self._say(str(error))
        except MerklelogError as error:
            LOGGER.debug("flush: %s", error)  # counted record by record already

    def close(self) -> None:
        """Flush and end; what is not stored after `close_seconds` is lost."""
        self._follow_fork()
        with self._mutex:
            producer, self._producer = self._producer, None
            self._ended = ClosedError("the handler was closed")
        if producer is not None:
            self._tell(producer)
            try:
                producer.close(self._close_seconds)
            except MerklelogError as error:
                LOGGER.debug("close: %s", error)  # counted record by record already
        super().close()

    # --- its own --------------------------------------------------------------------------------------------

    def _follow_fork(self) -> None:
        """In a forked child: begin anew; the parent's thread and whatever was locked are not here."""
        if os.getpid() != self._pid:
            self._begin(None if self._producer is None else ClosedError(_FORKED))

    def _is_own(self, record: logging.LogRecord) -> bool:
        """Whether it is about this delivery: sending it would make the next one.

        What gRPC says of itself counts as such, from whatever thread: it shares its machinery between channels.
        """
        producer = self._producer
        if record.name == LOGGER.name or record.name.startswith("grpc."):
            return True
        if record.name == "asyncio" and _POLLER in str(record.msg):
            return True
        return producer is not None and producer.owns(record.thread)

    def _current(self) -> Producer:
        with self._mutex:
            if self._ended is not None:
                raise fresh(self._ended)
            if self._producer is None:
                self._producer = self._make()
            return self._producer

    def _settled(self, sent: Sent) -> None:
        """In the producer's thread, for every record."""
        error = sent.exception(0)
        if error is not None:
            self._lose(1, error)
            return
        self._stored += 1  # by this thread alone
        producer = self._producer
        if self._unsaid and producer is not None:
            self._tell(producer)

    def _lose(self, count: int, error: MerklelogError) -> None:
        with self._mutex:
            self._lost += count
            self._unsaid += count
            self._reason = str(error)
        self._say(f"{self._lost} log records were not stored; the last one: {error}")

    def _tell(self, producer: Producer) -> None:
        """Write into the log how many records are missing."""
        with self._mutex:
            count, self._unsaid = self._unsaid, 0
        if not count:
            return

        def told(sent: Sent) -> None:
            if sent.exception(0) is not None:
                untold()

        def untold() -> None:
            with self._mutex:
                self._unsaid += count

        try:
            producer.send(gap_entry(time.time(), LOGGER.name, count, self._reason), told)
        except MerklelogError:
            untold()  # there is no room for it either: the next record that is stored tries again

    def _say(self, text: str) -> None:
        """To stderr, as logging does with its own troubles."""
        with self._mutex:
            if time.monotonic() < self._say_at or not logging.raiseExceptions or sys.stderr is None:
                return
            self._say_at = time.monotonic() + _SAY_SECONDS
        try:
            sys.stderr.write(f"merklelog: {text}\n")
        except (OSError, ValueError):
            return  # stderr is gone or closed, and there is nobody else to tell


def _options(given: Mapping[str, Any]) -> ProducerOptions:
    """The defaults for logging with some of them changed. Raises UsageError for a name that is none."""
    try:
        return replace(DEFAULTS, **given)
    except TypeError as error:
        raise UsageError(f"options: {error}") from error
