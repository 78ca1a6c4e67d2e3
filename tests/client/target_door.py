"""The door of a log with publish targets, for producers: it breaks, publishes and loses its disk as told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from merklelog.client.producer import Producer
from merklelog.client.producer_buffer import ProducerOptions
from merklelog.client.producer_transport import Answer
from merklelog.client.state import StateFile
from merklelog.client.transport import Batch, Epoch, Included
from merklelog.client.trust import Trust
from merklelog.errors import MerklelogError, UnavailableError
from merklelog.formats import single_log_policy
from merklelog.formats.receipt import is_receipt
from merklelog.tree import Hash
from tests.client.target_log import KEY, RECEIPT_KEY, TargetLog

SMALL = ProducerOptions(linger_seconds=0, max_batch_entries=3)
BY_THREES = ProducerOptions(linger_seconds=3_600, max_batch_entries=3)  # and what is left when it is flushed
POLICY = single_log_policy([KEY.verifier])


class TargetDoor:
    """A Sender over a TargetLog. With `publishes` whoever waits for a publication gets one."""

    def __init__(self, log: TargetLog, *, publishes: bool = True) -> None:
        self.log = log
        self.publishes = publishes
        self.sends: list[tuple[list[bytes], bytes]] = []
        self.before: list[Callable[[], object]] = []  # what happens before the next sends
        self.away: MerklelogError | None = None
        self.loses_answer = False
        self.asked: list[str] = []
        self._broken: MerklelogError | None = None

    def connect(self) -> TargetDoor:
        return self

    @property
    def proofs(self) -> TargetDoor:
        return self

    def break_off(self) -> None:
        """The connection ends."""
        self._broken = UnavailableError("the server went away")

    def send(self, entries: Sequence[bytes], key: bytes) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self.before and self._broken is None:
            self.before.pop(0)()
        error = self._broken or self.away
        if error is not None:
            self._broken = error
            answer.set_exception(error)
            return answer
        self.sends.append((list(entries), key))
        stored = self.log.append(Batch(tuple(entries), key), 1.0)
        if self.loses_answer:
            self.loses_answer = False
            self.break_off()
            answer.set_exception(self._broken or UnavailableError("gone"))
            return answer
        start, end = stored.indexes[0], stored.indexes[-1] + 1
        epoch = self.log.number if is_receipt(stored.note) else 0
        answer.set_result(Answer(range(start, end), len(self.log.log), stored.note, epoch))
        return answer

    async def reset(self) -> None:
        self._broken = None

    async def close(self) -> None:
        return

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.away is not None:
            raise self.away

    async def grown(self, size: int, seconds: float) -> bytes:
        self._ask("grown")
        ends = time.monotonic() + seconds
        while self.log.shown <= size and time.monotonic() < ends:
            if self.publishes:
                self.log.publish()
            await asyncio.sleep(0.001)
            self._ask("still")
        return self.log.signed(self.log.shown)

    async def epoch(self, seconds: float) -> Epoch:
        self._ask("epoch")
        return self.log.epoch(seconds)

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> Sequence[Hash]:
        self._ask("range")
        return self.log.range_proof(start, end, size, root, seconds)

    async def inclusions(
        self, indexes: Sequence[int], size: int, root: Hash, seconds: float
    ) -> Sequence[Included]:
        self._ask("inclusion")
        return self.log.inclusions(indexes, size, root, seconds)

    async def consistency(self, old: int, size: int, root: Hash, seconds: float) -> Sequence[Hash]:
        self._ask("consistency")
        return self.log.consistency(old, size, root, seconds)


def producer_of(
    door: TargetDoor, options: ProducerOptions = SMALL, *, key: bool = True, state: Path | None = None
) -> Producer:
    keys = (RECEIPT_KEY.verifier,) if key else ()
    return Producer(door.connect, Trust(POLICY, None if state is None else StateFile(state), keys), options)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.001)
