"""Load and abuse together, for as long as is wanted: memory stays flat and nothing acknowledged is lost.

`python tools/soak.py service --seconds 3600` runs it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
from floods import FLOODS, SERVICE, flood
from loading import Load, lost
from victim import Victim

import merklelog
from merklelog.v1 import log_pb2 as pb

WRITERS = 32
GROWTH = 64 << 20  # beyond what the first round of everything left


class Clients(Load):
    """Good clients on one connection: unary appends, batches, proofs and a watcher, until stopped."""

    async def run(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            watch = asyncio.create_task(self._watch(channel))
            await asyncio.gather(*(self._write(channel, i) for i in range(WRITERS)))
            watch.cancel()

    async def _watch(self, channel: Any) -> None:
        request = pb.WatchCheckpointsRequest().SerializeToString()
        async for _ in channel.unary_stream(f"{SERVICE}WatchCheckpoints")(request):
            continue

    async def _write(self, channel: Any, writer: int) -> None:
        append, batch, prove = (
            channel.unary_unary(SERVICE + name) for name in ("Append", "AppendBatch", "GetInclusionProof")
        )
        count = 0
        while not self.over.is_set():
            count += 1
            entry = pb.NewEntry(data=b"%d.%d" % (writer, count))
            try:
                if count % 20:
                    answer = await append(pb.AppendRequest(entry=entry).SerializeToString(), timeout=60)
                    self.keep(pb.AppendResponse.FromString(answer).entry.index, entry.data)
                elif count % 40:
                    many = pb.AppendBatchRequest(entries=[entry] * 100)
                    answer = await batch(many.SerializeToString(), timeout=60)
                    self.keep(pb.AppendBatchResponse.FromString(answer).first_index, entry.data)
                else:
                    await prove(pb.GetInclusionProofRequest(index=0).SerializeToString(), timeout=60)
            except grpc.RpcError as error:
                self.failed.append(f"writer {writer}: {error.code()}: {error.details()}")
                return


def soak(folder: Path, seconds: float, seed: int) -> str:
    """Run; gives what went wrong, empty if nothing did."""
    log = folder / "log"
    merklelog.create_log(log, "soak.example/log", settings={"store.min_free_bytes": 0})
    server = Victim(log)
    try:
        server.well()
        load = Clients(server.port, seed)
        load.start()
        try:
            wrong = _rounds(server, load, time.monotonic() + seconds)
        finally:
            load.stop()
        status, out, _ = server.end()
        if (status, out) != (0, "drained 0\n"):
            return wrong or f"the server ended with {status}: {out}"
        return wrong or lost(log, load)
    finally:
        server.process.kill()
        server.process.communicate()


def _rounds(server: Victim, load: Load, end: float) -> str:
    allowed = rounds = 0
    while time.monotonic() < end or not rounds:
        for attack in FLOODS:
            flood(server.port, attack())
            if load.failed:
                return f"during {attack.__name__}: {load.failed[0]}"
        rounds += 1
        memory = server.memory()
        allowed = allowed or memory + GROWTH
        print(f"round {rounds}: {load.answered:,} calls answered, {memory >> 20} MB", flush=True)
        if memory > allowed:
            return f"memory grew to {memory >> 20} MB, from {(allowed - GROWTH) >> 20}"
    return ""
