"""The handlers of both doors in this process: what a real client can hardly bring about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from merklelog.errors import MerklelogError, StorageError
from merklelog.ingest.intake import Intake, open_intake
from merklelog.ingest.placed import Placed
from merklelog.ingest.repeats import Repeats
from merklelog.servers.asgi_grpc import grpc_application
from merklelog.servers.bodies import Bodies
from merklelog.servers.calls import Admission, GrpcLimits
from merklelog.servers.intakes import Intakes
from merklelog.servers.otlp import Receiver
from merklelog.servers.otlp_encodings import DECODERS
from merklelog.servers.otlp_grpc import LogsService, with_log_header
from merklelog.servers.otlp_http import OtlpHttp
from merklelog.servers.otlp_problems import otlp_told
from merklelog.servers.served import ServedLogs
from tests.otlp.conftest import ORIGIN, Place
from tests.otlp.events import record

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
MakePlace = Callable[..., Place]


def request(count: int = 1) -> bytes:
    made = ExportLogsServiceRequest()
    scope = made.resource_logs.add().scope_logs.add()
    for number in range(count):
        scope.log_records.add().body.int_value = number
    return made.SerializeToString()


class Both:
    """Both doors over one log. Made in an event loop."""

    def __init__(self, place: Place, *, waiting: int = 1 << 20, open_with: Any = open_intake) -> None:
        if place.log is None:
            place.open()
            assert place.intake is not None
            place.intake.close()
            place.intake = None
        self.logs = ServedLogs()
        assert place.log is not None
        self.logs.add(place.log, "/")
        self.intakes = Intakes(self.logs, open_with)
        self.receiver = Receiver(self.logs, self.intakes, max_waiting_bytes=waiting)
        routes = LogsService(self.receiver).routes
        self.grpc = with_log_header(grpc_application(routes, decoders=DECODERS, tell=otlp_told))
        self.admission = Admission(GrpcLimits(max_unread_bytes=100_000))
        self.http = OtlpHttp(self.receiver, Bodies(1 << 20, self.admission, DECODERS))

    async def call(self, body: bytes, encoding: bytes = b"", *, compressed: bool = False) -> int:
        """The grpc-status."""
        framed = bytes([compressed]) + len(body).to_bytes(4, "big") + body
        headers = [
            (b"content-type", b"application/grpc"),
            *([(b"grpc-encoding", encoding)] if encoding else []),
        ]
        scope = {"type": "http", "method": "POST", "path": EXPORT, "headers": headers}
        sent = await answer(self.grpc, {**scope, "extensions": {"http.response.trailers": {}}}, framed)
        return int(dict(sent[-1]["headers"])[b"grpc-status"])

    async def post(self, body: bytes) -> int:
        """The status."""
        headers = [(b"content-type", b"application/x-protobuf")]
        scope = {"type": "http", "method": "POST", "path": "/v1/logs", "headers": headers}
        return int((await answer(self.http, scope, body))[0]["status"])


async def answer(application: Any, scope: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent


def run(place: Place, test: Any, **how: Any) -> Any:
    async def running() -> Any:
        both = Both(place, **how)
        try:
            return await test(both)
        finally:
            await both.intakes.close()
            both.receiver.close()

    return asyncio.run(running())


def test_zstd_over_grpc(make_place: MakePlace) -> None:
    async def test(both: Both) -> list[int]:
        packed = zstandard.ZstdCompressor().compress(request())
        return [
            await both.call(packed, b"zstd", compressed=True),
            await both.call(packed, b"snappy", compressed=True),
            await both.call(packed[:-1], b"zstd", compressed=True),
            await both.call(packed, b"gzip", compressed=True),
        ]

    place = make_place()
    assert run(place, test) == [0, 12, 3, 3]
    assert len(place.entries()) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError(), MemoryError(), MerklelogError("a defect")])
def test_what_nobody_foresaw_is_unavailable(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def test(both: Both) -> None:
        def broken(*_: object, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Intake, "submit", broken)
            assert await both.call(request()) == 14
            assert await both.post(request()) == 503
        assert await both.call(request()) == 0
        assert await both.post(request()) == 200

    place = make_place()
    run(place, test)
    assert len(place.entries()) == 2


def test_what_waits_is_bounded(make_place: MakePlace) -> None:
    """One request is always taken; beyond the bound others are told to come back."""

    async def test(both: Both) -> None:
        found = await asyncio.gather(*[both.call(request(50)) for _ in range(20)])
        assert set(found) == {0, 8}
        assert found[0] == 0
        assert await both.call(request(50)) == 0

    run(make_place(), test, waiting=100)


def test_an_intake_that_does_not_open_is_tried_again(make_place: MakePlace) -> None:
    failures = [MerklelogError("the key is not there")]

    def opening(log: Any) -> Intake:
        if failures:
            raise failures.pop()
        return open_intake(log)

    async def test(both: Both) -> None:
        assert await both.call(request()) == 14
        assert await asyncio.gather(*[both.call(request()) for _ in range(5)]) == [0] * 5
        assert len(list(both.intakes)) == 1

    place = make_place()
    run(place, test, open_with=opening)
    assert len(place.entries()) == 5


def test_closing_and_no_log(make_place: MakePlace) -> None:
    async def test(both: Both) -> None:
        await both.intakes.close()
        assert await both.call(request()) == 14
        both.logs._by_origin.clear()
        assert await both.call(request()) == 14
        assert await both.post(request()) == 503

    place = make_place()
    run(place, test)
    assert place.entries() == []


def test_a_caller_that_goes_stores_or_does_not(make_place: MakePlace) -> None:
    async def test(both: Both) -> None:
        await both.call(request())
        tasks = [asyncio.create_task(both.call(request())) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.result() for task in tasks[1::2]] == [0] * 5
        assert await both.call(request()) == 0

    place = make_place()
    run(place, test)
    assert 7 <= len(place.entries()) <= 12


def test_an_index_of_ids_that_fails_is_opened_again(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored when it failed was stored: it is answered, and found again afterwards."""
    event = record("x", "id-1")

    async def store(both: Both) -> Placed:
        intake = await both.intakes.ready(ORIGIN)
        return (await asyncio.wrap_future(intake.submit([event], "")))[0]

    async def test(both: Both) -> None:
        def full(*_: object) -> None:
            raise StorageError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(Repeats, "add", full)
            assert not (await store(both)).duplicate
        with pytest.raises(StorageError):
            both.intakes.get(ORIGIN).submit([event], "")
        again = await store(both)
        assert (again.index, again.duplicate) == (0, True)

    run(make_place(), test)


