"""Spans of requests through the OpenTelemetry API; only `tracing` imports this, where the API is installed.

A caller's `traceparent` is continued (W3C Trace Context), through whatever propagators are configured. Names and
attributes follow OpenTelemetry's semantic conventions for HTTP and for gRPC servers. A span has no bytes of an
entry, no key and no token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.util.types import AttributeValue

from merklelog.version import __version__

from .watch import Span

# The codes by which a server itself has failed (semantic conventions for gRPC).
_FAILURES: Final = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


def tracer() -> trace.Tracer | None:
    """The global provider's tracer; None while there is no provider, or one that does nothing."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return provider.get_tracer("merklelog", __version__)


def configured() -> RequestSpans | None:
    """The spans of requests; None where traces are not configured."""
    found = tracer()
    return None if found is None else RequestSpans(found)


class RequestSpans:
    """Makes the spans of requests; see watch.Spans."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def http(self, scope: dict[str, Any], route: str) -> Iterator[Span]:
        """See watch.Spans."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        template = route.partition(" ")[2]
        attributes: dict[str, AttributeValue] = {
            "http.request.method": scope["method"],
            "http.route": template,
            "url.path": scope["path"],
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", ""),
        }
        with self._began(route, headers, attributes, current=True) as span:
            yield _HttpSpan(span)

    @contextmanager
    def rpc(
        self, path: str, metadata: Iterable[tuple[str, str | bytes]], *, current: bool = True
    ) -> Iterator[Span]:
        """See watch.Spans."""
        service, _, name = path[1:].partition("/")
        attributes: dict[str, AttributeValue] = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": name,
        }
        with self._began(path[1:], metadata, attributes, current=current) as span:
            yield _RpcSpan(span)

    @contextmanager
    def _began(
        self,
        name: str,
        headers: Iterable[tuple[str, str | bytes]],
        attributes: dict[str, AttributeValue],
        *,
        current: bool,
    ) -> Iterator[trace.Span]:
        carrier = {key.lower(): value for key, value in headers if isinstance(value, str)}
        parent = propagate.extract(carrier)
        span = self._tracer.start_span(name, parent, trace.SpanKind.SERVER, attributes)
        try:
            if current:
                with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                    yield span
            else:
                yield span
        finally:
            span.end()


class _HttpSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, code: str) -> None:
        self._span.set_attribute("http.response.status_code", int(code))
        if code >= "500":
            self._span.set_attribute("error.type", code)
            self._span.set_status(trace.StatusCode.ERROR)


class _RpcSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, code: str) -> None:
        self._span.set_attribute("rpc.response.status_code", code)
        if code in _FAILURES:
            self._span.set_attribute("error.type", code)
            self._span.set_status(trace.StatusCode.ERROR)
