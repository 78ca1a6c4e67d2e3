"""Spans as OpenTelemetry's SDK gets them from a real server; and none where nothing is configured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from merklelog.servers.tracing import spans
from merklelog.v1 import log_pb2 as pb
from tests.servers.watch.conftest import ROOT, SERVICE, Server, Start

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(scope="module")
def spans_file(tmp_path_factory: pytest.TempPathFactory, front: tuple[str, ...]) -> Path:
    """A new one for each server."""
    return tmp_path_factory.mktemp("spans") / "spans.jsonl"


@pytest.fixture(scope="module")
def traced(start: Start, spans_file: Path, front: tuple[str, ...]) -> Server:
    return start("a", options=("--spans", str(spans_file), *front))


def last(path: Path, name: str) -> dict[str, Any]:
    """The newest span of that name, once it is there: a span ends after its answer was sent."""
    while True:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        found = [span for span in lines if span["name"] == name]
        if found:
            return found[-1]


def test_a_request_is_a_span_of_its_callers_trace(traced: Server, spans_file: Path) -> None:
    assert traced.add(b"secret bytes", traceparent=TRACEPARENT, authorization="Bearer secret") == 200
    span = last(spans_file, "POST /add")
    assert span["context"]["trace_id"] == f"0x{TRACE}"
    assert span["parent_id"] == f"0x{PARENT}"
    assert span["kind"] == "SpanKind.SERVER"
    assert span["status"]["status_code"] == "UNSET"
    assert span["attributes"] == {
        "http.request.method": "POST",
        "http.route": "/add",
        "url.path": "/add",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
    }
    assert "secret" not in json.dumps(span)


def test_a_request_without_a_trace_begins_one(traced: Server, spans_file: Path) -> None:
    assert traced.get("http", "/checkpoint")[0] == 200
    span = last(spans_file, "GET /checkpoint")
    assert span["parent_id"] is None
    assert int(span["context"]["trace_id"], 16)
    assert traced.get("http", "/proof/inclusion?index=9", traceparent="nonsense")[0] == 404
    span = last(spans_file, "GET /proof/inclusion")
    assert (span["parent_id"], span["attributes"]["http.response.status_code"]) == (None, 404)
    assert span["status"]["status_code"] == "UNSET"  # the caller's mistake, not the server's


def test_a_call_is_a_span_of_its_callers_trace(traced: Server, spans_file: Path) -> None:
    assert traced.append(b"secret bytes", "", ("traceparent", TRACEPARENT)) == grpc.StatusCode.OK
    span = last(spans_file, "merklelog.v1.LogService/Append")
    assert span["context"]["trace_id"] == f"0x{TRACE}"
    assert span["parent_id"] == f"0x{PARENT}"
    assert span["attributes"] == {
        "rpc.system": "grpc",
        "rpc.service": "merklelog.v1.LogService",
        "rpc.method": "Append",
        "rpc.response.status_code": "OK",
    }
    request = pb.GetConsistencyProofRequest(old_size=5, new_size=2)
    assert traced.call("GetConsistencyProof", request) != grpc.StatusCode.OK
    span = last(spans_file, "merklelog.v1.LogService/GetConsistencyProof")
    assert span["attributes"]["rpc.response.status_code"] in {"OUT_OF_RANGE", "INVALID_ARGUMENT"}
    assert span["status"]["status_code"] == "UNSET"


def test_a_stream_is_one_span_and_a_client_that_leaves_ends_it(traced: Server, spans_file: Path) -> None:
    with grpc.insecure_channel(traced.grpc) as channel:
        entries = channel.unary_stream(f"{SERVICE}/GetEntries")(
            pb.GetEntriesRequest().SerializeToString(), timeout=60, metadata=[("traceparent", TRACEPARENT)]
        )
        assert len(list(entries)) >= 1
        watch = channel.unary_stream(f"{SERVICE}/WatchCheckpoints")(b"", timeout=60)
        next(watch)
        watch.cancel()
    span = last(spans_file, "merklelog.v1.LogService/GetEntries")
    assert (span["parent_id"], span["attributes"]["rpc.response.status_code"]) == (f"0x{PARENT}", "OK")
    span = last(spans_file, "merklelog.v1.LogService/WatchCheckpoints")
    assert span["attributes"]["rpc.response.status_code"] == "CANCELLED"
    # h2corn 2.0.0 says this now and then of a stream that its client resets just as its answer is cut short.
    late = "request failed: ASGI app returned before completing the response\n"
    assert (traced.folder / "stderr").read_text() in {"", late}


def test_commits_are_spans_of_their_own(start: Start, tmp_path: Path, front: tuple[str, ...]) -> None:
    path = tmp_path / "spans.jsonl"
    server = start("a", options=("--spans", str(path), *front))
    assert server.add(b"secret bytes", traceparent=TRACEPARENT) == 200
    commit, sync = last(path, "merklelog.commit"), last(path, "merklelog.sync")
    assert commit["attributes"] == {
        "merklelog.log": "watch.example/a",
        "merklelog.requests": 1,
        "merklelog.entries": 1,
        "merklelog.entry_bytes": len(b"secret bytes"),
    }
    assert sync["attributes"] == {"merklelog.log": "watch.example/a"}
    assert [each["name"] for each in commit["events"]] == ["planned", "hashed", "signed", "written"]
    assert [each["name"] for each in sync["events"]] == ["synced"]
    for span in (commit, sync):
        times = [span["start_time"], *[each["timestamp"] for each in span["events"]], span["end_time"]]
        assert times == sorted(times)
        assert span["parent_id"] is None  # one commit is of many requests
        assert "secret" not in json.dumps(span)


def test_the_servers_own_failure_is_an_error(start: Start, tmp_path: Path, front: tuple[str, ...]) -> None:
    path = tmp_path / "spans.jsonl"
    server = start("a", options=("--spans", str(path), "--stop-after", "1", *front))
    assert server.add(b"x") == 503
    span = last(path, "POST /add")
    assert span["status"]["status_code"] == "ERROR"
    assert span["attributes"]["error.type"] == "503"
    assert server.append(b"x") == grpc.StatusCode.UNAVAILABLE
    span = last(path, "merklelog.v1.LogService/Append")
    assert (span["status"]["status_code"], span["attributes"]["error.type"]) == ("ERROR", "UNAVAILABLE")


def test_nothing_is_traced_unless_configured() -> None:
    assert spans() is None


def test_nothing_is_traced_without_the_api() -> None:
    """As in an installation without the extra: the server does not need the package."""
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name[:13] == 'opentelemetry' else find(name)\n"
        "sys.modules['opentelemetry'] = None\n"
        "import merklelog.servers.grpcio_front, merklelog.servers.admin\n"
        "from merklelog.servers.tracing import spans\n"
        "print(spans())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None\n", "")
