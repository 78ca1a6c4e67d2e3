"""The benchmarks: `python bench/run.py append|reads|audit|disk|latency|start|service|producer|s3|pack|...`.

Each prints its environment and command, every measurement as it comes, then a table of medians with their spread
and, where it has one, the ratio to a reference measured in the same run. Nothing here passes or fails.
The Windows events are those in tests/vectors, or in the file of JSON lines (or a zip of one) that
MERKLELOG_BENCH_EVENTS names.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

NAMES = {
    "append": "append",
    "reads": "reads",
    "audit": "auditing",
    "disk": "disk",
    "latency": "latency",
    "start": "start",
    "service": "service",
    "producer": "producing",
    "s3": "s3",
    "recover": "recover",
    "pack": "pack",
    "witness": "witness",
    "witnessing": "witnessing",
    "monitor": "monitor",
    "records": "ingest_records",
    "search": "search",
    "otlp": "otlp",
}


def main() -> None:
    """Run the benchmark that the command line names."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("name", choices=NAMES, help="which benchmark; its own options: NAME --help")
    name = parser.parse_args(sys.argv[1:2]).name
    module = importlib.import_module(NAMES[name])
    options = argparse.ArgumentParser(prog=f"run.py {name}", description=module.__doc__)
    options.add_argument("--runs", type=int, default=3, help="rounds; each measures every cell once")
    module.add_arguments(options)
    args = options.parse_args(sys.argv[2:])
    importlib.import_module("common").print_environment(["bench/run.py", *sys.argv[1:]])
    module.run(args)


if __name__ == "__main__":
    main()
