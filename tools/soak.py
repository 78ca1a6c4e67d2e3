"""What CI runs briefly, run for long: `tools/soak.py kills --count 1000`, `publications`, `walks`,
`fuzz`, `service`, `overload` or `collector`.

Run it with the Python of the test environment: `.venv/test/bin/python tools/soak.py ...`. It ends with status 1 at
the first thing that should not be, and says how to see it again.
"""

from __future__ import annotations

import argparse
import importlib
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

    done = lives = 0
    while done < count:
        with tempfile.TemporaryDirectory(prefix="merklelog-soak-") as place:
            directory = logs.make(Path(place) / "log")
            told = kills.Witnessed()
            for life in range(LIVES):
                # Counted apart from `done`: a life that ends without a kill must not be lived again and again.
                lives += 1
                rng = random.Random(f"{seed}/{lives}")
                step = rng.choice(kills.STEPS)
                often = rng.randrange(1, 4 if step == "kept" else 200)
                killed = kills.kill_once(directory, seed + lives, step, often, told)
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


def kill_publications(count: int, seed: int) -> int:
    """Kill publications of a growing log at random steps; the copy is whole for what it shows after each."""
    sys.path[:0] = [str(ROOT), str(TESTS / "publish")]
    import copy_checker
    import memory_log
    import test_publish_kill

    done = copies = 0
    while done < count:
        choice = random.Random(f"{seed}/{copies}")
        log = memory_log.MemoryLog()
        with tempfile.TemporaryDirectory(prefix="merklelog-soak-") as place:
            for _ in range(LIVES):
                log.grow(log.size + choice.randrange(300))
                done += test_publish_kill.killed_at(choice.randrange(60), log, Path(place))
                try:
                    copy_checker.complete(Path(place), log.vkeys, log.entries)
                except AssertionError as error:
                    print(f"copy {copies}, after {done} kills: {error}; again with --seed {seed}")
                    return 1
            test_publish_kill.publish(log, Path(place))
            copy_checker.complete(Path(place), log.vkeys, log.entries)
        copies += 1
        print(f"{done} of {count} kills of a publication, every copy whole", flush=True)
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


def walk(count: int, seed: int) -> int:
    """Random lives of two writers on one or two publish targets; each step of theirs is one of the model."""
    sys.path[:0] = [str(ROOT), str(TESTS / "publication_model")]
    walks = importlib.import_module("publication_walk")
    for number in range(seed, seed + count):
        life = walks.Walk(number, targets=1 + number % 2)
        try:
            life.run(300)
        except Exception as error:  # noqa: BLE001 - whatever it is, the walk that shows it is told
            print(
                f"walk {number}: {type(error).__name__}: {error}; again with --seed {number} walks --count 1"
            )
            return 1
        if (number + 1 - seed) % 100 == 0:
            print(f"{number + 1 - seed} of {count} walks, each a path of the model", flush=True)
    return 0


def abuse_service(seconds: float, seed: int, door: str) -> int:
    """Good clients and every flood in turn, on one server; its memory is flat and nothing acknowledged is lost."""
    sys.path[:0] = [str(ROOT), str(TESTS / "servers" / "abuse")]
    soaking = importlib.import_module({"grpc": "soaking", "http": "http_soaking"}[door])
    with tempfile.TemporaryDirectory(prefix="merklelog-soak-") as place:
        wrong = soaking.soak(Path(place), seconds, seed)
    print(wrong or "nothing found")
    return 1 if wrong else 0


def overload_service(seconds: float) -> int:
    """Ten times what a log takes, on each front: bounded memory, honest refusals, nothing acknowledged lost."""
    sys.path[:0] = [str(ROOT), str(TESTS / "servers" / "abuse")]
    overload = importlib.import_module("overload")
    wrong = ""
    for front in ("grpcio", "native"):
        with tempfile.TemporaryDirectory(prefix="merklelog-soak-") as place:
            wrong = wrong or overload.overload(Path(place), seconds, front)
    print(wrong or "nothing found")
    return 1 if wrong else 0


def collect(count: int, kills: int) -> int:
    """Events from an SDK by a Collector, killed once, to a receiver, killed often: each is there once."""
    sys.path[:0] = [str(ROOT)]
    ends = importlib.import_module("tests.collector.ends")
    with tempfile.TemporaryDirectory(prefix="merklelog-soak-") as place:
        chain = ends.Ends(Path(place))
        try:
            story = ends.run(chain, count, group=512, kills=kills, say=lambda line: print(line, flush=True))
        finally:
            chain.close()
        try:
            ends.judge(chain.log, count)
        except AssertionError as error:
            print(error)
            return 1
    rate = count / story.seconds
    print(
        f"{count:,} events, each once, {story.repeats} groups sent again: {story.seconds:.0f} s, {rate:,.0f}/s"
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
    publications = commands.add_parser("publications", help="kill publications at their steps")
    publications.add_argument("--count", type=int, default=1_000)
    walks = commands.add_parser("walks", help="two writers that publish, step by step against the model")
    walks.add_argument("--count", type=int, default=1_000)
    fuzzing = commands.add_parser("fuzz", help="garbage into every parser of outside bytes")
    fuzzing.add_argument("--seconds", type=float, default=600)
    fuzzing.add_argument("targets", nargs="*", help="only these")
    service = commands.add_parser("service", help="load and abuse of the native front, or of the lean one")
    service.add_argument("--seconds", type=float, default=3_600)
    service.add_argument("--door", choices=("grpc", "http"), default="grpc", help="http: the lean front")
    overload = commands.add_parser("overload", help="ten times what a log takes, on each front")
    overload.add_argument("--seconds", type=float, default=60)
    collector = commands.add_parser("collector", help="kills between an SDK, a Collector and a log")
    collector.add_argument("--count", type=int, default=1_000_000)
    collector.add_argument("--kills", type=int, default=3, help="of the receiver")
    args = parser.parse_args()
    if args.what == "kills":
        return kill_often(args.count, args.seed)
    if args.what == "publications":
        return kill_publications(args.count, args.seed)
    if args.what == "walks":
        return walk(args.count, args.seed)
    if args.what == "collector":
        return collect(args.count, args.kills)
    if args.what == "overload":
        return overload_service(args.seconds)
    if args.what == "service":
        return abuse_service(args.seconds, args.seed, args.door)
    return fuzz(args.seconds, args.seed, args.targets)


if __name__ == "__main__":
    sys.exit(main())
