"""Real server processes with both doors and an admin port, and the Prometheus that scrapes them."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

import merklelog
from merklelog.formats import format_vkey
from merklelog.v1 import log_pb2 as pb
from merklelog.witness.create import create_witness
from tests.servers import prometheus
from tests.witness.support import served

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SERVICE = "/merklelog.v1.LogService"
ROOMY = {"store.min_free_bytes": 0}


@dataclass
class Server:
    """One server process and the addresses of its three ports."""

    process: subprocess.Popen[str]
    grpc: str
    http: str
    admin: str
    folder: Path

    def get(
        self, port: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer to a request over HTTP."""
        connection = http.client.HTTPConnection(getattr(self, port), timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def add(self, entry: bytes, prefix: str = "/", **headers: str) -> int:
        """Append over HTTP; gives the status."""
        return self.get("http", f"{prefix}add", "POST", entry, **headers)[0]

    def call(self, name: str, request: object, *metadata: tuple[str, str]) -> grpc.StatusCode:
        """A unary call; gives its status."""
        with grpc.insecure_channel(self.grpc) as channel:
            try:
                channel.unary_unary(f"{SERVICE}/{name}")(
                    request.SerializeToString(),  # type: ignore[attr-defined]
                    timeout=60,
                    metadata=metadata,
                )
            except grpc.RpcError as error:
                return error.code()  # type: ignore[attr-defined,no-any-return]
            return grpc.StatusCode.OK

    def append(self, entry: bytes, origin: str = "", *metadata: tuple[str, str]) -> grpc.StatusCode:
        """Append over gRPC; gives the status."""
        request = pb.AppendRequest(origin=origin, entry=pb.NewEntry(data=entry))
        return self.call("Append", request, *metadata)

    def scrape(self) -> str:
        """What Prometheus would get."""
        status, headers, body = self.get("admin", "/metrics")
        assert status == 200
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return body.decode()

    def values(self) -> dict[tuple[str, ...], float]:
        """Every sample, by its name and the values of its labels in the order of the labels' names."""
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(self.scrape())
            for sample in family.samples
        }

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


Start = Callable[..., Server]


@pytest.fixture(scope="module", params=[(), ("--native",)], ids=["grpcio", "native"])
def front(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The option that chooses the gRPC front: a test with it runs on both."""
    chosen: tuple[str, ...] = request.param
    return chosen


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start("a", "b", options=("--spans", FILE))`: a server of new logs of the origins watch.example/a and /b.

    That of the name `published` has a directory as its publish target, and a witness.
    """
    with ExitStack() as stack:

        def begin(*names: str, options: tuple[str, ...] = (), published: str = "") -> Server:
            folder = tmp_path_factory.mktemp("server")
            for name in names:
                more: dict[str, Any] = {}
                if name == published:
                    more = {"publish.targets": (f"dir:{folder}/copy",), "witness.policy": "witnesses"}
                    more["witness.mode"] = "continue"
                made = merklelog.create_log(
                    folder / name, f"watch.example/{name}", settings={**ROOMY, **more}
                )
                if name == published:
                    witness = create_witness(folder / "w", "witness.example/w1", logs=[made[0]])[0]
                    address = stack.enter_context(served(folder / "w")).address
                    lines = (
                        f"log {format_vkey(made[0])}",
                        f"witness w {format_vkey(witness)} http://{address}",
                    )
                    (folder / name / "witnesses").write_text("\n".join((*lines, "quorum w", "")))
            errors = stack.enter_context((folder / "stderr").open("w"))
            process = subprocess.Popen(
                [sys.executable, HERE / "watched_server.py", *[folder / name for name in names], *options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={"PYTHONPATH": str(ROOT), "PATH": ""},
            )
            stack.callback(_end, process)
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "stderr").read_text()
            return Server(process, folder=folder, **json.loads(line))

        yield begin


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(scope="session")
def prometheus_bin(need: Callable[[bool, str], None]) -> Path:
    """The folder of Debian's prometheus and promtool."""
    found = prometheus.programs()
    need(found is not None, "prometheus and promtool (Debian: apt-get download prometheus)")
    assert found is not None
    return found
