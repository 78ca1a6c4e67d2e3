"""A server whose log has a publish target: while it is away, when it comes back, when another writer takes it."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

import merklelog
from merklelog.formats import parse_checkpoint
from merklelog.v1 import log_pb2 as pb

Serve = Callable[..., Any]
MakeLog = Callable[..., Path]
HEALTH = "/grpc.health.v1.Health/Check"
ADMIN = ("--admin", "127.0.0.1:0")
PUBLISHED = {"merklelog_wait": "published"}


class Mount:
    """The place of a target's directory, which can be taken away and brought back."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mount"
        self._aside = folder / "aside"

    def take_away(self) -> None:
        if self.path.exists():
            self.path.rename(self._aside)
        self.path.write_text("no directory")

    def bring_back(self) -> None:
        self.path.unlink()
        if self._aside.exists():
            self._aside.rename(self.path)
        else:
            self.path.mkdir()

    def shown(self, name: str) -> int:
        """The size of the checkpoint that readers of the target see."""
        return parse_checkpoint((self.path / name / "checkpoint").read_bytes()).checkpoint.size


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


def health(server: Any, service: str = "") -> int:
    return int(server.call("", health_pb2.HealthCheckRequest(service=service), path=HEALTH).status)


def readiness(server: Any) -> tuple[int, dict[str, Any]]:
    status, body = server.ask("GET", "/readyz", door="admin", accept="application/json")
    return status, json.loads(body)


