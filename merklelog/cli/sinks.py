"""Where `append` puts its entries: a data directory that it opens itself, or a log that a client speaks to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as WaitTimeoutError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from merklelog.cli.trust import is_server, open_client
from merklelog.errors import LevelError, StaleError, UnavailableError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.receipt import parse_receipt
from merklelog.tree import TreeSize

if TYPE_CHECKING:
    from merklelog.cli.feed import Tally
    from merklelog.cli.server import Reach
    from merklelog.client import Client
    from merklelog.client.believed import Believed
    from merklelog.client.remote import Wait
    from merklelog.log import BatchReceipt, Log, Receipt


@dataclass(frozen=True, slots=True)
class Grown:
    """A log after the append: the newest note, and the new entries: how many, from where to where.

    The note is a checkpoint, or a receipt note of `epoch` of a log with publish targets.
    """

    origin: str
    size: TreeSize
    root: str
    note: bytes
    epoch: int | None
    appended: int
    start: int
    end: int


class Sink(Protocol):
    """A log to append to."""

    def feed(
        self, batches: Iterable[list[bytes]], tally: Tally, key: bytes | None, landed: Callable[[], object]
    ) -> None:
        """Append all batches: see `feed.feed`."""

    def under(self, receipt: Receipt, grown: Grown) -> Receipt:
        """The receipt of one entry under what was waited for."""

    def grown(self) -> Grown:
        """What came of it."""


@contextlib.contextmanager
def open_sink(target: str, trust: Believed | None, reach: Reach, wait: Wait) -> Iterator[Sink]:
    """The log at `target`. A directory without a policy and a state file is believed, as its own writer is."""
    if is_server(target) or trust is not None or reach.state is not None:
        with open_client(target, trust, reach) as client:
            yield ClientSink(client, wait, batches=not target.lower().startswith("http"))
        return
    from merklelog.log import open_log

    with open_log(target, wait=reach.timeout) as log:
        yield LogSink(log, wait, reach.timeout)


class LogSink:
    """A log that this process writes, as the only one."""

    def __init__(self, log: Log, wait: Wait, seconds: float) -> None:
        """`wait`: for at most so many seconds, until all of it has come to that level. Raises LevelError."""
        if wait == "published" and log.epoch is None:
            raise LevelError(f"{log.path}: it has no publish targets, so nothing in it is ever published")
        if wait == "witnessed" and not log.config.witness.policy:
            raise LevelError(f"{log.path}: it has no witnesses, so nothing in it is ever cosigned")
        self._log = log
        self._wait = wait
        self._seconds = seconds
        self._start = log.integrated.size

    def feed(
        self, batches: Iterable[list[bytes]], tally: Tally, key: bytes | None, landed: Callable[[], object]
    ) -> None:
        """See Sink."""
        from merklelog.cli.feed import feed

        feed(self._log, batches, tally, key, landed)

    def grown(self) -> Grown:
        """See Sink: what is new is between the two sizes."""
        log, start, head = self._log, self._start, self._log.integrated
        end = head.size
        if self._wait != "integrated":
            future = log.wait_witnessed(end) if self._wait == "witnessed" else log.wait_published(end)
            try:
                head = future.result(self._seconds)
            except WaitTimeoutError as error:
                future.cancel()
                text = f"{log.path}: appended and not {self._wait} within {self._seconds:g} s; it goes on"
                raise UnavailableError(text) from error
        return Grown(log.origin, head.size, head.root.hex(), head.note, head.epoch, end - start, start, end)

    def under(self, receipt: Receipt, grown: Grown) -> Receipt:
        """See Sink."""
        from merklelog.log import Receipt

        return Receipt(self._log, receipt.index, receipt.leaf_hash, grown.size, grown.note)


class ClientSink:
    """A log by way of a client, which verifies what it is answered; batches go one at a time.

    Others may append to it too, so what is new is counted by its indexes.
    """

    def __init__(self, client: Client, wait: Wait, *, batches: bool) -> None:
        self._client = client
        self._wait = wait
        self._batches = batches
        self._start = client.size()
        self._new: tuple[int, int, int] = (0, self._start, self._start)
        self._last: BatchReceipt | None = None

    def feed(
        self, batches: Iterable[list[bytes]], tally: Tally, key: bytes | None, landed: Callable[[], object]
    ) -> None:
        """See Sink."""
        from merklelog.cli.feed import batch_key

        position = 0
        for number, batch in enumerate(batches):
            own = None if key is None else batch_key(key, number)
            append = self._client.append_batch if self._batches else self._client.append_each
            receipt = append(batch, idempotency_key=own, wait=self._wait)
            self._last = receipt
            self._count(receipt)
            tally.add(position, receipt)
            position += len(batch)
            landed()

    def _count(self, receipt: BatchReceipt) -> None:
        fresh = {index for index in receipt.indexes if index >= self._start}
        if not fresh:
            return
        count, start, end = self._new
        first = min(fresh) if not count else start
        self._new = (count + len(fresh), first, max(end, max(fresh) + 1))

    def grown(self) -> Grown:
        """See Sink."""
        last = self._last
        if last is not None and last.epoch is not None:
            receipt = parse_receipt(last.note)[0]  # verified when it came
            origin, root = receipt.origin, receipt.root.hex()
            return Grown(origin, receipt.size, root, last.note, last.epoch, *self._new)
        try:
            head = self._client.checkpoint()
            checkpoint, note = head.checkpoint, head.note
        except StaleError:
            if last is None:
                raise
            # What is shown waits for witnesses; the append's own checkpoint was verified when it came.
            checkpoint, note = parse_checkpoint(last.note).checkpoint, last.note
        return Grown(checkpoint.origin, checkpoint.size, checkpoint.root.hex(), note, None, *self._new)

    def under(self, receipt: Receipt, grown: Grown) -> Receipt:  # noqa: ARG002 - the client waited for it
        """See Sink."""
        return receipt.upgrade()
