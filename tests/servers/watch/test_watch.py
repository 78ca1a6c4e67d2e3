"""Which route a request counts under, and with which status, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.servers.http_api import HttpApi
from merklelog.servers.metrics import Metrics
from merklelog.servers.served import ServedLogs
from merklelog.servers.watch import MAX_APPENDS, Application, Watch
from tests.servers.watch.conftest import ROOMY


class Watched:
    """An application under watch; `ask` sends it one request."""

    def __init__(self, logs: ServedLogs, application: Application) -> None:
        self.metrics = Metrics(logs)
        self.watch = Watch(self.metrics, logs)
        self.application = self.watch.application(application)

    def ask(self, method: str, path: str) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x"}

        async def send(_message: dict[str, Any]) -> None:
            return

        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
        asyncio.run(self.application(scope, receive, send))  # type: ignore[arg-type]

    def counted(self) -> dict[tuple[str, str], int]:
        """How many requests by method and code."""
        samples = (sample for family in self.metrics.collect() for sample in family.samples)
        return {
            (sample.labels["method"], sample.labels["code"]): int(sample.value)
            for sample in samples
            if sample.name == "merklelog_requests_total"
        }


@pytest.fixture(params=["/", "/a/"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServedLogs, str]]:
    """One log, at the root or (as with --root) below its name."""
    merklelog.create_log(tmp_path / "a", "watch.example/a", settings=ROOMY)
    logs = ServedLogs()
    logs.add(merklelog.open(tmp_path / "a"), request.param)
    yield logs, request.param
    logs.close()


def test_each_route_has_its_name(served: tuple[ServedLogs, str]) -> None:
    logs, prefix = served
    watched = Watched(logs, HttpApi(logs))
    watched.ask("POST", f"{prefix}add")
    for path in ("checkpoint", "tile/0/000.p/1", "entry/0", "proof/0.tlog-proof", "proof/inclusion", "x/y"):
        watched.ask("GET", prefix + path)
    for path in ("/healthz", "/openapi.json"):
        watched.ask("HEAD", path)
    watched.ask("DELETE", f"{prefix}add")
    names = {name for name, _ in watched.counted()}
    assert names == {
        *("POST /add", "GET /checkpoint", "GET /tile", "GET /entry", "GET /proof", "GET /proof/inclusion"),
        *("GET other", "HEAD /healthz", "HEAD /openapi.json", "other /add"),
    }


def test_the_status_is_what_was_sent(served: tuple[ServedLogs, str]) -> None:
    async def answers(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    watched = Watched(served[0], answers)
    watched.ask("POST", f"{served[1]}add")
    watched.ask("POST", f"{served[1]}add")
    assert watched.counted() == {("POST /add", "429"): 2}


def test_who_is_not_answered_has_left(served: tuple[ServedLogs, str]) -> None:
    async def silent(_scope: Any, _receive: Any, _send: Any) -> None:
        return

    watched = Watched(served[0], silent)
    watched.ask("GET", "/healthz")
    assert watched.counted() == {("GET /healthz", "499"): 1}


def test_an_application_that_raises_has_failed(served: tuple[ServedLogs, str]) -> None:
    async def breaks(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    watched = Watched(served[0], breaks)
    with pytest.raises(RuntimeError):
        watched.ask("GET", "/healthz")
    assert watched.counted() == {("GET /healthz", "500"): 1}
    assert watched.metrics.request_tally("http", "x").under_way == 0


def test_a_request_that_is_cancelled_is_under_way_no_more(served: tuple[ServedLogs, str]) -> None:
    async def hangs(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(3600)

    watched = Watched(served[0], hangs)

    async def cancelled() -> None:
        scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": []}
        task = asyncio.create_task(watched.application(scope, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert watched.counted() == {("GET /healthz", "499"): 1}
    assert "merklelog_requests_in_flight" in watched.metrics.render()[1].decode()
    for family in watched.metrics.collect():
        if family.name == "merklelog_requests_in_flight":
            assert [sample.value for sample in family.samples] == [0]


def test_paths_that_look_like_appends_fill_no_memory(tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "a", "watch.example/a", settings=ROOMY)
    logs = ServedLogs()
    logs.add(merklelog.open(tmp_path / "a"), "/a/")

    async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})

    watched = Watched(logs, nothing)

    async def many() -> None:
        async def send(_message: Any) -> None:
            return

        for number in range(2 * MAX_APPENDS):
            scope = {"type": "http", "method": "POST", "path": f"/{number}/add", "headers": []}
            await watched.application(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(many())
    assert watched.counted() == {("POST /add", "404"): 2 * MAX_APPENDS}
    assert len(watched.watch._appends) == MAX_APPENDS
    logs.close()


def test_what_is_no_request_passes(served: tuple[ServedLogs, str]) -> None:
    seen = []

    async def notes(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    watched = Watched(served[0], notes)
    asyncio.run(watched.application({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
    assert watched.counted() == {}
