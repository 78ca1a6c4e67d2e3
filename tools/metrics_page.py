"""Make docs/metrics.md from the table of metrics and the alert rules: `python tools/metrics_page.py`.

Runs in the test environment. A test makes the same and compares, so a change of either without a new page fails.
"""

from __future__ import annotations

import re
from pathlib import Path

from merklelog.servers.families import FAMILIES
from merklelog.servers.tally import COMMIT_ENTRIES, REQUEST_SECONDS, STAGE_SECONDS, STAGES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "metrics.md"
ALERTS = ROOT / "tools" / "deploy" / "prometheus" / "alerts.yml"
SEVERITIES = {"page": "at once", "ticket": "on a working day"}

HEAD = """# Metrics, readiness and traces

The tables are made from the code by `tools/metrics_page.py`; a test compares them.

## The admin port

A server has a port of its own for those who run it, 127.0.0.1:7090 unless `server.admin` says otherwise. It asks
nobody for a token, so it belongs on loopback or inside a cluster. On loopback it answers to `localhost`, to
addresses and to `server.names` only, so that no page that a browser shows can read it.

| path | answer |
|---|---|
| `/metrics` | the metrics below, in Prometheus' text format, or OpenMetrics where `Accept` asks for it |
| `/readyz` | 200 while requests are to be sent here, else 503; a line a log, or JSON where `Accept` has it |
| `/livez` `/healthz` | 200 while the process answers |

`/readyz` is 503 while the server starts or drains, while one of its logs has not compared itself with its publish
targets and witnesses (it names who is missing, and goes on asking), and once a failure has stopped one: that log
takes nothing more until the server is started again. A log whose disk has too little room refuses appends too, but
it leaves the server ready: reads go on, and it takes appends by itself when there is room again. A log with
targets says how far it has published, in which epoch, and why not where that fails. Each line ends with what
protects the log from signing a fork after an old backup was brought back: its targets, its witnesses, both, or
nothing.

## For Prometheus and Grafana

`tools/deploy/prometheus/` has a scrape configuration, alert rules and their tests, and
`tools/deploy/grafana/merklelog.json` is a dashboard to import. The tests run every query of both against a
Prometheus that scrapes real servers.

"""

TRACES = """
## Traces

Requests are traced where the OpenTelemetry API is installed (`pip install merklelog[serve,traces]`) and a tracer
provider is configured: by `opentelemetry-instrument merklelog serve DIR`, with OpenTelemetry's SDK and its usual
`OTEL_*` variables, or by a program that sets one before it starts a server. Each request is one span, of the trace
that its `traceparent` names. A span has the route, the path and the status; it never has an entry, a key or a
token.

Commits serve many requests at once, so their spans are traces of their own: `merklelog.commit` from the queue to
the database, with `merklelog.requests`, `merklelog.entries` and `merklelog.entry_bytes`, and `merklelog.sync` for
what one sync made durable. Both have the log's origin as `merklelog.log`, and the stages that the metrics time as
events.
"""


def page() -> str:
    """The whole page."""
    return HEAD + _alerts() + _metrics() + TRACES


def _metrics() -> str:
    lines = [
        "## Every metric",
        "",
        "`log` is a log's origin, `door` is `http` or `grpc`, `method` a route such as `POST /add` or a method",
        f"such as `merklelog.v1.LogService/Append`, `stage` one of {_list(STAGES)}. Whatever",
        "is asked for at paths that do not exist counts under one `method`, `other`. The process has the usual",
        "`process_*` metrics besides.",
        "",
        "| metric | type | labels | what it says |",
        "|---|---|---|---|",
        *(f"| `{each.name}` | {each.kind} | {_list(each.labels)} | {each.meaning} |" for each in FAMILIES),
        "",
        f"Buckets: requests {_bounds(REQUEST_SECONDS)} s; stages of a commit",
        f"{_bounds(STAGE_SECONDS)} s;",
        f"entries of a commit {_bounds(COMMIT_ENTRIES)}.",
    ]
    return "\n".join(lines) + "\n"


def _alerts() -> str:
    text = ALERTS.read_text("utf-8")
    found = re.findall(r"- alert: (\w+)\n.*?severity: (\w+).*?summary: \"(.*?)\"\n", text, re.DOTALL)
    lines = ["| alert | look at it | it says |", "|---|---|---|"]
    for name, severity, summary in found:
        told = re.sub(r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", r"*\1*", summary)
        lines.append(f"| `{name}` | {SEVERITIES[severity]} | {told} |")
    return "\n".join(lines) + "\n\n"


def _list(names: tuple[str, ...]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _bounds(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{bound:.5f}".rstrip("0").rstrip(".") for bound in bounds)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
