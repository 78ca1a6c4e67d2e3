"""OTLP's protobuf, in: the records of an ExportLogsServiceRequest.

The parser in C is used for all that it takes. It refuses a whole request for one string that is not UTF-8, which
many senders do not notice. So what it refuses is read again by `otlp_wire`, which keeps such a string as bytes,
and says of the rest what is wrong and where.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, EntityRef, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from . import otlp_wire
from .record import MAX_DEPTH, Record, double_value


def records_from_protobuf(data: bytes) -> list[Record]:
    """The records of an ExportLogsServiceRequest (or of LogsData, which is the same bytes), in order.

    Records of one resource share its object, and those of one scope its: change a copy. Raises FormatError that
    names the place.
    """
    try:
        request = ExportLogsServiceRequest.FromString(data)
    except DecodeError:
        return otlp_wire.records_from_wire(data)
    return records_from_request(request)


def records_from_request(request: ExportLogsServiceRequest) -> list[Record]:
    """The same of a request that is parsed already."""
    records: list[Record] = []
    for group in request.resource_logs:
        shared: Record = {}
        if group.schema_url or group.HasField("resource"):
            shared["resource"] = _resource(group.resource, group.schema_url)
        for scope_group in group.scope_logs:
            scoped = shared
            if scope_group.schema_url or scope_group.HasField("scope"):
                scope = scope_group.scope
                scoped = {**shared, "scope": _resource(scope, scope_group.schema_url)}
            records += [_record(record, scoped) for record in scope_group.log_records]
    return records


def _record(message: LogRecord, shared: Record) -> Record:
    record = dict(shared)
    for field, content in message.ListFields():
        number = field.number
        if number == 6:
            record["attributes"] = _attributes(content, 1)
        elif number == 1:
            record["timeUnixNano"] = str(content)
        elif number == 11:
            record["observedTimeUnixNano"] = str(content)
        elif number == 5:
            record["body"] = _value(content, 1)
        elif number == 2:
            record["severityNumber"] = content
        elif number == 3:
            record["severityText"] = content
        elif number == 9:
            record["traceId"] = content.hex()
        elif number == 10:
            record["spanId"] = content.hex()
        elif number == 12:
            record["eventName"] = content
        elif number == 8:
            record["flags"] = content
        elif number == 7:
            record["droppedAttributesCount"] = content
    return record


def _resource(message: Any, schema_url: str) -> dict[str, Any]:
    """A resource or a scope, whose fields are named alike, and the schema URL of its envelope."""
    found: dict[str, Any] = {}
    for field, content in message.ListFields():
        name = field.json_name
        if name == "attributes":
            content = _attributes(content, 1)
        elif name == "entityRefs":
            content = [_entity(each) for each in content]
        found[name] = content
    if schema_url:
        found["schemaUrl"] = schema_url
    return found


def _entity(message: EntityRef) -> dict[str, Any]:
    return {
        field.json_name: list(content) if field.is_repeated else content
        for field, content in message.ListFields()
    }


def _attributes(pairs: Iterable[KeyValue], depth: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for pair in pairs:
        value = pair.value
        fields = value.ListFields()
        if not fields:
            found.append({"key": pair.key, "value": {}} if pair.HasField("value") else {"key": pair.key})
            continue
        field, content = fields[0]
        number = field.number
        if number == 1:
            found.append({"key": pair.key, "value": {"stringValue": content}})
        elif number == 3:
            found.append({"key": pair.key, "value": {"intValue": str(content)}})
        else:
            found.append({"key": pair.key, "value": _value(value, depth)})
    return found


def _value(message: AnyValue, depth: int) -> dict[str, Any]:
    fields = message.ListFields()
    if not fields:
        return {}
    field, content = fields[0]
    number = field.number
    if number == 1:
        return {"stringValue": content}
    if number == 2:
        return {"boolValue": content}
    if number == 3:
        return {"intValue": str(content)}
    if number == 4:
        return {"doubleValue": double_value(content)}
    if number == 7:
        return _typed_bytes(content)
    if number not in (5, 6):
        return {}  # an index into the strings of a profile, which a log has none of: read as absent
    if depth >= MAX_DEPTH:
        return _typed_bytes(message.SerializeToString())
    if number == 5:
        return {"arrayValue": {"values": [_value(each, depth + 1) for each in content.values]}}
    return {"kvlistValue": {"values": _attributes(content.values, depth + 1)}}


def _typed_bytes(data: bytes) -> dict[str, Any]:
    return {"bytesValue": base64.b64encode(data).decode("ascii")}
