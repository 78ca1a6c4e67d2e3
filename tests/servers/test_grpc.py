"""The gRPC server as its clients meet it: a process of its own, reached over the network."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import merklelog
from merklelog.formats import parse_bundle, parse_checkpoint
from merklelog.servers import handlers, health, reflection
from merklelog.servers.grpcio_front import GrpcioFront
from merklelog.servers.rich import TRAILER
from merklelog.servers.rpc import Route
from merklelog.servers.served import ServedLogs
from merklelog.servers.services import Services
from merklelog.tree import leaf_hash, verify_consistency, verify_inclusion
from merklelog.v1 import log_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
TREE15 = ROOT / "tests" / "vectors" / "tiles" / "tree15"
RUNNER = Path(__file__).with_name("grpc_server.py")
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


# --- the service ----------------------------------------------------------------------------------------------


def test_the_fifteen_leaf_tree_has_its_known_roots(start: Start) -> None:
    entries = parse_bundle((TREE15 / "tile" / "entries" / "000.p" / "15").read_bytes(), 15)
    server = start()
    for index, data in enumerate(entries):
        request = pb.AppendRequest(entry=pb.NewEntry(data=data), detail=pb.DETAIL_PROOF)
        answer = server.call("Append", request)
        size, root = head(answer.signed_note)
        known = (TREE15 / f"checkpoint.{index + 1}").read_bytes().split(b"\n")
        note = answer.signed_note.split(b"\n")
        assert (answer.entry.index, note[1:3]) == (index, known[1:3])
        verify_inclusion(leaf_hash(data), index, size, list(answer.entry.proof), root)
    newest = server.call("GetCheckpoint", pb.GetCheckpointRequest()).checkpoint
    size, root = head(newest)
    for index, data in enumerate(entries):
        proven = server.call("GetInclusionProof", pb.GetInclusionProofRequest(index=index))
        assert proven.checkpoint == newest
        verify_inclusion(leaf_hash(data), index, size, list(proven.entry.proof), root)
    for old in range(16):
        proof = server.call("GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=old)).proof
        known = parse_root(TREE15 / f"checkpoint.{old}")
        verify_consistency(old, size, known, root, list(proof))
    (read,) = server.call("GetEntries", pb.GetEntriesRequest())
    assert list(read.entries) == entries
    batch = server.call("GetInclusionProofs", pb.GetInclusionProofsRequest(indexes=range(15)))
    for each, data in zip(batch.entries, entries, strict=True):
        verify_inclusion(leaf_hash(data), each.index, size, list(each.proof), root)
    status, out, err = server.end()
    assert (status, out, err) == (0, "drained 0\n", "")


def parse_root(path: Path) -> bytes:
    from merklelog.formats.wire import decode_base64

    return decode_base64(path.read_bytes().split(b"\n")[2], "root")


def test_what_was_acknowledged_is_in_the_log(start: Start, log: Path) -> None:
    server = start()
    batch = server.call("AppendBatch", pb.AppendBatchRequest(entries=news(*(b"%d" % i for i in range(600)))))
    assert (batch.first_index, batch.count) == (0, 600)
    server.end(signal.SIGKILL)
    with merklelog.open_reader(log) as reader:
        assert list(reader.entries(0, 600)) == [b"%d" % i for i in range(600)]


def test_a_stream_of_appends_is_answered_in_order(start: Start, log: Path) -> None:
    server = start()
    requests = (pb.AppendStreamRequest(entries=news(b"%d" % i)) for i in range(3000))
    answers = list(server.call("AppendStream", requests))
    assert [a.first_index for answer in answers for a in answer.appended] == list(range(3000))
    server.end()
    with merklelog.open_reader(log) as reader:
        assert list(reader.entries(0, 3000)) == [b"%d" % i for i in range(3000)]


def test_watchers_see_the_log_grow(start: Start) -> None:
    server = start()
    heads = server.call("WatchCheckpoints", pb.WatchCheckpointsRequest())
    tail = server.call("WatchEntries", pb.WatchEntriesRequest(start=1))
    assert head(next(heads).checkpoint)[0] == 0
    for i in range(1, 4):
        answer = server.call("Append", pb.AppendRequest(entry=pb.NewEntry(data=b"%d" % i)))
        assert head(next(heads).checkpoint)[0] == answer.tree_size == i
    seen: list[bytes] = []
    while len(seen) < 2:
        seen += next(tail).entries
    assert seen == [b"2", b"3"]


def test_logs_are_told_apart_by_their_origins(shared: Server) -> None:
    for origin, prefix in ((ORIGIN, "/"), ("grpc.example/two", "/two/")):
        described = shared.call("GetLog", pb.GetLogRequest(origin=origin))
        assert (described.origin, described.http_prefix) == (origin, prefix)
    request = pb.AppendBatchRequest(origin="grpc.example/two", entries=news(b"z", b"z"))
    assert [each.index for each in shared.call("AppendBatch", request).entries] == [0, 0]


# --- errors ---------------------------------------------------------------------------------------------------

Refusal = tuple[str, Message, Code, str, str | None]
REFUSALS: dict[str, Refusal] = {
    "which log": ("GetLog", pb.GetLogRequest(), Code.NOT_FOUND, "UNKNOWN_LOG", None),
    "unknown log": ("GetLog", pb.GetLogRequest(origin="x"), Code.NOT_FOUND, "UNKNOWN_LOG", None),
    "index": (
        "GetInclusionProof",
        pb.GetInclusionProofRequest(origin=ORIGIN, index=1000),
        Code.OUT_OF_RANGE,
        "OUT_OF_RANGE",
        None,
    ),
    "stored size": (
        "GetCheckpoint",
        pb.GetCheckpointRequest(origin=ORIGIN, tree_size=1),
        Code.NOT_FOUND,
        "NOT_FOUND",
        None,
    ),
    "level": (
        "Append",
        pb.AppendRequest(origin=ORIGIN, entry=pb.NewEntry(data=b"x"), wait=pb.LEVEL_WITNESSED),
        Code.FAILED_PRECONDITION,
        "LEVEL_NOT_CONFIGURED",
        None,
    ),
    "entry": (
        "Append",
        pb.AppendRequest(origin=ORIGIN, entry=pb.NewEntry(data=bytes(65_536))),
        Code.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "entry.data",
    ),
    "batch": (
        "AppendBatch",
        pb.AppendBatchRequest(origin=ORIGIN),
        Code.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "entries",
    ),
    "not contiguous": (
        "GetEntries",
        pb.GetEntriesRequest(origin=ORIGIN, start=2, end=1),
        Code.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "end",
    ),
}


@pytest.mark.parametrize(("name", "request_", "code", "reason", "field"), REFUSALS.values(), ids=REFUSALS)
def test_an_error_says_what_was_wrong(
    shared: Server, name: str, request_: Message, code: Code, reason: str, field: str | None
) -> None:
    def ask() -> None:
        answer = shared.call(name, request_)
        if isinstance(answer, Answers):
            next(answer)

    error, status, details = refused(ask)
    assert (error.code(), details["ErrorInfo"].reason) == (code, reason)
    violations = details["BadRequest"].field_violations if field else []
    assert [(each.field, each.description) for each in violations] == (
        [(field, status.message)] if field else []
    )
    assert ("BadRequest" in details, "RetryInfo" in details) == (field is not None, False)


def test_a_key_used_again_with_other_bytes_is_a_conflict(shared: Server) -> None:
    def send(data: bytes) -> int:
        entry = pb.NewEntry(data=data, idempotency_key=b"once")
        return int(shared.call("Append", pb.AppendRequest(origin=ORIGIN, entry=entry)).entry.index)

    assert send(b"first") == send(b"first")
    error, _, details = refused(lambda: send(b"other"))
    assert (error.code(), details["ErrorInfo"].reason) == (Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")


NO_MESSAGE = (b"\xff", b"\x0a", b"\x0a\x05abc", b"\x0a\x02\xff\xff", b"\x07", bytes(9))


@pytest.mark.parametrize("method", handlers.METHODS, ids=[method.attribute for method in handlers.METHODS])
def test_bytes_that_are_no_message_are_the_callers_fault(shared: Server, method: Any) -> None:
    def send(data: bytes) -> None:
        answer = shared.raw(method.path)(iter([data]) if method.client_streaming else data, timeout=0.5)
        if method.server_streaming:
            list(answer)

    for data in NO_MESSAGE:
        error, _, details = refused(lambda data=data: send(data))  # type: ignore[misc]
        assert (error.code(), details["ErrorInfo"].reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    chance = random.Random(method.path)
    for _ in range(40):
        data = bytes([chance.choice((8, 10, 16, 18, 24))]) + chance.randbytes(chance.randrange(20))
        try:
            send(data)
        except grpc.RpcError as error:
            code = error.code()
            if code in (Code.INTERNAL, Code.UNKNOWN):
                pytest.fail(f"{data!r}: {code}")
    assert shared.health() == health_pb2.HealthCheckResponse.SERVING


def test_a_method_that_is_not_there(shared: Server) -> None:
    error, _, _ = refused(lambda: shared.channel.unary_unary("/merklelog.v1.LogService/Nothing")(b""))
    assert error.code() == Code.UNIMPLEMENTED


def test_garbage_on_the_port_is_survived(shared: Server) -> None:
    host, port = shared.address.split(":")
    chance = random.Random(7)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = bytes.fromhex("000000040000000000")
    for i in range(300):
        with socket.create_connection((host, int(port)), timeout=SECONDS) as sock:
            frame = (
                chance.randbytes(2).rjust(3, b"\0")
                + bytes([i % 12])
                + chance.randbytes(chance.randrange(200))
            )
            sock.sendall((chance.randbytes(100), preface + frame, preface + settings + frame)[i % 3])
    assert shared.health() == health_pb2.HealthCheckResponse.SERVING


def test_a_log_that_stopped_says_so_and_no_more(start: Start) -> None:
    server = start("--stop-after", 2)
    assert server.call("Append", pb.AppendRequest(entry=pb.NewEntry(data=b"a"))).entry.index == 0
    assert server.health(ORIGIN) == health_pb2.HealthCheckResponse.SERVING
    for _ in range(2):
        request = pb.AppendRequest(entry=pb.NewEntry(data=b"b"))
        error, _, details = refused(lambda request=request: server.call("Append", request))  # type: ignore[misc]
        assert (error.code(), details["ErrorInfo"].reason) == (Code.UNAVAILABLE, "LOG_STOPPED")
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        assert "secret" not in str(error)
    for name in ("", handlers.SERVICE, ORIGIN):
        assert server.health(name) == health_pb2.HealthCheckResponse.NOT_SERVING
    (read,) = server.call("GetEntries", pb.GetEntriesRequest())
    assert list(read.entries) == [b"a"], "reads go on"
    assert "secret" in server.end()[2], "its operator is told"


# --- limits, deadlines, cancellation --------------------------------------------------------------------------


def test_an_error_of_our_own_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_request: object, _caller: object) -> None:
        raise RuntimeError("secret of the server")

    async def use() -> Any:
        method = next(method for method in handlers.METHODS if method.attribute == "get_log")
        front = GrpcioFront((Route(method, broken),))
        port = front.bind("127.0.0.1:0")
        await front.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method.path)(b"")
        await front.drain(0)
        return caught.value

    error = asyncio.run(use())
    assert (error.code(), "secret" in repr(error.trailing_metadata())) == (Code.INTERNAL, False)
    assert error.details() == "the server failed; its log says why"
    (record,) = caplog.records
    assert "secret of the server" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
def test_compressed_messages_are_taken(shared: Server, kind: grpc.Compression) -> None:
    request = pb.AppendRequest(origin=ORIGIN, entry=pb.NewEntry(data=b"again and " * 1_000))
    call = shared.raw(f"/{handlers.SERVICE}/Append")
    answer = call(request.SerializeToString(), timeout=SECONDS, compression=kind)
    index = pb.AppendResponse.FromString(answer).entry.index
    (read,) = shared.call("GetEntries", pb.GetEntriesRequest(origin=ORIGIN, start=index, end=index + 1))
    assert list(read.entries) == [b"again and " * 1_000]


def test_a_compressed_message_too_large_is_refused(start: Start) -> None:
    server = start("--max-message-bytes", 100_000)
    request = pb.AppendBatchRequest(entries=news(*[bytes(60_000)] * 2)).SerializeToString()
    call = server.raw(f"/{handlers.SERVICE}/AppendBatch")
    error, _, _ = refused(lambda: call(request, timeout=SECONDS, compression=grpc.Compression.Gzip))
    assert error.code() == Code.RESOURCE_EXHAUSTED


def test_http_on_the_same_port(template: Path, tmp_path: Path) -> None:
    server = Server("native", shutil.copytree(template, tmp_path / "log"))
    try:
        assert server.call("Append", pb.AppendRequest(entry=pb.NewEntry(data=b"by gRPC"))).tree_size == 1
        add = urllib.request.Request(f"http://{server.address}/add", data=b"by HTTP")
        with urllib.request.urlopen(add, timeout=SECONDS) as answer:
            assert answer.read() == b"1\n"
        with urllib.request.urlopen(f"http://{server.address}/checkpoint", timeout=SECONDS) as answer:
            assert answer.read() == server.call("GetCheckpoint", pb.GetCheckpointRequest()).checkpoint
        assert server.end() == (0, "drained 0\n", "")
    finally:
        server.close()


def test_a_message_too_large_is_refused(start: Start) -> None:
    server = start("--max-message-bytes", 100_000)
    assert server.call("GetLog", pb.GetLogRequest()).limits.max_message_bytes == 100_000
    request = pb.AppendBatchRequest(entries=news(*[bytes(60_000)] * 2))
    error, _, _ = refused(lambda: server.call("AppendBatch", request))
    assert error.code() == Code.RESOURCE_EXHAUSTED
    assert server.call("GetLog", pb.GetLogRequest()).sizes[0].tree_size == 0


def test_metadata_too_large_is_refused(shared: Server) -> None:
    def ask(size: int) -> bytes:
        request = pb.GetLogRequest(origin=ORIGIN).SerializeToString()
        call = shared.raw(f"/{handlers.SERVICE}/GetLog")
        return bytes(call(request, metadata=(("x-padding", "x" * size),), timeout=SECONDS))

    assert ask(1_000)
    error, _, _ = refused(lambda: ask(40_000))
    assert error.code() == Code.RESOURCE_EXHAUSTED


def test_too_many_streams_are_refused_and_a_place_is_freed(start: Start) -> None:
    server = start("--max-streams", 2)
    watch = pb.WatchCheckpointsRequest()
    watches = [server.call("WatchCheckpoints", watch) for _ in range(2)]
    for each in watches:
        next(each)
    error, _, details = refused(lambda: next(server.call("WatchCheckpoints", watch)))
    assert (error.code(), details["ErrorInfo"].reason) == (Code.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
    assert server.call("Append", pb.AppendRequest(entry=pb.NewEntry())).tree_size == 1, (
        "appends have their own room"
    )
    watches[0].call.cancel()
    eventually(lambda: bool(next(server.call("WatchCheckpoints", watch))))


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


def test_a_deadline_ends_a_call_on_the_server_too(start: Start) -> None:
    server = start("--max-streams", 1)
    tail = server.call("WatchEntries", pb.WatchEntriesRequest(start=5), seconds=0.5)
    error, _, _ = refused(lambda: next(tail))
    assert error.code() == Code.DEADLINE_EXCEEDED
    eventually(lambda: bool(next(server.call("WatchCheckpoints", pb.WatchCheckpointsRequest()))))


@pytest.mark.parametrize("limit", ["calls", "bytes that wait"])
def test_what_is_over_a_limit_is_refused_and_the_rest_is_stored(
    start: Start, log: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    if limit == "bytes that wait":
        monkeypatch.setenv("MERKLELOG_LOG__MAX_PENDING_BYTES", str(1 << 20))
    server = start("--max-calls", 2 if limit == "calls" else 1_000)
    batches = [[b"%2000d.%d" % (i, j) for j in range(250)] for i in range(100)]

    async def send() -> list[Any]:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = channel.unary_unary(f"/{handlers.SERVICE}/AppendBatch")
            wanted = [pb.AppendBatchRequest(entries=news(*batch)).SerializeToString() for batch in batches]
            calls = [asyncio.ensure_future(wait(call(each))) for each in wanted]
            return await asyncio.gather(*calls, return_exceptions=True)

    async def wait(call: Any) -> bytes:
        return bytes(await call)

    outcomes = asyncio.run(send())
    server.end()
    with merklelog.open_reader(log) as reader:
        stored = list(reader.entries(0, reader.size))
    taken = 0
    for batch, outcome in zip(batches, outcomes, strict=True):
        if isinstance(outcome, bytes):
            first = pb.AppendBatchResponse.FromString(outcome).first_index
            assert stored[first : first + 250] == batch
            taken += 1
        else:
            assert outcome.code() == Code.RESOURCE_EXHAUSTED
            rich = status_pb2.Status.FromString(dict(outcome.trailing_metadata())[TRAILER])
            assert [each.type_url.rpartition(".")[2] for each in rich.details] == ["ErrorInfo", "RetryInfo"]
    assert len(stored) == 250 * taken
    assert 0 < taken < 100


# --- health, reflection, the end ------------------------------------------------------------------------------


def test_health_is_known_of_the_server_and_of_each_log(shared: Server) -> None:
    for name in ("", handlers.SERVICE, ORIGIN, "grpc.example/two"):
        assert shared.health(name) == health_pb2.HealthCheckResponse.SERVING
    error, _, _ = refused(lambda: shared.health("grpc.example/none"))
    assert error.code() == Code.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_a_generic_client_finds_the_service_by_reflection(shared: Server, version: str) -> None:
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{handlers.SERVICE}{name}")
            for name in ("", ".Append", ".Prepend", ".Append.X", "X")
        ),
    ]
    listed, file, method, *missing = shared.call("", asked, path=path)
    names = {service.name for service in listed.list_services_response.service}
    assert {handlers.SERVICE, "grpc.health.v1.Health"} <= names
    assert pb.DESCRIPTOR.serialized_pb in file.file_descriptor_response.file_descriptor_proto
    assert method.file_descriptor_response == file.file_descriptor_response
    assert [each.error_response.error_code for each in missing] == [Code.NOT_FOUND.value[0]] * 3


def test_a_port_is_not_shared(start: Start, front: str, template: Path, tmp_path: Path) -> None:
    port = start().address.split(":")[1]
    other = Path(shutil.copytree(template, tmp_path / "other"))
    with pytest.raises(pytest.fail.Exception, match=f"can not listen at 127.0.0.1:{port}"):
        Server(front, "--port", port, other)


def test_while_draining_calls_are_refused_and_health_says_why(log: Path) -> None:
    logs = ServedLogs()
    logs.add(merklelog.open(log), "/")

    async def use() -> tuple[int, Any]:
        services = Services(logs)
        front = GrpcioFront(services.routes)
        port = front.bind("127.0.0.1:0")
        await front.start()
        services.drain()
        draining = asyncio.ensure_future(front.drain(SECONDS, linger=SECONDS))
        await asyncio.sleep(0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            healthy = await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/{handlers.SERVICE}/GetLog")(b"")
        draining.cancel()
        await front.drain(0)
        return health_pb2.HealthCheckResponse.FromString(healthy).status, caught.value

    status, error = asyncio.run(use())
    logs.close()
    assert status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert error.code() == Code.UNAVAILABLE
    rich = status_pb2.Status.FromString(dict(error.trailing_metadata())[TRAILER])
    names = [packed.type_url.rpartition(".")[2] for packed in rich.details]
    assert names == ["ErrorInfo", "RetryInfo"]


def test_draining_drops_nothing_silently(start: Start, log: Path) -> None:
    """SIGTERM under load: what was acknowledged is there, every other call has a status, long ones end."""
    server = start()
    heads = server.call("WatchCheckpoints", pb.WatchCheckpointsRequest())
    well = server.call("", health_pb2.HealthCheckRequest(), path="/grpc.health.v1.Health/Watch")
    assert next(well).status == health_pb2.HealthCheckResponse.SERVING
    next(heads)
    acknowledged: dict[int, bytes] = {}
    codes: list[Code] = []

    async def load() -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = channel.unary_unary(f"/{handlers.SERVICE}/Append")
            await asyncio.gather(*(write(call, i) for i in range(16)))

    async def write(call: Any, writer: int) -> None:
        for i in range(100_000):
            data = b"%d.%d" % (writer, i)
            try:
                answer = await call(pb.AppendRequest(entry=pb.NewEntry(data=data)).SerializeToString())
            except grpc.RpcError as error:
                codes.append(error.code())
                return
            acknowledged[pb.AppendResponse.FromString(answer).entry.index] = data
            if len(acknowledged) == 500:
                server.process.send_signal(signal.SIGTERM)

    asyncio.run(load())
    out, err = server.process.communicate(timeout=SECONDS)
    assert (server.process.returncode, out, err) == (0, "drained 0\n", "")
    assert len(codes) == 16
    assert set(codes) == {Code.UNAVAILABLE}
    with merklelog.open_reader(log) as reader:
        stored = list(reader.entries(0, reader.size))
    assert len(acknowledged) >= 500
    assert {index: stored[index] for index in acknowledged} == acknowledged
    assert len(set(stored)) == len(stored)
    with pytest.raises(grpc.RpcError) as caught:
        list(heads)
    assert caught.value.code() == Code.UNAVAILABLE  # type: ignore[attr-defined]
    assert [each.status for each in well] == [health_pb2.HealthCheckResponse.NOT_SERVING]


def test_a_killed_server_loses_nothing_and_a_retry_is_stored_once(start: Start, log: Path) -> None:
    server = start()
    acknowledged: dict[int, bytes] = {}
    unsure: list[bytes] = []

    async def load(address: str, work: list[bytes], kill_at: int) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(f"/{handlers.SERVICE}/Append")
            await asyncio.gather(*(write(call, work, kill_at) for _ in range(16)))

    async def write(call: Any, work: list[bytes], kill_at: int) -> None:
        while work:
            data = work.pop()
            entry = pb.NewEntry(data=data, idempotency_key=b"key of " + data)
            try:
                answer = await call(pb.AppendRequest(entry=entry).SerializeToString())
            except grpc.RpcError:
                unsure.append(data)
                return
            acknowledged[pb.AppendResponse.FromString(answer).entry.index] = data
            if len(acknowledged) == kill_at:
                server.process.kill()

    asyncio.run(load(server.address, [b"%d" % i for i in range(5_000)], 300))
    server.process.communicate(timeout=SECONDS)
    assert len(unsure) == 16
    before, again = dict(acknowledged), list(unsure)
    unsure.clear()
    server = start()
    asyncio.run(load(server.address, [*again, *before.values()], 0))
    assert unsure == []
    assert {index: acknowledged[index] for index in before} == before, "the same index again"
    assert server.end() == (0, "drained 0\n", "")
    with merklelog.open_reader(log) as reader:
        stored = list(reader.entries(0, reader.size))
    assert {index: stored[index] for index in acknowledged} == acknowledged
    assert sorted(stored) == sorted({*before.values(), *again}), "each once"


def test_a_client_that_breaks_off_a_stream_costs_nothing(start: Start) -> None:
    server = start("--max-streams", 1)

    async def use() -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = channel.stream_stream(f"/{handlers.SERVICE}/AppendStream")()
            for i in range(200):
                await call.write(pb.AppendStreamRequest(entries=news(b"%d" % i)).SerializeToString())
            assert pb.AppendStreamResponse.FromString(await call.read()).appended
            call.cancel()

    asyncio.run(use())
    eventually(lambda: bool(next(server.call("WatchCheckpoints", pb.WatchCheckpointsRequest()))))
    status, out, err = server.end()
    assert (status, out) == (0, "drained 0\n")
    # h2corn says so now and then of a stream that its client broke off; it is no trace of ours.
    assert [line for line in err.splitlines() if not line.startswith("request failed: ")] == []


def test_draining_answers_an_open_append_stream(start: Start, log: Path) -> None:
    server = start()

    async def use() -> int:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = channel.stream_stream(f"/{handlers.SERVICE}/AppendStream")()
            answered = 0
            for i in range(50):
                await call.write(pb.AppendStreamRequest(entries=news(b"%d" % i)).SerializeToString())
            while answered < 50:
                answered += len(pb.AppendStreamResponse.FromString(await call.read()).appended)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() == Code.UNAVAILABLE
            return answered

    assert asyncio.run(use()) == 50
    out, err = server.process.communicate(timeout=SECONDS)
    assert (server.process.returncode, out, err) == (0, "drained 0\n", "")
    with merklelog.open_reader(log) as reader:
        assert reader.size == 50
