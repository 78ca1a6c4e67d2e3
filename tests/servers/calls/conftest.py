"""A gRPC server as a process of its own, and a client that knows every method."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

import merklelog
from merklelog.formats import parse_checkpoint
from merklelog.servers import handlers, health, reflection
from merklelog.servers.rich import TRAILER
from merklelog.v1 import log_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]
TREE15 = ROOT / "tests" / "vectors" / "tiles" / "tree15"
RUNNER = Path(__file__).parents[1] / "grpc_server.py"
ORIGIN = "grpc.example/log"
SECONDS = 60  # a call that takes longer hangs
METHODS = {method.path: method for method in (*handlers.METHODS, *health.METHODS, *reflection.METHODS)}
Code = grpc.StatusCode


class Server:
    """One server process, and a channel to it."""

    def __init__(self, front: str, *words: object) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, str(RUNNER), "--front", front, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"the server did not start: {self.process.communicate()[1]}")
        self.address = f"127.0.0.1:{int(line)}"
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(self.address, options=options)

    def raw(self, path: str) -> Any:
        """A method taking bytes; answers are bytes too."""
        method = METHODS[path]
        shape = (
            "stream" if method.client_streaming else "unary",
            "stream" if method.server_streaming else "unary",
        )
        return getattr(self.channel, "_".join(shape))(path)

    def call(self, name: str, request: Any, *, seconds: float = SECONDS, path: str = "") -> Any:
        """The answer of a unary rpc, or the call of a streaming one, whose answers are parsed as they come."""
        method = METHODS[path or f"/{handlers.SERVICE}/{name}"]
        if method.client_streaming:
            request = (each.SerializeToString() for each in request)
        else:
            request = request.SerializeToString()
        answer = self.raw(method.path)(request, timeout=seconds)
        return (
            Answers(answer, method.response)
            if method.server_streaming
            else method.response.FromString(answer)
        )

    def health(self, service: str = "") -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(self.call("", request, path="/grpc.health.v1.Health/Check").status)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Signal the process and wait for it: its exit status and what it printed."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def close(self) -> None:
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Answers:
    """The messages of a stream; `call` cancels it and knows its code."""

    def __init__(self, call: Any, kind: type[Message]) -> None:
        self.call = call
        self._kind = kind

    def __iter__(self) -> Answers:
        return self

    def __next__(self) -> Any:
        return self._kind.FromString(next(self.call))


Start = Callable[..., Server]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty log, made once."""
    path = tmp_path_factory.mktemp("grpc") / "log"
    merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    return path


@pytest.fixture(scope="module", params=["grpcio", "native"])
def front(request: pytest.FixtureRequest) -> str:
    """Which front serves: every test of the service passes on both."""
    return str(request.param)


@pytest.fixture
def log(template: Path, tmp_path: Path) -> Path:
    """A log of its own."""
    return Path(shutil.copytree(template, tmp_path / "log"))


@pytest.fixture
def start(log: Path, front: str) -> Iterator[Start]:
    """`start("--max-calls", 3)`: a server over the log."""
    servers: list[Server] = []

    def call(*words: object) -> Server:
        servers.append(Server(front, *words, log))
        return servers[-1]

    yield call
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def shared(template: Path, front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over two logs for tests that each append what they need, or nothing."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(template, folder / "log")
    settings = {"store.min_free_bytes": 0, "log.dedupe": True}
    merklelog.create_log(folder / "two", "grpc.example/two", settings=settings)
    server = Server(front, folder / "log", folder / "two")
    server.call("AppendBatch", pb.AppendBatchRequest(origin=ORIGIN, entries=news(b"a", b"b", b"c")))
    yield server
    server.close()


def news(*entries: bytes) -> list[pb.NewEntry]:
    return [pb.NewEntry(data=data) for data in entries]


def head(note: bytes) -> tuple[int, bytes]:
    checkpoint = parse_checkpoint(note).checkpoint
    return checkpoint.size, checkpoint.root


def refused(call: Callable[[], object]) -> tuple[grpc.RpcError, status_pb2.Status, dict[str, Any]]:
    """The error a call ends with, its google.rpc.Status, and the details of that by their names."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    status = status_pb2.Status.FromString(dict(error.trailing_metadata() or ()).get(TRAILER, b""))
    details: dict[str, Any] = {}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(details[name])
    if status.details:
        assert (status.code, status.message) == (error.code().value[0], error.details())
        assert details["ErrorInfo"].domain == "merklelog"
    return error, status, details


def eventually(attempt: Callable[[], bool]) -> None:
    """Try until it is taken: a cancellation travels."""
    for _ in range(600):
        try:
            if attempt():
                return
        except grpc.RpcError as error:
            if error.code() != Code.RESOURCE_EXHAUSTED:
                raise
        signal.sigtimedwait([], 0.1)
    pytest.fail("no place was freed")
