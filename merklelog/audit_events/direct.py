"""Audit events straight into a log, by a producer: each one verified to be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from merklelog.client.producer import Producer
from merklelog.client.producer_batch import Sent

from .emitters import LOGGER
from .event import AuditEvent
from .plain import plain_mapping
from .record import Trace, record_of


class ProducerEmitter:
    """Emits through a producer of the client library; `resource` says which program speaks (`service.name` ...).

    The producer stays its maker's: who closes it learns what was not stored. An event that the log did not take
    is also said by the logger "merklelog.audit_events", with its record id. Entries made so have no `log` part:
    no receiver vouches for their sender and time. An event whose entry is longer than a log takes (65,535 bytes)
    is refused with EntryError.
    """

    confirms: Final = True

    def __init__(self, producer: Producer, resource: Mapping[str, Any] | None = None) -> None:
        self._producer = producer
        self._resource = plain_mapping(resource, "resource")

    def emit(self, event: AuditEvent) -> Sent:
        """See Emitter. Raises what `Producer.send` does."""
        sent = self._producer.send(self.entry(event))
        self._watch(event, sent)
        return sent

    async def emit_async(self, event: AuditEvent) -> Sent:
        """See Emitter. Raises what `Producer.send_async` does."""
        sent = await self._producer.send_async(self.entry(event))
        self._watch(event, sent)
        return sent

    def entry(self, event: AuditEvent) -> bytes:
        """The bytes of the event's entry."""
        from merklelog.ingest.canonical import encode_record
        from merklelog.ingest.entry import encode_entry

        record = record_of(event, self._resource, _tracer()())
        return encode_entry(None, encode_record(record))

    def _watch(self, event: AuditEvent, sent: Sent) -> None:
        def say(sent: Sent) -> None:
            error = sent.exception(0)
            if error is not None:
                LOGGER.error("audit event %s (%s) was not stored: %s", event.record_id, event.action, error)

        sent.add_done_callback(say)


@cache
def _tracer() -> Callable[[], Trace | None]:
    """What says which trace this is; without OpenTelemetry there is none."""
    try:
        from .otel import current_trace
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "opentelemetry":
            raise
        return lambda: None
    return current_trace
