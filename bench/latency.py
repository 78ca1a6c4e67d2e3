"""From the call of one append on an idle log to an inclusion proof that was verified: p50 and p99."""

from __future__ import annotations

import argparse
import time
from functools import partial

from common import ORIGIN, Row, directory, floor, fsync_seconds, print_table, random_entries

import merklelog
from merklelog.formats import parse_checkpoint
from merklelog.tree import leaf_hash, verify_inclusion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--appends", type=int, default=1_000, help="appends a run, one at a time")
    parser.add_argument("--pause", type=float, default=0.002, help="seconds of idleness before each")


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    entries = random_entries(args.appends)
    rows = {name: Row(name, "ms") for name in ("p50 append to verified proof", "p99", "an fsync")}
    for _ in range(args.runs):
        times = sorted(_times(entries, args.pause))
        values = (times[len(times) // 2], times[len(times) * 99 // 100], fsync_seconds())
        for row, value in zip(rows.values(), values, strict=True):
            row.values.append(1000 * value)
    print(f"# the hashing floor meanwhile: {partial(floor, random_entries(100_000))():,.0f} entries/s")
    print_table(rows.values())


def _times(entries: list[bytes], pause: float) -> list[float]:
    times = []
    with directory() as path:
        merklelog.create_log(path / "log", ORIGIN)
        with merklelog.open(path / "log") as log:
            log.append_batch(random_entries(10_000))
            for entry in entries:
                time.sleep(pause)
                begun = time.perf_counter()
                receipt = log.append(entry)
                root = parse_checkpoint(receipt.checkpoint).checkpoint.root
                verify_inclusion(leaf_hash(entry), receipt.index, receipt.size, receipt.proof, root)
                times.append(time.perf_counter() - begun)
    return times
