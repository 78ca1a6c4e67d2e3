"""Servers for others to abuse, with the native front and with the lean one, and a good client beside them."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2
from overload import memory, ready

from merklelog.v1 import log_pb2 as pb

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SECONDS = 60


class Victim:
    """The server."""

    def __init__(self, log: Path, **limits: float) -> None:
        words = [
            "--front",
            os.environ.get("MERKLELOG_ABUSED_FRONT", "native"),
            "--native",
            json.dumps(limits),
        ]
        self.errors = log.with_suffix(".err")
        with self.errors.open(
            "w"
        ) as errors:  # not a pipe that nobody reads: the server would wait for its reader
            self.process = subprocess.Popen(
                [sys.executable, str(HERE.parent / "grpc_server.py"), *words, str(log)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start: {self.errors.read_text()}")
        self.port = int(line)
        self.log = log

    def memory(self) -> int:
        """What the process holds now, in bytes."""
        held = memory(self.process.pid)
        assert held, "the server is gone"
        return held

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(
            f"127.0.0.1:{self.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def well(self, seconds: float = SECONDS) -> int:
        """It is healthy and takes an append; gives the index."""
        with self.channel() as channel:
            data = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=seconds)
            serving = health_pb2.HealthCheckResponse.SERVING
            assert health_pb2.HealthCheckResponse.FromString(data).status == serving
            append = channel.unary_unary("/merklelog.v1.LogService/Append")
            request = pb.AppendRequest(entry=pb.NewEntry(data=b"well")).SerializeToString()
            return int(pb.AppendResponse.FromString(append(request, timeout=seconds)).entry.index)

    def end(self) -> tuple[int, str, str]:
        """SIGTERM; its exit status and all it printed."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, self.errors.read_text()


class LeanVictim:
    """`merklelog serve` with HTTP alone, as it comes: the lean front."""

    def __init__(self, log: Path) -> None:
        self._said = log.with_suffix(".said")
        words = ["serve", str(log), "--grpc", "", "--http", "127.0.0.1:0", "--admin", ""]
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "merklelog", *words],
                stdin=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, "PYTHONPATH": str(ROOT), "MERKLELOG_SERVER__LOG_FORMAT": "json"},
            )
        self.port = int(ready(self._said, self.process)["http"].rpartition(":")[2])

    def memory(self) -> int:
        """What the process holds now, in bytes."""
        return memory(self.process.pid)

    def well(self) -> int:
        """It takes an append; gives the index."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request("POST", "/add", b"well")
            answer = connection.getresponse()
            assert answer.status == 200
            return int(answer.read())
        finally:
            connection.close()

    def end(self) -> str:
        """SIGTERM; what was wrong with its end, empty if nothing was."""
        self.process.terminate()
        status = self.process.wait(SECONDS)
        said = self._said.read_text()
        return f"the server ended with {status}: {said}" if status or "Traceback" in said else ""


class Beside:
    """A good client that goes on appending while others misbehave; each of its calls must be answered."""

    def __init__(self, victim: Victim) -> None:
        self._victim = victim
        self._stop = threading.Event()
        self.answered: list[int] = []
        self.slowest = 0.0
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self.answered.append(self._victim.well())
                self.slowest = max(self.slowest, time.monotonic() - began)
        except BaseException as error:
            self.failed = error

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.failed is not None:
            raise self.failed
        assert self.answered
