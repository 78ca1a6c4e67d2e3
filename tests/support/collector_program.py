"""The OpenTelemetry Collector that tests run, built once below the user's cache from `tools/collector/otelcol`.

    python3 tests/support/collector_program.py      builds it now; CI does that before the tests

Go fetches its modules, each by the hash in go.sum, and builds: three to eight minutes the first time. Tests never
build it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "0.155.0"
SOURCE = Path(__file__).resolve().parents[2] / "tools" / "collector" / "otelcol"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "merklelog-test-servers"
WHAT = f"the OpenTelemetry Collector {VERSION} (python3 tests/support/collector_program.py builds it)"


def place() -> Path:
    """Where the program of just these sources is, built or not."""
    names = ("main.go", "go.mod", "go.sum")
    digest = hashlib.sha256(b"\0".join((SOURCE / name).read_bytes() for name in names)).hexdigest()
    return CACHE / f"otelcol-{VERSION}-{digest[:12]}" / "bin" / "otelcol"


def program() -> Path | None:
    """The program, if it was built."""
    path = place()
    return path if os.access(path, os.X_OK) else None


def build() -> Path | None:
    """The program, built now if it is not there; None where it can not be: Go says why on standard error."""
    path = place()
    if program() is None:
        go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
        if go is None:
            print("no Go here", file=sys.stderr)
            return None
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "otelcol.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for another that builds
            if program() is None:
                _build(go, path)
    return program()


def _build(go: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        draft = Path(folder) / "otelcol"
        settings = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-modcacherw", "GOWORK": "off"}
        flags = ["-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]
        command = [go, "build", *flags, "-o", str(draft), "."]
        if subprocess.run(command, cwd=SOURCE, env=settings, stdout=sys.stderr).returncode == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.rename(path)


def main() -> int:
    """Build it, and say where it is; the status is 1 when it can not be had."""
    found = build()
    print(f"OpenTelemetry Collector {VERSION}: {found or 'can not be had here'}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
