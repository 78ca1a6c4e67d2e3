"""Appends in process: durable entries a second by batch size, four in flight or one at a time, dedupe or not."""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from common import (
    ORIGIN,
    POOL,
    Row,
    directory,
    floor,
    interleave,
    print_table,
    random_entries,
    windows_events,
)

import merklelog

SECONDS_CAP = 12.0
IN_FLIGHT = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=2_000_000, help="entries a run, from an empty log")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 16, 100, 1_000, 10_000])
    parser.add_argument("--data", choices=["random", "windows", "both"], default="both")
    parser.add_argument("--no-dedupe", action="store_true", help="leave out the runs with dedupe")
    parser.add_argument(
        "--prefill", type=int, default=0, help="dedupe: this many identities are there already"
    )


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    if args.prefill:
        _prefilled(args)
        return
    rows = []
    for data in ("random", "windows") if args.data == "both" else (args.data,):
        entries = random_entries(POOL) if data == "random" else windows_events()
        cells: list[tuple[Row, Callable[[], float]]] = []
        for dedupe in (False,) if args.no_dedupe else (False, True):
            for batch in args.batches:
                for flying in (1, IN_FLIGHT):
                    name = f"{data} batch {batch} {'in flight 4' if flying > 1 else 'blocking'}"
                    row = Row(name + (" dedupe" if dedupe else ""), "entries/s")
                    cells.append((row, partial(_fresh, entries, args.entries, batch, flying, dedupe)))
        if data == "random":
            cells += _singles(entries)
        interleave(args.runs, cells, partial(floor, entries))
        rows += [row for row, _ in cells]
    print_table(rows)


def _fresh(entries: Sequence[bytes], total: int, batch: int, flying: int, dedupe: bool) -> float:
    with directory() as path:
        merklelog.create_log(path / "log", ORIGIN, settings={"log.dedupe": dedupe})
        with merklelog.open(path / "log") as log:
            return drive(log, entries, total, batch, flying, unique=dedupe)


def drive(
    log: merklelog.Log, entries: Sequence[bytes], total: int, batch: int, flying: int, *, unique: bool
) -> float:
    """Append for up to SECONDS_CAP seconds or `total` entries; gives entries a second, all durable.

    `unique` puts a counter in front of each entry, made outside the timed part in chunks, or dedupe would find
    every entry of the pool's second round.
    """
    done, spent, waiting = 0, 0.0, deque[object]()
    while done < total and spent < SECONDS_CAP:
        # Large enough that the pipeline is full for most of it: it runs dry at the end of each chunk.
        size = 20_000 if batch < 100 else 200_000
        chunk = _chunk(entries, done, min(total - done, size), unique)
        begun = time.perf_counter()
        for start in range(0, len(chunk), batch):
            waiting.append(log.submit_batch(chunk[start : start + batch]))
            if len(waiting) >= flying:
                waiting.popleft().result()  # type: ignore[attr-defined]
        while waiting:
            waiting.popleft().result()  # type: ignore[attr-defined]
        spent += time.perf_counter() - begun
        done += len(chunk)
    return done / spent


def _chunk(entries: Sequence[bytes], start: int, count: int, unique: bool) -> list[bytes]:
    taken = [entries[(start + i) % len(entries)] for i in range(count)]
    return [(start + i).to_bytes(8, "big") + entry[8:] for i, entry in enumerate(taken)] if unique else taken


def _singles(entries: Sequence[bytes]) -> list[tuple[Row, Callable[[], float]]]:
    return [
        (Row("256 asyncio tasks, one entry each call", "entries/s"), partial(_async, entries, 256, 600)),
        (Row("16 asyncio tasks, one entry each call", "entries/s"), partial(_async, entries, 16, 3_000)),
        (Row("256 threads, one entry each call", "entries/s"), partial(_threads, entries, 256, 200)),
    ]


def _async(entries: Sequence[bytes], tasks: int, each: int) -> float:
    async def one(log: merklelog.Log) -> None:
        for i in range(each):
            await log.append_async(entries[i])

    async def all_of(log: merklelog.Log) -> float:
        begun = time.perf_counter()
        await asyncio.gather(*(one(log) for _ in range(tasks)))
        return tasks * each / (time.perf_counter() - begun)

    with directory() as path:
        merklelog.create_log(path / "log", ORIGIN)
        with merklelog.open(path / "log") as log:
            return asyncio.run(all_of(log))


def _threads(entries: Sequence[bytes], count: int, each: int) -> float:
    def work(log: merklelog.Log) -> None:
        for i in range(each):
            log.append(entries[i])

    with directory() as path:
        merklelog.create_log(path / "log", ORIGIN)
        with merklelog.open(path / "log") as log:
            threads = [threading.Thread(target=work, args=(log,)) for _ in range(count)]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return count * each / (time.perf_counter() - begun)


def _prefilled(args: argparse.Namespace) -> None:
    """Exact dedupe in a log that has `--prefill` identities: filled once, then each cell goes on from there."""
    entries = random_entries(POOL)
    rows = [
        Row(f"dedupe at {args.prefill:,}, batch {batch} in flight 4", "entries/s")
        for batch in (1_000, 10_000)
    ]
    with directory() as path:
        fill(path / "log", args.prefill, dedupe=True)
        with merklelog.open(path / "log") as log:
            cells = [
                (row, partial(_go_on, log, entries, args.entries, batch))
                for row, batch in zip(rows, (1_000, 10_000), strict=True)
            ]
            interleave(args.runs, cells, partial(floor, entries))
    print_table(rows)


def _go_on(log: merklelog.Log, entries: Sequence[bytes], total: int, batch: int) -> float:
    shifted = random_entries(len(entries)) if log.size else list(entries)
    return drive(log, shifted, total, batch, IN_FLIGHT, unique=True)


def fill(path: Path, count: int, *, dedupe: bool = False) -> None:
    """A log of `count` random entries of 256 bytes."""
    merklelog.create_log(path, ORIGIN, settings={"log.dedupe": dedupe})
    entries = random_entries(POOL)
    with merklelog.open(path) as log:
        waiting = deque[object]()
        for start in range(0, count, 10_000):
            chunk = _chunk(entries, start, min(10_000, count - start), unique=True)
            waiting.append(log.submit_batch(chunk))
            if len(waiting) >= IN_FLIGHT:
                waiting.popleft().result()  # type: ignore[attr-defined]
        while waiting:
            waiting.popleft().result()  # type: ignore[attr-defined]
