"""Audit events through OpenTelemetry: the SDK's processors and exporters carry them to a collector or a log.

Only this module imports OpenTelemetry's API, when it is first needed.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import trace
from opentelemetry._logs import (
    Logger,
    LoggerProvider,
    LogRecord,
    NoOpLogger,
    SeverityNumber,
    get_logger_provider,
)
from opentelemetry._logs._internal import ProxyLoggerProvider

from merklelog.errors import UsageError
from merklelog.version import __version__

from .event import AuditEvent
from .record import SCOPE, Trace

_WANT: Final = "audit events would be lost: "


class OtelEmitter:
    """Emits through `provider`, else through whatever logger provider is set for the process when it is needed.

    An SDK's exporters deliver later, in threads of their own, and tell nobody here: `confirms` is False. What they
    promise depends on them; docs/python.md says which of them keep an event that the network did not take.
    """

    confirms: Final = False

    def __init__(self, provider: LoggerProvider | None = None) -> None:
        self._provider = provider

    def emit(self, event: AuditEvent) -> None:
        """See Emitter. Raises UsageError while there is no provider, or one that drops everything."""
        number, text = event.severity
        self._logger().emit(
            LogRecord(
                timestamp=event.time_ns,
                observed_timestamp=event.time_ns,  # so that an event said again is the same record
                severity_number=SeverityNumber(number),
                severity_text=text,
                body=event.body,
                attributes=event.attributes,
                event_name=event.action,
            )
        )

    async def emit_async(self, event: AuditEvent) -> None:
        """See Emitter."""
        self.emit(event)

    def _logger(self) -> Logger:
        provider = get_logger_provider() if self._provider is None else self._provider
        if isinstance(provider, ProxyLoggerProvider):
            raise UsageError(
                f"{_WANT}no logger provider is set; opentelemetry._logs.set_logger_provider(...) at the start"
            )
        logger = provider.get_logger(SCOPE, __version__)
        if isinstance(logger, NoOpLogger):
            raise UsageError(f"{_WANT}the logger provider does nothing (is OTEL_SDK_DISABLED set?)")
        return logger


def current_trace() -> Trace | None:
    """The trace and span that this code runs in; None outside of one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id), context.trace_flags
