"""What a scrape of a real server says: every metric there is, in its right number, and as Prometheus wants it."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from merklelog.servers.families import FAMILIES
from merklelog.servers.tally import STAGES
from merklelog.v1 import log_pb2 as pb
from tests.servers.watch.conftest import Server, Start

A, B, C = "watch.example/a", "watch.example/b", "watch.example/c"
APPEND = "merklelog.v1.LogService/Append"


@pytest.fixture(scope="module")
def busy(start: Start, front: tuple[str, ...]) -> Server:
    """A server of two logs, one of which was used through both doors, well and badly."""
    server = start("a", "b", "c", options=(*front, "--records"), published="c")
    assert [server.add(b"%d" % i, "/a/") for i in range(3)] == [200] * 3
    assert server.append(b"12345", A) == grpc.StatusCode.OK
    batch = pb.AppendBatchRequest(origin=A, entries=[pb.NewEntry(data=b"x" * i) for i in range(10)])
    assert server.call("AppendBatch", batch) == grpc.StatusCode.OK
    assert server.append(b"", "nobody.example/log") == grpc.StatusCode.NOT_FOUND
    assert server.get("http", "/a/tile/0/000.p/14")[0] == 200
    assert server.get("http", "/a/tile/0/001")[0] == 404
    assert server.get("http", "/b/checkpoint")[0] == 200
    return server


def test_every_metric_of_the_table_is_there_and_no_other(busy: Server) -> None:
    found = {family.name: family for family in text_string_to_metric_families(busy.scrape())}
    ours = {name for name in found if name.startswith("merklelog_")}
    assert ours == {family.name.removesuffix("_total") for family in FAMILIES}
    for family in FAMILIES:
        shown = found[family.name.removesuffix("_total")]
        assert (shown.type, shown.documentation) == (family.kind, family.meaning)
        for sample in shown.samples:
            assert set(sample.labels) - {"le"} == set(family.labels), family.name
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= set(found)


def test_promtool_finds_nothing_to_say(busy: Server, prometheus_bin: Path) -> None:
    command = [str(prometheus_bin / "promtool"), "check", "metrics"]
    done = subprocess.run(command, input=busy.scrape(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_would_say_it(busy: Server, prometheus_bin: Path) -> None:
    spoiled = busy.scrape().replace("merklelog_log_appends_total", "merklelog_log_appends_ms")
    command = [str(prometheus_bin / "promtool"), "check", "metrics"]
    done = subprocess.run(command, input=spoiled, capture_output=True, text=True)
    assert done.returncode == 3
    assert "merklelog_log_appends_ms" in done.stderr


def test_the_numbers_are_right(busy: Server) -> None:
    values = busy.values()
    assert values["merklelog_log_size_entries", A] == 14
    assert values["merklelog_log_size_entries", B] == 0
    assert values["merklelog_server_logs",] == 3
    assert values["merklelog_log_info", A, "/a/", "none"] == 1
    assert values["merklelog_log_info", C, "/c/", "targets and witnesses"] == 1
    assert values["merklelog_server_ready",] == 1
    for log in (A, B, C):
        assert values["merklelog_log_taking_appends", log] == 1
        assert values["merklelog_log_stopped", log] == 0
        assert values["merklelog_log_starting", log] == 0
        assert values["merklelog_log_disk_free_bytes", log] > 0
        assert values["merklelog_log_disk_reserve_bytes", log] == 0
        assert values["merklelog_log_pending_limit_bytes", log] == 64 << 20
        assert values["merklelog_log_queue_requests", log] == values["merklelog_log_pending_bytes", log] == 0
    assert values["merklelog_certificate_expiry_timestamp_seconds", "server"] == 2_208_988_800
    # Commits: three entries and one, one at a time, and a batch of ten with 45 bytes.
    assert values["merklelog_log_appends_total", A] == 5
    assert values["merklelog_log_entries_total", A] == 14
    assert values["merklelog_log_entry_bytes_total", A] == 3 + 5 + 45
    assert values["merklelog_log_commit_entries_count", A] == 5
    assert values["merklelog_log_commit_entries_bucket", "1.0", A] == 4
    assert values["merklelog_log_commit_entries_bucket", "16.0", A] == 5
    for stage in STAGES:
        assert values["merklelog_log_commit_stage_seconds_count", A, stage] >= 5
        assert values["merklelog_log_commit_stage_seconds_sum", A, stage] > 0
    assert values["merklelog_log_entries_total", B] == 0
    assert ("merklelog_log_commit_stage_seconds_count", B, "sync") not in values  # idle logs cost little
    # Requests: by door, method and code.
    requests = {key[1:]: value for key, value in values.items() if key[0] == "merklelog_requests_total"}
    assert requests == {
        ("200", "http", "POST /add"): 3,
        ("200", "http", "GET /tile"): 1,
        ("404", "http", "GET /tile"): 1,
        ("200", "http", "GET /checkpoint"): 1,
        ("OK", "grpc", APPEND): 1,
        ("NOT_FOUND", "grpc", APPEND): 1,
        ("OK", "grpc", APPEND + "Batch"): 1,
    }
    assert values["merklelog_request_seconds_count", "http", "POST /add"] == 3
    assert values["merklelog_request_seconds_count", "grpc", APPEND] == 2
    assert 0 < values["merklelog_request_seconds_sum", "http", "POST /add"] < 60
    assert values["merklelog_requests_in_flight", "http", "POST /add"] == 0


def test_a_log_with_targets_says_how_far_it_is(start: Start) -> None:
    server = start("a", "b", published="b")
    headers = {"merklelog-wait": "published"}
    assert [server.add(b"%d" % i, "/b/", **headers) for i in range(3)] == [200] * 3
    values = server.values()
    assert values["merklelog_log_size_entries", B] == values["merklelog_log_published_entries", B] == 3
    assert values["merklelog_log_epoch", B] == 1
    assert values["merklelog_log_publication_lag_entries", B] == 0
    assert values["merklelog_log_publication_lag_seconds", B] == 0
    assert values["merklelog_log_publication_interval_seconds", B] == 1
    assert 1 <= values["merklelog_log_publications_total", B] <= 3
    assert values["merklelog_log_publication_errors_total", B] == 0
    assert values["merklelog_log_last_publication_seconds", B] > 0
    assert ("merklelog_log_epoch", A) not in values


def test_buckets_only_grow_and_end_at_the_count(busy: Server) -> None:
    families = {family.name: family for family in text_string_to_metric_families(busy.scrape())}
    seen = 0
    for family in families.values():
        if family.type != "histogram":
            continue
        series: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        counts: dict[tuple[str, ...], float] = {}
        for sample in family.samples:
            key = tuple(value for name, value in sorted(sample.labels.items()) if name != "le")
            if sample.name.endswith("_bucket"):
                series.setdefault(key, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_count"):
                counts[key] = sample.value
        for key, buckets in series.items():
            assert buckets == sorted(buckets)
            assert [count for _, count in buckets] == sorted(count for _, count in buckets)
            assert buckets[-1] == (math.inf, counts[key])
            seen += 1
    assert seen > 5


def test_streams_are_in_flight_while_they_last(start: Start, front: tuple[str, ...]) -> None:
    server = start("a", options=front)
    watch = "merklelog.v1.LogService/WatchCheckpoints"
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_stream(f"/{watch}")(b"", timeout=60)
        next(call)
        assert server.values()["merklelog_requests_in_flight", "grpc", watch] == 1
        call.cancel()
        while (values := server.values())["merklelog_requests_in_flight", "grpc", watch]:
            pass
    assert values["merklelog_requests_total", "CANCELLED", "grpc", watch] == 1


def test_what_strangers_ask_for_makes_no_new_metrics(start: Start) -> None:
    server = start("a")
    for i in range(40):
        server.get("http", f"/stranger/{i}", ("GET", "POST", f"METHOD{i}")[i % 3])
        server.get("http", f"/tile/0/{i:03d}")
        server.append(b"", f"stranger{i}.example")
    methods = {key[3] for key in server.values() if key[0] == "merklelog_requests_total"}
    assert methods == {"GET other", "POST other", "other other", "GET /tile", APPEND}


def test_openmetrics_says_the_same(busy: Server) -> None:
    accept = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    status, headers, body = busy.get("admin", "/metrics", accept=accept)
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_openmetrics(body.decode())}
    assert {family.name.removesuffix("_total") for family in FAMILIES} <= names
