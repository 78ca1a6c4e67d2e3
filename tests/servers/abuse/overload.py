"""Ten times what a log takes, on both doors: memory is bounded, who is refused hears when to come again.

What a log takes is what may wait for its disk (`log.max_pending_bytes`); ten times as much is always under way,
from clients that come back at once. `python tools/soak.py overload --seconds 60` runs it for as long as is wanted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

import merklelog
from merklelog.v1 import log_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]
PENDING = 8 << 20
ENTRY = 60_000
BATCH = 16  # entries a call over gRPC
TIMES = 10
GRPC_CALLS = TIMES * PENDING // (ENTRY * BATCH) // 2
HTTP_CALLS = TIMES * PENDING // ENTRY // 2
# Beyond what it holds at rest: what waits, what is under way on the doors, and the database's own buffers.
ALLOWED = 384 << 20
_TRAILER = "grpc-status-details-bin"


@dataclass
class Told:
    """What the clients heard: the digest of each acknowledged entry by its index, and every answer counted."""

    stored: dict[int, bytes] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Overload:
    """Clients of both doors, each with one call under way at any time."""

    def __init__(self, addresses: dict[str, str], seconds: float) -> None:
        self._addresses = addresses
        self._end = time.monotonic() + seconds
        self.told = Told()

    async def run(self) -> Told:
        """Until the time is over."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_concurrent_streams", 2**31 - 1)]
        async with grpc.aio.insecure_channel(self._addresses["grpc"], options=options) as channel:
            call = channel.unary_unary("/merklelog.v1.LogService/AppendBatch")
            clients = [self._over_grpc(call, i) for i in range(GRPC_CALLS)]
            await asyncio.gather(*clients, *(self._over_http(i) for i in range(HTTP_CALLS)))
        return self.told

    async def _over_grpc(self, call: Any, client: int) -> None:
        count = 0
        while time.monotonic() < self._end:
            count += 1
            entries = [_entry(f"grpc {client} {count} {i}") for i in range(BATCH)]
            request = pb.AppendBatchRequest(entries=[pb.NewEntry(data=each) for each in entries])
            try:
                answer = pb.AppendBatchResponse.FromString(
                    await call(request.SerializeToString(), timeout=120)
                )
            except grpc.aio.AioRpcError as error:
                self._refused_grpc(error)
                await asyncio.sleep(0.01)
                continue
            self.told.answers["grpc stored"] += 1
            for index, each in enumerate(entries, answer.first_index):
                self.told.stored[index] = _digest(each)

    def _refused_grpc(self, error: grpc.aio.AioRpcError) -> None:
        self.told.answers[f"grpc {error.code().name}"] += 1
        details = dict(error.trailing_metadata() or ()).get(_TRAILER, b"")
        status = status_pb2.Status.FromString(bytes(details))
        again = any(each.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for each in status.details)
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or not again:
            self.told.wrong.append(f"{error.code()} {error.details()}, RetryInfo: {again}")

    async def _over_http(self, client: int) -> None:
        host, _, port = self._addresses["http"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            count = 0
            while time.monotonic() < self._end:
                count += 1
                entry = _entry(f"http {client} {count}")
                head = f"POST /add HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(entry)}\r\n\r\n"
                writer.write(head.encode() + entry)
                await writer.drain()
                if not await self._answered(reader, entry):
                    await asyncio.sleep(0.01)
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, entry: bytes) -> bool:
        """Read one answer; whether the entry was stored."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        status = head[0].split()[1]
        self.told.answers[f"http {status}"] += 1
        if status == "200":
            self.told.stored[int(body)] = _digest(entry)
            return True
        if status != "429" or "retry-after" not in fields:
            self.told.wrong.append(f"HTTP {status} {fields} {body[:200]!r}")
        return False


def overload(folder: Path, seconds: float, front: str) -> str:
    """Run; gives what went wrong, empty if nothing did."""
    log = folder / "log"
    settings: dict[str, str | int | bool] = {"store.min_free_bytes": 0, "log.max_pending_bytes": PENDING}
    merklelog.create_log(log, "overload.example/log", settings=settings)
    words = ["serve", log, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", ""]
    with (folder / "said").open("w+") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "merklelog", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stderr=said,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "MERKLELOG_SERVER__GRPC_FRONT": front,
                "MERKLELOG_SERVER__LOG_FORMAT": "json",
            },
        )
        try:
            addresses = ready(folder / "said", server)
            rest = memory(server.pid)
            told, peak = asyncio.run(_watched(Overload(addresses, seconds), server.pid))
            server.send_signal(signal.SIGTERM)
            status = server.wait(60)
        finally:
            server.kill()
            server.wait()
    print(f"{front}: {dict(told.answers)}; {rest >> 20} MB at rest, at most {peak >> 20} MB")
    if told.wrong:
        return f"{len(told.wrong)} answers were wrong, the first: {told.wrong[0]}"
    if not told.answers["grpc RESOURCE_EXHAUSTED"] or not told.answers["http 429"]:
        return f"nobody was refused: {told.answers}"
    if peak > rest + ALLOWED:
        return f"memory grew from {rest >> 20} to {peak >> 20} MB"
    if status:
        return f"the server ended with {status}"
    return _missing(log, told)


async def _watched(load: Overload, pid: int) -> tuple[Told, int]:
    peak = 0
    running = asyncio.create_task(load.run())
    while not running.done():
        peak = max(peak, memory(pid))
        await asyncio.wait({running}, timeout=0.1)
    return running.result(), peak


def _missing(log: Path, told: Told) -> str:
    with merklelog.open_reader(log) as reader:
        size = reader.size
        for index, entry in enumerate(reader.entries(0, size)):
            want = told.stored.pop(index, None)
            if want not in (None, _digest(entry)):
                return f"the entry acknowledged at {index} is another one"
    return f"{len(told.stored)} acknowledged entries are not there, size {size}" if told.stored else ""


def ready(said: Path, server: subprocess.Popen[bytes]) -> dict[str, str]:
    """The addresses that `merklelog serve` says it has, once it serves; `said` is its log, in JSON."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        for line in said.read_text().splitlines():
            if " serves" in line:
                record = json.loads(line)
                return {door: record[door] for door in ("grpc", "http") if door in record}
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {said.read_text()}")


def memory(pid: int) -> int:
    """What the process holds now, in bytes; 0: it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def _entry(name: str) -> bytes:
    return name.encode().ljust(ENTRY, b".")


def _digest(entry: bytes) -> bytes:
    return hashlib.sha256(entry).digest()
