"""The Collector of tools/collector as a process: killed, it comes back with its queue, at the same ports."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import time
from pathlib import Path

from tests.support import collector_program
from tests.support.programs import ROOT, SECONDS, Program

RECIPE = ROOT / "tools" / "collector" / "recipe.yaml"
OVER_HTTP = ROOT / "tools" / "collector" / "over-http.yaml"
# What tests change of the recipe: how it says things, and how long it waits before it tries again.
QUICK = """\
exporters:
  {exporter}:
    retry_on_failure: {{initial_interval: 50ms, max_interval: 500ms}}
service:
  telemetry:
    logs: {{encoding: json}}
"""
GRPC, HTTP = "otlp_grpc/merklelog", "otlp_http/merklelog"


class Collector:
    """A Collector with these configurations, its queue in `folder`. `grpc` and `http` are where it listens."""

    def __init__(self, folder: Path, *configurations: Path, exporter: str = GRPC, **settings: str) -> None:
        self.queue = folder / "queue"
        quick = folder / "quick.yaml"
        quick.write_text(QUICK.format(exporter=exporter))
        self._configurations = (*(configurations or (RECIPE,)), quick)
        self.settings = settings
        self.grpc = self.http = "127.0.0.1:0"
        self._metrics = free_port()
        self.program: Program | None = None

    def start(self) -> Collector:
        """Start it, for the first time or again; returns when it listens."""
        path = collector_program.program()
        assert path is not None, collector_program.WHAT
        words = [word for each in self._configurations for word in ("--config", str(each))]
        environment = {
            "COLLECTOR_QUEUE": str(self.queue),
            "COLLECTOR_GRPC": self.grpc,
            "COLLECTOR_HTTP": self.http,
            "COLLECTOR_METRICS_PORT": str(self._metrics),
        }
        self.program = Program([str(path), *words], {**environment, **self.settings})
        self.program.wait_for("Everything is ready")
        self.grpc = self.program.wait_for("Starting GRPC server")["endpoint"]
        self.http = self.program.wait_for("Starting HTTP server")["endpoint"]
        return self

    def metric(self, name: str) -> float:
        """The sum of a metric of its own, such as otelcol_exporter_queue_size; 0 when it has none of it."""
        connection = http.client.HTTPConnection("127.0.0.1", self._metrics, timeout=SECONDS)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        found = re.findall(rf"(?m)^{name}(?:_total)?(?:\{{[^}}]*\}})? (\S+)$", text)
        return sum(map(float, found))

    def wait_empty(self) -> None:
        """Wait until its queue holds nothing that is still to be delivered."""
        end = time.monotonic() + SECONDS
        while self.metric("otelcol_exporter_queue_size"):
            assert time.monotonic() < end, self.program and self.program.tail()
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.program is not None
        assert self.program.alive(), self.program.tail()
        self.program.end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        return self.program.end() if self.program is not None else 0


def free_port() -> int:
    """A port that nobody had a moment ago: the Collector does not tell which one it took for its metrics."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


__all__ = ["GRPC", "HTTP", "OVER_HTTP", "RECIPE", "Collector", "free_port"]
