"""`merklelog serve` itself has every metric, from its logs' commits to its requests, and says them well."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import merklelog
from merklelog.servers.families import FAMILIES
from tests.servers.watch.conftest import ROOMY, ROOT, Server

ANY = "127.0.0.1:0"
# What only a server with TLS has, and what only a log that asks witnesses (`test_metrics` has one).
ELSEWHERE = {"merklelog_certificate_expiry_timestamp_seconds"} | {
    family.name.removesuffix("_total")
    for family in FAMILIES
    if family.name.startswith("merklelog_log_witness")
}


@pytest.fixture(scope="module", params=["grpcio", "native"])
def serve(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    settings = {**ROOMY, "publish.targets": (f"dir:{folder}/copy",)}
    merklelog.create_log(folder / "log", "watch.example/served", settings=settings)
    words = ("serve", folder / "log", "--grpc", ANY, "--http", ANY, "--admin", ANY, "--otlp-http", ANY)
    process = subprocess.Popen(
        [sys.executable, "-m", "merklelog", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": "",
            "MERKLELOG_SERVER__GRPC_FRONT": request.param,
            "MERKLELOG_INDEX__ENABLED": "true",
        },
    )
    assert process.stderr is not None
    ports: dict[str, str] = {}
    for line in process.stderr:
        if " serves" in line:
            ports = dict(re.findall(r"\b(grpc|http|admin)=(\S+)", line))
            break
    server = Server(process, folder=folder, **ports)
    while server.get("admin", "/readyz")[0] != 200:  # it compares itself with its target first
        assert process.poll() is None
    yield server
    process.kill()
    process.wait()
    process.stderr.close()


def test_every_metric_is_there(serve: Server, prometheus_bin: Path) -> None:
    assert serve.add(b"over http") == 200
    assert serve.append(b"over grpc").name == "OK"
    text = serve.scrape()
    found = {family.name for family in text_string_to_metric_families(text)}
    assert {family.name.removesuffix("_total") for family in FAMILIES} - ELSEWHERE <= found
    values = serve.values()
    log = "watch.example/served"
    assert values["merklelog_log_entries_total", log] == 2
    assert values["merklelog_log_entry_bytes_total", log] == 18
    assert values["merklelog_log_commit_stage_seconds_count", log, "sync"] >= 2
    assert values["merklelog_requests_total", "OK", "grpc", "merklelog.v1.LogService/Append"] == 1
    assert values["merklelog_requests_total", "200", "http", "POST /add"] == 1
    command = [prometheus_bin / "promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_is_ready(serve: Server) -> None:
    status, _, body = serve.get("admin", "/readyz")
    assert (status, body.splitlines()[0]) == (200, b"ready")
    assert b"published in epoch 1; rollback protection: targets" in body
