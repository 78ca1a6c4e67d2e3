"""A server that dies, is full or is away for a while: nothing acknowledged is lost, no retry is stored twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import merklelog
from merklelog.client.retry import Retry
from merklelog.errors import OverloadedError
from merklelog.formats import VerifierKey, parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash

ROOT = Path(__file__).resolve().parents[2]
PATIENT = Retry(total=120, attempt=60, first=0.02, most=0.2)
CLIENTS = 4


class Mortal:
    """A gRPC server that can be killed and comes back at the same port."""

    def __init__(self, directory: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._words = ["--port", str(self.port), *options, str(directory)]
        self.url = f"grpc://127.0.0.1:{self.port}"
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "servers" / "grpc_server.py"), *self._words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline()

    def stop(self, signal_: signal.Signals) -> None:
        self.process.send_signal(signal_)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def restart(self, signal_: signal.Signals) -> None:
        self.stop(signal_)
        self._start()


def create(path: Path) -> tuple[VerifierKey, ...]:
    return merklelog.create_log(path, "kill.example/log", settings={"store.min_free_bytes": 0})


@pytest.mark.slow
@pytest.mark.parametrize("front", ["grpcio", "native"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_a_server_that_dies_under_load(how: signal.Signals, front: str, tmp_path: Path) -> None:
    keys = create(tmp_path / "log")
    server = Mortal(tmp_path / "log", "--front", front)
    ended = threading.Event()
    told: dict[bytes, merklelog.Receipt] = {}

    def append(number: int) -> None:
        with merklelog.connect(server.url, keys, state=tmp_path / f"state{number}", retry=PATIENT) as client:
            count = 0
            while not ended.is_set():
                entry = b"%d %d" % (number, count)
                if count % 5:
                    told[entry] = client.append(entry)
                else:
                    told[entry] = client.append_batch([entry, entry + b" and"])[0]
                count += 1

    async def append_async() -> None:
        async with await merklelog.connect_async(server.url, keys, retry=PATIENT) as client:
            count = 0
            while not ended.is_set():
                found = await asyncio.gather(*(client.append(b"task %d %d" % (count, i)) for i in range(5)))
                told.update({b"task %d %d" % (count, i): receipt for i, receipt in enumerate(found)})
                count += 1

    threads = [threading.Thread(target=append, args=(number,)) for number in range(CLIENTS)]
    threads.append(threading.Thread(target=lambda: asyncio.run(append_async())))
    try:
        for thread in threads:
            thread.start()
        for _ in range(2):
            before = len(told)
            for _ in range(600):
                time.sleep(0.05)
                if len(told) >= before + 40:
                    break
            server.restart(how)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        server.stop(signal.SIGTERM)
    policy = single_log_policy(keys)
    with merklelog.open_reader(tmp_path / "log") as reader:
        stored = list(reader.entries(0, reader.size))
    assert len(stored) == len(set(stored)), "a retry was stored twice"
    assert len(told) > 60
    for entry, receipt in told.items():
        assert stored[receipt.index] == entry
        verify_proof_file(parse_proof(receipt.to_bytes()), leaf_hash(entry), policy)


def test_a_server_that_is_full_is_asked_again_and_then_told_of(tmp_path: Path) -> None:
    keys = create(tmp_path / "log")
    server = Mortal(tmp_path / "log", "--max-calls", "0")
    try:
        short = Retry(total=3, attempt=3, first=0.01, most=0.02)
        with (
            merklelog.connect(server.url, keys, retry=short) as client,
            pytest.raises(OverloadedError, match=r"tried \d+ times"),
        ):
            client.append(b"x")
    finally:
        server.stop(signal.SIGKILL)


def test_a_server_that_comes_later(tmp_path: Path) -> None:
    keys = create(tmp_path / "log")
    server = Mortal(tmp_path / "log")
    server.stop(signal.SIGKILL)
    found = []

    def ask() -> None:
        with merklelog.connect(server.url, keys, retry=PATIENT) as client:
            found.append(client.append(b"patient").index)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    server._start()
    thread.join()
    server.stop(signal.SIGTERM)
    assert found == [0]
