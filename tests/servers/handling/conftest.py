"""Handlers over real logs, asked without a wire."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.formats import parse_checkpoint
from merklelog.servers.caller import ANYONE
from merklelog.servers.handlers import Handlers
from merklelog.servers.served import ServedLogs
from merklelog.v1 import log_pb2 as pb

ORIGIN, DEDUPING = "handlers.example/plain", "handlers.example/dedupe"
SMALL = {"store.min_free_bytes": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two empty logs, made once: making keys and a database takes its time."""
    path = tmp_path_factory.mktemp("handlers")
    merklelog.create_log(path / "plain", ORIGIN, settings=SMALL)
    merklelog.create_log(path / "dedupe", DEDUPING, settings={**SMALL, "log.dedupe": True})
    return path


@pytest.fixture
def logs(made: Path, tmp_path: Path) -> Iterator[ServedLogs]:
    """A plain log, the only one."""
    served = ServedLogs()
    served.add(merklelog.open(shutil.copytree(made / "plain", tmp_path / "plain")), "/")
    yield served
    served.close()


@pytest.fixture
def two(logs: ServedLogs, made: Path, tmp_path: Path) -> ServedLogs:
    """Also one that dedupes."""
    logs.add(merklelog.open(shutil.copytree(made / "dedupe", tmp_path / "dedupe")), "/two/")
    return logs


def ask(logs: ServedLogs, name: str, request: object, caller: object = ANYONE) -> object:
    """The answer of one unary rpc, or all answers of a stream."""

    async def call() -> object:
        handlers = Handlers(logs)
        answer = getattr(handlers, name)(request, caller)
        if hasattr(answer, "__aiter__"):
            return [each async for each in answer]
        return await answer

    return asyncio.run(call())


def entry(data: bytes = b"x", **more: bytes) -> pb.NewEntry:
    return pb.NewEntry(data=data, **more)


def fill(logs: ServedLogs, count: int) -> list[bytes]:
    entries = [b"entry %d" % i for i in range(count)]
    logs.find(ORIGIN).log.append_batch(entries)
    return entries


def root_of(checkpoint: bytes) -> tuple[int, bytes]:
    parsed = parse_checkpoint(checkpoint).checkpoint
    return parsed.size, parsed.root
