"""Requests that can not be parsed, or are for no log: refused with the right status and words, and nothing stored.

A Collector throws away what is refused like this, so only what no later attempt could mend may be.
"""

from __future__ import annotations

import gzip
import json
import random
import socket

import grpc
import pytest
import zstandard
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.otlp_bad.conftest import Target
from tests.otlp_bad.senders import (
    JSON,
    PROTOBUF,
    attribute,
    field,
    gzip_bomb,
    named,
    raw_request,
    request,
    varint,
    zstd_bomb,
)
from tests.support.programs import SECONDS

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 8, 12
GOOD = request(named("x", attributes=[attribute("a", "b")])).SerializeToString()
GOOD_JSON = json.dumps(
    {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"eventName": "x", "timeUnixNano": "1"}]}]}]}
).encode()
DEEP = 10_000

MALFORMED = {
    "garbage": b"\xff" * 40,
    "text": b"hello",
    "JSON": GOOD_JSON,
    "cut off": GOOD[:-1],
    "a field that ends too early": field(1, b"")[:1] + b"\x7f",
    "a length of 2^63": b"\x0a" + varint(1 << 63),
    "a length beyond 64 bits": b"\x0a" + b"\xff" * 10,
    "field 0": b"\x02\x00",
    "a group without an end": b"\x0b" * 8,
    "a group's end alone": b"\x0c",
    "wire type 7": b"\x0f",
    "a record cut off": raw_request(named("x").SerializeToString()[:-1]),
    "groups 10,000 deep": b"\x0b" * DEEP,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_protobuf(target: Target, name: str) -> None:
    for told, code in (
        (target.send.post(MALFORMED[name]), 400),
        (target.send.call(MALFORMED[name]), INVALID_ARGUMENT),
    ):
        assert told.code == code, told
        assert told.message
        assert told.retry_after is None
    target.stored(0)


def logs(record: str) -> bytes:
    return b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%s]}]}]}' % record.encode()


MALFORMED_JSON = {
    "nothing": (b"", "request"),
    "half an object": (b'{"resourceLogs":[', "request"),
    "two values": (GOOD_JSON * 2, "request"),
    "an array": (b"[]", "request"),
    "null": (b"null", "request"),
    "a number": (b"1", "request"),
    "protobuf": (GOOD, "request"),
    "NaN": (logs('{"body":{"doubleValue":NaN}}'), "request"),
    "no array": (b'{"resourceLogs":{}}', "resourceLogs"),
    "no object": (b'{"resourceLogs":[1]}', "resourceLogs[0]"),
    "a record that is text": (logs('"x"'), "logRecords[0]"),
    "a time in words": (logs('{"timeUnixNano":"yesterday"}'), "timeUnixNano"),
    "a time before 1970": (logs('{"timeUnixNano":"-1"}'), "timeUnixNano"),
    "a time after 2554": (logs('{"timeUnixNano":"18446744073709551616"}'), "timeUnixNano"),
    "a severity in text": (logs('{"severityNumber":"very"}'), "severityNumber"),
    "a trace ID that is no hex": (logs('{"traceId":"xyz"}'), "traceId"),
    "attributes as an object": (logs('{"attributes":{"a":"b"}}'), "attributes"),
    "an integer of 65 bits": (logs('{"body":{"intValue":"9223372036854775808"}}'), "intValue"),
    "bytes that are no base64": (logs('{"body":{"bytesValue":"*"}}'), "bytesValue"),
    "a value of two kinds": (logs('{"body":{"stringValue":"a","intValue":"1"}}'), "body"),
    "arrays 10,000 deep": (b"[" * DEEP + b"]" * DEEP, "deep"),
    "objects 10,000 deep": (logs('{"x":' * DEEP + "1" + "}" * DEEP), "deep"),
    "values 10,000 deep": (
        logs('{"body":' + '{"arrayValue":{"values":[' * DEEP + '{"intValue":"1"}' + "]}}" * DEEP + "}"),
        "deep",
    ),
    "traces": (b'{"resourceSpans":[]}', "resourceSpans"),
    "metrics": (b'{"resourceMetrics":[]}', "resourceMetrics"),
}


@pytest.mark.parametrize("name", MALFORMED_JSON)
def test_malformed_json(target: Target, name: str) -> None:
    body, names = MALFORMED_JSON[name]
    told = target.send.post(body, JSON)
    assert told.code == 400, told
    assert names in told.message
    assert len(told.message) < 500, "an error repeats no more of the input than helps"
    assert told.retry_after is None
    target.stored(0)


ZSTD = zstandard.ZstdCompressor().compress(GOOD)
ENCODED = {
    "gzip: is none": (b"hello", "gzip", 400),
    "gzip: none at all": (b"", "gzip", 400),
    "gzip: cut off": (gzip.compress(GOOD)[:-9], "gzip", 400),
    "gzip: without its end": (gzip.compress(GOOD)[:-1], "gzip", 400),
    "gzip: a wrong checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "gzip", 400),
    "gzip: more behind it": (gzip.compress(GOOD) + b"x", "gzip", 400),
    "gzip: twice": (gzip.compress(gzip.compress(GOOD)), "gzip", 400),
    "zstd: is none": (b"hello", "zstd", 400),
    "zstd: cut off": (ZSTD[:-3], "zstd", 400),
    "zstd: more behind it": (ZSTD + b"x", "zstd", 400),
    "zstd: a window of 2 GiB": (b"\x28\xb5\x2f\xfd\x00\xa8" + ZSTD[6:], "zstd", 400),
    "zstd: a claim of 2^60 bytes": (b"\x28\xb5\x2f\xfd\xe0" + (1 << 60).to_bytes(8, "little"), "zstd", 400),
    "unknown: br": (GOOD, "br", 415),
    "unknown: two of them": (gzip.compress(GOOD), "gzip, gzip", 415),
    "unknown: deflate": (GOOD, "deflate", 415),
    "unknown: words": (GOOD, "not at all", 415),
    "not gzip, told otherwise": (gzip.compress(GOOD), "identity", 400),
}


