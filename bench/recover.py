"""Entries a second that a recovery brings back from published copies, each leaf, tile and root verified."""

from __future__ import annotations

import argparse
import shutil
import time
from functools import partial
from pathlib import Path

from common import ORIGIN, Row, directory, floor, interleave, print_table, random_entries, resident_mb
from filling import fill_log, publish_both

import merklelog
from merklelog.client.targets import s3_options
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish import DirectoryStore, ObjectStore, publish_copy
from merklelog.publish.targets import open_store

PARALLEL = 2  # as the command reads a directory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--s3", metavar="URL", help="an empty s3://bucket/prefix to publish to as well")


def run(args: argparse.Namespace) -> None:
    """Measure the table. The ratio is to the floor of one core: a recovery writes from one process."""
    pool = random_entries(100_000)
    with directory() as path:
        fill_log(path, pool, args.entries)
        publish_both(path)
        cells = []
        for encoding in ("identity", "gzip"):
            row = Row(f"recover, random, directory, {encoding}", "entries/s")
            cells.append(
                (row, partial(_recover, path, DirectoryStore(path / encoding), PARALLEL, args.entries))
            )
        if args.s3:
            options = s3_options()
            bucket = open_store(args.s3, options)
            _publish(path, bucket, "gzip")
            row = Row("recover, random, S3, gzip", "entries/s")
            cells.append((row, partial(_recover, path, bucket, options.parallel, args.entries)))
        interleave(args.runs, cells, partial(floor, pool))
        print(f"# resident memory at the end: {resident_mb():.0f} MB")
        print_table(row for row, _ in cells)


def _publish(path: Path, store: ObjectStore, encoding: str) -> None:
    with merklelog.open_reader(path / "log") as reader:
        publish_copy(reader, store, verifiers=reader.vkeys, bundle_encoding=encoding)


def _recover(path: Path, store: ObjectStore, parallel: int, count: int) -> float:
    place = path / "recovered"
    shutil.rmtree(place, ignore_errors=True)
    signers = load_signers(path / "log" / "keys", ORIGIN)
    begun = time.perf_counter()
    report = recover_log(place, store, signers, static_copy=True, parallel=parallel)
    seconds = time.perf_counter() - begun
    if report.size != count or report.remarks:
        raise SystemExit(f"recovered {report.size} of {count} entries: {report.remarks}")
    return count / seconds
