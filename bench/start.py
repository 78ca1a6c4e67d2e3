"""Start-up time and resident memory by size, closed and killed; memory while appending."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common import Row, directory, print_table

_OPEN = """
import json, sys, time
sys.path[:0] = sys.argv[2:]
import merklelog
from common import resident_mb
before = resident_mb()
begun, worked = time.perf_counter(), time.process_time()
log = merklelog.open(sys.argv[1])
told = {"seconds": time.perf_counter() - begun, "worked": time.process_time() - worked}
print(json.dumps({**told, "resident": resident_mb(), "before": before, "size": log.size}))
log.close()
"""
_FILL = """
import os, signal, sys, threading, time
sys.path[:0] = sys.argv[5:]
import merklelog
from collections import deque
from common import ORIGIN, random_entries, resident_mb
path, count, kill, dedupe = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "kill", sys.argv[4] == "dedupe"
merklelog.create_log(path, ORIGIN, settings={"log.dedupe": dedupe})
log = merklelog.open(path)
base, peak, waiting = resident_mb(), 0.0, deque()
for start in range(0, count, 10_000):
    entries = random_entries(min(10_000, count - start))
    for at in range(0, len(entries), 1_000):
        waiting.append(log.submit_batch(entries[at:at + 1_000]))
        if len(waiting) >= 4:
            waiting.popleft().result()
    peak = max(peak, resident_mb())
while waiting:
    waiting.popleft().result()
print(peak, flush=True)
if kill:
    os.kill(os.getpid(), signal.SIGKILL)
log.close()
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--sizes", type=int, nargs="*", default=[0, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--dedupe", action="store_true", help="with exact dedupe on")


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    rows = []
    for size in args.sizes:
        with directory() as path:
            peak = _fill(path / "log", size, args.dedupe)
            found = [Row(f"{size:,} entries: resident while appending", "MB", [peak])] if size else []
            found += _rows(f"{size:,} entries: open after a kill", [_open(path / "log")])
            opens = [_open(path / "log") for _ in range(args.runs)]
            found += _rows(f"{size:,} entries: open after a close", opens)
        for row in found:
            print(row.line(), flush=True)
        rows += found
    print_table(rows)


def _rows(name: str, opens: Sequence[dict[str, float]]) -> list[Row]:
    """What opening took, how much of it was work, which a busy machine does not lengthen, and what it left."""
    return [
        Row(name, "s", [one["seconds"] for one in opens]),
        Row(f"{name}, processor time", "s", [one["worked"] for one in opens]),
        Row(f"{name}, resident then", "MB", [one["resident"] for one in opens]),
    ]


def _paths() -> list[str]:
    here = Path(__file__).resolve().parent
    return [str(here), str(here.parent)]


def _fill(path: Path, size: int, dedupe: bool) -> float:
    words = [str(path), str(size), "kill", "dedupe" if dedupe else "-", *_paths()]
    done = subprocess.run([sys.executable, "-c", _FILL, *words], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise SystemExit(f"bench: a log of {size:,} entries could not be filled: status {done.returncode}")
    return float(done.stdout)


def _open(path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(path), *_paths()], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found
