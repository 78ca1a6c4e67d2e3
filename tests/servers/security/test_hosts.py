"""What is open only because it is on this machine answers to this machine's names (DNS rebinding)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import merklelog
from merklelog.errors import ForbiddenError
from merklelog.servers.access import Access, LogAccess
from merklelog.servers.admin import AdminApp, Phase, Readiness
from merklelog.servers.caller import Scope
from merklelog.servers.hosts import Hosts
from merklelog.servers.http_api import HttpApi
from merklelog.servers.http_values import Request
from merklelog.servers.metrics import Metrics
from merklelog.servers.served import ServedLogs
from merklelog.servers.tokens import change_tokens, make_token

LOCAL = [
    "localhost",
    "localhost:7080",
    "LOCALHOST:7080",
    "127.0.0.1",
    "127.0.0.1:7080",
    "[::1]",
    "[::1]:7080",
]
OWN = ["log.example.com", "log.example.com:443", "Log.Example.com.", "trail.localhost:7080", "10.0.0.7:7080"]
FOREIGN = [
    "evil.example",
    "evil.example:7080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "",
    ":7080",
]


@pytest.mark.parametrize("host", [*LOCAL, *OWN])
def test_hosts_that_are_this_machines(host: str) -> None:
    hosts = Hosts(["log.example.com"])
    hosts.check(host.encode())
    hosts.check(host.encode())  # known by now


@pytest.mark.parametrize("host", FOREIGN)
def test_hosts_that_are_not(host: str) -> None:
    with pytest.raises(ForbiddenError, match=r"server\.names"):
        Hosts(["log.example.com"]).check(host.encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_a_host_or_are_refused(host: bytes) -> None:
    with suppress(ForbiddenError):
        Hosts().check(host)


class Open:
    """One log that asks for no token, served on loopback; `public` as well, if its configuration says so."""

    def __init__(self, folder: Path, read: str) -> None:
        merklelog.create_log(folder, "example.com/open", settings={"store.min_free_bytes": 0})
        self.logs = ServedLogs()
        self.logs.add(merklelog.open(folder), "/")
        self.log = self.logs.find("").log
        self.log.append(b"first")
        self.access = Access(open_to_all=True)
        self.access.refresh([LogAccess("example.com/open", folder, read)])
        self.api = HttpApi(self.logs, self.access, hosts=Hosts())

    def ask(self, method: str, path: str, **headers: str) -> int:
        return asyncio.run(self._ask(method, path, headers))

    async def _ask(self, method: str, path: str, headers: dict[str, str]) -> int:
        sent: list[dict[str, Any]] = []
        asked = [{"type": "http.request", "body": b"x", "more_body": False}]

        async def receive() -> dict[str, Any]:
            return asked.pop() if asked else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}
        await self.api(scope, receive, send)
        return int(sent[0]["status"])


@pytest.fixture(params=["auto", "public"])
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    made = Open(tmp_path / "log", request.param)
    yield made
    made.logs.close()


def test_a_page_by_another_name_neither_reads_nor_writes(opened: Open) -> None:
    public = opened.access.is_for_everyone("example.com/open")
    for path in ("/checkpoint", "/entry/0", "/tile/0/000.p/1", "/proof/0.tlog-proof", "/events/entries"):
        assert opened.ask("GET", path, host="localhost:7080") == 200
        assert opened.ask("GET", path, host="evil.example:7080") == (200 if public else 403)
        assert opened.ask("GET", path) == 200  # no browser leaves the host out
    size = opened.log.size
    assert opened.ask("POST", "/add", host="evil.example:7080") == 403
    assert opened.ask("POST", "/add", host="evil.example", origin="http://evil.example") == 403
    assert opened.log.size == size
    assert opened.ask("POST", "/add", host="localhost:7080") == 200


def test_a_token_is_good_by_any_name(opened: Open) -> None:
    kept, shown = make_token("one", [Scope.READ, Scope.APPEND], 0)
    change_tokens(opened.log.path, lambda old: (*old, kept), lambda _tokens: None)
    opened.access.refresh([LogAccess("example.com/open", opened.log.path)])
    bearer = f"Bearer {shown}"
    assert opened.ask("GET", "/checkpoint", host="evil.example", authorization=bearer) == 200
    assert opened.ask("POST", "/add", host="evil.example", authorization=bearer) == 200
    assert opened.ask("GET", "/checkpoint", host="localhost") == 401


def test_the_admin_port_too(tmp_path: Path) -> None:
    readiness = Readiness(ServedLogs(), Phase.SERVING)
    metrics = Metrics(readiness.logs)

    def ask(app: AdminApp, path: str, host: str) -> int:
        return asyncio.run(app.answer(Request("GET", path, b"", [(b"host", host.encode())]))).status

    local = AdminApp(readiness, metrics, Hosts())
    for path in ("/metrics", "/readyz", "/livez"):
        assert ask(local, path, "127.0.0.1:7090") == 200
        assert ask(local, path, "evil.example:7090") == 403
        assert ask(AdminApp(readiness, metrics), path, "anything") == 200
