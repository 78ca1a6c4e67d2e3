"""Proofs and random reads a second, from a log that was written, compressed and opened anew."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from functools import partial

from append import fill
from common import Row, directory, floor, interleave, print_table, random_entries

import merklelog
from merklelog.formats import parse_checkpoint
from merklelog.tree import leaf_hash, verify_consistency, verify_inclusion

COUNT = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=1_000_000, help="size of the log")


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    pool = random_entries(100_000)
    with directory() as path:
        fill(path / "log", args.entries)
        with merklelog.open_reader(path / "log") as log:
            names: list[tuple[str, str, Callable[[merklelog.LogReader], float]]] = [
                ("inclusion proof built and verified, random", "proofs/s", _inclusion),
                ("1,000 inclusion proofs in one call and verified", "proofs/s", _many),
                ("consistency proof built and verified, random", "proofs/s", _consistency),
                ("entry, random", "entries/s", _entries),
                ("full tile, random", "tiles/s", _tiles),
                ("full bundle, random", "bundles/s", _bundles),
            ]
            cells = [(Row(name, unit), partial(measure, log)) for name, unit, measure in names]
            interleave(args.runs, cells, partial(floor, pool))
    print_table(row for row, _ in cells)


def _rate(count: int, begun: float) -> float:
    return count / (time.perf_counter() - begun)


def _inclusion(log: merklelog.LogReader) -> float:
    indexes = [random.randrange(log.size) for _ in range(COUNT)]
    leaves = [leaf_hash(log.entry(index)) for index in indexes]
    log.refresh()  # nothing is cached
    root = log.root
    begun = time.perf_counter()
    for index, leaf in zip(indexes, leaves, strict=True):
        verify_inclusion(leaf, index, log.size, log.inclusion_proof(index), root)
    return _rate(COUNT, begun)


def _many(log: merklelog.LogReader) -> float:
    indexes = [random.randrange(log.size) for _ in range(COUNT)]
    leaves = [leaf_hash(log.entry(index)) for index in indexes]
    log.refresh()  # nothing is cached
    root = log.root
    begun = time.perf_counter()
    proofs = log.inclusion_proofs(indexes)
    for index, leaf, proof in zip(indexes, leaves, proofs, strict=True):
        verify_inclusion(leaf, index, log.size, proof, root)
    return _rate(COUNT, begun)


def _consistency(log: merklelog.LogReader) -> float:
    stored = list(log.stored_sizes())
    roots = {size: parse_checkpoint(log.checkpoint(size)).checkpoint.root for size in stored}
    sizes = [random.choice(stored) for _ in range(COUNT)]
    log.refresh()
    begun = time.perf_counter()
    for size in sizes:
        verify_consistency(size, log.size, roots[size], log.root, log.consistency_proof(size))
    return _rate(COUNT, begun)


def _entries(log: merklelog.LogReader) -> float:
    indexes = [random.randrange(log.size) for _ in range(COUNT)]
    begun = time.perf_counter()
    for index in indexes:
        log.entry(index)
    return _rate(COUNT, begun)


def _tiles(log: merklelog.LogReader) -> float:
    numbers = [random.randrange(log.size >> 8) for _ in range(COUNT)]
    begun = time.perf_counter()
    for number in numbers:
        log.tile(0, number)
    return _rate(COUNT, begun)


def _bundles(log: merklelog.LogReader) -> float:
    numbers = [random.randrange(log.size >> 8) for _ in range(COUNT)]
    begun = time.perf_counter()
    for number in numbers:
        log.bundle(number)
    return _rate(COUNT, begun)
