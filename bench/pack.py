"""Entries a second out of a pack: by merklelog, and by the stand-alone program with its start."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import ROOT, Row, directory, floor, interleave, print_table, random_entries
from filling import compressible_entries, fill_log

import merklelog
from merklelog.cli import main
from merklelog.formats import Policy, format_vkey, single_log_policy
from merklelog.pack import verify_pack

SCRIPT = ROOT / "tools" / "verify_pack.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=1_000_000)


def run(args: argparse.Namespace) -> None:
    """Measure the table: entries of 256 bytes, half random and half like events; then sizes and memory."""
    print(f"# ratios are to one core's floor: with {os.cpu_count()} cores, {os.cpu_count()}.0 is all of them")
    rows = []
    for name, pool in (("random", random_entries(100_000)), ("events", compressible_entries(100_000))):
        with directory() as path:
            policy = _fill(path, pool, args.entries)
            start, end = 1_000, args.entries - 1_000
            made = Row(f"pack, {name}", "entries/s")
            cells: list[tuple[Row, Callable[[], float]]] = [(made, partial(_make, path, start, end))]
            _make(path, start, end)
            cells.append((Row(f"verify, {name}", "entries/s"), partial(_verify, path, policy, end - start)))
            bare = Row(f"verify_pack.py, {name}", "entries/s")
            cells.append((bare, partial(_bare, path, end - start)))
            interleave(args.runs, cells, partial(floor, pool))
            rows += [row for row, _ in cells]
            _print_overhead(path, name, pool)
    print_table(rows)


def _fill(path: Path, pool: list[bytes], count: int) -> Policy:
    fill_log(path, pool, count)
    with merklelog.open_reader(path / "log") as log:
        (path / "vkey").write_text(format_vkey(log.vkeys[0]))
        return single_log_policy(log.vkeys)


def _make(path: Path, start: int, end: int) -> float:
    begun = time.perf_counter()
    if main(["pack", str(path / "log"), f"{start}:{end}", "-o", str(path / "pack")]):
        raise SystemExit("the pack could not be made")
    return (end - start) / (time.perf_counter() - begun)


def _verify(path: Path, policy: Policy, count: int) -> float:
    begun = time.perf_counter()
    with (path / "pack").open("rb") as file:
        verify_pack(file, policy)
    return count / (time.perf_counter() - begun)


def _bare(path: Path, count: int) -> float:
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-I",
        "-S",
        str(SCRIPT),
        str(path / "pack"),
        "--vkey",
        (path / "vkey").read_text(),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return count / (time.perf_counter() - begun)


def _print_overhead(path: Path, name: str, pool: list[bytes]) -> None:
    """What a pack of 1,000 entries adds to them, when nothing is taken off for their compression."""
    if main(["pack", str(path / "log"), "5000:6000", "-o", str(path / "small")]):
        raise SystemExit("the pack could not be made")
    size, entries = (path / "small").stat().st_size, sum(map(len, pool[5000:6000]))
    print(
        f"# a pack of 1,000 entries, {name}: {size:,} bytes, entries {entries:,}, more by {size - entries:,}"
    )
