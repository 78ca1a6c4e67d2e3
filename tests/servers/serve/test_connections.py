"""Connections that a server would keep, or could not: more of them than it may have files, and silent ones."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.servers import doors
from merklelog.servers.doors import Behind, NativeDoor
from merklelog.servers.http_send import Answers
from merklelog.servers.http_values import BYTES, IMMUTABLE, answer
from merklelog.servers.native import FrontLimits

LARGE = 32 << 20
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
needs_user_timeout = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system ends no such connection"
)

Serve = Callable[..., Any]
MakeLog = Callable[..., Path]


def test_more_connections_than_files_end_no_door(serve: Serve, make_log: MakeLog) -> None:
    """The first door is the native front's, which would end the server with its last file."""
    server = serve(make_log("few"), files=160).ready()
    for door in ("grpc", "http"):
        host, _, port = server.addresses[door].rpartition(":")
        with ExitStack() as many:
            for _ in range(200):
                with suppress(OSError):
                    many.enter_context(socket.create_connection((host, int(port)), timeout=60))
            if door == "grpc":
                assert server.ask("GET", "/healthz")[0] == 200
    assert server.append(b"afterwards") == 0
    assert server.stop() == 0


def test_who_reads_nothing_of_an_answer_keeps_no_connection(serve: Serve, make_log: MakeLog) -> None:
    """The lean front ends it by itself."""
    path = make_log("large")
    with merklelog.open(path) as log:
        log.append_batch([bytes(65_000)] * 256)
    server = serve(path, MERKLELOG_LIMITS__WRITE_SECONDS="1").ready()
    with closing(server.connect()) as silent:
        silent.request("GET", "/tile/entries/000")
        assert silent.getresponse().status == 200
        held = inode_of(silent.sock, server.process.pid)
        end = time.monotonic() + 60
        while held in sockets(server.process.pid):
            assert time.monotonic() < end, "the server keeps it"
            time.sleep(0.05)


async def large(_scope: Any, receive: Any, send: Any) -> None:
    """An application whose answers are longer than what the system keeps of a connection."""
    await receive()
    body = answer(bytes(LARGE), BYTES, IMMUTABLE)
    await Answers(write_seconds=0.5).send(body, send)


@asynccontextmanager
async def opened(write_seconds: float, *, lean: bool = False) -> AsyncIterator[tuple[str, int]]:
    """The address of a door in this process to the application `large`."""
    limits = FrontLimits(write_seconds=write_seconds, drain_seconds=1.0)
    door = NativeDoor(
        "http", Behind(large, limits, quick=(lambda _head: None) if lean else None), "127.0.0.1:0"
    )
    host, _, port = (await door.open()).rpartition(":")
    try:
        yield host, int(port)
    finally:
        await door.drain(0)


@needs_user_timeout
def test_the_system_ends_what_the_native_front_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with opened(0.5) as address:
            with socket.create_connection(address, timeout=60) as silent:
                silent.sendall(GET)
                held = await asyncio.to_thread(inode_of, silent, os.getpid())
                end = time.monotonic() + 60
                while held in sockets(os.getpid()):
                    assert time.monotonic() < end, "the server keeps it"
                    await asyncio.sleep(0.05)

    monkeypatch.setattr(doors, "ABANDON_SECONDS", 1.0)
    asyncio.run(run())


@needs_user_timeout
@pytest.mark.parametrize(
    ("lean", "write_seconds", "least"), [(False, 1, 600), (False, 3_600, 7_200), (True, 1, 0)]
)
def test_the_system_ends_nobody_who_reads_slowly(lean: bool, write_seconds: int, least: int) -> None:
    """A window opens in steps, of half a megabyte as well: only what takes nothing for minutes is abandoned."""

    async def run() -> list[int]:
        async with opened(write_seconds, lean=lean) as address:
            return patience_at(address)

    found = asyncio.run(run())
    assert found
    assert min(found) >= 1_000 * least
    assert not lean or max(found) == 0


def patience_at(address: tuple[str, int]) -> list[int]:
    """What the sockets of this process that listen there are set to, in milliseconds; 0: for ever."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, or not of this kind
            if not str(each.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(each.name))) as copy:
                if copy.getsockname() == address and copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    found.append(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    return found


def inode_of(client: socket.socket, pid: int) -> int:
    """Of the socket that this process has at the other end, once it has taken the connection."""
    (_, mine), (_, its) = client.getsockname(), client.getpeername()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            local, remote, inode = (line.split()[each] for each in (1, 2, 9))
            ports = [int(each.rpartition(":")[2], 16) for each in (local, remote)]
            if ports == [its, mine] and int(inode) in sockets(pid):
                return int(inode)
        time.sleep(0.02)
    raise AssertionError("the server has not taken it")


def sockets(pid: int) -> set[int]:
    """The inodes of a process's sockets."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            kind, _, inode = str(each.readlink()).partition(":")
            if kind == "socket":
                found.add(int(inode.strip("[]")))
    return found
