"""What asks a witness: one connection a log, each request the next growth of its log, sent when the last is
answered.

    python bench/witness_load.py REQUESTS HOST PORT RATE

REQUESTS is a pickled list, a log each, of whole HTTP requests. RATE is requests a second over all, on a schedule
of their own (what is late is counted from when it was due); 0: as fast as answers come. Prints a line of JSON:
seconds, answers, those that were not 200, and the latencies' 50th, 99th and highest in milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import uvloop


class Log(asyncio.Protocol):
    """One log's connection."""

    def __init__(self, requests: list[bytes], first: float, every: float) -> None:
        self.requests = requests
        self.next = 0
        self.due, self.every = first, every
        self.times: list[float] = []
        self.wrong = 0
        self.data = b""
        self.sent = 0.0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's own class
        self.go_on()

    def go_on(self) -> None:
        """Send the next request, at once or when it is due."""
        if self.next == len(self.requests):
            self.transport.close()
            return
        if not self.every:
            self.send(time.perf_counter())
            return
        due, self.due = self.due, self.due + self.every
        wait = due - time.perf_counter()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.send, due)
        else:
            self.send(due)

    def send(self, due: float) -> None:
        self.sent = due
        self.transport.write(self.requests[self.next])
        self.next += 1

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.times.append(time.perf_counter() - self.sent)
        if not self.data.startswith(b"HTTP/1.1 200"):
            self.wrong += 1
        self.data = b""
        self.go_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.ended.done():
            self.ended.set_result(None)


async def main(path: str, host: str, port: str, rate: str) -> None:
    """Ask, and print."""
    logs: list[list[bytes]] = pickle.loads(Path(path).read_bytes())
    gc.freeze()
    gc.disable()
    loop = asyncio.get_running_loop()
    every = len(logs) / float(rate) if float(rate) else 0.0
    begun = time.perf_counter()
    asked = []
    for number, requests in enumerate(logs):
        first = begun + 0.2 + every * number / len(logs)
        _, made = await loop.create_connection(partial(Log, requests, first, every), host, int(port))
        asked.append(made)
    for each in asked:
        await each.ended
    seconds = time.perf_counter() - begun
    times = sorted(time for each in asked for time in each.times)
    told = {
        "seconds": seconds,
        "answers": len(times),
        "wrong": sum(each.wrong for each in asked),
        "missing": sum(map(len, logs)) - len(times),
        "p50": 1000 * times[len(times) // 2],
        "p99": 1000 * times[len(times) * 99 // 100],
        "max": 1000 * times[-1],
    }
    print(json.dumps(told))


uvloop.run(main(*sys.argv[1:]))
