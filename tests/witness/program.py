"""A witness as a test starts it: free ports, its addresses on standard output, and it can kill itself at a step.

python -m tests.witness.program DIR "" | STEP:N [--at ADDRESS] [--after-restore]
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from merklelog.servers.witness import serve_witness
from merklelog.witness.restore import mark_restored


def main(directory: str, kill: str, *options: str) -> None:
    """Serve until a signal comes."""
    step, _, number = kill.partition(":")
    left = int(number or 0)

    def passed(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    def ready(addresses: Mapping[str, str]) -> None:
        print(addresses["http"], addresses["admin"], flush=True)

    if "--after-restore" in options:
        mark_restored(Path(directory))
    at = options[options.index("--at") + 1] if "--at" in options else "127.0.0.1:0"
    chosen = {"witness_server.http": at, "witness_server.admin": "127.0.0.1:0"}
    serve_witness(Path(directory), os.environ, chosen, ready=ready, step=passed)


main(*sys.argv[1:])
