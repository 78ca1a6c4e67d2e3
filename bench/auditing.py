"""Entries an audit recomputes a second: from a data directory and from published copies, on every core."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from common import ORIGIN, Row, directory, floor, interleave, print_table, random_entries

import merklelog
from merklelog.audit import audit
from merklelog.formats import single_log_policy
from merklelog.publish import DirectoryStore, publish_copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=2_000_000)


def run(args: argparse.Namespace) -> None:
    """Measure the table. The ratio is to the floor of one core; divide by the cores for a core's share."""
    print(f"# ratios are to one core's floor: with {os.cpu_count()} cores, {os.cpu_count()}.0 is all of them")
    rows = []
    for name, pool in (("random", random_entries(100_000)), ("compressible", _compressible(100_000))):
        with directory() as path:
            _fill(path, pool, args.entries)
            cells: list[tuple[Row, Callable[[], float]]] = []
            for target in (str(path / "log"), f"dir:{path / 'identity'}", f"dir:{path / 'gzip'}"):
                kind = target.rsplit("/", 1)[1]
                cells.append(
                    (Row(f"audit, {name}, {kind}", "entries/s"), partial(_audit, target, path / "log"))
                )
            interleave(args.runs, cells, partial(floor, pool))
            rows += [row for row, _ in cells]
    print_table(rows)


def _compressible(count: int) -> list[bytes]:
    line = b'{"actor":"user-%06d","action":"read","resource":"/accounts/%06d/statement","outcome":"success"}'
    return [(line % (i * 7919 % 1_000_000, i) * 3)[:256] for i in range(count)]


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


def _audit(target: str, log: Path) -> float:
    with merklelog.open_reader(log) as reader:
        policy = single_log_policy(reader.vkeys)
    begun = time.perf_counter()
    report = audit(target, policy)
    seconds = time.perf_counter() - begun
    if report.findings:
        raise SystemExit(f"the audit of {target} found {report.findings}")
    return report.entries / seconds
