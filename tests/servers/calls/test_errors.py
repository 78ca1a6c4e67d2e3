"""What a gRPC caller is told when a call can not be answered."""

from __future__ import annotations

import random
import socket
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from merklelog.servers import handlers
from merklelog.v1 import log_pb2 as pb
from tests.servers.calls.conftest import ORIGIN, SECONDS, Answers, Code, Server, Start, refused

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
    def send(data: bytes, seconds: float) -> None:
        answer = shared.raw(method.path)(iter([data]) if method.client_streaming else data, timeout=seconds)
        if method.server_streaming:
            list(answer)

    for data in NO_MESSAGE:
        error, _, details = refused(lambda data=data: send(data, SECONDS))  # type: ignore[misc]
        assert (error.code(), details["ErrorInfo"].reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    chance = random.Random(method.path)
    for _ in range(40):
        data = bytes([chance.choice((8, 10, 16, 18, 24))]) + chance.randbytes(chance.randrange(20))
        try:
            send(data, 0.5)
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