@pytest.mark.parametrize("name", ENCODED)
def test_encodings(target: Target, name: str) -> None:
    body, encoding, status = ENCODED[name]
    told = target.send.post(body, PROTOBUF, encoding)
    assert told.code == status, told
    assert told.message
    assert told.retry_after is None
    target.stored(0)


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/protobuf+x", "application/xml", "x" * 999]
)
def test_other_content_types(target: Target, kind: str | None) -> None:
    told = target.send.post(GOOD, kind)
    assert told.code == 415, told
    assert "application/x-protobuf" in told.message
    target.stored(0)


def test_bombs_are_bounded_before_anything_is_allocated_for_them(well: Target) -> None:
    """1 GiB in 1 MiB of gzip and in 32 KiB of zstd; 64 MiB over gRPC, where the sender is a library."""
    before = well.memory()
    for body, encoding in ((gzip_bomb(1024), "gzip"), (zstd_bomb(1024), "zstd")):
        assert len(body) < 2 << 20
        for kind in (PROTOBUF, JSON):
            told = well.send.post(body, kind, encoding)
            assert told.code == 413, told
            assert "4,194,304" in told.message
    told = well.send.call(bytes(64 << 20), compression=grpc.Compression.Gzip)
    assert told.code == RESOURCE_EXHAUSTED
    assert told.retry_after is None, "to send it again would not help"
    assert well.memory() - before < 96 << 20
    well.stored(0)


def test_too_long_without_compression(well: Target) -> None:
    told = well.send.call(bytes(5 << 20))
    assert (told.code, told.retry_after) == (RESOURCE_EXHAUSTED, None)
    try:
        told = well.send.post(bytes(5 << 20))
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused by its length, before the body was read
    else:
        assert (told.code, told.retry_after) == (413, None)
    well.stored(0)


def test_what_is_no_log_is_told_so(well: Target) -> None:
    for path, service in (
        ("/v1/traces", "trace.v1.TraceService"),
        ("/v1/metrics", "metrics.v1.MetricsService"),
    ):
        for kind, body in ((PROTOBUF, b""), (JSON, b"{}")):
            told = well.send.post(body, kind, path=path)
            assert told.code == 404
            assert "takes logs alone" in told.message
        told = well.send.call(b"", f"/opentelemetry.proto.collector.{service}/Export")
        assert told.code == UNIMPLEMENTED
        assert "takes logs alone" in told.message
    for message in (ExportTraceServiceRequest(), ExportMetricsServiceRequest()):
        assert message.SerializeToString() == b""
    assert well.send.post(GOOD, path="/v1/log").code == 404
    assert (
        well.send.call(GOOD, "/opentelemetry.proto.collector.logs.v1.LogsService/Import").code
        == UNIMPLEMENTED
    )
    status, _, headers = well.receiver.ask("GET", "/v1/logs", door="otlp_http")
    assert (status, headers["allow"]) == (405, "POST")
    well.stored(0)


def test_a_log_that_is_not_here(well: Target) -> None:
    """Nobody showed a token, so another log may be told of by one: 401, UNAUTHENTICATED."""
    headers = {"Content-Type": JSON, "merklelog-log": "other.example/log"}
    status, body, _ = well.receiver.ask("POST", "/v1/logs", GOOD_JSON, headers, door="otlp_http")
    assert status == 401, body
    assert b"other.example/log" in body
    well.stored(0)


def test_a_body_that_does_not_come_whole_is_no_answer_that_a_collector_takes_for_final(well: Target) -> None:
    """Not 408, which makes a Collector throw the batch away: the connection is closed, and it sends again."""
    host, _, port = well.receiver.addresses["otlp_http"].rpartition(":")
    head = f"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {PROTOBUF}\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=SECONDS) as slow:
        slow.sendall(head.encode() + GOOD[:3])
        assert slow.recv(1000) == b""
    with socket.create_connection((host, int(port)), timeout=SECONDS) as gone:
        gone.sendall(head.encode() + GOOD[:3])
    well.stored(0)


def test_bytes_changed_at_random(well: Target) -> None:
    """What is left is taken or refused for good, at both doors alike, and is never the server's failure."""
    chance = random.Random(7)
    base = request(*(named(f"r{i}", attributes=[attribute("k" * i, "v")] * i) for i in range(6)))
    start = base.SerializeToString()
    entries = 0
    for _ in range(150):
        changed = bytearray(start)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(changed))
            changed[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        size = well.receiver.size()
        first, second = well.send.post(bytes(changed)), well.send.call(bytes(changed))
        assert (first.code, second.code) in ((200, 0), (400, INVALID_ARGUMENT)), (first, second, changed)
        grown = well.receiver.size() - size
        assert grown % 2 == 0
        assert grown == 0 or first.code == 200
        entries += grown
    well.wanted += entries
