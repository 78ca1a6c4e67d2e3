"""The producer and the logging handler, each in its own process: entries a second whose receipts are verified."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from common import (  # noqa: E402 - this file is a load program too, run by its path
    ORIGIN,
    POOL,
    Row,
    directory,
    floor,
    interleave,
    print_table,
    random_entries,
)
from loads import served  # noqa: E402

import merklelog  # noqa: E402
from merklelog.client import MerklelogHandler, ProducerOptions, open_producer  # noqa: E402
from merklelog.formats import format_vkey  # noqa: E402


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--seconds", type=float, default=5.0, help="of each cell")
    parser.add_argument("--serve", nargs="*", default=[], help="more arguments for `merklelog serve`")


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    names = ("entries 1", "entries 2", "lone 1", "logging 1")
    rows = [
        Row("Producer.send to verified receipt, one process", "entries/s"),
        Row("the same, two processes on one log", "entries/s"),
        Row("one entry at a time, linger 0", "entries/s"),
        Row("logging.info to verified receipt", "records/s"),
    ]
    entries = random_entries(POOL)
    cells: list[tuple[Row, Callable[[], float]]] = [
        (row, partial(_measure, name, args.seconds, args.serve))
        for row, name in zip(rows, names, strict=True)
    ]
    interleave(args.runs, cells, partial(floor, entries))
    print_table(rows)


def _measure(name: str, seconds: float, serve: list[str]) -> float:
    """One cell: a fresh log, a server, the load programs; every entry is in the log at the end."""
    kind, count = name.split()
    with directory() as place:
        keys = merklelog.create_log(place / "log", ORIGIN)
        with served(*serve, str(place / "log")) as server:
            words = [kind, f"grpc://127.0.0.1:{server.grpc}", format_vkey(keys[0]), str(seconds)]
            command = [sys.executable, str(Path(__file__)), *words]
            before = server.cpu_seconds
            programs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(int(count))]
            printed = [json.loads(program.communicate()[0]) for program in programs]
            spent = server.cpu_seconds - before
            total = sum(each["count"] for each in printed)
            if server.size() != total:
                raise SystemExit(f"{name}: {total:,} were acknowledged and {server.size():,} are in the log")
            said = ", ".join(
                f"{key} {printed[0][key]:.3g}" for key in printed[0] if key not in {"count", "rate"}
            )
            print(
                f"  {name}: {said}, server {1e6 * spent / total:.1f} µs an entry, {server.resident_mb:.0f} MB"
            )
    return float(sum(each["rate"] for each in printed))


# --- the load programs -------------------------------------------------------------------------------------------


def _entries(target: str, key: str, seconds: float) -> dict[str, float]:
    """Send as fast as it goes."""
    entries = random_entries(8_192)
    count = 0
    with open_producer(target, [key]) as producer:
        begun, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - begun < seconds:
            for entry in entries:
                producer.send(entry)
            count += len(entries)
        producer.flush()
        spent, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"count": count, "rate": count / spent, "µs of this process an entry": 1e6 * cpu / count}


def _lone(target: str, key: str, seconds: float) -> dict[str, float]:
    """Wait for each receipt before the next entry."""
    entry = random_entries(1)[0]
    times: list[float] = []
    with open_producer(target, [key], ProducerOptions(linger_seconds=0)) as producer:
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            producer.send(entry).result()
            times.append(time.perf_counter() - begun)
    return {"count": len(times), "rate": len(times) / sum(times), **_spread(times, 1e3, "ms")}


def _logging(target: str, key: str, seconds: float) -> dict[str, float]:
    """Log as fast as it goes; what a call costs the program."""
    handler = MerklelogHandler(target, [key], {"block_seconds": 60})
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    times: list[float] = []
    begun = time.perf_counter()
    while (now := time.perf_counter()) < begun + seconds:
        logger.info("order %d was paid by %s", len(times), "a customer", extra={"amount": 12.5})
        times.append(time.perf_counter() - now)
    handler.flush()
    spent = time.perf_counter() - begun
    handler.close()
    if handler.lost:
        raise SystemExit(f"{handler.lost} records were lost")
    return {"count": handler.stored, "rate": handler.stored / spent, **_spread(times, 1e6, "µs a call")}


def _spread(times: list[float], scale: float, unit: str) -> dict[str, float]:
    times.sort()
    return {
        f"p50 {unit}": times[len(times) // 2] * scale,
        f"p99 {unit}": times[len(times) * 99 // 100] * scale,
    }


if __name__ == "__main__":
    programs = {"entries": _entries, "lone": _lone, "logging": _logging}
    print(json.dumps(programs[sys.argv[1]](sys.argv[2], sys.argv[3], float(sys.argv[4]))))
