"""A server process as its operator and its clients meet it: start, several logs, bad configurations, endings."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

import merklelog
from merklelog.cli import main
from merklelog.servers import loops
from merklelog.v1 import log_pb2 as pb

HEALTH = "/grpc.health.v1.Health/Check"
Serve = Callable[..., Any]
MakeLog = Callable[..., Path]
Refuse = Callable[..., tuple[int, str]]


def test_one_log_stands_at_the_root_of_both_doors(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("trail")
    server = serve(log).ready()
    assert server.ask("POST", "/add", b"by http") == (200, b"0\n")
    assert server.append(b"by grpc") == 1
    assert server.ask("GET", "/entry/1") == (200, b"by grpc")
    assert server.ask("GET", "/checkpoint")[1].startswith(b"example.com/trail\n2\n")
    assert server.call("", health_pb2.HealthCheckRequest(), path=HEALTH).status == 1
    assert server.stop() == 0
    with merklelog.open_reader(log) as reader:
        assert list(reader.entries(0, 2)) == [b"by http", b"by grpc"]


def test_a_start_says_what_is_served_where_and_that_nothing_holds_the_log(
    serve: Serve, make_log: MakeLog
) -> None:
    server = serve(make_log("one"), make_log("two")).ready()
    started = server.wait_for(" serves")
    assert started["message"] == f"merklelog {merklelog.__version__} serves"
    assert started["logs"] == 2
    assert set(server.addresses) == {"grpc", "http"}
    server.wait_for("rollback protection: none", 2)
    opened = [each for each in server.said if "rollback protection: none" in each.get("message", "")]
    assert [(each["origin"], each["path"], each["size"]) for each in opened] == [
        ("example.com/one", "/one/", 0),
        ("example.com/two", "/two/", 0),
    ]
    assert server.stop(signal.SIGINT) == 0
    assert all(line.startswith("{") for line in server.raw), "every line is JSON"


def test_the_human_log_says_the_same(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("plain")
    words = [log, "--grpc", "127.0.0.1:0", "--http", "", "--admin", ""]
    server = serve(*words, plain=True)
    assert server.process.stderr is not None
    while not any(" serves" in line for line in server.raw):
        assert server.process.poll() is None
    assert server.stop() == 0
    text = "".join(server.raw)
    assert f"merklelog {merklelog.__version__} serves logs=1 grpc=127.0.0.1:" in text
    assert "rollback protection: none origin=example.com/plain size=0" in text
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""


def test_several_logs_stand_below_their_names(serve: Serve, make_log: MakeLog) -> None:
    server = serve(make_log("north"), make_log("south", http__path="s.2")).ready()
    assert server.ask("POST", "/north/add", b"n") == (200, b"0\n")
    assert server.ask("POST", "/s.2/add", b"s") == (200, b"0\n")
    assert server.ask("POST", "/add", b"x")[0] == 404
    assert server.append(b"g", origin="example.com/south") == 1
    with pytest.raises(grpc.RpcError) as caught:
        server.append(b"which?")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert server.stop() == 0


def test_every_log_below_a_root(serve: Serve, make_log: MakeLog, tmp_path: Path) -> None:
    make_log("logs/a")
    make_log("logs/deep/er/b")
    (tmp_path / "logs" / "empty").mkdir()
    (tmp_path / "logs" / "server.toml").write_text("[limits]\nmessage_bytes = 65536\n")
    server = serve("--root", tmp_path / "logs").ready()
    assert server.ask("GET", "/a/checkpoint")[0] == server.ask("GET", "/b/checkpoint")[0] == 200
    limits = server.call("GetLog", pb.GetLogRequest(origin="example.com/a")).limits
    assert limits.max_message_bytes == 65_536
    assert server.stop() == 0


def test_the_only_logs_own_file_may_say_how_it_is_served(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("own")
    with (log / "merklelog.toml").open("a") as file:
        file.write("\n[server]\ngrpc = ''\nhttp = '127.0.0.1:0'\nadmin = ''\nlog_format = 'json'\n")
    server = serve(log, plain=True).ready()
    assert set(server.addresses) == {"http"}
    assert server.stop() == 0
    with merklelog.open(log):
        """A server's sections do not trouble whoever opens the log otherwise."""


def test_grpc_and_http_may_have_one_address(serve: Serve, make_log: MakeLog) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    words = ["--grpc", address, "--http", address]
    server = serve(*words, make_log("both"), MERKLELOG_SERVER__GRPC_FRONT="native").ready()
    assert server.addresses == {"grpc": address}
    server.addresses["http"] = address
    assert server.append(b"by grpc") == 0
    assert server.ask("POST", "/add", b"by http") == (200, b"1\n")
    assert server.stop() == 0


