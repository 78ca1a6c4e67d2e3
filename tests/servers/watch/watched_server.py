"""A server with both doors and the admin port, as a process of its own, for tests of what it tells of itself.

`python watched_server.py [--native] [--records] [--spans FILE] [--stop-after N] DIR...` prints {"grpc": ...,
"http": ..., "admin": ...}; SIGTERM ends it. `--native`: gRPC is on HTTP's port, on the native front. `--records`:
the logs are ready for records and indexed. `--spans`: OpenTelemetry's SDK is configured, and each span becomes a
line of JSON there. `--stop-after N`: the first log fails at its Nth commit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import merklelog
from merklelog.ingest.intake import open_intake
from merklelog.log.observer import Observer
from merklelog.servers.admin import AdminApp, Phase, Readiness
from merklelog.servers.asgi_grpc import GrpcApplication
from merklelog.servers.grpcio_front import GrpcioFront
from merklelog.servers.http_api import HttpApi
from merklelog.servers.indexing import Indexes
from merklelog.servers.metrics import Certificate, Metrics
from merklelog.servers.native import serve
from merklelog.servers.served import ServedLogs
from merklelog.servers.services import Services
from merklelog.servers.tracing import spans, traced
from merklelog.servers.watch import Watch

YEAR_2040 = 2_208_988_800.0


def failing_at(stop_after: int) -> Callable[[str], None]:
    """A step that lets the disk fail in one commit; 0: in none."""
    written = 0

    def step(name: str) -> None:
        nonlocal written
        written += name == "written"
        if written == stop_after > 0:
            raise OSError("the disk is gone")

    return step


async def run(logs: ServedLogs, readiness: Readiness, metrics: Metrics, *, native: bool) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    indexes = Indexes()
    metrics.indexed = indexes.indexed
    indexing = asyncio.create_task(indexes.run(lambda: [served.log for served in logs]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    watch = Watch(metrics, logs, spans=spans())
    services = Services(logs)
    api = HttpApi(logs)
    ports: dict[str, str] = {}
    if native:
        front: GrpcioFront | GrpcApplication
        front = application = GrpcApplication(services.routes, tallies=watch.calls, http=api)
    else:
        front, application = GrpcioFront(services.routes, tallies=watch.calls, wrap=watch.behaviour), api
        ports["grpc"] = f"127.0.0.1:{front.bind('127.0.0.1:0')}"
        await front.start()
    started = {name: asyncio.Event() for name in ("http", "admin")}

    def ready(name: str) -> Callable[[tuple[str, ...]], None]:
        def note(addresses: tuple[str, ...]) -> None:
            ports[name] = addresses[0]
            started[name].set()

        return note

    any_port = ["127.0.0.1:0"]
    methods = [route.method for route in services.routes] if native else []
    watched, admin = watch.application(application), AdminApp(readiness, metrics)
    doors = [
        asyncio.create_task(serve(watched, any_port, stop, methods=methods, ready=ready("http"))),
        asyncio.create_task(serve(admin, any_port, stop, ready=ready("admin"))),
    ]
    for event in started.values():
        await event.wait()
    ports.setdefault("grpc", ports["http"])
    readiness.phase = Phase.SERVING
    print(json.dumps(ports), flush=True)
    await stop.wait()
    readiness.phase = Phase.DRAINING
    services.drain()
    api.close_streams()
    await front.drain(10)
    await asyncio.gather(*doors)
    indexing.cancel()
    await asyncio.to_thread(indexes.close)


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser()
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--records", action="store_true")
    parser.add_argument("--spans", type=Path)
    parser.add_argument("--stop-after", type=int, default=0)
    options = parser.parse_args()
    if options.spans:
        record_spans(options.spans)
    if options.records:
        os.environ["MERKLELOG_INDEX__ENABLED"] = "true"
    logs = ServedLogs()
    readiness = Readiness(logs)
    metrics = Metrics(
        logs, certificates=lambda: [Certificate("server", YEAR_2040)], ready=lambda: readiness.ready
    )

    def observer(origin: str) -> Observer:
        return traced(metrics.log_tally(origin), origin)

    for i, path in enumerate(options.logs):
        step = failing_at(options.stop_after if i == 0 else 0)
        log = merklelog.log.open_log(path, observer=observer, step=step)
        logs.add(log, "/" if len(options.logs) == 1 else f"/{path.name}/")
    if options.records:
        metrics.intakes = [open_intake(served.log) for served in logs]
    asyncio.run(run(logs, readiness, metrics, native=options.native))


def record_spans(path: Path) -> None:
    """Configure OpenTelemetry's SDK as a program that embeds a server would."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    def line(span: ReadableSpan) -> str:
        return json.dumps(json.loads(span.to_json())) + "\n"

    provider = TracerProvider()
    exporter = ConsoleSpanExporter(out=path.open("w", buffering=1), formatter=line)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    main()
