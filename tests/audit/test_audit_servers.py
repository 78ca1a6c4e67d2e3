"""Audits over http:// and grpc://: a whole log is proven, and what a server shows wrong is found at its place."""

from __future__ import annotations

import functools
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.audit import audit
from merklelog.client import Access, Retry
from merklelog.errors import NotFoundError, UnavailableError, UsageError
from merklelog.formats import Policy, single_log_policy
from merklelog.publish import DirectoryStore, publish_copy
from tests.client.lying_server import GrpcLiar

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = {"grpc": "grpc_server.py", "http": "http/http_process.py"}
SIZE = 40_000
ONCE = Access(retry=Retry(total=60, attempt=30, first=200, most=200))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audited") / "log"
    merklelog.create_log(path, "audited.example/log", settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as writer:
        for start in range(0, SIZE, 5_000):
            writer.append_batch([b"event %d" % i for i in range(start, start + 5_000)])
    return path


@pytest.fixture(scope="module")
def policy(log: Path) -> Policy:
    with merklelog.open_reader(log) as reader:
        return single_log_policy(reader.vkeys)


@pytest.fixture(scope="module")
def copy(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("copy")
    with merklelog.open_reader(log) as reader:
        publish_copy(reader, DirectoryStore(place), verifiers=reader.vkeys)
    return place


@pytest.fixture(scope="module")
def web(copy: Path) -> Iterator[str]:
    """The published copy on a plain web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

    handler = functools.partial(Quiet, directory=str(copy))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[str, Path], str]]:
    running: list[subprocess.Popen[str]] = []

    def start(kind: str, directory: Path) -> str:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "servers" / RUNNERS[kind]), str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        running.append(process)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        return f"{kind}://127.0.0.1:{told}" if kind == "grpc" else f"http://{told[0]}"

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_whole_log_is_proven(
    kind: str, log: Path, policy: Policy, serve: Callable[[str, Path], str]
) -> None:
    told = []
    report = audit(serve(kind, log), policy, access=ONCE, progress=lambda *done: told.append(done))
    assert (report.exit_status, report.findings) == (0, ())
    assert (report.size, report.entries, report.bundles) == (SIZE, SIZE, -(-SIZE // 256))
    assert report.origin == "audited.example/log"
    assert report.signatures_checked
    assert len(report.remarks) == 1
    assert (told[0], told[-1]) == ((0, SIZE), (SIZE, SIZE))
    local = audit(str(log), policy)
    assert (local.root, local.bytes) == (report.root, report.bytes)
    if kind == "http":
        assert report.tiles == local.tiles


def test_several_processes_over_http(web: str, policy: Policy) -> None:
    report = audit(web, policy, processes=2, access=Access(retry=Retry(total=50)))
    assert (report.exit_status, report.processes, report.entries) == (0, 2, SIZE)


def test_without_a_key_over_http_all_but_the_signature_is_checked(web: str) -> None:
    report = audit(web, access=ONCE)
    assert (report.exit_status, report.signatures_checked, report.entries) == (0, False, SIZE)


@pytest.mark.parametrize("path", ["tile/entries/033", "tile/0/033", "tile/1/000.p/156", "checkpoint"])
def test_what_a_web_server_shows_wrong(path: str, web: str, copy: Path, policy: Policy) -> None:
    place = copy / path
    data = place.read_bytes()
    place.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    try:
        report = audit(web, policy, access=ONCE)
        assert report.exit_status == 1
        assert any(f"{web}/{path}" in finding.where for finding in report.findings)
        place.rename(copy / "aside")
        if path != "checkpoint":
            report = audit(web, policy, access=ONCE)
            assert report.exit_status == 1
            assert any(path in finding.where for finding in report.findings)
    finally:
        place.write_bytes(data)
    assert audit(web, policy, access=ONCE).exit_status == 0


def test_what_a_server_shows_wrong_over_grpc(
    log: Path, policy: Policy, serve: Callable[[str, Path], str]
) -> None:
    liar = GrpcLiar()
    try:
        liar.point(serve("grpc", log))

        def change(request: Any, answer: Any) -> Any:
            if answer.start <= 9_000 < answer.start + len(answer.entries):
                answer.entries[9_000 - answer.start] = b"another"
            return answer

        liar.lies["GetEntries"] = change
        report = audit(liar.url, policy, access=ONCE)
        assert report.exit_status == 1
        assert [finding.entries for finding in report.findings] == [(8_192, 12_288)]
        assert report.entries == SIZE - 4_096
        liar.lies = {"GetCheckpoint": lambda _, answer: type(answer)(checkpoint=answer.checkpoint[:-9])}
        report = audit(liar.url, policy, access=ONCE)
        assert (report.exit_status, report.root) == (1, None)
    finally:
        liar.close()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_nobody_there_is_not_disproven(kind: str, policy: Policy) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        target = f"{kind}://127.0.0.1:{taken.getsockname()[1]}"
        if kind == "http":
            report = audit(target, policy, access=ONCE)
            assert report.exit_status == 3
            assert target in report.findings[0].where
        else:
            with pytest.raises(UnavailableError, match=target):
                audit(target, policy, access=ONCE)


def test_what_can_not_be_audited(web: str, policy: Policy) -> None:
    with pytest.raises(UsageError, match="who signs this log"):
        audit("grpc://127.0.0.1:1")
    with pytest.raises(NotFoundError):
        audit(f"{web}/nothing-here", policy, access=ONCE)
    with pytest.raises(NotFoundError):
        audit(web, policy, size=77, access=ONCE)
    with pytest.raises(UsageError):
        audit("http://", policy)