def test_a_unix_socket_is_an_address(serve: Serve, make_log: MakeLog, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    server = serve(make_log("ux"), "--http", f"unix:{path}", "--grpc", f"unix:{tmp_path}/grpc.sock").ready()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert server.append(b"x") == 0
    assert server.stop() == 0


# --- what can not be served --------------------------------------------------------------------------------


def refused(*words: object, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "merklelog", "serve", *map(str, words)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def refuse(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """As `refused` in this process, for what is refused before anything is opened: that takes no time."""

    def run(*words: object, **environment: str) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(loops, "run", None)
            status = main(["serve", *map(str, words)])
        out, told = capfd.readouterr()
        assert out == ""
        assert "defect" not in told
        return status, told

    return run


OFF = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "")


def test_words_that_make_no_server(refuse: Refuse, make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log("log")
    assert refuse()[0] == 2
    assert refuse(log, "--root", tmp_path)[0] == 2
    status, told = refuse(log, log / ".." / "log")
    assert (status, "given twice" in told) == (2, True)
    status, told = refuse(tmp_path / "none")
    assert (status, str(tmp_path / "none") in told) == (2, True)
    assert refuse("--root", tmp_path / "none")[0] == 2
    assert refuse(log, "--config", tmp_path / "none.toml")[0] == 2
    status, told = refuse(log, "--http", "nowhere")
    assert (status, "option --http is 'nowhere'" in told) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\ngprc = ''\n", "server.toml:2: no key server.gprc"),
        ("[limits]\ncalls = 'many'\n", "server.toml:2: limits.calls is 'many': want a whole number"),
        ("[server\n", "server.toml: "),
        ("[http]\npath = 'x'\n", "server.toml:1: no section [http]"),
    ],
)
def test_a_bad_file_is_named(
    refuse: Refuse, make_log: MakeLog, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "server.toml").write_text(text)
    status, told = refuse(make_log("log"), "--config", tmp_path / "server.toml")
    assert (status, message in told) == (2, True), told


def test_sections_that_do_not_count_are_refused(refuse: Refuse, make_log: MakeLog, tmp_path: Path) -> None:
    one, two = make_log("one"), make_log("two")
    with (two / "merklelog.toml").open("a") as file:
        file.write("\n[tls]\n")
    status, told = refuse(one, two, *OFF)
    assert status == 2
    assert f"{two}/merklelog.toml:" in told
    assert "[tls] does not count here" in told


def test_names_that_clash_or_can_not_stand_in_a_url(make_log: MakeLog, tmp_path: Path) -> None:
    same = make_log("a/name"), make_log("b/other", http__path="name")
    status, told = refused(*same, *OFF)
    assert (status, "/name/ is taken" in told) == (2, True), told
    merklelog.create_log(tmp_path / "up", "example.com/UPPER")
    status, told = refused(same[0], tmp_path / "up", *OFF)
    assert (status, "set http.path" in told) == (2, True), told
    status, told = refused(same[0], make_log("c", http__path="metrics"), *OFF)
    assert (status, "set http.path" in told) == (2, True), told


def test_a_log_that_is_open_elsewhere_is_not_served(make_log: MakeLog) -> None:
    log = make_log("busy")
    with merklelog.open(log):
        status, told = refused(log, *OFF)
    assert status == 4
    assert str(os.getpid()) in told


def test_a_taken_port_is_said_and_the_log_let_go(make_log: MakeLog) -> None:
    log = make_log("log")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for door in ("grpc", "http"):
            status, told = refused(log, *OFF, f"--{door}", f"127.0.0.1:{port}")
            assert status == 4
            assert f"can not listen at 127.0.0.1:{port}: Address already in use" in told
    with merklelog.open(log):
        """Nothing holds it."""


# --- the end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_a_stop_under_load_drops_nothing_at_either_door(serve: Serve, make_log: MakeLog, front: str) -> None:
    """Every call that was taken is answered, and every index given is in the log, once."""
    log = make_log("drained")
    server = serve(log, MERKLELOG_SERVER__GRPC_FRONT=front).ready()
    acknowledged: dict[int, bytes] = {}
    wrong: list[object] = []
    lock, stopped = threading.Lock(), threading.Event()

    def by_http(worker: int) -> None:
        with closing(server.connect()) as connection:
            for i in range(100_000):
                entry = b"http %d/%d" % (worker, i)
                try:
                    connection.request("POST", "/add", entry)
                    answer = connection.getresponse()
                    body = answer.read()
                except OSError:
                    if not stopped.is_set():
                        wrong.append("cut before the stop")
                    return
                if answer.status != 200:
                    return
                with lock:
                    acknowledged[int(body)] = entry
                if answer.getheader("connection") == "close":
                    return

    def by_grpc(worker: int) -> None:
        with server.channel() as channel:
            for i in range(100_000):
                entry = b"grpc %d/%d" % (worker, i)
                try:
                    index = server.append(entry, channel=channel)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        wrong.append(error)
                    return
                with lock:
                    acknowledged[index] = entry

    kinds: list[Callable[[int], None]] = [by_http] * 6 + [by_grpc] * 6
    workers = [threading.Thread(target=kind, args=(n,)) for n, kind in enumerate(kinds)]
    for worker in workers:
        worker.start()
    while len(acknowledged) < 300:
        assert server.process.poll() is None
    stopped.set()
    status = server.stop()
    for worker in workers:
        worker.join(60)
    assert status == 0
    assert wrong == []
    with merklelog.open_reader(log) as reader:
        stored = list(reader.entries(0, reader.size))
    assert all(stored[index] == entry for index, entry in acknowledged.items())
    assert len(stored) == len(acknowledged), "stored, and its answer never came"


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_endless_calls_end_with_the_server(serve: Serve, make_log: MakeLog, front: str) -> None:
    server = serve(make_log("watched"), MERKLELOG_SERVER__GRPC_FRONT=front).ready()
    channel = server.channel()
    watch = channel.unary_stream("/merklelog.v1.LogService/WatchCheckpoints")(
        pb.WatchCheckpointsRequest().SerializeToString()
    )
    next(watch)
    with closing(server.connect()) as events:
        events.request("GET", "/events/checkpoints")
        answer = events.getresponse()
        assert answer.status == 200
        assert server.stop() == 0
        answer.read()
    with pytest.raises(grpc.RpcError) as caught:
        next(watch)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    channel.close()


def test_a_second_signal_cuts_the_drain_short(serve: Serve, make_log: MakeLog) -> None:
    """Which would take an hour."""
    hour = {"MERKLELOG_SERVER__DRAIN_SECONDS": "3600", "MERKLELOG_LIMITS__BODY_SECONDS": "3600"}
    server = serve(make_log("slow"), **hour).ready()
    with closing(server.connect()) as half:
        half.putrequest("POST", "/add")
        half.putheader("Content-Length", "10")
        half.endheaders(b"half")
        server.ask("GET", "/healthz")  # what was sent before has come
        server.send(signal.SIGTERM)
        server.wait_for("SIGTERM: draining")
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    server.wait_for("SIGTERM again")
    server.wait_for("closed")


def test_a_service_manager_is_told(serve: Serve, make_log: MakeLog, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        server = serve(make_log("told"), NOTIFY_SOCKET=str(path)).ready()
        assert manager.recv(4096) == b"READY=1\nSTATUS=1 log served"
        server.send(signal.SIGHUP)
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(4096).startswith(b"READY=1\n")
        assert server.stop() == 0
        assert manager.recv(4096) == b"STOPPING=1"


def test_beyond_this_machine_it_listens_only_when_told_in_words(refuse: Refuse, make_log: MakeLog) -> None:
    log = make_log("log")
    for address in ("0.0.0.0:0", "[::]:0"):
        for door in ("grpc", "http"):
            status, told = refuse(log, *OFF, f"--{door}", address)
            assert (status, "server.without_tls" in told) == (2, True), told
    status, told = refuse(log, *OFF, "--http", "0.0.0.0:0", MERKLELOG_SERVER__WITHOUT_TLS="yes")
    assert (status, "to the letter" in told) == (2, True), told


def test_connections_are_refused_while_it_drains(serve: Serve, make_log: MakeLog) -> None:
    """Not taken and left to wait for the slowest of those that were there before."""
    server = serve(make_log("closing")).ready()
    with closing(server.connect()) as slow:
        slow.putrequest("POST", "/add")
        slow.putheader("Content-Length", "10")
        slow.endheaders(b"half")
        server.ask("GET", "/healthz")  # what was sent before has come
        server.send(signal.SIGTERM)
        server.wait_for("draining")
        refused = False
        while not refused:
            try:
                with closing(server.connect()) as late:
                    late.timeout = 1
                    late.request("GET", "/healthz")
                    late.getresponse()
            except ConnectionRefusedError:
                refused = True
            except (OSError, http.client.HTTPException):
                continue
        slow.send(b"other.")
        answer = slow.getresponse()
        assert (answer.status, answer.read()) == (200, b"0\n")
    assert server.wait() == 0
