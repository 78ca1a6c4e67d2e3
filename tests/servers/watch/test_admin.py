"""The admin port: who is told that the server lives, is ready, and why it is not."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.log import open_log
from merklelog.servers.admin import AdminApp, Phase, Readiness
from merklelog.servers.http_values import Request, Response
from merklelog.servers.metrics import Metrics
from merklelog.servers.served import ServedLogs
from tests.servers.watch.conftest import ROOMY, Server, Start

HUGE = {"store.min_free_bytes": 2**62}


class Admin:
    """An admin application over open logs, asked without a server."""

    def __init__(self) -> None:
        self.logs = ServedLogs()
        self.readiness = Readiness(self.logs)
        self.metrics = Metrics(self.logs, ready=lambda: self.readiness.ready)
        self.app = AdminApp(self.readiness, self.metrics)

    def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return asyncio.run(self.app.answer(Request(method, path, b"", sent)))

    def text(self, path: str) -> tuple[int, str]:
        response = self.get(path)
        return response.status, response.body.decode()


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    """Two logs: one that takes appends, one that has too little room for any."""
    made = Admin()
    for name, settings in (("good", ROOMY), ("full", HUGE)):
        merklelog.create_log(tmp_path / name, f"admin.example/{name}", settings=settings)
        made.logs.add(merklelog.open(tmp_path / name), f"/{name}/")
    made.readiness.phase = Phase.SERVING
    yield made
    made.logs.close()


def test_ready_says_how_each_log_is_and_what_protects_it(admin: Admin) -> None:
    status, text = admin.text("/readyz")
    lines = text.splitlines()
    assert status == 200  # a log without room still answers reads, and its appends come back by themselves
    assert lines[0] == "ready"
    good = "admin.example/good at /good/: taking appends; 0 entries; rollback protection: none"
    assert lines[1] == good
    assert lines[2].startswith("admin.example/full at /full/: refusing appends (")
    assert lines[2].endswith(
        " bytes are free on its disk, store.min_free_bytes is 4,611,686,018,427,387,904); "
        "0 entries; rollback protection: none"
    )
    assert len(lines) == 3


def test_ready_as_json(admin: Admin) -> None:
    response = admin.get("/readyz", accept="application/json")
    assert dict(response.headers)[b"content-type"] == b"application/json"
    told = json.loads(response.body)
    assert (told["ready"], told["phase"]) == (True, "serving")
    assert told["logs"][0] == {
        "origin": "admin.example/good",
        "prefix": "/good/",
        "size": 0,
        "state": "taking appends",
        "detail": "",
        "rollback_protection": "none",
    }
    assert told["logs"][1]["state"] == "refusing appends"


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DRAINING])
def test_before_and_after_serving_it_is_not_ready_but_lives(admin: Admin, phase: Phase) -> None:
    admin.readiness.phase = phase
    status, text = admin.text("/readyz")
    assert (status, text.splitlines()[0]) == (503, f"not ready: {phase}")
    assert admin.text("/livez") == admin.text("/healthz") == (200, "ok\n")
    assert "merklelog_server_ready 0.0" in admin.text("/metrics")[1]


def test_a_stopped_log_is_not_ready(tmp_path: Path) -> None:
    def fail(name: str) -> None:
        if name == "written":
            raise OSError("secret: the disk is gone")

    merklelog.create_log(tmp_path / "log", "admin.example/log", settings=ROOMY)
    admin = Admin()
    log = open_log(tmp_path / "log", step=fail)
    admin.logs.add(log, "/")
    admin.readiness.phase = Phase.SERVING
    assert admin.text("/readyz")[0] == 200
    with pytest.raises(merklelog.errors.StoppedError):
        log.append(b"x")
    status, text = admin.text("/readyz")
    assert (status, text.splitlines()[0]) == (503, "not ready: a log is stopped")
    assert text.splitlines()[1].startswith("admin.example/log at /: stopped (")
    assert "secret" not in text
    assert 'merklelog_log_stopped{log="admin.example/log"} 1.0' in admin.text("/metrics")[1]
    assert admin.text("/livez") == (200, "ok\n")
    with pytest.raises(merklelog.errors.StoppedError):
        admin.logs.close()


def test_a_log_without_room_is_counted_as_taking_nothing(admin: Admin) -> None:
    text = admin.text("/metrics")[1]
    assert 'merklelog_log_taking_appends{log="admin.example/full"} 0.0' in text
    assert 'merklelog_log_taking_appends{log="admin.example/good"} 1.0' in text
    assert 'merklelog_log_stopped{log="admin.example/full"} 0.0' in text


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/livez", "/healthz"])
def test_head_is_get_without_the_body(admin: Admin, path: str) -> None:
    whole, head = admin.get(path), admin.get(path, "HEAD")
    assert (head.status, head.body) == (whole.status, b"")
    assert dict(head.headers).keys() == dict(whole.headers).keys()
    assert dict(whole.headers)[b"content-length"] == b"%d" % len(whole.body)
    assert dict(whole.headers)[b"cache-control"] == b"no-store"


def test_metrics_are_compressed_where_that_is_wanted(admin: Admin) -> None:
    response = admin.get("/metrics", accept_encoding="gzip")
    assert dict(response.headers)[b"content-encoding"] == b"gzip"
    assert b"merklelog_server_logs 2.0\n" in gzip.decompress(response.body)


def test_other_paths_and_methods(admin: Admin) -> None:
    assert admin.get("/").status == 404
    assert admin.get("/metrics/").status == 404
    refused = admin.get("/metrics", "POST")
    assert (refused.status, dict(refused.headers)[b"allow"]) == (405, b"GET, HEAD")


def test_a_log_taken_in_later_is_there_at_once(admin: Admin, tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "new", "admin.example/new", settings=ROOMY)
    admin.logs.add(merklelog.open(tmp_path / "new"), "/new/")
    assert "admin.example/new at /new/: taking appends" in admin.text("/readyz")[1]
    assert 'merklelog_log_size_entries{log="admin.example/new"} 0.0' in admin.text("/metrics")[1]


def test_labels_are_escaped(tmp_path: Path) -> None:
    r"""An origin may have quotes and backslashes."""
    merklelog.create_log(tmp_path / "log", 'a"b\\c', settings=ROOMY)
    admin = Admin()
    admin.logs.add(merklelog.open(tmp_path / "log"), "/")
    assert r'merklelog_log_size_entries{log="a\"b\\c"} 0.0' in admin.text("/metrics")[1]
    admin.logs.close()


@pytest.fixture(scope="module")
def server(start: Start) -> Server:
    return start("a", "b")


def test_over_the_network(server: Server) -> None:
    assert server.get("admin", "/livez")[::2] == (200, b"ok\n")
    status, _, body = server.get("admin", "/readyz")
    assert status == 200
    assert body.decode().count("rollback protection: none") == 2
    assert server.get("admin", "/nothing")[0] == 404
    assert server.get("http", "/metrics")[0] == 404  # only on its own port
    assert server.get("http", "/readyz")[0] == 404


def test_a_failing_disk_over_the_network(start: Start) -> None:
    server = start("a", options=("--stop-after", "2"))
    assert server.add(b"first") == 200
    assert server.get("admin", "/readyz")[0] == 200
    assert server.add(b"second") == 503
    assert server.get("admin", "/readyz")[0] == 503
    values = server.values()
    assert values["merklelog_log_stopped", "watch.example/a"] == 1
    assert values["merklelog_server_ready",] == 0
    assert values["merklelog_requests_total", "503", "http", "POST /add"] == 1
