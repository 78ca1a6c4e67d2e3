"""A log in this process behind the door of a server, for producers: it breaks, waits and answers as told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from merklelog import Log
from merklelog.client.producer import Producer, ProducerOptions
from merklelog.client.producer_transport import Answer
from merklelog.client.state import StateFile
from merklelog.client.transport import Epoch, Included
from merklelog.client.trust import Trust
from merklelog.errors import MerklelogError
from merklelog.formats import single_log_policy
from merklelog.tree import Hash, leaf_hash
from tests.support import logs as SUPPORT

SECONDS = 60  # what takes longer hangs
QUICK = ProducerOptions(linger_seconds=0, max_batch_entries=3)


class Door:
    """A transport to a log in this process, as a server would be: a stream in order, broken as a whole."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.sends: list[tuple[int, bytes]] = []  # how many entries, under which key
        self.faults: list[
            Any
        ] = []  # of the next sends: None, an error, or an error to raise though it was stored
        self.asked: list[str] = []
        self.hold: threading.Event | None = None  # while it is not set, nothing is answered
        self.delay = 0.0
        self._broken: MerklelogError | None = None
        self.closed = 0
        self.waiting = 0

    def connect(self) -> Door:
        return self

    @property
    def proofs(self) -> Door:
        return self

    def send(self, entries: Sequence[bytes], key: bytes) -> asyncio.Future[Answer]:
        self.sends.append((len(entries), key))
        fault = self.faults.pop(0) if self.faults else None
        loop = asyncio.get_running_loop()
        if self._broken is not None:
            answer = loop.create_future()
            answer.set_exception(self._broken)
            return answer
        stored: Any = None
        if isinstance(fault, MerklelogError):
            self._broken = fault
        else:
            stored = self.log.submit_batch(list(entries), idempotency_key=key)
        if isinstance(fault, Stored):
            self._broken = fault.error
        return loop.create_task(self._answer(stored, self._broken))

    async def _answer(self, stored: Any, error: MerklelogError | None) -> Answer:
        self.waiting += 1
        while self.hold is not None and not self.hold.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(self.delay)
        self.waiting -= 1
        if stored is not None:
            receipt = await asyncio.wrap_future(stored)
        if error is not None:
            raise error
        indexes: Sequence[int] = receipt.indexes
        if list(indexes) == list(range(indexes[0], indexes[0] + len(indexes))):
            indexes = range(indexes[0], indexes[0] + len(indexes))
        return self.said(Answer(indexes, receipt.size, receipt.checkpoint))

    def said(self, answer: Answer) -> Answer:
        return answer

    async def reset(self) -> None:
        self._broken = None

    async def close(self) -> None:
        self.closed += 1

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> Sequence[Hash]:
        self.asked.append("range")
        return self.log.range_proof(start, end, size)

    async def inclusions(
        self, indexes: Sequence[int], size: int, root: Hash, seconds: float
    ) -> Sequence[Included]:
        self.asked.append("inclusion")
        proofs = self.log.inclusion_proofs(list(indexes), size)
        leaves = [leaf_hash(self.log.entry(index)) for index in indexes]
        return [Included(leaf, tuple(proof)) for leaf, proof in zip(leaves, proofs, strict=True)]

    async def grown(self, size: int, seconds: float) -> bytes:
        self.asked.append("grown")
        return self.log.checkpoint()

    async def epoch(self, seconds: float) -> Epoch:
        self.asked.append("epoch")
        return Epoch(self.log.epoch)

    async def consistency(self, old: int, new: int, root: Hash, seconds: float) -> Sequence[Hash]:
        self.asked.append("consistency")
        return self.log.consistency_proof(old, new)


class Stored:
    """A fault: the batch is stored, and its answer lost."""

    def __init__(self, error: MerklelogError) -> None:
        self.error = error


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Log]]:
    """`logs()`: an empty log in memory; all have the same keys."""
    opened: list[Log] = []
    folder = tmp_path_factory.mktemp("producer")

    def make(**settings: Any) -> Log:
        config = SUPPORT.config(**settings)
        opened.append(SUPPORT.open_store(SUPPORT.new_memory(), folder, config, SUPPORT.FakeWorld()))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


@pytest.fixture
def log(logs: Callable[..., Log]) -> Log:
    return logs()


@pytest.fixture
def door(log: Log) -> Door:
    return Door(log)


def trust_in(log: Log, state: Path | None = None) -> Trust:
    return Trust(single_log_policy(log.vkeys), None if state is None else StateFile(state))


def producer(door: Door, options: ProducerOptions = QUICK, trust: Trust | None = None) -> Producer:
    return Producer(door.connect, trust or trust_in(door.log), options)


def entries(count: int, name: str = "entry") -> list[bytes]:
    return [f"{name} {i}".encode() for i in range(count)]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.001)
