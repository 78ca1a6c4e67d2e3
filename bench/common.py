"""What every benchmark shares: the environment it prints, interleaved runs, medians, and the hashing floor.

The floor is the reference of every figure: the bare cost of hashing the same entries and the nodes above them with
hashlib in one thread, which no log of RFC 6962 trees can go below in Python. It is measured several times right
before and right after each cell, and the quickest of these counts: what else a machine does can make bare hashing
slower and never quicker, and a slow floor would flatter a ratio.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.synchronize import Barrier
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORIGIN = "bench.example/log"
RANDOM_BYTES = 256
POOL = 100_000
_EVENTS = ROOT / "tests" / "vectors" / "events" / "windows-events.zip"


@dataclass
class Row:
    """One line of a table: what was measured, its values over the runs, and those of its reference."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)
    usual: list[float] = field(default_factory=list)  # medians of what each floor is the quickest of

    def line(self) -> str:
        """Median, spread, the median of the ratios pair by pair, and how much the reference was disturbed."""
        if not self.values:
            return f"{self.name:<44} not measured"
        median, low, high = statistics.median(self.values), min(self.values), max(self.values)
        text = (
            f"{self.name:<44} {_figure(median):>12} {self.unit:<12} {_figure(low):>10} - {_figure(high):<10}"
        )
        if self.floors:
            ratios = [value / floor for value, floor in zip(self.values, self.floors, strict=True)]
            text += (
                f" {statistics.median(ratios):>6.2f} of the floor {_figure(statistics.median(self.floors))}"
            )
        if self.usual:
            text += f", whose usual speed was {_figure(statistics.median(self.usual))}"
        return text


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


# Measures of the reference right before each cell, and as many right after it.
_REFERENCES = 4

# A process rests when it took less than a twentieth of a core for this long, so often in a row.
_REST_SECONDS = 0.1
_REST_ENOUGH = 3
_REST_CHECKS = 1_200


def print_environment(command: Sequence[str]) -> None:
    """What a reader needs to judge the figures."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("rocksdict", "cryptography", "numpy"))
    print(f"# {' '.join(command)}")
    print(f"# {platform.platform()}, {os.cpu_count()} cores, {_processor()}")
    print(f"# Python {platform.python_version()}, {libraries}; {_revision()}")
    print(f"# fsync of 4 KiB in the benchmark's directory: {1000 * fsync_seconds():.2f} ms (median of 50)")
    sys.stdout.flush()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _revision() -> str:
    found = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return f"merklelog {found.stdout.strip() or 'unknown revision'}"


def fsync_seconds() -> float:
    """Median time of writing 4 KiB and syncing it."""
    times = []
    with tempfile.TemporaryFile(dir=scratch()) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def scratch() -> Path:
    """Where benchmarks write: a real disk, not the memory file system that /tmp may be."""
    path = Path(os.environ.get("MERKLELOG_BENCH_DIR", ROOT / "build" / "bench"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def directory() -> Iterator[Path]:
    """A fresh directory, gone afterwards."""
    path = Path(tempfile.mkdtemp(dir=scratch()))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def random_entries(count: int, size: int = RANDOM_BYTES) -> list[bytes]:
    """Entries that can not be compressed."""
    data = os.urandom(count * size)
    return [data[i : i + size] for i in range(0, len(data), size)]


def windows_events() -> list[bytes]:
    """The 13,645 real events in the repository; others from MERKLELOG_BENCH_EVENTS, a JSON-lines file or a zip
    that holds one.
    """
    path = Path(os.environ.get("MERKLELOG_BENCH_EVENTS", _EVENTS))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            data = archive.read(archive.namelist()[0])
    else:
        data = path.read_bytes()
    return [line for line in data.split(b"\n") if line]


def floor(entries: Sequence[bytes]) -> float:
    """Entries hashed a second, leaves and the nodes above them, bare hashlib in one thread."""
    sha256 = hashlib.sha256
    gc.collect()
    begun = time.perf_counter()
    nodes = [sha256(b"\0" + entry).digest() for entry in entries]
    while len(nodes) > 1:
        nodes = [
            sha256(b"\1" + left + right).digest()
            for left, right in zip(nodes[::2], nodes[1::2], strict=False)
        ]
    return len(entries) / (time.perf_counter() - begun)


_together: Barrier  # of the processes of `floor_of_every_core`, in each of them


def floor_of_every_core(entries: Sequence[bytes]) -> float:
    """The sum of the floors of one process a core, all at once: cores that share power or caches are not so quick
    together as one is alone, and a program on all of them can reach no more than this.
    """
    count = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(count)
    size = len(entries[0])
    with ProcessPoolExecutor(count, context, _meet, (together,)) as pool:
        return sum(pool.map(_floor_of_one, [len(entries)] * count, [size] * count))


def _meet(together: Barrier) -> None:
    global _together
    _together = together


def _floor_of_one(count: int, size: int) -> float:
    entries = random_entries(count, size)
    _together.wait()
    return statistics.median(floor(entries) for _ in range(5))


def interleave(
    runs: int, cells: Iterable[tuple[Row, Callable[[], float]]], reference: Callable[[], float]
) -> None:
    """Measure each cell once a round, with the reference right before and after it, of which the quickest counts;
    the first round warms up nothing: logs begin empty every time.
    """
    listed = list(cells)
    for _ in range(runs):
        for row, measure in listed:
            await_rest()
            beside = [reference() for _ in range(_REFERENCES)]
            gc.collect()
            value = measure()
            await_rest()
            beside += [reference() for _ in range(_REFERENCES)]
            row.values.append(value)
            row.floors.append(max(beside))
            row.usual.append(statistics.median(beside))
            print(row.line(), flush=True)


def await_rest() -> None:
    """Wait until this process has nothing to do: what it compacts would slow the reference and flatter a ratio."""
    resting = 0
    for _ in range(_REST_CHECKS):
        begun = time.process_time()
        time.sleep(_REST_SECONDS)
        resting = resting + 1 if time.process_time() - begun < _REST_SECONDS / 20 else 0
        if resting == _REST_ENOUGH:
            return
    raise SystemExit("bench: this process does not come to rest, so nothing can be measured beside it")


def resident_mb(pid: int | str = "self") -> float:
    """Resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


def disk_bytes(path: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def print_table(rows: Iterable[Row]) -> None:
    """The final lines, each row once."""
    print("\n## result (median, spread, ratio to the reference of the same run)")
    for row in rows:
        print(row.line())
