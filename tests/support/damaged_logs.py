"""A log with identities and idempotency keys, to be damaged, and what its audit must say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from merklelog.audit import AuditFinding, AuditReport, audit
from merklelog.store import RocksStore

ORIGIN = "example.com/damaged"
SIZE = 3000
FILL = """
import os, sys
import merklelog
from merklelog.log import sequencer
sequencer.KEEP_INTERVAL = 0.0
merklelog.create_log(sys.argv[1], "example.com/damaged", settings={"log.dedupe": True})
log = merklelog.open(sys.argv[1])
for start in range(0, 3000, 100):
    entries = [b"event %d " % i * (1 + i % 4) for i in range(start, start + 100)]
    own = [b"%032d" % i for i in range(start, start + 100)]
    log.append_batch(entries, identities=own, idempotency_key=b"batch %d" % start)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
log.close()
"""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A log of 3,000 entries with identities and idempotency keys, "closed" or "killed"."""
    made: dict[str, Path] = {}

    def get(end: str) -> Path:
        if end not in made:
            path = tmp_path_factory.mktemp("whole") / end
            search = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
            subprocess.run(
                [sys.executable, "-c", FILL, path, end], check=False, env={**os.environ, "PYTHONPATH": search}
            )
            assert audit(str(path)).size == SIZE
            made[end] = path
        return made[end]

    return get


@pytest.fixture
def log(tmp_path: Path, whole: Callable[[str], Path]) -> Path:
    """A copy of the closed log, to be damaged."""
    shutil.copytree(whole("closed"), tmp_path / "log")
    return tmp_path / "log"


@contextmanager
def rows_of(log: Path) -> Iterator[RocksStore]:
    store = RocksStore(log / "db")
    try:
        yield store
    finally:
        store.close()


def only(report: AuditReport, size: int = SIZE) -> AuditFinding:
    assert len(report.findings) == 1, report.findings
    assert (report.exit_status, report.unlisted, report.size) == (1, 0, size)
    return report.findings[0]
