"""The admin door of a server that runs: readiness through its life, and metrics of what it did."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
MakeLog = Callable[..., Path]
ADMIN = ("--admin", "127.0.0.1:0")


def test_ready_while_it_serves_and_not_while_it_drains(serve: Serve, make_log: MakeLog) -> None:
    server = serve(*ADMIN, make_log("one"), make_log("two")).ready()
    status, body = server.ask("GET", "/readyz", door="admin")
    assert status == 200
    assert body.count(b"rollback protection: none") == 2
    assert server.ask("GET", "/livez", door="admin") == (200, b"ok\n")
    with closing(server.connect()) as slow:
        slow.putrequest("POST", "/one/add")
        slow.putheader("Content-Length", "10")
        slow.endheaders(b"half")
        server.ask("GET", "/healthz")  # what was sent before has come
        server.send(signal.SIGTERM)
        server.wait_for("draining")
        status, body = server.ask("GET", "/readyz", door="admin", Accept="application/json")
        assert (status, json.loads(body)["phase"]) == (503, "draining")
        slow.send(b"other.")
        answer = slow.getresponse()
        assert (answer.status, answer.read()) == (200, b"0\n")
    assert server.wait() == 0


def test_metrics_tell_what_was_done(serve: Serve, make_log: MakeLog) -> None:
    server = serve(*ADMIN, make_log("counted")).ready()
    for _ in range(3):
        assert server.ask("POST", "/add", b"x")[0] == 200
    server.append(b"y")
    text = server.ask("GET", "/metrics", door="admin")[1].decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['merklelog_log_size_entries{log="example.com/counted"}'] == "4.0"
    assert lines["merklelog_server_ready"] == "1.0"
    assert lines['merklelog_requests_total{code="200",door="http",method="POST /add"}'] == "3.0"
    append = 'door="grpc",method="merklelog.v1.LogService/Append"'
    assert lines[f'merklelog_requests_total{{code="OK",{append}}}'] == "1.0"
    assert server.stop() == 0


def test_the_admin_door_stays_on_this_machine_unless_told_in_words(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("log")
    server = serve("--admin", "0.0.0.0:0", log)
    assert server.wait() == 2
    assert "server.open_admin" in "".join(server.raw)
    sentence = "everyone who reaches this server can read its metrics and the names of its logs"
    server = serve("--admin", "0.0.0.0:0", log, MERKLELOG_SERVER__OPEN_ADMIN=sentence).ready()
    assert server.stop() == 0


def test_a_log_that_stopped_is_not_ready_and_its_operator_is_told_why(
    serve: Serve, make_log: MakeLog
) -> None:
    """Files may not grow beyond some size, so the database's next write fails; reads go on."""
    server = serve(*ADMIN, make_log("stopped"), file_bytes=300_000).ready()
    for number in range(20):
        if server.ask("POST", "/add", b"%d" % number * 30_000)[0] != 200:
            break
    else:
        pytest.fail("every append was taken")
    status, body = server.ask("GET", "/readyz", door="admin")
    assert (status, b": stopped (" in body) == (503, True)
    told = server.wait_for("a failure stopped the log")
    assert told["origin"] == "example.com/stopped"
    assert "File too large" in told["message"]
    assert server.ask("GET", "/entry/0")[0] == 200
    assert server.stop() == 4
