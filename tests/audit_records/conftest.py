"""A log with POST /v1/audit before it, asked in this process."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import merklelog
from merklelog.ingest.entry import Entry
from merklelog.ingest.intake import Intake, open_intake
from merklelog.ingest.split import join_entries
from merklelog.log import Log
from merklelog.servers.http_api import HttpApi
from merklelog.servers.http_audit import AuditDoor
from merklelog.servers.intakes import Intakes
from merklelog.servers.served import ServedLogs

ORIGIN = "audit.example/log"
JSON = {"content-type": "application/json"}
BASE = {
    "audit.actor.id": "u8472",
    "audit.actor.type": "user",
    "audit.action": "LOGIN",
    "audit.outcome": "success",
}


def event(record_id: str | None, body: str | None = None, **extra: str) -> dict[str, Any]:
    """One audit record of OTLP/JSON, whole but for what the caller leaves out by None."""
    named = BASE | extra | ({} if record_id is None else {"audit.record.id": record_id})
    made: dict[str, Any] = {
        "timeUnixNano": "1714041600000000000",
        "eventName": "user.login",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in named.items()],
    }
    if body is not None:
        made["body"] = {"stringValue": body}
    return made


def request(*records: dict[str, Any]) -> bytes:
    """An export request of these, as an audit SDK marks it."""
    groups = [{"resource": {"attributes": []}, "audit": True, "scopeLogs": [{"logRecords": list(records)}]}]
    return json.dumps({"resourceLogs": groups}).encode()


class Told(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/json", self.body
        told = json.loads(self.body)
        assert isinstance(told, dict)
        return told


class Audited:
    """The HTTP application over one log."""

    def __init__(self, path: Path, max_bytes: int = 1 << 20) -> None:
        self.log: Log = merklelog.open(path)
        self.logs = ServedLogs()
        self.logs.add(self.log, "/")
        self.intakes = Intakes(self.logs, lambda log: open_intake(log))
        self.door = AuditDoor(self.logs, self.intakes, max_bytes=max_bytes)
        self.api = HttpApi(self.logs, audit=self.door)

    def post(self, data: bytes, path: str = "/v1/audit", **headers: str) -> Told:
        sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(self._ask("POST", path, data, sent))

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Told:
        return asyncio.run(self._ask(method, path, b"", headers or {}))

    async def _ask(self, method: str, path: str, data: bytes, headers: Mapping[str, str]) -> Told:
        half = len(data) // 2
        messages = [
            {"type": "http.request", "body": data[:half], "more_body": True},
            {"type": "http.request", "body": data[half:], "more_body": False},
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}
        await self.api(scope, receive, send)
        fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Told(sent[0]["status"], fields, b"".join(each["body"] for each in sent[1:]))

    def entry(self, index: int) -> Entry:
        return join_entries(self.log.entry, index)

    @property
    def intake(self) -> Intake:
        return self.intakes.get(ORIGIN)

    def close(self) -> None:
        """Safe to call twice."""
        asyncio.run(self.intakes.close())
        self.logs.close()


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Callable[..., Audited]]:
    """`audited(**settings)`: a log of its own; called again, the same one opened anew."""
    opened: list[Audited] = []

    def make(max_bytes: int = 1 << 20, **settings: Any) -> Audited:
        path = tmp_path / "log"
        if opened:
            opened.pop().close()
        else:
            named = {key.replace("__", "."): value for key, value in settings.items()}
            merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0, **named})
        opened.append(Audited(path, max_bytes))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


__all__ = ["BASE", "JSON", "ORIGIN", "Audited", "Told", "audited", "event", "gzip", "request"]
