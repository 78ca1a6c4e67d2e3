"""`merklelog serve` with its OTLP receivers, as a process that is killed and comes back at the same ports."""

from __future__ import annotations

import http.client
import signal
import ssl
import sys
import time
from pathlib import Path

from merklelog.servers import tokens
from merklelog.servers.caller import Scope
from tests.support.programs import ROOT, SECONDS, Program

DOORS = ("otlp_grpc", "otlp_http", "http", "grpc", "admin")


class Receiver:
    """A server of the logs in these directories. `addresses` has host:port of each door, by its name.

    `settings` are configuration keys, `limits__message_bytes`; they may be changed between two starts.
    """

    def __init__(self, *directories: Path, **settings: str) -> None:
        self.addresses = dict.fromkeys(DOORS, "127.0.0.1:0")
        self.directories = directories
        self.settings = {"MERKLELOG_SERVER__LOG_FORMAT": "json"}
        self.settings |= {f"MERKLELOG_{name.upper()}": value for name, value in settings.items()}
        self.program: Program | None = None
        self.token = ""
        self.ca: Path | None = None  # who signed its certificate, where it has one

    def start(self) -> Receiver:
        """Start it, for the first time or again; returns when it takes records."""
        ports = {f"MERKLELOG_SERVER__{door.upper()}": at for door, at in self.addresses.items()}
        command = [sys.executable, "-m", "merklelog", "serve", *map(str, self.directories)]
        self.program = Program(command, {"PYTHONPATH": str(ROOT), **ports, **self.settings})
        told = self.program.wait_for(" serves")
        self.addresses = {door: told[door] for door in DOORS}
        end = time.monotonic() + SECONDS
        while self.ask("GET", "/readyz", door="admin")[0] != 200:
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"never ready: {self.program.tail()}")
            time.sleep(0.02)
        return self

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        door: str = "http",
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers (lower case) of one request on a connection of its own."""
        host, _, port = self.addresses[door].rpartition(":")
        if self.ca is None or door == "admin":
            connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        else:
            trusted = ssl.create_default_context(cafile=self.ca)
            connection = http.client.HTTPSConnection(host, int(port), timeout=SECONDS, context=trusted)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def size(self) -> int:
        """The size of the log's newest checkpoint: one log stands at /."""
        shown = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        status, body, _ = self.ask("GET", "/checkpoint", headers=shown)
        assert status == 200, body
        return int(body.split(b"\n")[1])

    def kill(self) -> None:
        """SIGKILL."""
        assert self.program is not None
        assert self.program.alive(), self.program.tail()
        self.program.end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        return self.program.end() if self.program is not None else 0


def make_token(directory: Path) -> str:
    """A token of this log, for a Collector named collector and for who looks at what it brought."""
    kept, shown = tokens.make_token("collector", (Scope.APPEND, Scope.READ), int(time.time()))
    tokens.change_tokens(directory, lambda before: (*before, kept), lambda _: None)
    assert shown is not None
    return shown


__all__ = ["Receiver", "make_token"]
