"""A log behind the HTTP application in this process, and real server processes to talk to."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.formats import VerifierKey, parse_bundle
from merklelog.servers.http_api import HttpApi
from merklelog.servers.http_values import Request, Response
from merklelog.servers.served import ServedLogs

HERE = Path(__file__).resolve().parent
TREE15 = HERE.parent.parent / "vectors" / "tiles" / "tree15"
ROOT = HERE.parent.parent.parent
ROOMY = {"store.min_free_bytes": 0}


@pytest.fixture(scope="session")
def tree15() -> list[bytes]:
    return parse_bundle((TREE15 / "tile/entries/000.p/15").read_bytes(), 15)


@dataclass
class Served:
    """The application over open logs, asked without a server."""

    logs: ServedLogs
    api: HttpApi

    def get(self, path: str, query: str = "", method: str = "GET", **headers: str) -> Response:
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return self.api.answer(Request(method, path, query.encode(), sent))

    def call(
        self,
        method: str,
        path: str,
        *parts: bytes,
        headers: Mapping[str, str] | None = None,
        gone: bool = False,
    ) -> tuple[int, dict[str, str], bytes]:
        """The ASGI application itself, its body in these parts; status 0 when it answered nothing."""
        return asyncio.run(asgi(self.api, method, path, list(parts), headers or {}, gone))


async def asgi(
    api: Any, method: str, path: str, parts: list[bytes], headers: Mapping[str, str], gone: bool = False
) -> tuple[int, dict[str, str], bytes]:
    messages = [
        {"type": "http.request", "body": part, "more_body": gone or i + 1 < len(parts)}
        for i, part in enumerate(parts or [b""])
    ]
    if gone:
        messages.append({"type": "http.disconnect"})
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    path, _, query = path.partition("?")
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": raw}
    await api(scope, receive, send)
    if not sent:
        return 0, {}, b""
    fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, b"".join(each["body"] for each in sent[1:])


@pytest.fixture(scope="module")
def make_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """`make_served(entries, **settings)`: one log at "/"."""
    opened: list[ServedLogs] = []

    def make(entries: list[bytes] | None = None, **settings: Any) -> Served:
        path = tmp_path_factory.mktemp("log") / "log"
        merklelog.create_log(path, "example.com/http", settings={**ROOMY, **settings})
        logs = ServedLogs()
        log = merklelog.open(path)
        if entries:
            log.append_batch(entries)
            while log.checkpoint().count("\n— ".encode()) < 2:  # the second signature comes within a second
                time.sleep(0.02)
        logs.add(log, "/")
        opened.append(logs)
        return Served(logs, HttpApi(logs))

    yield make
    for logs in opened:
        logs.close()


@dataclass
class Server:
    """A server process, and the folder its logs are in."""

    process: subprocess.Popen[str]
    host: str
    port: int
    folder: Path
    vkeys: dict[str, tuple[VerifierKey, ...]] = field(default_factory=dict)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def stop(self) -> str:
        """SIGTERM; what it printed after it was ready."""
        self.process.send_signal(signal.SIGTERM)
        told, _ = self.process.communicate(timeout=60)
        return told


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """`start("a", "b")`: a server process with empty logs of these names; with `folder`, of the logs there."""
    running: list[subprocess.Popen[str]] = []

    def begin(*names: str, folder: Path | None = None, **settings: Any) -> Server:
        vkeys = {}
        if folder is None:
            folder = tmp_path_factory.mktemp("server")
            for name in names:
                every = {**ROOMY, **settings}
                vkeys[name] = merklelog.create_log(folder / name, f"example.com/{name}", settings=every)
        with (folder / "stderr").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "http_process.py"), *[str(folder / name) for name in names]],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT), "PATH": ""},
            )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        host, _, port = json.loads(line)[0].rpartition(":")
        return Server(process, host, int(port), folder, vkeys)

    yield begin
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
