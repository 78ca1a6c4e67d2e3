"""Entries an audit recomputes a second: from a data directory and from published copies, on every core."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import (
    Row,
    directory,
    floor,
    floor_of_every_core,
    interleave,
    print_table,
    random_entries,
)
from filling import compressible_entries, fill_log, publish_both

import merklelog
from merklelog.audit import audit
from merklelog.formats import single_log_policy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=2_000_000)


def run(args: argparse.Namespace) -> None:
    """Measure the table. The ratio is to the floor of one core; divide by the cores for a core's share, or by the
    ratio of the bare hashing on all of them, which is less than their number where cores slow each other.
    """
    print(f"# ratios are to one core's floor: with {os.cpu_count()} cores, {os.cpu_count()}.0 is all of them")
    rows = []
    for name, pool in (("random", random_entries(100_000)), ("compressible", compressible_entries(100_000))):
        with directory() as path:
            fill_log(path, pool, args.entries)
            publish_both(path)
            every = Row(f"bare hashing on every core at once, {name}", "entries/s")
            cells: list[tuple[Row, Callable[[], float]]] = [(every, partial(floor_of_every_core, pool))]
            for target in (str(path / "log"), f"dir:{path / 'identity'}", f"dir:{path / 'gzip'}"):
                kind = target.rsplit("/", 1)[1]
                cells.append(
                    (Row(f"audit, {name}, {kind}", "entries/s"), partial(_audit, target, path / "log"))
                )
            interleave(args.runs, cells, partial(floor, pool))
            rows += [row for row, _ in cells]
    print_table(rows)


def _audit(target: str, log: Path) -> float:
    with merklelog.open_reader(log) as reader:
        policy = single_log_policy(reader.vkeys)
    begun = time.perf_counter()
    report = audit(target, policy)
    seconds = time.perf_counter() - begun
    if report.findings:
        raise SystemExit(f"the audit of {target} found {report.findings}")
    return report.entries / seconds
