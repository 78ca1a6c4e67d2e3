"""Events all the way into a log: by a producer, by the SDK's exporters, and from the two examples."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

import merklelog
from merklelog.audit_events import OtelEmitter, ProducerEmitter
from merklelog.cli import main
from merklelog.client import open_producer
from merklelog.errors import ClosedError, EntryError
from merklelog.formats import parse_proof, parse_vkey, single_log_policy
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import encode_entry
from merklelog.ingest.values import plain
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash

from .serving import ROOT, SECONDS, Process, Served, ask, attributes_of, free_port

DETAILS = {
    "n": 1,
    "ratio": 0.25,
    "none": None,
    "names": ["zoë", True],
    "deep": {"a": {}, "b": []},
    "big": 2**62,
}


def test_a_producer_s_event_is_in_the_log_and_proven(served: Served, tmp_path: Path) -> None:
    start = served.size
    with open_producer(served.grpc, trust=served.vkeys) as producer:
        emitter = ProducerEmitter(producer, {"service.name": "shop"})
        emitted = merklelog.audit_event("a.b", actor="ada", details=DETAILS, wait=SECONDS, emitter=emitter)
        emitted.stored().save(tmp_path / "event.tlog-proof")

        async def later() -> int:
            async with merklelog.auditing("c.d", actor="ada", wait=SECONDS, emitter=emitter) as event:
                await asyncio.sleep(0)
            assert event.emitted is not None
            return (await event.emitted.stored_async(SECONDS)).index

        assert asyncio.run(later()) == start + 1
    (entry, record), _ = served.records(start, 2)
    assert entry.part is None
    assert plain(record["body"]) == emitted.event.body
    assert record["resource"] == {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    assert attributes_of(record)["audit.record.id"] == emitted.record_id
    keys = [parse_vkey(line) for line in served.vkeys.read_text().splitlines()]
    proof = parse_proof((tmp_path / "event.tlog-proof").read_bytes())
    data = encode_entry(None, entry.record_bytes)
    assert verify_proof_file(proof, leaf_hash(data), single_log_policy(keys[:1])).index == start


def test_what_a_producer_can_not_take_is_raised_or_said(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    producer = open_producer(served.grpc, trust=served.vkeys)
    emitter = ProducerEmitter(producer)
    with pytest.raises(EntryError, match=r"65,?535"):
        merklelog.audit_event("a.b", actor="ada", details={"text": "x" * 70_000}, emitter=emitter)
    producer.close()
    with pytest.raises(ClosedError):
        merklelog.audit_event("a.b", actor="ada", emitter=emitter)
    nowhere = open_producer(f"grpc://127.0.0.1:{free_port()}", trust=served.vkeys)
    merklelog.audit_event("a.b", actor="ada", record_id="r-17", emitter=ProducerEmitter(nowhere))
    with pytest.raises(ClosedError):
        nowhere.close(0.1)
    assert "audit event r-17 (a.b) was not stored: " in caplog.text


def provider(served: Served, door: str) -> LoggerProvider:
    made = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
    address = served.addresses[door]
    exporter = (
        GrpcExporter(endpoint=address, insecure=True)
        if door == "otlp_grpc"
        else HttpExporter(endpoint=f"http://{address}/v1/logs")
    )
    made.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return made


@pytest.mark.parametrize("door", ["otlp_grpc", "otlp_http"])
def test_the_sdk_s_exporters_deliver_what_a_producer_would(served: Served, door: str) -> None:
    start = served.size
    sdk = provider(served, door)
    emitted = merklelog.audit_event(
        "a.b", actor="ada", resource="x/1", details=DETAILS, emitter=OtelEmitter(sdk)
    )
    sdk.shutdown()
    ((entry, record),) = served.records(start, 1)
    assert entry.part is not None
    assert entry.part.verdicts["content_hash"] == "ok"
    assert plain(record["body"]) == emitted.event.body
    with open_producer(served.grpc, trust=served.vkeys) as producer:
        ours = parse(ProducerEmitter(producer, {"service.name": "shop"}).entry(emitted.event))
    assert encode_record(record) == encode_record(ours)


def parse(data: bytes) -> dict:
    record: dict = json.loads(data)["record"]
    return record


def verify_content(served: Served) -> tuple[int, str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        status = main(["verify-content", str(served.directory)])
    out.flush()
    return status, out.buffer.getvalue().decode()  # type: ignore[attr-defined]


def wait_until_well(address: str, path: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            assert ask(address, "GET", path)[0] < 500
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


ORDERS = [
    ("order.cancel", "ada", "order/1", "success"),
    ("order.cancel", "grace", "order/2", "failure"),
]


def session(address: str, header: str, ada: str, grace: str) -> None:
    """What clients of either example do."""
    assert ask(address, "POST", "/orders", **{header: ada}) == (201, "1\n")
    assert ask(address, "POST", "/orders", **{header: ada}) == (201, "2\n")
    assert ask(address, "DELETE", "/orders/1", **{header: ada}) == (200, "cancelled\n")
    assert ask(address, "DELETE", "/orders/2", **{header: grace}) == (403, "not yours\n")
    assert ask(address, "POST", "/orders") == (401, "who are you?\n")
    assert ask(address, "GET", "/orders", **{header: ada}) == (404, "no such thing\n")


def check_session(served: Served, start: int) -> None:
    """The seven events of it, whatever order those of one request came in."""
    records = [attributes_of(record) for _, record in served.records(start, 7)]
    told = [
        tuple(each.get(f"audit.{name}") for name in ("action", "actor", "resource", "outcome"))
        for each in records
    ]
    assert [each for each in told if each[0] == "order.cancel"] == ORDERS
    assert [each for each in told if each[0] != "order.cancel"] == [
        ("POST", "ada", "/orders", "success"),
        ("POST", "ada", "/orders", "success"),
        ("DELETE", "ada", "/orders/1", "success"),
        ("DELETE", "grace", "/orders/2", "failure"),
        ("POST", None, "/orders", "failure"),
    ]
    assert records[-1]["audit.actor.type"] == "anonymous"
    assert served.size == start + 7
    status, text = verify_content(served)
    assert (status, "mismatch 0, not checkable 0, protected 0, without a hash 0)" in text) == (0, True), text


def test_the_asgi_example(served: Served) -> None:
    start, address = served.size, f"127.0.0.1:{free_port()}"
    words = [
        "-m",
        "h2corn",
        "--app-dir",
        ROOT / "examples",
        "--factory",
        "asgi_orders:make",
        "--bind",
        address,
    ]
    environment = {"ORDERS_LOG": served.grpc, "ORDERS_TRUST": str(served.vkeys)}
    example = Process(*words, environment=environment)
    try:
        wait_until_well(address, "/healthz")
        session(address, "authorization", "Bearer ada-1815", "Bearer grace-1906")
        check_session(served, start)  # each answer came after its event was stored
    finally:
        example.end()


def test_the_wsgi_example(served: Served) -> None:
    start = served.size
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{served.addresses['otlp_http']}"}
    example = Process(ROOT / "examples" / "wsgi_orders.py", 0, environment=environment, stdout=True)
    try:
        address = example.wait_for("http://").strip().removeprefix("http://").rstrip("/")
        session(address, "x-remote-user", "ada", "grace")
    finally:
        assert example.end() == 0
    check_session(served, start)


def test_an_event_that_is_said_again_is_kept_once_and_another_under_its_id_is_flagged(served: Served) -> None:
    start, sdk = served.size, provider(served, "otlp_grpc")
    for outcome in ("success", "success", "failure"):
        merklelog.audit_event(
            "a.b", actor="ada", outcome=outcome, record_id="again", time_ns=7, emitter=OtelEmitter(sdk)
        )
        sdk.force_flush()
    sdk.shutdown()
    (first, _), (other, _) = served.records(start, 2)
    assert served.size == start + 2
    assert first.part is not None
    assert other.part is not None
    assert "record_id" not in first.part.verdicts
    assert other.part.verdicts["record_id"] == {"conflict_with": start}
