"""An audit event as a record in the typed form of OTLP/JSON, as a receiver has it of one that the SDK sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from merklelog.ingest.values import as_typed
from merklelog.version import __version__

from .event import AuditEvent
from .plain import Plain

SCOPE: Final = "merklelog.audit_events"

# Trace id and span id in hex, and the flags; None outside a trace.
Trace = tuple[str, str, int]


def record_of(event: AuditEvent, resource: Mapping[str, Plain], trace: Trace | None) -> dict[str, Any]:
    """The record of an event. `resource` are the attributes of the program that says it (`service.name` ...).

    It was observed when it happened: an event that is said again is the same record, to the bit.
    """
    number, text = event.severity
    record: dict[str, Any] = {}
    if resource:
        record["resource"] = {"attributes": _pairs(resource)}
    record |= {
        "scope": {"name": SCOPE, "version": __version__},
        "timeUnixNano": str(event.time_ns),
        "observedTimeUnixNano": str(event.time_ns),
        "severityNumber": number,
        "severityText": text,
        "eventName": event.action,
        "body": as_typed(event.body),
        "attributes": _pairs(event.attributes),
    }
    if trace is not None:
        record["traceId"], record["spanId"], flags = trace
        if flags:
            record["flags"] = flags
    return record


def _pairs(values: Mapping[str, Plain]) -> list[dict[str, Any]]:
    return [{"key": key, "value": as_typed(value)} for key, value in values.items()]
