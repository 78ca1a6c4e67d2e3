"""A process of its own that serves the logs of some data directories over HTTP; the tests here run it.

Prints its addresses as a line of JSON when it takes connections, and "closed" when it drained and closed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import merklelog
from merklelog.servers.native import run
from merklelog.servers.served import ServedLogs


def main(directories: list[str]) -> None:
    logs = ServedLogs()
    for directory in directories:
        prefix = "/" if len(directories) == 1 else f"/{Path(directory).name}/"
        logs.add(merklelog.open(directory), prefix)
    run(logs, ["127.0.0.1:0"], ready=lambda addresses: print(json.dumps(addresses), flush=True))
    logs.close()
    print("closed", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
