"""Audit events out of a Python program: a call, a block, a decorated function, a web application's requests.

event      what an event is, and its content hash; `plain` what values it may have
emit       `audit_event`: one event
around     `auditing` and `audited`: one for a block or a call, saying how it ended
acting     who is acting, said once for a block, a task or a request
emitters   where events go: `otel` through OpenTelemetry, `direct` through a producer; `record` their form
web        which requests are events, and what is said of them; `asgi` and `wsgi` put it around an application
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from merklelog.later import found_later

from .acting import acting_as
from .around import audited, auditing
from .emit import audit_event
from .emitters import Emitted, Emitter, use
from .event import AuditEvent

if TYPE_CHECKING:
    from .asgi import AsgiAudit
    from .direct import ProducerEmitter
    from .otel import OtelEmitter
    from .wsgi import WsgiAudit

__all__ = [
    "AsgiAudit",
    "AuditEvent",
    "Emitted",
    "Emitter",
    "OtelEmitter",
    "ProducerEmitter",
    "WsgiAudit",
    "acting_as",
    "audit_event",
    "audited",
    "auditing",
    "use",
]
# Found when first used: they need packages or modules that the others do not.
__getattr__ = found_later(
    __name__, {"AsgiAudit": "asgi", "OtelEmitter": "otel", "ProducerEmitter": "direct", "WsgiAudit": "wsgi"}
)
