"""SIGHUP: new logs are taken in while the others serve; what can not be used is said and changes nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import merklelog

Serve = Callable[..., Any]
MakeLog = Callable[..., Path]
RELOADED = "SIGHUP: reloaded"


def test_new_logs_are_taken_in_while_others_serve(serve: Serve, make_log: MakeLog, tmp_path: Path) -> None:
    make_log("logs/first")
    server = serve("--root", tmp_path / "logs").ready()
    assert server.ask("GET", "/second/checkpoint")[0] == 404
    assert server.append(b"the only one") == 0
    appended: list[int] = []
    done = threading.Event()

    def load() -> None:
        with closing(server.connect()) as connection:
            while not done.is_set():
                connection.request("POST", "/first/add", b"x")
                answer = connection.getresponse()
                assert answer.status == 200
                appended.append(int(answer.read()))

    worker = threading.Thread(target=load)
    worker.start()
    for count, name in enumerate(("second", "third"), 1):
        make_log(f"logs/{name}")
        server.send(signal.SIGHUP)
        record = server.wait_for(RELOADED, count)
        assert (record["logs"], record["failures"]) == (count + 1, 0)
        assert server.ask("POST", f"/{name}/add", b"y") == (200, b"0\n")
        assert server.append(b"z", origin=f"example.com/{name}") == 1
    done.set()
    worker.join(60)
    assert appended == list(range(1, len(appended) + 1))
    assert b"/{log}/checkpoint" in server.ask("GET", "/openapi.json")[1]
    assert server.stop() == 0
    with merklelog.open_reader(tmp_path / "logs" / "second") as reader:
        assert reader.size == 2


def test_a_root_may_be_empty_at_first(serve: Serve, make_log: MakeLog, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    server = serve("--root", tmp_path / "logs").ready()
    server.wait_for("no log is served")
    make_log("logs/one")
    server.send(signal.SIGHUP)
    server.wait_for(RELOADED)
    assert server.ask("POST", "/one/add", b"y") == (200, b"0\n")
    assert server.stop() == 0


def test_a_log_that_can_not_be_opened_keeps_nobody_out(
    serve: Serve, make_log: MakeLog, tmp_path: Path
) -> None:
    make_log("logs/good")
    server = serve("--root", tmp_path / "logs").ready()
    broken, clash = make_log("logs/broken"), make_log("logs/clash", http__path="good")
    (broken / "merklelog.toml").write_text("[log]\norigin = 3\n")
    make_log("logs/new")
    server.send(signal.SIGHUP)
    record = server.wait_for(RELOADED)
    assert (record["logs"], record["failures"]) == (2, 2)
    told = [each for each in server.said if each.get("message", "").startswith("not taken in")]
    assert {each["directory"] for each in told} == {str(broken), str(clash)}
    assert server.ask("POST", "/new/add", b"y") == (200, b"0\n")
    assert server.ask("POST", "/good/add", b"y") == (200, b"0\n")
    with merklelog.open(clash):
        """What was not taken in is not held."""
    assert server.stop() == 0


def test_a_bad_configuration_changes_nothing_and_a_good_one_says_what_waits(
    serve: Serve, make_log: MakeLog, tmp_path: Path
) -> None:
    file = tmp_path / "server.toml"
    file.write_text("")
    server = serve(make_log("log"), "--config", file).ready()
    file.write_text("[limits]\ncalls = 0\n")
    server.send(signal.SIGHUP)
    assert server.wait_for(RELOADED)["failures"] == 1
    assert f"{file}:2: limits.calls is 0" in server.wait_for("reload:")["message"]
    file.write_text("[limits]\ncalls = 9\n[server]\nlog_level = 'error'\n")
    server.send(signal.SIGHUP)
    assert server.wait_for("in force after a restart")["keys"] == "limits.calls"
    assert server.ask("GET", "/healthz")[0] == 200
    assert server.stop() == 0
    assert not any(each.get("message") == "closed" for each in server.said), "log_level is in force at once"
