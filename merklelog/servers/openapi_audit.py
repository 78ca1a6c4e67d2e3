"""POST /v1/audit in the OpenAPI description; the schemas of its answers are made of the values themselves."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from merklelog.ingest.audit_signal import PATH, BatchTold, RecordTold, RefusalTold

from .openapi_rows import Operation
from .openapi_schemas import Schema

_REF: Final = "#/components/schemas/{name}"
_SCHEMAS: Final = msgspec.json.schema_components((RecordTold, BatchTold, RefusalTold), ref_template=_REF)[1]


def _list(item: Schema, most: int = 1) -> Schema:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": most}


def _has(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


# As much of OTLP as a sender needs for a record or two; everything else of it is taken too, and more of each.
_ATTRIBUTE: Final = _has(key={"type": "string"}, value=_has(stringValue={"type": "string"}))
_RECORD: Final = _has(
    timeUnixNano={"type": "string", "pattern": "^[1-9][0-9]{0,18}$"},
    eventName={"type": "string"},
    attributes=_list(_ATTRIBUTE, 2),
)
_REQUEST: Final = _has(resourceLogs=_list(_has(scopeLogs=_list(_has(logRecords=_list(_RECORD, 2))))))

AUDIT_SCHEMAS: Final[dict[str, Any]] = {**_SCHEMAS, "ExportLogsServiceRequest": _REQUEST}
AUDIT: Final = Operation(
    PATH[1:],
    "addAuditRecords",
    "Store audit records (draft OpenTelemetry audit signal); the answer comes when they are durable",
    "application/json",
    "The receipt of a record, or of several by their IDs",
    refusals=(400, 413, 415, 429, 503),
    schema={"anyOf": [{"$ref": _REF.format(name="RecordTold")}, {"$ref": _REF.format(name="BatchTold")}]},
    method="post",
    revalidated=False,
    body={
        "required": True,
        "description": "An ExportLogsServiceRequest of OTLP, of one record or several; gzip is taken",
        "content": {
            "application/json": {"schema": {"$ref": _REF.format(name="ExportLogsServiceRequest")}},
            "application/x-protobuf": {},
        },
    },
    refused="RefusalTold",
    audits=True,
)

__all__ = ["AUDIT", "AUDIT_SCHEMAS"]
