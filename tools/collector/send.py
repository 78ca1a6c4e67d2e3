"""Send the lines of a JSON-lines file as audit events, by the OpenTelemetry SDK, to try the recipe with.

    python tools/collector/send.py tools/sample/cloudtrail.jsonl --to 127.0.0.1:14317

Each line is the body of one record, as text. Its identity is the line's `eventID`, else a hash of the line, so
a file that is sent again adds nothing to the log. A group of records is sent until the Collector has taken it.
Needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-grpc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource

GROUP = 100


def emit(provider: LoggerProvider, line: str) -> None:
    """One line as a record."""
    event = json.loads(line)
    identity = str(event.get("eventID") or hashlib.sha256(line.encode()).hexdigest())
    provider.get_logger("send.py").emit(
        LogRecord(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            body=line,
            attributes={"audit.record.id": identity, "audit.action": str(event.get("eventName", "unknown"))},
        )
    )


def send(lines: Iterable[str], to: str) -> int:
    """Send all; gives how many there were."""
    made = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(Resource({"service.name": "send.py"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(made))
    for line in lines:
        emit(provider, line)
    records = made.get_finished_logs()
    exporter = OTLPLogExporter(to, insecure=True, timeout=5)
    for start in range(0, len(records), GROUP):
        while exporter.export(records[start : start + GROUP]) is not LogRecordExportResult.SUCCESS:
            time.sleep(1)
    return len(records)


def main() -> int:
    """Send a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--to", default="127.0.0.1:4317", help="the Collector's OTLP/gRPC address")
    args = parser.parse_args()
    count = send(args.file.read_text("utf-8").splitlines(), args.to)
    print(f"{count} events sent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
