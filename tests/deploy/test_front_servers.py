"""The files for nginx and Caddy: each front, as configured there, before a real server, over HTTP and gRPC."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from debian import program
from served import DEPLOY, SECONDS, Served, free_ports

from merklelog.v1 import log_pb2 as pb

FRONTS = ("nginx", "caddy")
LOG = "/merklelog.v1.LogService"


@dataclass(frozen=True)
class Certificate:
    """A certificate of localhost that is its own authority."""

    pem: Path
    key: Path


@dataclass
class Front:
    """A front server that runs, and the server behind it."""

    port: int
    certificate: Certificate
    behind: Served

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.certificate.pem))
        return http.client.HTTPSConnection("localhost", self.port, timeout=SECONDS, context=context)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def channel(self) -> grpc.Channel:
        roots = grpc.ssl_channel_credentials(self.certificate.pem.read_bytes())
        return grpc.secure_channel(f"localhost:{self.port}", roots)


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    made = Certificate(tmp_path / "tls.pem", tmp_path / "tls.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*command, *names, "-out", made.pem, "-keyout", made.key], check=True, capture_output=True)
    return made


def put(text: str, *changes: tuple[str, str]) -> str:
    """The text with each change made; every one must have something to change."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, certificate: Certificate, grpc_port: int, http_port: int) -> list[str]:
    """The file of tools/deploy in an nginx of its own; gives the command, which a -t turns into a check."""
    site = put(
        (DEPLOY / "nginx" / "merklelog.conf").read_text("utf-8"),
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;"),
        ("    listen [::]:443 ssl http2;\n", ""),
        ("/etc/nginx/tls/log.example.com.pem", str(certificate.pem)),
        ("/etc/nginx/tls/log.example.com.key", str(certificate.key)),
        ("127.0.0.1:7080", f"127.0.0.1:{http_port}"),
        ("127.0.0.1:7070", f"127.0.0.1:{grpc_port}"),
    )
    (folder / "site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    main = [
        *(["user root;"] if os.geteuid() == 0 else []),
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log info;",
        "events { worker_connections 256; }",
        "http {",
        *(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
        f"access_log {folder}/access.log; include {folder}/site.conf;",
        "}",
    ]
    (folder / "nginx.conf").write_text("\n".join(main))
    found = program("nginx", "nginx", "nginx-common")
    return (
        []
        if found is None
        else [str(found), "-p", str(folder), "-c", "nginx.conf", "-e", f"{folder}/error.log"]
    )


def caddy(folder: Path, port: int, certificate: Certificate, grpc_port: int, http_port: int) -> list[str]:
    """The same of Caddy; `run` is turned into a check."""
    text = put(
        (DEPLOY / "caddy" / "Caddyfile").read_text("utf-8"),
        ("\tservers {", "\tadmin off\n\tauto_https disable_redirects\n\tservers {"),
        ("grace_period 30s", "grace_period 5s"),
        ("log.example.com {", f"https://localhost:{port} {{\n\ttls {certificate.pem} {certificate.key}"),
        ("127.0.0.1:7080", f"127.0.0.1:{http_port}"),
        ("127.0.0.1:7070", f"127.0.0.1:{grpc_port}"),
    )
    (folder / "Caddyfile").write_text(text)
    found = program("caddy", "caddy")
    return (
        []
        if found is None
        else [str(found), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    )


CONFIGURE = {"nginx": nginx, "caddy": caddy}
Need = Callable[[bool, str], None]


def run(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
    }
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


@pytest.fixture(params=FRONTS)
def front(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    certificate: Certificate,
    log_directory: Path,
    serve: Callable[..., Served],
    need: Need,
) -> Iterator[Front]:
    """Each front server in turn, before a server of the log of ten entries."""
    folder = tmp_path / request.param
    folder.mkdir()
    behind = serve(log_directory)
    (port,) = free_ports(1)
    command = CONFIGURE[request.param](folder, port, certificate, behind.grpc, behind.http)
    need(bool(command), request.param)
    process = run(command, folder)
    try:
        end = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None, (folder / "output").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < end
            time.sleep(0.05)
        yield Front(port, certificate, behind)
    finally:
        process.terminate()
        process.wait(SECONDS)


def call(channel: grpc.Channel, name: str, request: Any, answer: Any) -> Any:
    method = channel.unary_unary(f"{LOG}/{name}", type(request).SerializeToString, answer.FromString)
    return method(request, timeout=SECONDS)


def test_http_comes_through(front: Front) -> None:
    status, note = front.ask("GET", "/checkpoint")
    assert (status, note.splitlines()[:2]) == (200, [b"deploy.example/log", b"10"])
    assert front.ask("GET", "/tile/0/000.p/10")[0] == 200
    assert front.ask("POST", "/add", b"through a front") == (200, b"10\n")
    assert front.ask("GET", "/entry/10") == (200, b"through a front")
    assert front.ask("GET", "/nothing")[0] == 404


def test_http_2_comes_through(front: Front) -> None:
    words = [
        "curl",
        "-s",
        "--http2",
        "--cacert",
        str(front.certificate.pem),
        "-w",
        "%{http_version}",
        "-o",
        "/dev/null",
    ]
    done = subprocess.run(
        [*words, f"https://localhost:{front.port}/checkpoint"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "2")


def test_the_longest_entry_comes_through_and_a_longer_one_does_not(front: Front) -> None:
    assert front.ask("POST", "/add", b"x" * 65_535) == (200, b"10\n")
    assert front.ask("POST", "/add", b"x" * 65_536)[0] == 413  # the server's own word
    for size in (200_000, 5_000_000):
        connection = front.connect()
        try:
            connection.request("POST", "/add", b"x" * size)
            # Caddy 2.6 says 502 for what it has cut off itself.
            assert connection.getresponse().status in {413, 502}
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass  # it was refused before all of it was sent
        finally:
            connection.close()
    assert front.behind.get("/checkpoint").splitlines()[1] == b"11"


def test_events_come_while_they_happen(front: Front) -> None:
    connection = front.connect()
    try:
        connection.request("GET", "/events/entries?start=10", headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        assert answer.status == 200
        front.behind.get("/add", body=b"news")
        seen = b""
        while b"id:" not in seen and b"data:" not in seen:
            line = answer.readline()
            assert line, seen
            seen += line
    finally:
        connection.close()


def in_flight(server: Served) -> float:
    """How many calls that watch the server has under way."""
    found = re.findall(
        r'(?m)^merklelog_requests_in_flight\{[^}]*method="[^"]*/Watch\w+"[^}]*\} (\S+)$',
        server.get("/metrics", server.admin).decode(),
    )
    return sum(map(float, found))


def wait_for_none_in_flight(server: Served) -> None:
    """A client that went away is not served on behind the front."""
    end = time.monotonic() + SECONDS
    while in_flight(server):
        assert time.monotonic() < end, "the stream behind goes on without its client"
        time.sleep(0.1)


def test_grpc_comes_through(front: Front) -> None:
    with front.channel() as channel:
        request = pb.AppendRequest(entry=pb.NewEntry(data=b"unary"))
        assert call(channel, "Append", request, pb.AppendResponse).entry.index == 10
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Append", pb.AppendRequest(origin="nobody.example"), pb.AppendResponse)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "grpc-status-details-bin" in dict(caught.value.trailing_metadata() or ())


def test_a_stream_answers_as_it_goes_and_is_as_long_as_it_likes(front: Front) -> None:
    with front.channel() as channel:
        stream = channel.stream_stream(
            f"{LOG}/AppendStream",
            pb.AppendStreamRequest.SerializeToString,
            pb.AppendStreamResponse.FromString,
        )
        requests: SimpleQueue[pb.AppendStreamRequest | None] = SimpleQueue()
        answers = stream(iter(requests.get, None), timeout=SECONDS)
        size = 10
        for number in range(40):  # far more than the 64 KiB that one HTTP body may have
            data = number.to_bytes(2, "big") * 30_000
            requests.put(pb.AppendStreamRequest(entries=[pb.NewEntry(data=data)]))
            answer = next(answers)  # before the next request is sent
            assert answer.appended[0].first_index == size
            size += 1
        requests.put(None)
        assert not list(answers)


def test_checkpoints_are_watched(front: Front) -> None:
    with front.channel() as channel:
        watch = channel.unary_stream(
            f"{LOG}/WatchCheckpoints",
            pb.WatchCheckpointsRequest.SerializeToString,
            pb.WatchCheckpointsResponse.FromString,
        )
        notes = watch(pb.WatchCheckpointsRequest(), timeout=SECONDS)
        assert next(notes).checkpoint.splitlines()[1] == b"10"
        front.behind.get("/add", body=b"news")
        assert next(notes).checkpoint.splitlines()[1] == b"11"
        assert in_flight(front.behind) >= 1
        notes.cancel()
        wait_for_none_in_flight(front.behind)


def test_a_server_that_is_away_is_unavailable(front: Front) -> None:
    assert front.behind.stop() == 0
    assert front.ask("GET", "/checkpoint")[0] in {502, 503}
    with front.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        call(channel, "GetLog", pb.GetLogRequest(), pb.GetLogResponse)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", FRONTS)
def test_it_is_checked_by_its_own_program(
    name: str, tmp_path: Path, certificate: Certificate, need: Need
) -> None:
    command = CONFIGURE[name](tmp_path, 8443, certificate, 7070, 7080)
    need(bool(command), name)
    check = [*command, "-t"] if name == "nginx" else [command[0], "validate", *command[2:]]
    good = run(check, tmp_path)
    said = tmp_path / "output"
    assert good.wait(SECONDS) == 0, said.read_text()
    if name == "nginx":
        assert "warn" not in said.read_text().lower()
    else:
        ours = DEPLOY / "caddy" / "Caddyfile"
        tidy = subprocess.run([command[0], "fmt", ours], capture_output=True, check=True)
        assert tidy.stdout == ours.read_bytes()
    path = tmp_path / ("site.conf" if name == "nginx" else "Caddyfile")
    path.write_text(path.read_text().replace("max_", "mux_"))
    assert run(check, tmp_path).wait(SECONDS) != 0
