"""Entries a monitor verifies a second: a new monitor over a whole log, from a data directory and published
copies.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import Row, directory, floor, interleave, print_table, random_entries
from filling import fill_log, publish_both

import merklelog
from merklelog.audit.monitor import Monitor, Patterns
from merklelog.audit.monitor_patterns import Matcher
from merklelog.formats import single_log_policy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=1_000_000)


def run(args: argparse.Namespace) -> None:
    """Measure the table. The ratio is to the floor of one core."""
    print(f"# ratios are to one core's floor: with {os.cpu_count()} cores, {os.cpu_count()}.0 is all of them")
    pool = random_entries(100_000)
    cells: list[tuple[Row, Callable[[], float]]] = []
    with directory() as path:
        fill_log(path, pool, args.entries)
        publish_both(path)
        for target in (str(path / "log"), f"dir:{path / 'identity'}", f"dir:{path / 'gzip'}"):
            kind = target.rsplit("/", 1)[1]
            for name, matcher in (("no matcher", None), ("a pattern", Patterns(["watched-for"]))):
                row = Row(f"monitor, {kind}, {name}", "entries/s")
                cells.append((row, partial(_monitor, target, path / "log", matcher)))
        interleave(args.runs, cells, partial(floor, pool))
    print_table([row for row, _ in cells])


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
