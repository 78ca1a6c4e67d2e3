"""The identity index killed at every named step: after opening and feeding again, it answers as before."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from merklelog.store.fingerprint_run import run_name
from merklelog.store.fingerprints import FingerprintIndex

STEPS = ["run written", "run synced", "run renamed", "folder synced", "run installed", "old run deleted"]

CHILD = """
import hashlib, os, signal, sys
from pathlib import Path
from merklelog.store.fingerprints import FingerprintIndex

folder, step, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
seen = 0

def at(name):
    global seen
    seen += name == step
    if seen == times:
        os.kill(os.getpid(), signal.SIGKILL)

index = FingerprintIndex(folder, tail_limit=64, parts_a_run=2, young_runs=2, fan_in=2, step=at)
keys = [hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(3000)]
for start in range(0, 3000, 50):
    index.add(keys[start:start + 50], start)
    index.settle()
print("not killed")
"""


@pytest.mark.parametrize("times", [1, 6])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_loses_nothing_that_was_in_a_run(tmp_path: Path, step: str, times: int) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), step, str(times)], capture_output=True
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    left = {path.name for path in tmp_path.iterdir()}
    assert left  # killed in the middle of something
    index = FingerprintIndex(tmp_path, tail_limit=64, parts_a_run=2, young_runs=2, fan_in=2)
    assert index.dropped == ()
    whole = [name for name in left if name.endswith(".run")]
    assert index.watermark == max((int(name[21:41]) for name in whole), default=0)
    runs = sorted(path.name for path in tmp_path.iterdir())
    borders = [0, *(int(name[21:41]) for name in runs)]
    assert runs == [run_name(a, b) for a, b in pairwise(borders)]  # adjacent, and nothing else

    keys = [hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(3000)]
    index.add(keys[index.end :], index.end)
    assert index.candidates(keys) == {n: [n] for n in range(3000)}
    index.close()
