"""What CI runs briefly, run for long: `python tools/soak.py kills --count 1000` and `python tools/soak.py fuzz`.

Run it with the Python of the test environment: `.venv/test/bin/python tools/soak.py ...`. It ends with status 1 at
the first thing that should not be, and says how to see it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
LIVES = 10  # kills of one log before a new one is begun: judging a log costs what it holds


def kill_often(count: int, seed: int) -> int:
    """Kill a writer at random named steps, and judge what is left after each."""
    sys.path[:0] = [str(ROOT), str(TESTS / "crash"), str(TESTS / "support")]
    import checker
    import kills
    import logs

    done = 0
    while done < count:
        with tempfile.TemporaryDirectory(prefix="merklelog-soak-") as place:
            directory = logs.make(Path(place) / "log")
            told = kills.Witnessed()
            for life in range(LIVES):
                rng = random.Random(f"{seed}/{done}")
                step = rng.choice(kills.STEPS)
                often = rng.randrange(1, 4 if step == "kept" else 200)
                killed = kills.kill_once(directory, seed + done, step, often, told)
                try:
                    kills.judge(directory, told, checker.check_log)
                except AssertionError as error:
                    print(f"life {life}, step {step} x {often}: {error}; again with --seed {seed}")
                    return 1
                done += killed
                if done >= count:
                    break
        print(f"{done} of {count} kills, nothing lost", flush=True)
    return 0


def fuzz(seconds: float, seed: int, names: list[str]) -> int:
    """Feed every parser garbage and mutated input in turn, until the time is over."""
    sys.path[:0] = [str(ROOT), str(TESTS / "fuzz")]
    import targets

    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        for name in names or list(targets.TARGETS):
            try:
                targets.run(name, random.Random(f"{seed}/{rounds}/{name}"), 2_000)
            except Exception as error:  # noqa: BLE001 - whatever a parser lets out is what is looked for
                print(f"{name}: {type(error).__name__}: {error}; again with --seed {seed}, round {rounds}")
                return 1
        rounds += 1
        print(
            f"round {rounds}: {2_000 * len(names or targets.TARGETS):,} inputs each, nothing found",
            flush=True,
        )
    return 0


def main() -> int:
    """Dispatch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    commands = parser.add_subparsers(dest="what", required=True)
    kills = commands.add_parser("kills", help="kill a writer at the named steps of a commit")
    kills.add_argument("--count", type=int, default=1_000)
    fuzzing = commands.add_parser("fuzz", help="garbage into every parser of outside bytes")
    fuzzing.add_argument("--seconds", type=float, default=600)
    fuzzing.add_argument("targets", nargs="*", help="only these")
    args = parser.parse_args()
    if args.what == "kills":
        return kill_often(args.count, args.seed)
    return fuzz(args.seconds, args.seed, args.targets)


if __name__ == "__main__":
    sys.exit(main())
