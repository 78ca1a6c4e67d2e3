"""What loads of a server in a soak share: clients in a thread of their own, and what they were acknowledged."""

from __future__ import annotations

import asyncio
import random
import threading
from abc import ABC, abstractmethod
from pathlib import Path

import merklelog

KEPT = 10_000  # acknowledged entries that are looked at again


class Load(ABC):
    """Good clients, until stopped; `failed` says of each that ended before why."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self._chance = random.Random(seed)
        self.over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.run()))
        self.answered = 0
        self.kept: list[tuple[int, bytes]] = []
        self.failed: list[str] = []

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Let each client end what it has begun."""
        self.over.set()
        self._thread.join()

    @abstractmethod
    async def run(self) -> None:
        """Be clients until `over` is set."""

    def keep(self, index: int, data: bytes) -> None:
        """A fair sample of all that was acknowledged (Vitter's algorithm R)."""
        self.answered += 1
        if len(self.kept) < KEPT:
            self.kept.append((index, data))
        elif (at := self._chance.randrange(self.answered)) < KEPT:
            self.kept[at] = (index, data)


def lost(log: Path, load: Load) -> str:
    """What was acknowledged and is not there, or that nothing was; empty if neither."""
    with merklelog.open_reader(log) as reader:
        for index, data in load.kept:
            if reader.entry(index) != data:
                return f"the entry acknowledged at {index} is not there"
    print(f"{load.answered:,} requests answered, {len(load.kept):,} of their entries looked at: all there")
    return "" if load.answered else "no request was answered"
