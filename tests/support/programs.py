"""Programs that tests run as processes of their own: what they say is read, and they end when the test does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120  # what takes longer hangs


class Program:
    """A started program. `lines` is what it said on standard error so far."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self.lines: list[str] = []
        self._more = threading.Condition()
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={"PATH": os.environ.get("PATH", ""), **environment},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as said:
            for line in said:
                with self._more:
                    self.lines.append(line.decode("utf-8", "replace"))
                    self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, text: str) -> dict[str, Any]:
        """Its first line with this text, which is JSON (else {}). One that never says it is ended."""
        found: list[str] = []

        def said() -> bool:
            found.extend(line for line in self.lines if text in line)
            return bool(found) or not self._reader.is_alive()

        with self._more:
            self._more.wait_for(said, SECONDS)
        if not found:
            self.end(signal.SIGKILL)
            raise AssertionError(f"never said {text!r}: {self.tail()}")
        with contextlib.suppress(ValueError):
            told: dict[str, Any] = json.loads(found[0])
            return told
        return {}

    def tail(self) -> str:
        """The last it said."""
        return "".join(self.lines[-40:])

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def end(self, which: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; gives the exit status, negative for a signal's death. Harmless when it is over."""
        if self.alive():
            self.process.send_signal(which)
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(SECONDS)
            raise AssertionError(f"did not end on {which.name}: {self.tail()}") from None
        finally:
            self._reader.join(SECONDS)


__all__ = ["ROOT", "SECONDS", "Program"]
