"""Health, reflection, and how a server ends: drained, killed, left by its clients."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import merklelog
from merklelog.servers import handlers
from merklelog.servers.grpcio_front import GrpcioFront
from merklelog.servers.rich import TRAILER
from merklelog.servers.served import ServedLogs
from merklelog.servers.services import Services
from merklelog.v1 import log_pb2 as pb
from tests.servers.calls.conftest import ORIGIN, SECONDS, Code, Server, Start, eventually, news, refused

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
