"""A gRPC server over logs, as a process of its own, for tests: `python grpc_server.py [--option N] DIR...`.

Prints its port once it listens; SIGTERM drains it. `--stop-after N` makes the first log fail at its Nth commit.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import merklelog
from merklelog.servers.grpcio_front import GrpcioFront, GrpcLimits
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
    limits = GrpcLimits(
        max_message_bytes=options.max_message_bytes,
        max_calls=options.max_calls,
        max_streams=options.max_streams,
    )
    services = Services(logs, max_message_bytes=limits.max_message_bytes)
    front = GrpcioFront(services.routes, limits=limits)
    port = front.bind(f"127.0.0.1:{options.port}")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await front.start()
    print(port, flush=True)
    await ended.wait()
    services.drain()
    await front.drain(options.grace)
    print("drained", front.calls, flush=True)


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser()
    defaults = GrpcLimits()
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grace", type=float, default=20.0)
    parser.add_argument("--stop-after", type=int, default=0)
    parser.add_argument("--max-calls", type=int, default=defaults.max_calls)
    parser.add_argument("--max-streams", type=int, default=defaults.max_streams)
    parser.add_argument("--max-message-bytes", type=int, default=defaults.max_message_bytes)
    options = parser.parse_args()
    logs = ServedLogs()
    for i, path in enumerate(options.logs):
        step = failing_at(options.stop_after if i == 0 else 0)
        logs.add(merklelog.log.open_log(path, step=step), "/" if i == 0 else f"/{path.name}/")
    try:
        asyncio.run(serve(logs, options))
    finally:
        logs.close()


if __name__ == "__main__":
    main()
