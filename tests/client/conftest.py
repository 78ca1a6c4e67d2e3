"""The log in memory of tests/publish, and copies of it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

# Fixtures of several test files.
from tests.client.connected import client, served
from tests.client.lying_server import between, grpc_liar, grpc_world, http_liar, http_world
from tests.client.producer_door import door, log, logs
from tests.client.producer_server import server, stopped, template, vkeys

__all__ = [
    "between",
    "client",
    "door",
    "grpc_liar",
    "grpc_world",
    "http_liar",
    "http_world",
    "log",
    "logs",
    "memory",
    "served",
    "server",
    "start_grpc",
    "start_http",
    "stopped",
    "template",
    "vkeys",
]

ROOT = Path(__file__).resolve().parents[2]
HELPER = ROOT / "tests" / "publish" / "memory_log.py"


@pytest.fixture(scope="session")
def memory() -> ModuleType:
    name = "publish_tests_memory_log"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HELPER)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(autouse=True, scope="module")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """No test here cuts the power, so syncing would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        yield


class Process:
    """A server process over logs; `url` is where its first log is."""

    def __init__(self, runner: str, *words: object) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with tempfile.TemporaryFile("w+") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "servers" / runner), *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if not line:
                self.kill()
                errors.seek(0)
                pytest.fail(f"{runner} did not start: {errors.read()}")
        told = json.loads(line)
        self.url = f"grpc://127.0.0.1:{told}" if isinstance(told, int) else f"http://{told[0]}/"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def start_http() -> Iterator[Callable[..., Process]]:
    """`start_http(DIR...)`: a process that serves these logs over HTTP."""
    with contextlib.ExitStack() as stack:

        def start(*directories: Path) -> Process:
            process = Process("http/http_process.py", *directories)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(scope="module")
def start_grpc() -> Iterator[Callable[..., Process]]:
    """`start_grpc(DIR..., "--option", N)`: a process that serves these logs over gRPC."""
    with contextlib.ExitStack() as stack:

        def start(*words: object) -> Process:
            process = Process("grpc_server.py", *words)
            stack.callback(process.kill)
            return process

        yield start
