"""A server with the native front for others to abuse, and a good client beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

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
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        raise AssertionError("the server is gone")

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
