"""A log that has ended, behind its doors: gRPC on both fronts and HTTP, with every way to append."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.client.producer_targets import open_producer
from merklelog.errors import EntryError, FrozenError, UsageError
from merklelog.formats import format_vkey
from tests.support import logs

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "servers" / "grpc_server.py"
STATEMENT = b"merklelog/statement/v1\nengine.example/log\n1\nfrozen\n"


class Door:
    """A server process over one log."""

    def __init__(self, front: str, directory: Path) -> None:
        with merklelog.open_reader(directory) as reader:
            self.vkey = format_vkey(reader.vkeys[0])
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, str(RUNNER), "--front", front, str(directory)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module", params=["native", "grpcio"])
def front(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, front: str) -> Iterator[Door]:
    """A log of one entry that has ended."""
    directory = logs.make(tmp_path_factory.mktemp("frozen") / "log")
    with merklelog.open(directory) as log:
        log.append(b"one")
        log.freeze("engine.example/next")
    door = Door(front, directory)
    yield door
    door.end()


@pytest.fixture(scope="module")
def open_door(tmp_path_factory: pytest.TempPathFactory, front: str) -> Iterator[Door]:
    """A log that goes on; a test may have appended to it before."""
    door = Door(front, logs.make(tmp_path_factory.mktemp("open") / "log"))
    yield door
    door.end()


def post(door: Door, path: str, body: bytes) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(door.address, timeout=60)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_appends_are_refused_over_grpc(frozen: Door) -> None:
    with merklelog.connect(f"grpc://{frozen.address}", trust=frozen.vkey) as client:
        for append in (
            lambda: client.append(b"x"),
            lambda: client.append(b"x", idempotency_key=b"k"),
            lambda: client.append_batch([b"x", b"y"]),
            lambda: client.append_each([b"x", b"y"]),
        ):
            with pytest.raises(FrozenError, match=r"engine\.example/next goes on"):
                append()
        assert client.checkpoint().checkpoint.size == 2, "it is read as before"
        assert client.entry(0) == b"one"
        assert client.entry(1).startswith(b"merklelog/statement/v1\n")


def test_the_reserved_bytes_are_refused_over_grpc(open_door: Door) -> None:
    with merklelog.connect(f"grpc://{open_door.address}", trust=open_door.vkey) as client:
        before = client.append(b"before").index
        for append in (
            lambda: client.append(STATEMENT),
            lambda: client.append_batch([b"a", STATEMENT]),
            lambda: client.append_each([STATEMENT]),
        ):
            with pytest.raises((EntryError, UsageError), match="kept for what the log says of itself"):
                append()
        assert client.append(b"a").index == before + 1, "nothing of them is stored"


@pytest.mark.parametrize("front", ["native"], indirect=True)
def test_over_http(frozen: Door) -> None:
    status, problem = post(frozen, "/add", b"x")
    assert (status, problem["reason"]) == (410, "LOG_FROZEN")
    assert "engine.example/next goes on" in str(problem)


@pytest.mark.parametrize("front", ["native"], indirect=True)
def test_the_reserved_bytes_are_refused_over_http(open_door: Door) -> None:
    status, problem = post(open_door, "/add", STATEMENT)
    assert (status, problem["reason"]) == (400, "ENTRY_REFUSED")
    assert "kept for what the log says of itself" in str(problem)


def test_a_producer_refuses_the_reserved_bytes_before_they_join_a_batch(open_door: Door) -> None:
    with open_producer(f"grpc://{open_door.address}", trust=open_door.vkey) as producer:
        first = producer.send(b"first")
        with pytest.raises(EntryError, match="kept for what the log says of itself"):
            producer.send(STATEMENT)
        second = producer.send(b"second")
        assert second.result(60).index == first.result(60).index + 1
