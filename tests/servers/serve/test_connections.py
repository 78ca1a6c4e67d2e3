"""Connections that a server would keep, or could not: more of them than it may have files, and silent ones."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

import merklelog

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


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system ends no such connection")
@pytest.mark.parametrize("front", ["native", "lean"])
def test_who_reads_nothing_of_an_answer_keeps_no_connection(
    serve: Serve, make_log: MakeLog, front: str
) -> None:
    path = make_log("large")
    with merklelog.open(path) as log:
        log.append_batch([bytes(65_000)] * 256)
    chosen = {"MERKLELOG_SERVER__HTTP_FRONT": front, "MERKLELOG_LIMITS__WRITE_SECONDS": "1"}
    server = serve(path, **chosen).ready()
    before = sockets(server)
    with closing(server.connect()) as silent:
        silent.request("GET", "/tile/entries/000")
        assert silent.getresponse().status == 200
        end = time.monotonic() + 60
        while sockets(server) > before:
            assert time.monotonic() < end, "the server keeps it"
            time.sleep(0.05)


def sockets(server: Any) -> int:
    """How many the server has."""
    count = 0
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += str(each.readlink()).startswith("socket:")
    return count
