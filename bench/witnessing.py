"""What witnesses add to a publication: a log with a directory as its target, and five witnesses on loopback.

The time counts from the pointer that shows what was published to the one that shows it cosigned by all of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common import ROOT, Row, directory, print_table

import merklelog
from merklelog.formats import format_vkey
from merklelog.log import open_log
from merklelog.protocol.publication import PublicationStep, StepName
from merklelog.witness.create import create_witness


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--witnesses", type=int, default=5)
    parser.add_argument("--publications", type=int, default=50)


def run(args: argparse.Namespace) -> None:
    """Medians of each round: the whole, the slowest witness, and what comes on top of it."""
    rows = [Row(name, "ms") for name in ("published to witnessed", "slowest witness", "beyond the slowest")]
    for _ in range(args.runs):
        for row, value in zip(rows, _measure(args), strict=True):
            row.values.append(value)
            print(row.line(), flush=True)
    print_table(rows)


def _measure(args: argparse.Namespace) -> tuple[float, float, float]:
    with directory() as path, ExitStack() as stack:
        log = path / "log"
        settings: dict[str, str | int | bool | float | tuple[str, ...]] = {
            "publish.targets": (f"dir:{path / 'copy'}",),
            "publish.interval": 0.05,
            "witness.policy": "witnesses.policy",
        }
        keys = merklelog.create_log(log, "bench.example/log", settings=settings)
        lines = [f"log {format_vkey(keys[0])}"]
        for n in range(args.witnesses):
            own = create_witness(path / f"w{n}", f"w{n}.example/w", logs=[keys[0]])
            address = stack.enter_context(_served(path / f"w{n}"))
            for kind, key in zip("ab", own, strict=True):
                lines.append(f"witness w{n}{kind} {format_vkey(key)} http://{address}")
            lines.append(f"group w{n} any w{n}a w{n}b")
        lines += [f"group all all {' '.join(f'w{n}' for n in range(args.witnesses))}", "quorum all", ""]
        (log / "witnesses.policy").write_text("\n".join(lines))
        return _publications(log, args.publications)


def _publications(log: Path, count: int) -> tuple[float, float, float]:
    """Milliseconds, medians over so many publications, one after the other."""
    at: dict[tuple[StepName, int], float] = {}

    def step(done: PublicationStep) -> None:
        at[done.name, done.size] = time.perf_counter()

    whole, slowest = [], []
    with open_log(log, publication_step=step) as opened:
        for size in range(1, count + 1):
            opened.append(b"%d" % size * 32)
            opened.wait_witnessed(size).result(60)
            status = opened.witnessing
            assert status is not None
            whole.append(1000 * (at[StepName.WITNESSED, size] - at[StepName.POINTED, size]))
            slowest.append(1000 * max(each.last_seconds for each in status.witnesses))
    extra = [all_of_it - witness for all_of_it, witness in zip(whole, slowest, strict=True)]
    middle = count // 2
    return sorted(whole)[middle], sorted(slowest)[middle], sorted(extra)[middle]


@contextmanager
def _served(path: Path) -> Iterator[str]:
    program = [sys.executable, "-m", "tests.witness.program", str(path), ""]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().decode().split()[0]
        finally:
            server.terminate()
