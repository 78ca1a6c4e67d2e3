"""Whether requests and commits are traced: where the OpenTelemetry API is installed and a provider configured.

The server brings no exporter and no configuration of its own for traces. `opentelemetry-instrument merklelog
serve` configures OpenTelemetry's SDK from its usual OTEL_* variables; so does a program that sets a tracer
provider before it starts a server. Otherwise nothing is traced, and a request costs no more.
"""

from __future__ import annotations

from importlib.util import find_spec

from merklelog.log.observer import Observer

from .tally import Both
from .watch import Spans


def spans() -> Spans | None:
    """What makes the spans of requests; None where traces are not configured."""
    if not _installed():
        return None
    from .spans import configured

    return configured()


def traced(observer: Observer, origin: str) -> Observer:
    """That observer of that log's commits; where traces are configured, spans are made of them as well."""
    if not _installed():
        return observer
    from .commit_spans import configured

    spans = configured(origin)
    return observer if spans is None else Both(observer, spans)


def _installed() -> bool:
    return find_spec("opentelemetry") is not None and find_spec("opentelemetry.trace") is not None
