"""A real server with OpenTelemetry's doors: the SDK's exporters, both encodings, and what it tells its senders."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import zstandard
from google.protobuf.json_format import MessageToJson
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from merklelog.ingest.canonical import decode_record
from merklelog.ingest.entry import parse_entry
from merklelog.log import create_log, open_log, open_reader
from tests.support.otlp_server import Receiver

A, FULL, FROZEN = "doors.example/a", "doors.example/full", "doors.example/frozen"
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


class Doors:
    """The server, and what became of what was sent."""

    def __init__(self, receiver: Receiver, folder: Path) -> None:
        self.receiver = receiver
        self.folder = folder

    def records(self) -> list[dict[str, Any]]:
        """All records of log A."""
        with open_reader(self.folder / "a") as log:
            found = [parse_entry(each) for each in log.entries(0, log.size)]
        return [decode_record(each.record_bytes) for each in found if each is not None]

    def post(
        self, body: bytes, kind: str = PROTOBUF, path: str = "/v1/logs", **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        named = {"merklelog-log": A} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.receiver.ask("POST", path, body, {"content-type": kind, **named}, door="otlp_http")

    def call(self, body: bytes, path: str = EXPORT, log: str = A, **how: Any) -> bytes:
        with grpc.insecure_channel(self.receiver.addresses["otlp_grpc"]) as channel:
            metadata = (("merklelog-log", log),) if log else ()
            return bytes(channel.unary_unary(path)(body, timeout=60, metadata=metadata, **how))


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("doors")
    for origin, free in ((A, 0), (FULL, 1 << 60), (FROZEN, 0)):
        create_log(
            folder / origin.rpartition("/")[2],
            origin,
            settings={"store.min_free_bytes": free, "ingest.alert": ("/bin/false",)},
        )
    with open_log(folder / "frozen") as log:
        log.freeze()
    receiver = Receiver(*[folder / name for name in ("a", "full", "frozen")])
    receiver.start()
    yield Doors(receiver, folder)
    assert receiver.stop() == 0


def request(*bodies: str, **attributes: str) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    group = made.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = group.scope_logs.add()
    for body in bodies:
        record = scope.log_records.add(time_unix_nano=1)
        record.body.string_value = body
        for key, value in attributes.items():
            record.attributes.add(key=key.replace("__", ".")).value.string_value = value
    return made


def send(exporter: Any, *bodies: str) -> None:
    provider = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("shop.audit", "2.0")
    for body in bodies:
        attributes = {"audit.actor.id": "alice", "n": 2**53 + 1, "ratio": 0.1, "tags": ["a", "b"]}
        record = LogRecord(timestamp=5, severity_number=SeverityNumber.INFO, body=body, attributes=attributes)
        logger.emit(record)
    provider.shutdown()


@pytest.mark.parametrize("how", ["grpc", "grpc gzip", "http", "http gzip"])
def test_the_exporters_of_the_sdk(doors: Doors, how: str) -> None:
    before = len(doors.records())
    headers, name = {"merklelog-log": A}, f"{how} "
    packed = "gzip" in how
    if how.startswith("grpc"):
        compression = grpc.Compression.Gzip if packed else grpc.Compression.NoCompression
        at = doors.receiver.addresses["otlp_grpc"]
        send(
            GrpcExporter(at, insecure=True, headers=headers, compression=compression),
            *[name + c for c in "abc"],
        )
    else:
        at = f"http://{doors.receiver.addresses['otlp_http']}/v1/logs"
        squeeze = Compression.Gzip if packed else Compression.NoCompression
        send(HttpExporter(at, headers=headers, compression=squeeze), *[name + c for c in "abc"])
    records = doors.records()[before:]
    assert [each["body"] for each in records] == [{"stringValue": name + c} for c in "abc"]
    for each in records:
        assert each["scope"] == {"name": "shop.audit", "version": "2.0"}
        assert each["timeUnixNano"] == "5"
        assert {pair["key"]: pair["value"] for pair in each["attributes"]} == {
            "audit.actor.id": {"stringValue": "alice"},
            "n": {"intValue": str(2**53 + 1)},
            "ratio": {"doubleValue": 0.1},
            "tags": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}},
        }


def test_one_record_is_the_same_through_every_door(doors: Doors) -> None:
    before = len(doors.records())
    made = request("the same", key="välue")
    data, text = made.SerializeToString(), MessageToJson(made).encode()
    assert doors.call(data) == b""
    ExportLogsServiceResponse.FromString(doors.call(data, compression=grpc.Compression.Gzip))
    for body, kind, want in ((data, PROTOBUF, b""), (text, JSON, b"{}")):
        for encoding, pack in (
            ("identity", bytes),
            ("gzip", gzip.compress),
            ("zstd", zstandard.ZstdCompressor().compress),
        ):
            status, answer, headers = doors.post(pack(body), kind, content_encoding=encoding)
            assert (status, answer, headers["content-type"]) == (200, want, kind)
    records = doors.records()[before:]
    assert len(records) == 8
    assert all(each == records[0] for each in records)


def test_an_empty_request_is_taken(doors: Doors) -> None:
    before = len(doors.records())
    assert doors.call(b"") == b""
    assert doors.post(b"")[0] == 200
    assert doors.post(b"{}", JSON)[0] == 200
    assert len(doors.records()) == before


def test_traces_and_metrics_are_told_where_they_are(doors: Doors) -> None:
    for signal, service in (("trace", "TraceService"), ("metrics", "MetricsService")):
        with pytest.raises(grpc.RpcError) as caught:
            doors.call(b"", f"/opentelemetry.proto.collector.{signal}.v1.{service}/Export")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "this port takes logs alone" in caught.value.details()
    for path in ("/v1/traces", "/v1/metrics"):
        status, body, _ = doors.post(b"{}", JSON, path)
        assert status == 404
        assert "this port takes logs alone" in json.loads(body)["message"]


def told(doors: Doors, log: str) -> tuple[grpc.StatusCode, float, int, int]:
    """What each door says of a request for that log: code and RetryInfo, status and Retry-After."""
    data = request("x").SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        doors.call(data, log=log)
    trailers = dict(caught.value.trailing_metadata())
    status, retry = Status.FromString(trailers["grpc-status-details-bin"]), RetryInfo()
    found = any(each.Unpack(retry) for each in status.details)
    http, _, headers = doors.post(data, merklelog_log=log)
    return (
        caught.value.code(),
        retry.retry_delay.ToMilliseconds() / 1000 if found else 0,
        http,
        int(headers.get("retry-after", "0")),
    )


def test_what_may_pass_is_to_be_sent_again(doors: Doors) -> None:
    assert told(doors, FULL) == (grpc.StatusCode.UNAVAILABLE, 5, 503, 5)
    assert told(doors, FROZEN) == (grpc.StatusCode.UNAVAILABLE, 60, 503, 60)


def test_without_a_log_and_a_token(doors: Doors) -> None:
    for log in ("", "doors.example/none"):
        code, again, status, after = told(doors, log)
        assert (code, again, status, after) == (grpc.StatusCode.UNAUTHENTICATED, 0, 401, 0)
    status, body, headers = doors.post(b"", merklelog_log="none", authorization="Bearer mlt_nothing")
    assert (status, headers["content-type"]) == (401, PROTOBUF)
    assert headers["www-authenticate"].startswith("Bearer")
    assert Status.FromString(body).code == 16


def test_other_requests(doors: Doors) -> None:
    ask = doors.receiver.ask
    status, _, headers = ask("GET", "/v1/logs", door="otlp_http")
    assert (status, headers["allow"]) == (405, "POST")
    assert ask("GET", "/healthz", door="otlp_http")[:2] == (200, b"ok\n")
    assert ask("POST", "/v1/nothing", b"", door="otlp_http")[0] == 404
    assert doors.post(b"", "text/plain")[0] == 415
    assert doors.post(b"", content_encoding="br")[0] == 415
    assert doors.post(b"", host="evil.example")[0] == 403, "a page whose name was made to lead here"
    assert doors.post(b"", JSON.upper() + "; charset=utf-8")[0] == 400, "empty is no JSON"


def test_metrics_and_readiness(doors: Doors) -> None:
    doors.post(request("no", audit__content_hash="0" * 64).SerializeToString())
    doors.post(request('{"a": 1}', audit__content_hash="0" * 64, audit__record__id="i").SerializeToString())
    doors.post(request("other", audit__record__id="i").SerializeToString())
    doors.post(request("other", audit__record__id="i").SerializeToString())
    _, page, _ = doors.receiver.ask("GET", "/metrics", door="admin")
    values = dict(line.rsplit(" ", 1) for line in page.decode().splitlines() if line[0] != "#")
    assert float(values[f'merklelog_ingest_records_total{{log="{A}"}}']) == len(doors.records())
    for name, want in (("duplicates", 1), ("conflicts", 1), ("split_records", 0)):
        assert float(values[f'merklelog_ingest_{name}_total{{log="{A}"}}']) == want
    for verdict, want in (("ok", 0), ("mismatch", 1), ("not checkable", 1)):
        name = f'merklelog_ingest_content_hashes_total{{log="{A}",verdict="{verdict}"}}'
        assert float(values[name]) == want
    assert any("POST /v1/logs" in name for name in values)
    _, page, _ = doors.receiver.ask("GET", "/readyz", door="admin")
    assert page.count(b"; records: taken\n") == 3
    program = doors.receiver.program
    assert program is not None
    for message in ("the content hash of a record is wrong", "other content", "ingest.alert failed"):
        assert program.wait_for(message)["level"] in {"warning", "error"}
