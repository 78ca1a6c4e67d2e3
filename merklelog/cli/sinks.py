"""Where `append` puts its entries: a data directory that it opens itself, or a log that a client speaks to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from merklelog.cli.trust import is_server, open_client
from merklelog.tree import TreeSize

if TYPE_CHECKING:
    from merklelog.cli.feed import Tally
    from merklelog.cli.server import Reach
    from merklelog.client import Client
    from merklelog.formats import Policy
    from merklelog.log import BatchReceipt, Log


@dataclass(frozen=True, slots=True)
class Grown:
    """A log after the append: its newest checkpoint, and the new entries: how many, from where to where."""

    origin: str
    size: TreeSize
    root: str
    note: bytes
    appended: int
    start: int
    end: int


class Sink(Protocol):
    """A log to append to."""

    def feed(
        self, batches: Iterable[list[bytes]], tally: Tally, key: bytes | None, landed: Callable[[], object]
    ) -> None:
        """Append all batches: see `feed.feed`."""

    def grown(self) -> Grown:
        """What came of it."""


@contextlib.contextmanager
def open_sink(target: str, policy: Policy | None, reach: Reach) -> Iterator[Sink]:
    """The log at `target`. A directory without a policy and a state file is believed, as its own writer is."""
    if is_server(target) or policy is not None or reach.state is not None:
        with open_client(target, policy, reach) as client:
            yield ClientSink(client, batches=not target.lower().startswith("http"))
        return
    from merklelog.log import open_log

    with open_log(target) as log:
        yield LogSink(log)


class LogSink:
    """A log that this process writes, as the only one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._start = log.size

    def feed(
        self, batches: Iterable[list[bytes]], tally: Tally, key: bytes | None, landed: Callable[[], object]
    ) -> None:
        """See Sink."""
        from merklelog.cli.feed import feed

        feed(self._log, batches, tally, key, landed)

    def grown(self) -> Grown:
        """See Sink: what is new is between the two sizes."""
        log, start, end = self._log, self._start, self._log.size
        return Grown(log.origin, end, log.root.hex(), log.checkpoint(), end - start, start, end)


class ClientSink:
    """A log by way of a client, which verifies what it is answered; batches go one at a time.

    Others may append to it too, so what is new is counted by its indexes.
    """

    def __init__(self, client: Client, *, batches: bool) -> None:
        self._client = client
        self._batches = batches
        self._start = client.checkpoint().checkpoint.size
        self._new: tuple[int, int, int] = (0, self._start, self._start)

    def feed(
        self, batches: Iterable[list[bytes]], tally: Tally, key: bytes | None, landed: Callable[[], object]
    ) -> None:
        """See Sink."""
        from merklelog.cli.feed import batch_key

        position = 0
        for number, batch in enumerate(batches):
            own = None if key is None else batch_key(key, number)
            append = self._client.append_batch if self._batches else self._client.append_each
            receipt = append(batch, idempotency_key=own)
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
        head = self._client.checkpoint()
        checkpoint = head.checkpoint
        return Grown(checkpoint.origin, checkpoint.size, checkpoint.root.hex(), head.note, *self._new)
