"""Audit events by the OpenTelemetry SDK and its own exporters, each sent again until it was taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

FIRST_NS = 1_767_225_600 * 10**9  # the time of event 0


class Insistent(LogRecordProcessor):
    """Sends groups of records in order and again until they were taken: the SDK's own processors let go of them.

    `taken` counts the records that an answer said were taken. `stop()` gives up on what was not.
    """

    def __init__(self, exporter: LogRecordExporter, group: int) -> None:
        self._exporter, self._group = exporter, group
        self._waiting: list[ReadableLogRecord] = []
        self._stopped = threading.Event()
        self.taken = 0
        self.repeats = 0

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        assert log_record.resource is not None
        self._waiting.append(
            ReadableLogRecord(
                log_record=log_record.log_record,
                resource=log_record.resource,
                instrumentation_scope=log_record.instrumentation_scope,
                limits=log_record.limits,
            )
        )
        if len(self._waiting) >= self._group:
            self.force_flush()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        while self._waiting and not self._stopped.is_set():
            if self._exporter.export(self._waiting) is LogRecordExportResult.SUCCESS:
                self.taken += len(self._waiting)
                self._waiting = []
            else:
                self.repeats += 1
                time.sleep(0.05)
        return not self._waiting

    def stop(self) -> None:
        self._stopped.set()

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class Sender:
    """An application with the SDK. `over` is grpc or http, `at` the host:port of what it sends to."""

    def __init__(
        self,
        at: str,
        *,
        over: str = "grpc",
        group: int = 100,
        headers: Mapping[str, str] | None = None,
        resource: Mapping[str, Any] | None = None,
        seconds: float = 2,
    ) -> None:
        exporter: LogRecordExporter
        if over == "grpc":
            exporter = GrpcExporter(at, insecure=True, headers=dict(headers or {}), timeout=seconds)
        else:
            exporter = HttpExporter(f"http://{at}/v1/logs", headers=dict(headers or {}), timeout=seconds)
        self.processor = Insistent(exporter, group)
        self._provider = LoggerProvider(
            Resource({"service.name": "shop", **(resource or {})}), shutdown_on_exit=False
        )
        self._provider.add_log_record_processor(self.processor)
        self._logger = self._provider.get_logger("shop.audit", "1.0")

    def emit(self, body: Any, attributes: Mapping[str, Any], *, time_ns: int | None = None) -> None:
        """One event; with a time of its own it is the same record whenever it is emitted."""
        at = time.time_ns() if time_ns is None else time_ns
        self._logger.emit(
            LogRecord(
                timestamp=at,
                observed_timestamp=at,
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=body,
                attributes=dict(attributes),
                event_name="audit",
            )
        )

    def flush(self) -> None:
        self.processor.force_flush()

    def close(self) -> None:
        self.processor.stop()
        self._provider.shutdown()


def emit_each(sender: Sender, count: int, make: Callable[[int], tuple[Any, Mapping[str, Any]]]) -> None:
    """Emit events 0 to count - 1, which are the same records each time, and flush."""
    for number in range(count):
        body, attributes = make(number)
        sender.emit(body, attributes, time_ns=FIRST_NS + number)
    sender.flush()


__all__ = ["FIRST_NS", "Insistent", "Sender", "emit_each"]
