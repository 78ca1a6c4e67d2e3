"""`merklelog serve` as a process of its own, and what it says on standard error."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

import merklelog
from merklelog.servers import handlers, health
from merklelog.v1 import log_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 120  # what takes longer hangs
METHODS = {method.path: method for method in (*handlers.METHODS, *health.METHODS)}
ANY_PORT = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "")


class Serving:
    """A server process. `said` is what it logged so far, an object a line."""

    def __init__(
        self, *words: object, environment: Mapping[str, str], file_bytes: int = 0, files: int = 0
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "merklelog", "serve", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), **environment},
        )
        if file_bytes:
            # From outside: between fork and exec, gRPC's handlers for forks may hang here for ever.
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        if files:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (files, files))
        self.said: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.addresses: dict[str, str] = {}
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.raw.append(line)
                if line.startswith("{"):
                    self.said.append(json.loads(line))
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, message: str, count: int = 1) -> dict[str, Any]:
        """The record that says this for the count-th time."""

        def found() -> list[dict[str, Any]]:
            return [each for each in self.said if message in each.get("message", "")]  # h2corn has other keys

        with self._more:
            done = self._more.wait_for(
                lambda: len(found()) >= count or not self._reader.is_alive(), timeout=SECONDS
            )
            assert done, f"never said {message!r}: {self.raw}"
            assert len(found()) >= count, f"ended without saying {message!r}: {self.raw}"
            return found()[count - 1]

    def ready(self) -> Serving:
        """Wait until it serves."""
        record = self.wait_for(" serves")
        self.addresses = {key: record[key] for key in ("grpc", "http", "admin") if key in record}
        return self

    def started(self) -> Serving:
        """Wait until its logs take appends: each has compared itself with its targets. It has an admin port."""
        self.ready()
        while self.ask("GET", "/readyz", door="admin")[0] != 200:
            assert self.process.poll() is None, self.raw
            time.sleep(0.02)
        return self

    def connect(self, door: str = "http") -> http.client.HTTPConnection:
        host, _, port = self.addresses[door].rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=SECONDS)

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, door: str = "http", **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        connection = self.connect(door)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.addresses["grpc"], options=[("grpc.use_local_subchannel_pool", 1)])

    def call(self, name: str, request: Any, *, channel: grpc.Channel | None = None, path: str = "") -> Any:
        """The answer of a unary rpc."""
        method = METHODS[path or f"/{handlers.SERVICE}/{name}"]
        own = channel or self.channel()
        try:
            raw = own.unary_unary(method.path)(request.SerializeToString(), timeout=SECONDS)
        finally:
            if channel is None:
                own.close()
        return method.response.FromString(raw)

    def append(
        self, data: bytes, *, origin: str = "", key: bytes = b"", channel: grpc.Channel | None = None
    ) -> int:
        """The index of one entry, over gRPC."""
        entry = pb.NewEntry(data=data, idempotency_key=key)
        request = pb.AppendRequest(origin=origin, entry=entry)
        return int(self.call("Append", request, channel=channel).entry.index)

    def send(self, which: signal.Signals) -> None:
        self.process.send_signal(which)

    def wait(self) -> int:
        """Its exit status."""
        status = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return status

    def stop(self, which: signal.Signals = signal.SIGTERM) -> int:
        self.send(which)
        return self.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    """`serve(DIR, ...)`: a server on free ports that logs JSON; `plain=True` adds no option to the words."""
    running: list[Serving] = []

    def start(
        *words: object, plain: bool = False, file_bytes: int = 0, files: int = 0, **environment: str
    ) -> Serving:
        more = () if plain else (*ANY_PORT, "--log-format", "json")
        running.append(Serving(*more, *words, environment=environment, file_bytes=file_bytes, files=files))
        return running[-1]

    yield start
    for each in running:
        each.close()


@pytest.fixture
def make_log(tmp_path: Path) -> Callable[..., Path]:
    """`make_log("a")`: an empty log of origin example.com/a in a directory of that name, with a small reserve."""

    def make(name: str, **settings: Any) -> Path:
        path = tmp_path / name
        chosen = {"store.min_free_bytes": 0, **{k.replace("__", "."): v for k, v in settings.items()}}
        merklelog.create_log(path, f"example.com/{path.name}", settings=chosen)
        return path

    return make


@pytest.fixture
def make_published(make_log: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """As `make_log`, with the directory `tmp_path/mount/NAME` as publish target."""

    def make(name: str, **settings: Any) -> Path:
        return make_log(name, publish__targets=(f"dir:{tmp_path}/mount/{name}",), **settings)

    return make