def metric(server: Any, name: str) -> float:
    lines = server.ask("GET", "/metrics", door="admin")[1].decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name}{{")).rpartition(" ")[2])


def refusal(server: Any) -> tuple[grpc.StatusCode, str, float]:
    """How an append over gRPC is refused: its code, the reason, and after how many seconds to come again."""
    with pytest.raises(grpc.RpcError) as caught:
        server.append(b"x")
    details: dict[str, Any] = {}
    trailers = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    for each in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            found = kind()
            if each.Unpack(found):
                details[kind.__name__] = found
    return caught.value.code(), details["ErrorInfo"].reason, details["RetryInfo"].retry_delay.ToSeconds()


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_a_server_starts_while_its_target_is_away(
    serve: Serve, make_published: MakeLog, mount: Mount, front: str
) -> None:
    log = make_published("away")
    mount.take_away()
    server = serve(log, *ADMIN, MERKLELOG_SERVER__GRPC_FRONT=front).ready()
    told = server.wait_for("takes no appends yet")
    assert str(mount.path) in told["message"]
    assert (told["level"], told["origin"]) == ("warning", "example.com/away")
    # Reads are served.
    assert server.ask("GET", "/checkpoint")[1].startswith(b"example.com/away\n0\n")
    assert server.call("GetLog", pb.GetLogRequest()).epoch == 0
    # Appends are not, at either door, and nobody outside learns where the target is.
    connection = server.connect()
    connection.request("POST", "/add", b"x")
    answer = connection.getresponse()
    assert (answer.status, int(answer.headers["retry-after"])) == (503, 1)
    body = answer.read()
    connection.close()
    assert json.loads(body)["reason"] == "NOT_READY"
    assert str(mount.path).encode() not in body
    assert refusal(server) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY", 1)
    # Whoever runs it is told who is missing.
    assert (health(server), health(server, "example.com/away")) == (2, 2)
    status, ready = readiness(server)
    assert (status, ready["ready"], ready["logs"][0]["state"]) == (503, False, "starting")
    assert str(mount.path) in ready["logs"][0]["detail"]
    text = server.ask("GET", "/readyz", door="admin")[1].decode()
    assert text.startswith("not ready: a log has not compared itself with its targets\n")
    assert metric(server, "merklelog_log_starting") == 1
    assert metric(server, "merklelog_log_taking_appends") == 0
    # It comes back by itself.
    mount.bring_back()
    server.wait_for("the log takes appends")
    assert server.ask("POST", "/add", b"x", **PUBLISHED) == (200, b"0\n")
    assert (health(server), readiness(server)[0], metric(server, "merklelog_log_starting")) == (1, 200, 0)
    assert server.stop() == 0
    assert mount.shown("away") == 1


def test_appends_go_on_while_a_target_is_lost(serve: Serve, make_published: MakeLog, mount: Mount) -> None:
    log = make_published("lost", publish__interval=0.05)
    server = serve(log, *ADMIN).started()
    assert server.ask("POST", "/add", b"0", **PUBLISHED) == (200, b"0\n")
    mount.take_away()
    assert server.ask("POST", "/add", b"1") == (200, b"1\n")
    told = server.wait_for("not published, tried again")
    assert (told["level"], told["origin"]) == ("warning", "example.com/lost")
    assert server.ask("POST", "/add", b"2", prefer="wait=0", **PUBLISHED) == (202, b"2\n")
    status, ready = readiness(server)
    assert status == 200, "it takes appends"
    shown = ready["logs"][0]
    assert (shown["state"], shown["size"], shown["published"]) == ("taking appends", 3, 1)
    assert str(mount.path) in shown["publication_error"]
    assert "not published for" in server.ask("GET", "/readyz", door="admin")[1].decode()
    assert metric(server, "merklelog_log_publication_lag_entries") == 2
    assert metric(server, "merklelog_log_publication_lag_seconds") > 0
    assert metric(server, "merklelog_log_publication_errors_total") >= 1
    mount.bring_back()
    assert server.ask("POST", "/add", b"3", **PUBLISHED) == (200, b"3\n")
    server.wait_for("publications go on")
    assert metric(server, "merklelog_log_publication_lag_entries") == 0
    assert mount.shown("lost") == 4
    assert server.stop() == 0


def test_a_stop_publishes_what_is_not_published_yet(
    serve: Serve, make_published: MakeLog, mount: Mount
) -> None:
    """And who waits for it is answered."""
    log = make_published("stopped", publish__interval=3600.0)
    server = serve(log, *ADMIN).started()
    assert server.ask("POST", "/add", b"0", **PUBLISHED) == (200, b"0\n")
    answers: list[tuple[int, bytes]] = []
    waiting = threading.Thread(target=lambda: answers.append(server.ask("POST", "/add", b"1", **PUBLISHED)))
    waiting.start()
    while metric(server, "merklelog_log_size_entries") < 2:
        assert waiting.is_alive()
    assert server.append(b"2") == 2
    assert mount.shown("stopped") == 1
    assert server.stop() == 0
    waiting.join()
    assert answers == [(200, b"1\n")]
    assert mount.shown("stopped") == 3


def test_a_stop_does_not_wait_for_a_target_that_is_away(
    serve: Serve, make_published: MakeLog, mount: Mount
) -> None:
    log = make_published("left", publish__interval=0.05)
    server = serve(log, *ADMIN, MERKLELOG_SERVER__DRAIN_SECONDS="2").started()
    assert server.ask("POST", "/add", b"0", **PUBLISHED) == (200, b"0\n")
    mount.take_away()
    answers: list[tuple[int, bytes]] = []
    waiting = threading.Thread(target=lambda: answers.append(server.ask("POST", "/add", b"1", **PUBLISHED)))
    waiting.start()
    while metric(server, "merklelog_log_size_entries") < 2:
        assert waiting.is_alive()
    assert server.stop() == 0
    waiting.join()
    assert answers == [(202, b"1\n")], "durable, and said to be no more than that"
    mount.bring_back()
    again = serve(log, *ADMIN).started()
    assert again.ask("POST", "/add", b"2", **PUBLISHED) == (200, b"2\n")
    assert again.ask("GET", "/entry/1") == (200, b"1")
    assert again.stop() == 0


def test_a_fenced_log_stops_loudly(
    serve: Serve, make_published: MakeLog, mount: Mount, tmp_path: Path
) -> None:
    """A clone of its disk was started beside it."""
    log = make_published("fenced", publish__interval=0.05)
    shutil.copytree(log, tmp_path / "clone")
    server = serve(log, *ADMIN).started()
    with merklelog.open(tmp_path / "clone") as clone:
        assert clone.epoch == 2
        clone.append(b"of the clone")
        clone.wait_published(1).result(60)
        before = (mount.path / "fenced" / "checkpoint").read_bytes()
        assert server.ask("POST", "/add", b"x", **PUBLISHED)[0] == 503
        told = server.wait_for("a failure stopped the log")
        assert (told["level"], told["origin"]) == ("error", "example.com/fenced")
        assert "find out why before a restart" in told["message"]
        assert refusal(server)[:2] == (grpc.StatusCode.UNAVAILABLE, "LOG_STOPPED")
        assert readiness(server)[1]["logs"][0]["state"] == "stopped"
        assert (readiness(server)[0], health(server)) == (503, 2)
        assert metric(server, "merklelog_log_stopped") == 1
        assert server.ask("GET", "/checkpoint")[0] == 200, "reads go on"
        assert (mount.path / "fenced" / "checkpoint").read_bytes() == before
    assert server.stop(signal.SIGTERM) == 4


def test_an_old_copy_of_the_disk_serves_reads_and_says_why_no_more(
    serve: Serve, make_published: MakeLog, tmp_path: Path
) -> None:
    log = make_published("old", publish__interval=0.05)
    shutil.copytree(log, tmp_path / "backup")
    server = serve(log, *ADMIN).started()
    assert server.ask("POST", "/add", b"0", **PUBLISHED) == (200, b"0\n")
    assert server.stop() == 0
    old = serve(tmp_path / "backup", *ADMIN).ready()
    told = old.wait_for("a failure stopped the log")
    assert told["level"] == "error"
    assert "merklelog recover" in told["message"]
    assert refusal(old)[:2] == (grpc.StatusCode.UNAVAILABLE, "LOG_STOPPED")
    assert readiness(old)[0] == 503
    assert old.ask("GET", "/checkpoint")[1].startswith(b"example.com/old\n0\n")
    with closing(old.channel()) as channel:
        assert old.call("GetLog", pb.GetLogRequest(), channel=channel).origin == "example.com/old"
    assert old.stop() == 4
