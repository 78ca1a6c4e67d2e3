"""Bytes on disk: the data directory after commits of 1, 100 and 1,000, the write-ahead log, the published copy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from common import ORIGIN, Row, directory, disk_bytes, print_table, random_entries, windows_events

import merklelog
from merklelog.client import open_target
from merklelog.publish import DirectoryStore, publish_copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--commits", type=int, nargs="*", default=[1, 100, 1_000])


def run(args: argparse.Namespace) -> None:
    """Measure the table; sizes repeat, so each is measured once."""
    rows = []
    for name, entries in (("windows", windows_events()), ("random", random_entries(20_000))):
        raw = sum(map(len, entries))
        print(f"# {name}: {len(entries):,} entries, {raw:,} bytes")
        for commit in args.commits:
            rows += _measure(name, entries, raw, commit)
    rows.append(_wal())
    print_table(rows)


def _measure(name: str, entries: Sequence[bytes], raw: int, commit: int) -> list[Row]:
    with directory() as path:
        _append(path / "log", entries, commit)
        size = disk_bytes(path / "log")
        label = f"{name}, commits of {commit:,}"
        rows = [
            Row(f"{label}: directory", "of raw", [size / raw]),
            Row(f"{label}: directory", "bytes/entry", [size / len(entries)]),
        ]
        if commit == 1_000:
            for encoding in ("gzip", "identity"):
                with merklelog.open_reader(path / "log") as log:
                    copy = DirectoryStore(path / encoding)
                    publish_copy(log, copy, verifiers=log.vkeys, bundle_encoding=encoding)
                published = disk_bytes(path / encoding)
                rows.append(Row(f"{name}: published, {encoding}", "of raw", [published / raw]))
                open_target(f"dir:{path / encoding}").close()
        return rows


def _append(path: Path, entries: Sequence[bytes], commit: int) -> None:
    merklelog.create_log(path, ORIGIN)
    with merklelog.open(path) as log:
        for start in range(0, len(entries), commit):
            log.append_batch(entries[start : start + commit])


def _wal() -> Row:
    """Bytes that a commit of one entry adds to the write-ahead log beside the entry itself."""
    count = 200
    with directory() as path:
        merklelog.create_log(path / "log", ORIGIN)
        with merklelog.open(path / "log") as log:
            log.append(b"x" * 256)
            before = _wal_bytes(path / "log")
            for entry in random_entries(count):
                log.append(entry)
            after = _wal_bytes(path / "log")
    return Row("write-ahead log beside the entry, commits of 1", "bytes", [(after - before) / count - 256])


def _wal_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "db").glob("*.log"))
