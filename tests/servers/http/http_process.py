"""A process of its own that serves the logs of some data directories over HTTP; the tests here run it.

Prints its addresses as a line of JSON when it takes connections, and "closed" when it drained and closed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import merklelog
from merklelog.servers import lean, loops
from merklelog.servers.http_api import HttpApi
from merklelog.servers.http_quick import QuickRequests
from merklelog.servers.metrics import Metrics
from merklelog.servers.native import FrontLimits
from merklelog.servers.served import ServedLogs
from merklelog.servers.watch import Watch


def main(directories: list[str]) -> None:
    logs = ServedLogs()
    for directory in directories:
        prefix = "/" if len(directories) == 1 else f"/{Path(directory).name}/"
        logs.add(merklelog.open(directory), prefix)
    loops.run(serve(logs))
    logs.close()
    print("closed", flush=True)


async def serve(logs: ServedLogs) -> None:
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    api, watch = HttpApi(logs), Watch(Metrics(logs), logs)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    listener.setblocking(False)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    await lean.serve(
        watch.application(api),
        listener,
        stop,
        limits=FrontLimits(),
        quick=QuickRequests(api, watch).find,
        ready=lambda: print(json.dumps([address]), flush=True),
        draining=api.close_streams,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