def test_bodies_on_their_way_are_bounded_all_together(make_place: MakePlace) -> None:
    """One sends slowly, so that another finds no room; when it has gone there is room again."""

    async def test(both: Both) -> None:
        slow, gone = asyncio.Event(), asyncio.Event()
        scope = {"type": "http", "method": "POST", "path": "/v1/logs"}
        scope["headers"] = [(b"content-type", b"application/x-protobuf")]  # type: ignore[assignment]

        async def receive() -> dict[str, Any]:
            if not slow.is_set():
                slow.set()
                return {"type": "http.request", "body": bytes(90_000), "more_body": True}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            raise AssertionError(message)

        task = asyncio.create_task(both.http(scope, receive, send))
        await slow.wait()
        await asyncio.sleep(0)
        assert await both.post(bytes(20_000)) == 429
        gone.set()
        await task
        assert both.admission.unread == 0
        assert await both.post(request()) == 200
        assert await both.post(bytes(2 << 20)) == 413

    run(make_place(), test)


def test_an_intake_that_takes_long_to_open(make_place: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is told to come again; a start waits."""
    monkeypatch.setattr("merklelog.servers.intakes.WAIT_SECONDS", 0.01)
    slow = threading.Event()

    def opening(log: Any) -> Intake:
        slow.wait(60)
        return open_intake(log)

    async def test(both: Both) -> None:
        assert await both.call(request()) == 8
        assert await both.post(request()) == 429
        started = asyncio.create_task(both.intakes.opened(ORIGIN))
        await asyncio.sleep(0.05)
        assert not started.done()
        slow.set()
        assert await started is await both.intakes.opened(ORIGIN) is await both.intakes.ready(ORIGIN)
        assert await both.call(request()) == 0

    run(make_place(), test, open_with=opening)
