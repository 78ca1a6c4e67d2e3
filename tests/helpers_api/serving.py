"""One real `merklelog serve` for the tests of a module: a log, its doors, and what is in it afterwards."""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import merklelog
from merklelog.errors import RangeError
from merklelog.formats import format_vkey
from merklelog.ingest.canonical import decode_record
from merklelog.ingest.entry import Entry, parse_entry

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
DOORS = ("grpc", "http", "admin", "otlp_grpc", "otlp_http")


class Process:
    """A program that runs until `end`. `lines` is what it said on the stream that is read."""

    def __init__(
        self, *words: object, environment: dict[str, str] | None = None, stdout: bool = False
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
            stderr=None if stdout else subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        stream = self.process.stdout if stdout else self.process.stderr
        assert stream is not None
        self._stream = stream
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self.lines.extend(self._stream)

    def wait_for(self, text: str) -> str:
        """Its first line with this text."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if found := [line for line in self.lines if text in line]:
                return found[0]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.end()
        raise AssertionError(f"never said {text!r}: {''.join(self.lines)}")

    def end(self, *, kill: bool = False) -> int:
        """SIGTERM, or SIGKILL; gives the exit status."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        status = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        self._stream.close()
        return status


class Served:
    """A log behind all doors."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.vkeys = directory.with_suffix(".vkeys")
        keys = merklelog.create_log(directory, "helpers.example/log", settings={"store.min_free_bytes": 0})
        self.vkeys.write_text("".join(f"{format_vkey(key)}\n" for key in keys))
        self.addresses = dict.fromkeys(DOORS, "127.0.0.1:0")
        self.start()

    def start(self) -> None:
        """Serve, for the first time or again: at the same ports."""
        doors = {f"MERKLELOG_SERVER__{door.upper()}": self.addresses[door] for door in DOORS}
        self.server = Process("-m", "merklelog", "serve", self.directory, environment=doors)
        told = addresses(self.server.wait_for(" serves"))
        self.addresses = {door: told[door] for door in DOORS}
        self.grpc = f"grpc://{told['grpc']}"

    def records(self, start: int, count: int) -> list[tuple[Entry, dict[str, Any]]]:
        """`count` entries from index `start` on, once they are there, and the records in them."""
        end = time.monotonic() + SECONDS
        while True:
            with merklelog.open_reader(self.directory) as reader:
                if reader.size >= start + count:
                    entries = [parse_entry(reader.entry(index)) for index in range(start, start + count)]
                    break
            assert time.monotonic() < end, f"no {count} entries from {start} on"
            time.sleep(0.05)
        assert None not in entries
        return [(entry, decode_record(entry.record_bytes)) for entry in entries if entry is not None]

    @property
    def size(self) -> int:
        try:
            with merklelog.open_reader(self.directory) as reader:
                return reader.size
        except RangeError:
            return 0


def addresses(line: str) -> dict[str, str]:
    """host:port of each door, from what a server says when it serves, as text or as JSON."""
    return dict(re.findall(r'(\w+)"?[=:] ?"?([0-9.]+:[0-9]+)', line))


def attributes_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record's attributes, each scalar's value by its key."""
    return {each["key"]: next(iter(each["value"].values())) for each in record["attributes"]}


def ask(address: str, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of one request."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients: one might take it meanwhile."""
    while True:
        port = random.randrange(15_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
