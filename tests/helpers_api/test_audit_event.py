"""`audit_event`: what reaches OpenTelemetry's SDK, who is said to have acted, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from contextvars import copy_context

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import merklelog
from merklelog.audit_events import OtelEmitter, acting_as, use
from merklelog.errors import ClosedError, UsageError

from .conftest import Confirming, Exported


def test_an_event_is_a_record_of_the_sdk(exported: Exported) -> None:
    before = time.time_ns()
    emitted = merklelog.audit_event(
        "invoice.delete",
        actor="alice",
        actor_type="user",
        resource="invoice/7",
        resource_type="invoice",
        details={"reason": "duplicate", "amount": 12.5, "lines": [1, 2]},
        attributes={"tenant": "north"},
    )
    (record,) = exported.records
    assert record.event_name == "invoice.delete"
    assert record.severity_text == "INFO"
    assert before <= record.timestamp == record.observed_timestamp <= time.time_ns()
    assert record.body == {
        "action": "invoice.delete",
        "actor": "alice",
        "actor_type": "user",
        "details": {"reason": "duplicate", "amount": 12.5, "lines": [1, 2]},
        "outcome": "success",
        "record_id": emitted.record_id,
        "resource": "invoice/7",
        "resource_type": "invoice",
        "timestamp": record.timestamp,
    }
    assert dict(record.attributes) == {
        "tenant": "north",
        "audit.record.id": emitted.record_id,
        "audit.actor": "alice",
        "audit.actor.type": "user",
        "audit.action": "invoice.delete",
        "audit.resource": "invoice/7",
        "audit.target.type": "invoice",
        "audit.outcome": "success",
        "audit.content_hash": hashlib.sha256(json.dumps(record.body, sort_keys=True).encode()).hexdigest(),
        "audit.schema_version": "1",
    }
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", emitted.record_id)
    assert emitted.sent is None


def test_what_is_not_said_is_left_out(exported: Exported) -> None:
    merklelog.audit_event("login", actor_type="anonymous", outcome="failure", record_id="r-1", time_ns=7)
    (record,) = exported.records
    assert record.severity_text == "WARN"
    assert record.body == {
        "action": "login",
        "actor_type": "anonymous",
        "outcome": "failure",
        "record_id": "r-1",
        "timestamp": 7,
    }
    assert {"audit.actor", "audit.resource", "audit.target.type"}.isdisjoint(record.attributes)


def test_attributes_of_the_caller_hide_none_of_an_event(exported: Exported) -> None:
    merklelog.audit_event("x", actor="alice", attributes={"audit.actor": "mallory", "audit.resource": "mine"})
    (attributes,) = exported.attributes
    assert attributes["audit.actor"] == "alice"
    assert attributes["audit.resource"] == "mine"


def test_who_acts_is_said_once(exported: Exported) -> None:
    with acting_as("alice", "user", {"tenant": "north"}):
        merklelog.audit_event("one")
        with acting_as("cron", "service"):
            merklelog.audit_event("two")
        merklelog.audit_event("three", actor="bob")
        merklelog.audit_event("four", actor_type="anonymous")
        context = copy_context()
        thread = threading.Thread(target=context.run, args=(merklelog.audit_event, "five"))
        thread.start()
        thread.join()
    told = [(each.get("audit.actor"), each.get("audit.actor.type")) for each in exported.attributes]
    assert told == [
        ("alice", "user"),
        ("cron", "service"),
        ("bob", None),
        (None, "anonymous"),
        ("alice", "user"),
    ]
    assert [each.get("tenant") for each in exported.attributes] == ["north", None, "north", "north", "north"]
    with pytest.raises(UsageError, match="audit event 'six': nobody did it"):
        merklelog.audit_event("six")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"action": ""}, "action: '', want text"),
        ({"action": 7}, "action: 7, want text"),
        ({"actor": ""}, "actor: '', want text"),
        ({"resource": 7}, "resource: 7, want text"),
        ({"outcome": ""}, "outcome: '', want text"),
        ({"record_id": ""}, "record_id: '', want text"),
        ({"time_ns": 0}, "time_ns: 0, want nanoseconds"),
        ({"time_ns": 2**63}, "time_ns: 9223372036854775808, want nanoseconds"),
        ({"time_ns": True}, "time_ns: True, want nanoseconds"),
        ({"details": {"a": object()}}, r"details\.a: a object"),
        ({"attributes": {"a": object()}}, r"attributes\.a: a object"),
        ({"wait": 1.0}, "wait=1.0: this emitter can not say when an event is stored"),
    ],
)
def test_what_can_not_be_an_event_is_refused(exported: Exported, words: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        merklelog.audit_event(**{"action": "x", "actor": "a", **words})
    assert exported.records == []


def test_an_event_is_of_the_trace_it_was_made_in(exported: Exported) -> None:
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        merklelog.audit_event("x", actor="a")
    (record,) = exported.records
    assert (record.trace_id, record.span_id) == (0xABC, 0xDEF)


def test_waiting_is_for_who_can_tell(confirming: Confirming) -> None:
    emitted = merklelog.audit_event("x", actor="a", wait=1, emitter=confirming)
    assert emitted.stored() == emitted.record_id
    confirming.fails = ClosedError("gone")
    with pytest.raises(ClosedError, match="gone"):
        merklelog.audit_event("x", actor="a", wait=1, emitter=confirming)
    confirming.hangs = True
    with pytest.raises(TimeoutError):
        merklelog.audit_event("x", actor="a", wait=0.01, emitter=confirming)
    assert merklelog.audit_event("x", actor="a", emitter=confirming).sent is not None


def test_use_gives_what_was_used_before(confirming: Confirming) -> None:
    first = use(confirming)
    try:
        merklelog.audit_event("x", actor="a")
        assert [event.action for event in confirming.events] == ["x"]
    finally:
        assert use(first) is confirming


def test_without_a_provider_nothing_is_lost_in_silence() -> None:
    code = (
        "import merklelog\n"
        "try:\n    merklelog.audit_event('x', actor='a')\n"
        "except merklelog.errors.UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("audit events would be lost: no logger provider is set")


def test_a_provider_that_does_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    provider = LoggerProvider(shutdown_on_exit=False)
    with pytest.raises(UsageError, match="the logger provider does nothing"):
        merklelog.audit_event("x", actor="a", emitter=OtelEmitter(provider))


def test_without_opentelemetry_it_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import merklelog\n"
        "try:\n    merklelog.audit_event('x', actor='a')\n"
        "except merklelog.errors.UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install opentelemetry-sdk" in done.stdout
