"""Entries a second that a recovery brings back from published copies, each leaf, tile and root verified."""

from __future__ import annotations

import argparse
import importlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from common import ORIGIN, Row, directory, floor, interleave, print_table, random_entries, resident_mb
from filling import fill_log, publish_both

import merklelog
from merklelog.client.targets import s3_options
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish import DirectoryStore, ObjectStore, publish_copy
from merklelog.publish.s3 import S3Store, open_s3

PARALLEL = 2  # as the command reads a directory


Cell = tuple[Row, Callable[[], float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--s3", metavar="URL", help="an empty s3://bucket/prefix to publish to as well")
    parser.add_argument(
        "--server",
        choices=["seaweedfs", "versitygw"],
        help="instead: a new bucket on this server, which is started for it and shares the machine",
    )


def run(args: argparse.Namespace) -> None:
    """Measure the table. The ratio is to the floor of one core: a recovery writes from one process."""
    pool = random_entries(100_000)
    with directory() as path, _bucket(args) as bucket:
        fill_log(path, pool, args.entries)
        publish_both(path)
        cells: list[Cell] = []
        for encoding in ("identity", "gzip"):
            row = Row(f"recover, random, directory, {encoding}", "entries/s")
            cells.append(
                (row, partial(_recover, path, DirectoryStore(path / encoding), PARALLEL, args.entries))
            )
        if bucket is not None:
            _publish(path, bucket, "gzip")
            row = Row("recover, random, S3, gzip", "entries/s")
            cells.append((row, partial(_recover, path, bucket, bucket.options.parallel, args.entries)))
        interleave(args.runs, cells, partial(floor, pool))
        print(f"# resident memory at the end: {resident_mb():.0f} MB")
        print_table(row for row, _ in cells)


@contextmanager
def _bucket(args: argparse.Namespace) -> Iterator[S3Store | None]:
    """Where the copy on S3 goes; None where none was asked for."""
    if args.server is None:
        yield open_s3(args.s3, s3_options()) if args.s3 else None
        return
    with importlib.import_module("tests.support.s3_servers").running(args.server) as server:
        name = f"bench-{secrets.token_hex(6)}"
        server.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        yield open_s3(f"s3://{name}/log", server.options())


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
