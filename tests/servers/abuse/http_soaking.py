"""Load and abuse of the lean front together, as `soaking` does it to the native one: `merklelog serve` as it is.

`python tools/soak.py service --door http --seconds 3600` runs it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from http_floods import HTTP_FLOODS, connected, flood, leave
from loading import Load, lost
from victim import LeanVictim

import merklelog

WRITERS = 32
PIPELINED = 5
A_CONNECTION = 40  # requests, then a new one
CROWD = 500  # clients that connect and say nothing
GROWTH = 128 << 20  # beyond what it holds at rest: the database has buffers of its own


class Clients(Load):
    """Good clients: appends one by one and pipelined, entries and proofs, a watcher; until stopped."""

    async def run(self) -> None:
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._client(i) for i in range(WRITERS)))
        watch.cancel()

    async def _client(self, number: int) -> None:
        try:
            while not self.over.is_set():
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    for count in range(A_CONNECTION):
                        await asyncio.wait_for(self._turn(reader, writer, number, count), 60)
                finally:
                    writer.close()
        except (OSError, EOFError, AssertionError) as error:
            self.failed.append(f"client {number}: {type(error).__name__}: {error}")

    async def _turn(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, count: int
    ) -> None:
        entries = [
            b"%d.%d.%d" % (number, self.answered, i) for i in range(PIPELINED if count % 4 == 0 else 1)
        ]
        for entry in entries:
            writer.write(
                b"POST /add HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(entry), entry)
            )
        indexes = [int(await _body(reader)) for _ in entries]
        for index, entry in zip(indexes, entries, strict=True):
            self.keep(index, entry)
        if count % 10 == 9:
            for path in (b"/entry/%d" % indexes[0], b"/proof/inclusion?index=%d" % indexes[0]):
                writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
            assert await _body(reader) == entries[0], "another entry"
            assert b'"proof"' in await _body(reader)
            self.answered += 2

    async def _watch(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET /events/checkpoints HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while await reader.read(1 << 16):
                continue
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200 "), head
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length))


def soak(folder: Path, seconds: float, seed: int, *, each: float = 1.0) -> str:
    """Run, each flood so long; gives what went wrong, empty if nothing did."""
    log = folder / "log"
    merklelog.create_log(log, "soak.example/log", settings={"store.min_free_bytes": 0})
    server = LeanVictim(log)
    try:
        load = Clients(server.port, seed)
        load.start()
        try:
            wrong = _rounds(server, load, time.monotonic() + seconds, each)
        finally:
            load.stop()
        ended = server.end()
    finally:
        server.process.kill()
        server.process.wait()
    return wrong or ended or (load.failed[0] if load.failed else "") or lost(log, load)


def _rounds(server: LeanVictim, load: Load, end: float, each: float) -> str:
    allowed = server.memory() + GROWTH
    rounds = 0
    while time.monotonic() < end or not rounds:
        with ExitStack() as crowd:
            with suppress(TimeoutError):  # of a machine that has no time for them
                for _ in range(CROWD):
                    crowd.enter_context(connected(server.port))
            for attack in HTTP_FLOODS:
                flood(server.port, attack, each)
                if load.failed:
                    return f"during {attack.__name__}: {load.failed[0]}"
            left = leave(server.port, each)
        rounds += 1
        held = server.memory()
        told = f"{load.answered:,} requests answered, {left} clients left"
        print(f"round {rounds}: {told}, {held >> 20} MB", flush=True)
        if held > allowed:
            return f"memory grew to {held >> 20} MB, from {(allowed - GROWTH) >> 20}"
    return ""
