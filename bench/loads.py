"""A server process to load, and the native load programs: wrk for HTTP, h2load for gRPC.

Debian has both (packages wrk and nghttp2-client). gRPC needs no client of its own: a call is an HTTP/2 POST whose
body is a framed message, so h2load sends them at a rate that no client in Python reaches. h2load sees only that an
answer came; that the calls did what they should is checked by the log's size and by one real call before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from common import resident_mb

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Served:
    """A running `merklelog serve`: its ports, and seconds from its start to /readyz saying so."""

    process: subprocess.Popen[bytes]
    http: int
    grpc: int
    admin: int
    ready_seconds: float

    @property
    def resident_mb(self) -> float:
        """Its resident memory now."""
        return resident_mb(self.process.pid)

    @property
    def cpu_seconds(self) -> float:
        """What it has used of the processor, in its own threads and in the kernel."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def size(self) -> int:
        """The size of its only log, by its checkpoint."""
        with urlopen(f"http://127.0.0.1:{self.http}/checkpoint") as answer:
            return int(answer.read().split(b"\n")[1])


@dataclass(frozen=True)
class Load:
    """What a load program saw: requests a second, latencies in milliseconds, and what went wrong."""

    rate: float
    p50: float
    p99: float
    failed: int


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    """`merklelog serve` with these arguments on free ports of 127.0.0.1; ended by SIGTERM, its exit checked."""
    http, grpc, admin = free_ports(3)
    ports = [
        *("--http", f"127.0.0.1:{http}", "--grpc", f"127.0.0.1:{grpc}", "--admin", f"127.0.0.1:{admin}"),
    ]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "merklelog", "serve", *arguments, *ports], stderr=subprocess.DEVNULL
    )
    try:
        _await_ready(process, admin)
        yield Served(process, http, grpc, admin, time.perf_counter() - begun)
        process.send_signal(signal.SIGTERM)
        if process.wait(60):
            raise SystemExit(f"the server ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _await_ready(process: subprocess.Popen[bytes], admin: int) -> None:
    end = time.monotonic() + 30
    while process.poll() is None:
        if time.monotonic() > end:
            raise SystemExit("the server was not ready after 30 s")
        try:
            with urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.005)
    raise SystemExit(f"the server ended with status {process.returncode}: run it by hand to see why")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def needed(name: str, package: str) -> str:
    """The path of a load program; ends the benchmark with the package's name where there is none."""
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"this benchmark needs {name}, of Debian's package {package}")
    return found


_WRK_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"p50":%d,"p99":%d,"failed":%d}\\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def wrk(url: str, connections: int, seconds: float, script: str, scratch: Path) -> Load:
    """HTTP/1.1 load; `script` is the Lua that makes the requests."""
    path = scratch / "load.lua"
    path.write_text(script + _WRK_DONE)
    threads = min(2, connections)
    command = [
        needed("wrk", "wrk"),
        f"-t{threads}",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--timeout",
        "30s",
    ]
    printed = subprocess.run([*command, "-s", path, url], capture_output=True, text=True, check=True).stdout
    got = json.loads(printed.strip().splitlines()[-1])
    return Load(got["requests"] / got["us"] * 1e6, got["p50"] / 1e3, got["p99"] / 1e3, got["failed"])


def h2load(
    port: int,
    method: str,
    body: bytes,
    connections: int,
    streams: int,
    requests: int,
    scratch: Path,
    *,
    service: str = "merklelog.v1.LogService",
) -> Load:
    """Load over gRPC: `requests` POSTs of `body` to a method of that service."""
    data, seen = scratch / "load.body", scratch / "load.times"
    data.write_bytes(body)
    seen.unlink(missing_ok=True)
    command = [needed("h2load", "nghttp2-client"), f"-n{requests}", f"-c{connections}", f"-m{streams}"]
    command += [
        "-t1",
        f"-d{data}",
        f"--log-file={seen}",
        "-Hcontent-type: application/grpc",
        "-Hte: trailers",
    ]
    url = f"http://127.0.0.1:{port}/{service}/{method}"
    printed = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", printed)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", printed)
    if rate is None or failed is None:
        raise SystemExit(f"h2load printed what was not expected:\n{printed}")
    times = sorted(int(line.split("\t")[2]) for line in seen.read_text().splitlines())
    return Load(
        float(rate[1]),
        times[len(times) // 2] / 1e3,
        times[len(times) * 99 // 100] / 1e3,
        sum(map(int, failed.groups())),
    )


def framed(*messages: bytes) -> bytes:
    """Messages as a gRPC body carries them: a zero byte and four bytes of length before each."""
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows, each column as wide as its widest cell."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
