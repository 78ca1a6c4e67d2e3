"""Whether requests are traced: only where the OpenTelemetry API is installed and a provider is configured.

The server brings no exporter and no configuration of its own for traces. `opentelemetry-instrument merklelog
serve` configures OpenTelemetry's SDK from its usual OTEL_* variables; so does a program that sets a tracer
provider before it starts a server. Otherwise nothing is traced, and a request costs no more.
"""

from __future__ import annotations

from importlib.util import find_spec

from .watch import Spans


def spans() -> Spans | None:
    """What makes spans; None where traces are not configured."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        return None
    from .spans import configured

    return configured()
