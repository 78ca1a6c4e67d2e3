"""Whatever an event says: the SDK's exporters and a producer make the same record of it, and its hash is right."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from merklelog.audit_events import OtelEmitter
from merklelog.audit_events.emit import build
from merklelog.audit_events.record import record_of
from merklelog.errors import UsageError
from merklelog.ingest.canonical import decode_record, encode_record
from merklelog.ingest.content_hash import check_content
from merklelog.ingest.model import audit_fields
from merklelog.ingest.otlp_protobuf import records_from_protobuf
from merklelog.ingest.verdict import Verdict

TEXT = st.text(st.characters(), max_size=20)  # halves of surrogate pairs too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
WORDS = TEXT.filter(bool)
EVENTS = st.fixed_dictionaries(
    {"action": WORDS, "actor": WORDS, "outcome": WORDS, "details": st.dictionaries(TEXT, VALUES, max_size=4)},
    optional={
        **dict.fromkeys(("actor_type", "resource", "resource_type", "record_id"), WORDS),
        "attributes": st.dictionaries(
            WORDS, TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans(), max_size=3
        ),
        "time_ns": st.integers(1, 2**63 - 1),
    },
)
KEPT = InMemoryLogRecordExporter()
PROVIDER = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
PROVIDER.add_log_record_processor(SimpleLogRecordProcessor(KEPT))


def exported(words: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The event, and the record of it that a receiver reads from what the SDK sends."""
    event = build(**words)
    OtelEmitter(PROVIDER).emit(event)
    sent = encode_logs(KEPT.get_finished_logs()).SerializeToString()
    KEPT.clear()
    (record,) = records_from_protobuf(sent)
    return event, record


@given(EVENTS)
def test_both_ways_make_the_same_record_and_its_hash_is_right(words: dict[str, Any]) -> None:
    try:
        event, record = exported(words)
    except UsageError as error:
        assert "two of its keys" in str(error)  # noqa: PT017 - a key and its own spelling
        return
    ours = record_of(event, {"service.name": "shop"}, None)
    assert encode_record(record) == encode_record(ours)
    data = encode_record(ours)
    assert encode_record(decode_record(data)) == data
    fields = audit_fields(record, ())
    assert check_content(record, fields) is Verdict.OK
    assert (fields.actor, fields.action, fields.outcome) == (event.actor, event.action, event.outcome)
    assert (fields.resource, fields.record_id) == (event.resource, event.record_id)
