"""Records: from a request's bytes to the bytes of entries, and back, in one thread and without a log."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from functools import partial

from common import Row, floor, interleave, print_table
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from merklelog.ingest.canonical import decode_record, encode_records, record_identity
from merklelog.ingest.entry import LogPart, parse_entry
from merklelog.ingest.otlp_json import read_json, records_from_json
from merklelog.ingest.otlp_protobuf import read_protobuf, records_from_protobuf
from merklelog.ingest.otlp_wire import records_from_wire
from merklelog.ingest.split import split_entry

RECORDS = 512
RECORD_BYTES = 500
NOW = 1_732_222_222_000_000_000
PART = LogPart(NOW, "collector")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument(
        "--rounds", type=int, default=100, help="requests of 512 records for each measurement"
    )


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    data = request()
    records = records_from_protobuf(data)
    encoded = encode_records(records)
    entries = [split_entry(PART, each)[0] for each in encoded]
    text = request_json(records)
    print(f"# {len(data) // RECORDS} bytes a record of protobuf, {len(text) // RECORDS} of JSON,", end=" ")
    print(f"{len(encoded[0])} canonical, {len(entries[0])} as an entry")
    work: dict[str, Callable[[], object]] = {
        "protobuf to records": lambda: records_from_protobuf(data),
        "protobuf to entries": lambda: to_entries(read_protobuf(data)),
        "JSON to records": lambda: records_from_json(text),
        "JSON to entries": lambda: to_entries(read_json(text)),
        "records to canonical bytes": lambda: encode_records(records),
        "identities": lambda: [record_identity(each) for each in encoded],
        "entries to records": lambda: [decode_record(_record(each)) for each in entries],
        "protobuf that C refuses to records": lambda: records_from_wire(data),
    }
    rows = [Row(name, "records/s") for name in work]
    cells = [(row, partial(_measure, job, args.rounds)) for row, job in zip(rows, work.values(), strict=True)]
    interleave(args.runs, cells, partial(floor, entries * 20))
    print_table(rows)


def to_entries(records: Iterable[dict[str, object]]) -> list[bytes]:
    """The entries of a request's records."""
    return [split_entry(PART, each)[0] for each in encode_records(records)]


def request(count: int = RECORDS, size: int = RECORD_BYTES, first: int = 0) -> bytes:
    """An export request of audit events, each of about `size` bytes."""
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    for name, value in (("service.name", "payments"), ("host.name", "node-17"), ("service.version", "1.2.3")):
        group.resource.attributes.add(key=name).value.string_value = value
    scope = group.scope_logs.add()
    scope.scope.name = "audit"
    for number in range(first, first + count):
        record = scope.log_records.add(
            time_unix_nano=NOW + number,
            observed_time_unix_nano=NOW + number,
            severity_text="INFO",
            event_name="audit",
            trace_id=bytes(range(16)),
            span_id=bytes(range(8)),
        )
        record.severity_number = 9  # type: ignore[assignment]  # the generated type wants the enum's own
        record.body.string_value = "a user changed an account, and this is what they wrote about it: "
        for name, value in (
            ("audit.record.id", f"0191f0aa-{number:016x}"),
            ("audit.actor", "alice@example.com"),
            ("audit.action", "account.update"),
            ("audit.resource", f"account/{number}"),
            ("audit.outcome", "success"),
        ):
            record.attributes.add(key=name).value.string_value = value
        record.attributes.add(key="http.status").value.int_value = 200
        record.body.string_value += "x" * max(0, size - record.ByteSize())
    return message.SerializeToString()


def request_json(records: list[dict[str, object]]) -> bytes:
    """The same request in OTLP/JSON, as an exporter writes it."""
    inner = [
        {name: value for name, value in record.items() if name not in ("resource", "scope")}
        for record in records
    ]
    scope = {"scope": records[0]["scope"], "logRecords": inner}
    return json.dumps({"resourceLogs": [{"resource": records[0]["resource"], "scopeLogs": [scope]}]}).encode()


def _record(entry: bytes) -> bytes:
    parsed = parse_entry(entry)
    if parsed is None:
        raise SystemExit("bench: an entry is not recognised")
    return parsed.record_bytes


def _measure(job: Callable[[], object], rounds: int) -> float:
    begun = time.perf_counter()
    for _ in range(rounds):
        job()
    return rounds * RECORDS / (time.perf_counter() - begun)
