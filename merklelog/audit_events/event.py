"""An audit event: who did what to what, when, how it ended, and a hash of all that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from .plain import Plain

SCHEMA_VERSION: Final = "1"
SUCCESS: Final = "success"
FAILURE: Final = "failure"
UNKNOWN: Final = "unknown"
ANONYMOUS: Final = "anonymous"
# OpenTelemetry's numbers for severities.
_SEVERITIES: Final = {SUCCESS: (9, "INFO"), UNKNOWN: (9, "INFO"), FAILURE: (13, "WARN")}


@dataclass(frozen=True)
class AuditEvent:
    """One event, as `build` makes it: every value is plain already.

    `outcome` is "success", "failure" or "unknown" (or a word of yours), `time_ns` nanoseconds since 1970. Whoever
    sends an event again sends the same `record_id` and `time_ns`, and a receiver keeps one: the same ID with other
    content is a conflict, and both are kept.
    """

    action: str
    actor: str | None
    actor_type: str | None
    resource: str | None
    resource_type: str | None
    outcome: str
    details: Mapping[str, Plain]
    extra: Mapping[str, Plain]
    record_id: str
    time_ns: int

    @cached_property
    def body(self) -> dict[str, Plain]:
        """What the content hash covers: everything but `extra`; what is None or empty is left out."""
        fields: dict[str, Plain] = {
            "action": self.action,
            "actor": self.actor,
            "actor_type": self.actor_type,
            "details": dict(self.details) or None,
            "outcome": self.outcome,
            "record_id": self.record_id,
            "resource": self.resource,
            "resource_type": self.resource_type,
            "timestamp": self.time_ns,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 in lower-case hex of the body as Python's `json.dumps(body, sort_keys=True)` writes it."""
        return sha256(json.dumps(self.body, sort_keys=True).encode("ascii")).hexdigest()

    @cached_property
    def attributes(self) -> dict[str, Plain]:
        """The attributes that receivers, collectors and the index look at; `extra` never hides one of them."""
        named: dict[str, Plain] = {
            "audit.record.id": self.record_id,
            "audit.actor": self.actor,
            "audit.actor.type": self.actor_type,
            "audit.action": self.action,
            "audit.resource": self.resource,
            "audit.target.type": self.resource_type,
            "audit.outcome": self.outcome,
            "audit.content_hash": self.content_hash,
            "audit.schema_version": SCHEMA_VERSION,
        }
        given = {name: value for name, value in named.items() if value is not None}
        return {**{name: value for name, value in self.extra.items() if name not in given}, **given}

    @property
    def severity(self) -> tuple[int, str]:
        """Its number and text in OpenTelemetry's scale: a failure is a warning, any other outcome information."""
        return _SEVERITIES.get(self.outcome, _SEVERITIES[UNKNOWN])
