"""The protocol's own examples, what the SDK's exporter writes, and real events: the same bytes by every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from merklelog.ingest.canonical import decode_record, encode_record, encode_records
from merklelog.ingest.otlp_json import record_to_json, records_from_json
from merklelog.ingest.otlp_out import record_to_protobuf
from merklelog.ingest.otlp_protobuf import records_from_protobuf
from merklelog.ingest.otlp_wire import records_from_wire
from tests.ingest.real_events import cloudtrail_events, windows_events

EXAMPLES = Path(__file__).resolve().parents[1] / "vectors" / "otlp"

LOGS = (
    '{"attributes":[{"key":"string.attribute","value":{"stringValue":"some string"}},'
    '{"key":"boolean.attribute","value":{"boolValue":true}},{"key":"int.attribute","value":{"intValue":"10"}},'
    '{"key":"double.attribute","value":{"doubleValue":637.704}},{"key":"array.attribute","value":{"arrayValue":'
    '{"values":[{"stringValue":"many"},{"stringValue":"values"}]}}},{"key":"map.attribute","value":{"kvlistValue":'
    '{"values":[{"key":"some.map.key","value":{"stringValue":"some value"}}]}}}],'
    '"body":{"stringValue":"Example log record"},"observedTimeUnixNano":"1544712660300000000",'
    '"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},'
    '"scope":{"attributes":[{"key":"my.scope.attribute","value":{"stringValue":"some scope attribute"}}],'
    '"name":"my.library","version":"1.0.0"},"severityNumber":10,"severityText":"Information",'
    '"spanId":"eee19b7ec3c1b174","timeUnixNano":"1544712660300000000","traceId":"5b8efff798038103d269b633813fc60c"}'
)


def test_the_examples_of_the_protocol() -> None:
    (record,) = records_from_json((EXAMPLES / "logs.json").read_bytes())
    assert encode_record(record) == LOGS.encode()
    (event,) = records_from_json((EXAMPLES / "events.json").read_bytes())
    assert event["eventName"] == "browser.page_view"
    assert event["body"]["kvlistValue"]["values"][0] == {"key": "type", "value": {"intValue": "0"}}
    for each in (record, event):
        assert records_from_protobuf(record_to_protobuf(each)) == [each]


def test_json_is_read_as_the_protocol_buffers_library_reads_it() -> None:
    document = json.loads(
        (EXAMPLES / "events.json").read_bytes()
    )  # it has no ids, which that library takes as base64
    message = json_format.ParseDict(document, ExportLogsServiceRequest())
    (event,) = records_from_json((EXAMPLES / "events.json").read_bytes())
    assert records_from_protobuf(message.SerializeToString()) == [event]
    again = json_format.Parse(record_to_json(event), ExportLogsServiceRequest())
    assert again == message


def test_what_the_sdk_sends() -> None:
    kept = InMemoryLogRecordExporter()
    provider = LoggerProvider(Resource.create({"service.name": "pay"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    logger = provider.get_logger("audit", "1", schema_url="https://schema.example/1")
    attributes = {
        "audit.actor": "alice",
        "n": 2**40,
        "ratio": 0.5,
        "ok": True,
        "list": ["a", "b"],
        "raw": b"\xff",
    }
    logger.emit(event_name="login", body={"who": {"name": "alice"}, "tags": [1, None]}, attributes=attributes)
    data = encode_logs(kept.get_finished_logs()).SerializeToString()
    (record,) = records_from_protobuf(data)
    assert records_from_wire(data) == [record]
    assert record["scope"] == {"name": "audit", "version": "1", "schemaUrl": "https://schema.example/1"}
    found = {each["key"]: each["value"] for each in record["attributes"]}
    assert found["n"] == {"intValue": "1099511627776"}
    assert found["ratio"] == {"doubleValue": 0.5}
    assert found["raw"] == {"bytesValue": "/w=="}
    assert found["list"] == {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}
    assert records_from_json(record_to_json(record)) == [record]


def value_of(content: Any) -> dict[str, Any]:
    """A JSON value in the typed form, as a sender makes it."""
    match content:
        case None:
            return {}
        case bool():
            return {"boolValue": content}
        case int():
            return {"intValue": str(content)}
        case float():
            return {"doubleValue": content}
        case str():
            return {"stringValue": content}
        case list():
            return {"arrayValue": {"values": [value_of(each) for each in content]}}
    pairs = [{"key": key, "value": value_of(each)} for key, each in content.items()]
    return {"kvlistValue": {"values": pairs}}


@pytest.mark.parametrize("events", [cloudtrail_events, windows_events])
def test_real_events_by_every_door(events: Any) -> None:
    texts = events()[:: 1 if len(events()) < 1000 else 40]
    assert len(texts) > 100
    records = [{"body": value_of(json.loads(text))} for text in texts]
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    by_json = records_from_json(json.dumps(document).encode())
    data = b"".join(record_to_protobuf(each) for each in by_json)
    by_protobuf, by_hand = records_from_protobuf(data), records_from_wire(data)
    encoded = encode_records(by_json)
    assert encode_records(by_protobuf) == encode_records(by_hand) == encoded
    assert [decode_record(each) for each in encoded] == by_json
    ExportLogsServiceRequest.FromString(data)
