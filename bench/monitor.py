"""Entries a monitor verifies a second: a new monitor over a whole log, from a data directory and published
copies.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from common import ORIGIN, Row, directory, floor, interleave, print_table, random_entries

import merklelog
from merklelog.audit.monitor import Monitor, Patterns
from merklelog.audit.monitor_patterns import Matcher
from merklelog.formats import single_log_policy
from merklelog.publish import DirectoryStore, publish_copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=1_000_000)


def run(args: argparse.Namespace) -> None:
    """Measure the table. The ratio is to the floor of one core."""
    print(f"# ratios are to one core's floor: with {os.cpu_count()} cores, {os.cpu_count()}.0 is all of them")
    pool = random_entries(100_000)
    cells: list[tuple[Row, Callable[[], float]]] = []
    with directory() as path:
        _fill(path, pool, args.entries)
        for target in (str(path / "log"), f"dir:{path / 'identity'}", f"dir:{path / 'gzip'}"):
            kind = target.rsplit("/", 1)[1]
            for name, matcher in (("no matcher", None), ("a pattern", Patterns(["watched-for"]))):
                row = Row(f"monitor, {kind}, {name}", "entries/s")
                cells.append((row, partial(_monitor, target, path / "log", matcher)))
        interleave(args.runs, cells, partial(floor, pool))
    print_table([row for row, _ in cells])


def _fill(path: Path, pool: Sequence[bytes], count: int) -> None:
    merklelog.create_log(path / "log", ORIGIN)
    with merklelog.open(path / "log") as log:
        for start in range(0, count, 10_000):
            at = start % len(pool)
            log.append_batch(pool[at : at + min(10_000, count - start)])
    for encoding in ("identity", "gzip"):
        with merklelog.open_reader(path / "log") as log:
            store = DirectoryStore(path / encoding)
            publish_copy(log, store, verifiers=log.vkeys, bundle_encoding=encoding)


def _monitor(target: str, log: Path, matcher: Matcher | None) -> float:
    with merklelog.open_reader(log) as reader:
        policy = single_log_policy(reader.vkeys)
    with tempfile.TemporaryDirectory() as state:
        begun = time.perf_counter()
        entries = 0
        with Monitor([target], policy, state, matcher=matcher) as watch:
            while True:
                found = watch.round()
                entries += found.entries
                if not found.behind:
                    break
        seconds = time.perf_counter() - begun
        if watch.lasting:
            raise SystemExit(f"the monitor of {target} found {watch.lasting}")
    return entries / seconds
