"""An audit event's fields, whichever names it came with: who did what to which resource, when, and how it ended.

Three families of names become one model. The attributes of the draft OpenTelemetry audit signal (data model of
the audit logging signal, open-telemetry/opentelemetry-specification pull request 5059) and the shorter ones in
wide use count first; what they leave open is read from the event itself by a mapper (`mappers`), which knows where
AWS CloudTrail and others keep it; the record's own time, trace and resource are last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from .mappers import Event, Mapper, event_of, standard_mappers
from .values import Typed, text_of

# The attribute of a record -> the field it is. Of several for one field, the one that stands first here counts;
# of one attribute that comes twice, the last (the draft, "Field: Attributes").
ATTRIBUTES: Final = MappingProxyType(
    {
        "audit.actor.id": "actor",
        "audit.actor": "actor",
        "audit.actor.type": "actor_type",
        "audit.action": "action",
        "audit.target.id": "resource",
        "audit.resource": "resource",
        "audit.target.type": "resource_type",
        "audit.outcome": "outcome",
        "audit.record.id": "record_id",
        "audit.content_hash": "content_hash",
        "audit.schema.version": "schema_version",
        "audit.schema_version": "schema_version",
        "audit.source.id": "source",
        "audit.source.type": "source_type",
    }
)
# Where the resource of a record says which machine or service it came from, for `source` where nothing else does.
_HOSTS: Final = ("host.name", "service.name")
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class AuditFields(msgspec.Struct, frozen=True):
    """The fields of one record; None what it does not say.

    `time_ns` counts from 1970 in UTC. `mapper` names whose field names were read, None for none; `extra` are
    further fields of that mapper. `record_id` may come from a mapper, so it is not what makes a retry idempotent:
    that is `record_id_of`.
    """

    actor: str | None = None
    actor_type: str | None = None
    action: str | None = None
    resource: str | None = None
    resource_type: str | None = None
    outcome: str | None = None
    record_id: str | None = None
    content_hash: str | None = None
    schema_version: str | None = None
    source: str | None = None
    source_type: str | None = None
    time_ns: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None
    mapper: str | None = None
    extra: Mapping[str, str] = msgspec.field(default_factory=dict)


def audit_fields(
    record: Mapping[str, Any], mappers: Sequence[Mapper] | None = None, *, told: Event | None = None
) -> AuditFields:
    """The fields of a record. `mappers` are tried in turn, the first that knows the event counts; None: the
    standard ones; empty: only attributes and the record's own fields are read. Raises nothing for any record.
    `told` is what the body's text says (`values.json_object`), where that is known already.
    """
    found = _by_attributes(record)
    if mappers is None:
        mappers = standard_mappers()
    time_ns, name, extra = _nanoseconds(record.get("timeUnixNano")), None, _NONE
    if mappers and not ("actor" in found and "action" in found):
        event = event_of(record, told)
        for mapper in mappers:
            if mapped := mapper.read(event, timed=time_ns is None):
                found = mapped.fields | found
                time_ns, name, extra = time_ns or mapped.time_ns, mapper.name, mapped.extra
                break
    if "source" not in found and (host := _host(record)):
        found["source"] = host
    return AuditFields(
        **found,
        time_ns=time_ns or _nanoseconds(record.get("observedTimeUnixNano")),
        trace_id=record.get("traceId") or None,
        span_id=record.get("spanId") or None,
        event_name=record.get("eventName") or None,
        mapper=name,
        extra=extra,
    )


def record_id_of(record: Mapping[str, Any]) -> str | None:
    """The attribute `audit.record.id`, by which a retry is known; None for none or an empty one."""
    return _attribute(record, "audit.record.id")


def content_hash_of(record: Mapping[str, Any]) -> str | None:
    """The attribute `audit.content_hash`; None for a record without."""
    return _attribute(record, "audit.content_hash")


def _attribute(record: Mapping[str, Any], key: str) -> str | None:
    found = None
    for each in record.get("attributes", ()):
        if each["key"] == key:
            found = each.get("value")
    return text_of(found) or None


def _by_attributes(record: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, Typed] = {}
    for each in record.get("attributes", ()):
        if each["key"] in ATTRIBUTES:
            values[each["key"]] = each.get("value")
    found: dict[str, str] = {}
    if values:
        for key, name in ATTRIBUTES.items():
            if name not in found and (text := text_of(values.get(key))):
                found[name] = text
    return found


def _host(record: Mapping[str, Any]) -> str | None:
    there = {each["key"]: each.get("value") for each in record.get("resource", _NONE).get("attributes", ())}
    return next((text for key in _HOSTS if (text := text_of(there.get(key)))), None)


def _nanoseconds(told: Any) -> int | None:
    """A time of the record, in its canonical digits; 0 is OTLP's word for unknown."""
    return int(told) or None if told else None


__all__ = ["ATTRIBUTES", "AuditFields", "audit_fields", "content_hash_of", "record_id_of"]
