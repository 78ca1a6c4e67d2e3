"""Limits of size and number, deadlines and cancellation."""

from __future__ import annotations

import asyncio
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

import merklelog
from merklelog.servers import handlers
from merklelog.servers.grpcio_front import GrpcioFront
from merklelog.servers.rich import TRAILER
from merklelog.servers.rpc import Route
from merklelog.v1 import log_pb2 as pb
from tests.servers.calls.conftest import ORIGIN, SECONDS, Code, Server, Start, eventually, news, refused

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
