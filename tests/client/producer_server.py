"""A server process for producers, which can be killed and comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.formats import format_vkey

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "servers" / "grpc_server.py"
ORIGIN = "produced.example/log"
SECONDS = 60


class Server:
    """A server process at a port that stays its own, over one log."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    @property
    def target(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self, *words: object) -> None:
        command = [sys.executable, str(RUNNER), "--port", str(self.port), *map(str, words), str(self.log)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            pytest.fail(f"the server did not start: {self.process.communicate()[1]}")

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.communicate(timeout=SECONDS)
            self.process = None

    def entries(self) -> list[bytes]:
        """All entries, read once nobody writes."""
        self.end()
        with merklelog.open_reader(self.log) as log:
            return list(log.entries(0, log.size))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("produced") / "log"
    merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    return path


@pytest.fixture(scope="session")
def vkeys(template: Path) -> list[str]:
    with merklelog.open_reader(template) as log:
        return [format_vkey(key) for key in log.vkeys]


@pytest.fixture
def stopped(template: Path, tmp_path: Path) -> Iterator[Server]:
    """A server over an empty log that was not started yet."""
    made = Server(Path(shutil.copytree(template, tmp_path / "log")))
    yield made
    made.end(signal.SIGKILL)


@pytest.fixture
def server(stopped: Server) -> Server:
    """A running server over an empty log."""
    stopped.start()
    return stopped
