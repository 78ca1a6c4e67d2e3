"""`merklelog serve` as the files of tools/deploy start it: on free ports, with a service manager's socket."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "tools" / "deploy"
SECONDS = 120


def free_ports(count: int) -> list[int]:
    """Ports that are free: below those that the system gives to clients, which could take one meanwhile."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        if port in found:
            continue
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


class Served:
    """A server process; `said` is what it told the socket of its service manager."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        before: tuple[object, ...] = (),
        words: tuple[str, ...] = (),
    ) -> None:
        self.grpc, self.http, self.admin = free_ports(3)
        self._folder = tempfile.TemporaryDirectory(prefix="notify")  # a socket's path has to be short
        path = f"{self._folder.name}/s"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(path)
        self.said = ""
        self.log = directory.parent / f"{directory.name}.server.txt"
        command = [*map(str, before), sys.executable, "-m", "merklelog", "serve", str(directory), *words]
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stderr=errors,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": path,
                    **environment,
                    "MERKLELOG_SERVER__GRPC": f"127.0.0.1:{self.grpc}",
                    "MERKLELOG_SERVER__HTTP": f"127.0.0.1:{self.http}",
                    "MERKLELOG_SERVER__ADMIN": f"127.0.0.1:{self.admin}",
                },
            )

    def wait_ready(self) -> None:
        """Until it says READY=1, as systemd's Type=notify wants it."""
        end = time.monotonic() + SECONDS
        while "READY=1" not in self.hear():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()

    def hear(self) -> str:
        """All that it has told its manager, waiting a moment for more."""
        if select.select([self._manager], [], [], 0.1)[0]:
            self.said += self._manager.recv(65_536).decode() + "\n"
        return self.said

    def get(self, path: str, port: int | None = None, body: bytes | None = None) -> bytes:
        """The body of an answer over HTTP."""
        url = f"http://127.0.0.1:{port or self.http}{path}"
        with urllib.request.urlopen(url, body, timeout=SECONDS) as answer:
            return bytes(answer.read())

    def stop(self) -> int:
        """Its exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def end(self) -> None:
        """Gone, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._manager.close()
        self._folder.cleanup()
