"""One audit in a process of its own, at a set pace and at the lowest priority: what a server runs beside itself.

On standard input come two lines: the target, its keys and how to get to it (`worker.Setup`), and how many entries
a second to hash. On standard output goes one line: the report, or `{"error": [class, text]}`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from merklelog.audit.report import AuditFinding, AuditReport, FindingKind
from merklelog.audit.run import audit
from merklelog.audit.worker import ERROR, Setup, format_setup, parse_setup
from merklelog.errors import MerklelogError, StorageError
from merklelog.formats import single_log_policy
from merklelog.tree import Hash, TreeSize

_BOOT: Final = (
    "import sys; sys.path[:] = sys.argv[1:]; from merklelog.audit.selfaudit_child import main; main()"
)
_LOWEST: Final = 19
_LOOK_SECONDS: Final = 0.5
_SHOWN: Final = 2_000


class Pacer:
    """A progress callback that sleeps, so that in all no more than `pace` entries a second are hashed."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._begun = time.monotonic()

    def __call__(self, done: int, _total: int) -> None:
        ahead = done / self._pace - (time.monotonic() - self._begun)
        if ahead > 0:
            time.sleep(ahead)


def main() -> None:
    """The child: see above."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for who started it to handle: a terminal sends it to all
    with suppress(OSError):  # where nobody may choose, it runs as all others do
        os.nice(_LOWEST)
    lines = sys.stdin.buffer
    setup, pace = parse_setup(lines.readline()), json.loads(lines.readline())
    policy = single_log_policy(setup.keys)
    try:
        found = audit(setup.target, policy, processes=1, progress=Pacer(pace), access=setup.access)
        told: dict[str, Any] = {
            **asdict(found),
            "root": found.root.hex() if found.root else None,
            "locks": None,
        }
    except MerklelogError as error:
        told = {ERROR: [type(error).__name__, str(error)]}
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n")
    sys.stdout.buffer.flush()


def audit_apart(setup: Setup, pace: float, stop: threading.Event) -> AuditReport | None:
    """Audit in a child process; None: `stop` was set first. Raises StorageError when it could not be run."""
    path = [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109  sys.path holds text
    command = [sys.executable, "-P", "-c", _BOOT, *path]
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise StorageError(f"no audit process can be started: {error.strerror}: {sys.executable}") from error
    words: bytes | None = format_setup(setup) + json.dumps(pace).encode() + b"\n"
    with child:
        while True:
            try:
                out, said = child.communicate(words, timeout=_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                words = None  # it is on its way
                if stop.is_set():
                    child.kill()
                    child.communicate()
                    return None
    if not out.endswith(b"\n"):
        text = said[-_SHOWN:].decode("utf-8", "replace").strip()
        raise StorageError(f"an audit process ended with status {child.returncode}: {text}")
    return _report(json.loads(out))


def _report(told: dict[str, Any]) -> AuditReport:
    if ERROR in told:
        name, text = told[ERROR]
        raise StorageError(f"an audit process: {name}: {text}")
    findings = tuple(
        AuditFinding(
            FindingKind(each["kind"]),
            each["where"],
            each["detail"],
            tuple(each["entries"]) if each["entries"] else None,
            each["disproven"],
        )
        for each in told["findings"]
    )
    root = None if told["root"] is None else Hash(bytes.fromhex(told["root"]))
    rest = {"findings": findings, "root": root, "size": TreeSize(told["size"])}
    return AuditReport(**{**told, **rest, "remarks": tuple(told["remarks"])})


__all__ = ["Pacer", "audit_apart", "main"]
