"""A gRPC server over logs, as a process of its own, for tests: `python grpc_server.py [--option N] DIR...`.

`--front native` is gRPC over ASGI on h2corn, with HTTP on the same port; `--front grpcio` the other. Prints its
port once it listens; SIGTERM drains it. `--stop-after N` makes the first log fail at its Nth commit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import merklelog
from merklelog.servers import loops, native
from merklelog.servers.asgi_grpc import grpc_application
from merklelog.servers.calls import GrpcLimits
from merklelog.servers.grpcio_front import GrpcioFront
from merklelog.servers.http_api import HttpApi
from merklelog.servers.served import ServedLogs
from merklelog.servers.services import Services


def failing_at(commit: int) -> Callable[[str], None]:
    """A step that lets the disk fail in one commit; 0: in none."""
    written = 0

    def step(name: str) -> None:
        nonlocal written
        written += name == "written"
        if written == commit > 0:
            raise OSError("secret: the disk at /dev/somewhere is gone")

    return step


async def serve(logs: ServedLogs, options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    unread = options.native.pop("unread_bytes", GrpcLimits().max_unread_bytes)
    options.grace = options.native.pop("grace", options.grace)
    limits = GrpcLimits(
        max_unread_bytes=unread,
        max_message_bytes=options.max_message_bytes,
        max_calls=options.max_calls,
        max_streams=options.max_streams,
    )
    services = Services(logs, max_message_bytes=limits.max_message_bytes)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    run = with_grpcio if options.front == "grpcio" else with_h2corn
    print("drained", await run(services, logs, limits, options, ended), flush=True)


async def with_grpcio(
    services: Services,
    _logs: ServedLogs,
    limits: GrpcLimits,
    options: argparse.Namespace,
    ended: asyncio.Event,
) -> int:
    """Serve until `ended`, then drain; gives how many calls were left."""
    front = GrpcioFront(services.routes, limits=limits)
    port = front.bind(f"127.0.0.1:{options.port}")
    await front.start()
    print(port, flush=True)
    await ended.wait()
    services.drain()
    await front.drain(options.grace)
    return front.calls


async def with_h2corn(
    services: Services,
    logs: ServedLogs,
    limits: GrpcLimits,
    options: argparse.Namespace,
    ended: asyncio.Event,
) -> int:
    """As `with_grpcio`."""
    api = HttpApi(logs, write_seconds=options.native.get("write_seconds", native.FrontLimits().write_seconds))
    application = grpc_application(services.routes, limits=limits, http=api)

    def draining() -> Awaitable[None]:
        services.drain()
        api.close_streams()
        return application.drain(options.grace)

    await native.serve(
        application,
        [f"127.0.0.1:{options.port}"],
        ended,
        limits=replace(
            native.FrontLimits(
                message_bytes=limits.max_message_bytes,
                streams=limits.max_streams_per_connection,
                drain_seconds=options.grace,
            ),
            **options.native,
        ),
        methods=[route.method for route in services.routes],
        ready=lambda addresses: print(addresses[0].rpartition(":")[2], flush=True),
        draining=draining,
    )
    return application.calls


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser()
    defaults = GrpcLimits()
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--front", choices=("grpcio", "native"), default="grpcio")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grace", type=float, default=20.0)
    parser.add_argument("--stop-after", type=int, default=0)
    parser.add_argument("--max-calls", type=int, default=defaults.max_calls)
    parser.add_argument("--max-streams", type=int, default=defaults.max_streams)
    parser.add_argument("--max-message-bytes", type=int, default=defaults.max_message_bytes)
    parser.add_argument("--native", type=json.loads, default={}, help="more fields of FrontLimits, as JSON")
    options = parser.parse_args()
    logs = ServedLogs()
    for i, path in enumerate(options.logs):
        step = failing_at(options.stop_after if i == 0 else 0)
        logs.add(merklelog.log.open_log(path, step=step), "/" if i == 0 else f"/{path.name}/")
    try:
        loops.run(serve(logs, options))
    finally:
        logs.close()


if __name__ == "__main__":
    main()
