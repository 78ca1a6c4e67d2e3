"""`audit_event`: one event, checked, made and handed over."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from merklelog.errors import UsageError

from .acting import current_actor
from .emitters import Emitted, Emitter, checked_wait, emitter_or_used
from .event import ANONYMOUS, SUCCESS, AuditEvent
from .plain import plain_mapping, plain_text


def audit_event(
    action: str,
    *,
    actor: str | None = None,
    actor_type: str | None = None,
    resource: str | None = None,
    resource_type: str | None = None,
    outcome: str = SUCCESS,
    details: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    record_id: str | None = None,
    time_ns: int | None = None,
    wait: float | None = None,
    emitter: Emitter | None = None,
) -> Emitted:
    """Say that `actor` did `action` to `resource`, and how it ended.

    `actor` is who `acting_as` (or the middleware) said when it is not given; an event of nobody known has the
    `actor_type` "anonymous". `details` are covered by the content hash, `attributes` are searchable beside it, and
    both are as `plain` takes them. `record_id` is a new UUID and `time_ns` (nanoseconds since 1970) is now unless
    given. With `wait` it returns when the entry is durable in the log and verified, at most so many seconds later.

    Raises UsageError for what can not be an event; what the emitter raises, and with `wait` what `Emitted.stored`
    does: TimeoutError leaves open whether the event is stored.
    """
    where = emitter_or_used(emitter)
    checked_wait(where, wait)
    event = build(
        action,
        actor=actor,
        actor_type=actor_type,
        resource=resource,
        resource_type=resource_type,
        outcome=outcome,
        details=details,
        attributes=attributes,
        record_id=record_id,
        time_ns=time_ns,
    )
    emitted = Emitted(event, where.emit(event))
    if wait is not None:
        emitted.stored(wait)
    return emitted


def build(
    action: str,
    *,
    actor: str | None = None,
    actor_type: str | None = None,
    resource: str | None = None,
    resource_type: str | None = None,
    outcome: str = SUCCESS,
    details: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    record_id: str | None = None,
    time_ns: int | None = None,
) -> AuditEvent:
    """The event that `audit_event` would send, by the same rules."""
    acting = current_actor()
    if actor is None and actor_type != ANONYMOUS:
        actor, actor_type = acting.name, actor_type if actor_type is not None else acting.type
    if actor is None and actor_type != ANONYMOUS:
        raise UsageError(
            f"audit event {action!r}: nobody did it; give actor=, use acting_as(...), "
            f'or say actor_type="{ANONYMOUS}"'
        )
    extra = {**acting.attributes, **plain_mapping(attributes, "attributes")}
    return AuditEvent(
        action=_text(action, "action"),
        actor=None if actor is None else _text(actor, "actor"),
        actor_type=None if actor_type is None else _text(actor_type, "actor_type"),
        resource=None if resource is None else _text(resource, "resource"),
        resource_type=None if resource_type is None else _text(resource_type, "resource_type"),
        outcome=_text(outcome, "outcome"),
        details=plain_mapping(details, "details"),
        extra=extra,
        record_id=str(uuid.uuid4()) if record_id is None else _text(record_id, "record_id"),
        time_ns=time.time_ns() if time_ns is None else _time(time_ns),
    )


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name}: {value!r:.100}, want text that is not empty")
    return plain_text(value)


def _time(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise UsageError(f"time_ns: {value!r:.100}, want nanoseconds since 1970, from 1 to 2**63 - 1")
    return value
