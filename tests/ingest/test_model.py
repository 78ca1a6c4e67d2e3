"""The fields of audit records, by attributes of both families, and by the record itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.ingest.model import ATTRIBUTES, AuditFields, audit_fields, content_hash_of, record_id_of


def attributes(**named: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in named.items()]


def pairs(*rows: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in rows]


DRAFT = {
    "audit.record.id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "audit.actor.id": "u8472",
    "audit.actor.type": "user",
    "audit.action": "LOGIN",
    "audit.outcome": "success",
    "audit.target.id": "/api/auth/session",
    "audit.target.type": "http.endpoint",
    "audit.source.id": "203.0.113.42",
    "audit.source.type": "ipv4",
    "audit.schema.version": "1.0.0",
}


def test_the_drafts_own_example() -> None:
    record = {
        "timeUnixNano": "1714041600000000000",
        "observedTimeUnixNano": "1714041600001000000",
        "eventName": "user.login.success",
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "resource": {"attributes": pairs(("service.name", "auth-service"))},
        "attributes": pairs(*DRAFT.items(), ("session.id", "sess-abc123")),
    }
    assert audit_fields(record) == AuditFields(
        actor="u8472",
        actor_type="user",
        action="LOGIN",
        resource="/api/auth/session",
        resource_type="http.endpoint",
        outcome="success",
        record_id="a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        schema_version="1.0.0",
        source="203.0.113.42",
        source_type="ipv4",
        time_ns=1_714_041_600_000_000_000,
        trace_id="5b8efff798038103d269b633813fc60c",
        span_id="eee19b7ec3c1b174",
        event_name="user.login.success",
    )


def test_the_names_in_wide_use() -> None:
    record = {
        "attributes": pairs(
            ("audit.actor", "alice"),
            ("audit.action", "delete"),
            ("audit.resource", "doc/7"),
            ("audit.content_hash", "ab" * 32),
            ("audit.schema_version", "1"),
        )
    }
    got = audit_fields(record)
    assert (got.actor, got.action, got.resource, got.schema_version) == ("alice", "delete", "doc/7", "1")
    assert got.content_hash == content_hash_of(record) == "ab" * 32
    assert got.record_id is record_id_of(record) is None


def test_of_both_names_the_drafts_counts_and_of_one_twice_the_last() -> None:
    both = {"attributes": pairs(("audit.actor.id", "draft"), ("audit.actor", "short"))}
    assert audit_fields(both).actor == "draft"
    assert audit_fields({"attributes": both["attributes"][::-1]}).actor == "draft"
    twice = {"attributes": pairs(("audit.record.id", "first"), ("audit.record.id", "last"))}
    assert audit_fields(twice).record_id == record_id_of(twice) == "last"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"intValue": "42"}, "42"),
        ({"boolValue": True}, "true"),
        ({"boolValue": False}, "false"),
        ({"doubleValue": 1.5}, "1.5"),
        ({"bytesValue": "/w=="}, "/w=="),
        ({"stringValue": ""}, None),
        ({}, None),
        ({"kvlistValue": {"values": []}}, None),
        ({"arrayValue": {"values": [{"stringValue": "a"}]}}, None),
    ],
)
def test_scalars_of_any_type_are_read(value: dict[str, Any], text: str | None) -> None:
    record = {"attributes": [{"key": "audit.actor.id", "value": value}]}
    assert audit_fields(record).actor == text


def test_an_attribute_without_a_value_says_nothing() -> None:
    assert audit_fields({"attributes": [{"key": "audit.actor.id"}]}).actor is None


def test_the_time_is_the_events_then_the_mapped_one_then_the_observed() -> None:
    body = {
        "stringValue": '{"eventVersion":"1","eventSource":"s","eventName":"n","eventTime":"2020-09-14T00:44:23Z"}'
    }
    observed = {"observedTimeUnixNano": "7"}
    assert audit_fields({**observed, "body": body, "timeUnixNano": "5"}).time_ns == 5
    assert audit_fields({**observed, "body": body}).time_ns == 1_600_044_263_000_000_000
    assert audit_fields(observed).time_ns == 7
    assert audit_fields({"timeUnixNano": "0"}).time_ns is None


def test_the_source_is_the_host_or_the_service_where_nothing_else_says_it() -> None:
    resource = {"resource": {"attributes": pairs(("service.name", "api"), ("host.name", "web-1"))}}
    assert audit_fields(resource).source == "web-1"
    assert audit_fields({**resource, "attributes": pairs(("audit.source.id", "1.2.3.4"))}).source == "1.2.3.4"
    assert audit_fields({"resource": {}}).source is None


ANY = st.recursive(
    st.sampled_from([{}, {"stringValue": '{"eventName":[]}'}, {"stringValue": "{"}, {"doubleValue": "NaN"}])
    | st.builds(lambda n: {"intValue": str(n)}, st.integers(-(2**63), 2**63 - 1))
    | st.builds(lambda t: {"stringValue": t}, st.text()),
    lambda inner: (
        st.builds(lambda v: {"arrayValue": {"values": v}}, st.lists(inner, max_size=3))
        | st.builds(
            lambda v: {"kvlistValue": {"values": v}},
            st.lists(st.fixed_dictionaries({"key": st.text(max_size=3), "value": inner}), max_size=3),
        )
    ),
    max_leaves=8,
)
KEYS = st.sampled_from([*ATTRIBUTES, "eventName", "event.action", "verb"])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "body": ANY,
            "attributes": st.lists(st.fixed_dictionaries({"key": KEYS}, optional={"value": ANY}), max_size=6),
            "timeUnixNano": st.integers(0, 2**64 - 1).map(str),
        },
    )
)
def test_no_record_raises(record: dict[str, Any]) -> None:
    fields = audit_fields(record)
    texts = [getattr(fields, name) for name in set(ATTRIBUTES.values())]
    assert all(text is None or (isinstance(text, str) and text) for text in texts)
