"""One bit flipped in each kind of file that a log keeps: reported, or everything is there; never silently shorter.

A directory that is refused must be as it was, byte for byte.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

import merklelog
from tests.support.damage import Whole, copy, flip, outcome, records
from tests.support.logs import make

KINDS = {
    "table": "db/*.sst",
    "write-ahead log": "db/*.log",
    "manifest": "db/MANIFEST-*",
    "CURRENT": "db/CURRENT",
    "OPTIONS": "db/OPTIONS-*",
    "IDENTITY": "db/IDENTITY",
    "rocksdict": "db/rocksdict-config.json",
    "FORMAT": "FORMAT",
    "configuration": "merklelog.toml",
    "keys": "keys/*.key",
    "acknowledged": "acknowledged",
}
# Files in which every bit counts, all of which are read before a log opens.
ALWAYS_REFUSED = {"write-ahead log", "manifest", "CURRENT", "FORMAT"}
NEVER_READ = {"OPTIONS", "IDENTITY", "rocksdict"}


@pytest.fixture(autouse=True, scope="module")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """Readers sync what they read. No test here cuts the power: a thousand copies would be written for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@dataclass(frozen=True)
class State:
    """A log's directory and what must be in it."""

    directory: Path
    whole: Whole


def entry(index: int) -> bytes:
    return b"flipped %d %s" % (index, b"." * (index % 40))


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, State]]:
    """A log that was closed, and the same as a kill leaves it; with idempotency keys and identities."""
    folder = tmp_path_factory.mktemp("flipped")
    directory = make(folder / "log", log__dedupe=True, idempotency__days=36_500)
    seen = []
    with merklelog.open(directory) as log:
        seen.append(log.append_batch([entry(i) for i in range(500)], idempotency_key=b"first").checkpoint)
        seen.append(log.append(entry(500), identity=bytes(32), idempotency_key=b"second").checkpoint)
    with merklelog.open(directory) as log:
        seen += [log.append(entry(i), idempotency_key=b"%d" % i).checkpoint for i in range(501, 520)]
        seen.append(log.append_batch([entry(i) for i in range(520, 800)]).checkpoint)
        killed = copy(directory, folder / "killed")
    with merklelog.open_reader(directory) as reader:
        closed = State(directory, Whole.of(reader, seen))
    with merklelog.open_reader(killed) as reader:
        yield {"closed": closed, "killed": State(killed, Whole.of(reader, seen))}


def positions(path: Path, kind: str, count: int, rng: Random) -> list[tuple[int, int]]:
    """Bits anywhere, and where a reader of records looks first: lengths and types."""
    data = path.read_bytes()
    found = [(rng.randrange(len(data)), rng.randrange(8)) for _ in range(count)]
    if kind in {"write-ahead log", "manifest"}:
        for at, _ in rng.sample(records(data), min(6, len(records(data)))):
            found += [(at + rng.choice((4, 5, 6)), rng.randrange(8)) for _ in range(2)]
        last = records(data)[-1][0]
        found += [(last + 5, 6), (last + 6, 2)]
    return found


def run(state: State, kind: str, tmp_path: Path, *, write: bool, count: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    rng = Random(f"{kind} {write} {len(state.whole.entries)}")
    for path in sorted(state.directory.glob(KINDS[kind])):
        if not path.stat().st_size:
            continue
        for at, bit in positions(path, kind, count, rng):
            place = copy(state.directory, tmp_path / "log")
            flip(place / path.relative_to(state.directory), at, bit)
            try:
                outcomes[outcome(place, state.whole, write=write)] += 1
            except BaseException as error:
                error.add_note(f"bit {bit} of byte {at} of {path.name}, {write=}")
                raise
            shutil.rmtree(place)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("state", ["closed", "killed"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_bit(states: dict[str, State], tmp_path: Path, kind: str, state: str, write: bool) -> None:
    outcomes = run(states[state], kind, tmp_path, write=write, count=5)
    if (kind, state) == ("write-ahead log", "closed"):
        assert not outcomes, "a closed log has flushed it"
        return
    assert outcomes.total() >= 5
    if kind in ALWAYS_REFUSED:
        assert set(outcomes) == {"refused"}
    if kind in NEVER_READ:
        assert set(outcomes) == {"intact"}
    if kind == "table":
        assert outcomes["refused"] + outcomes["reported"] > outcomes["intact"]


def test_both_states_have_every_kind_of_file(states: dict[str, State]) -> None:
    for name, state in states.items():
        for kind, pattern in KINDS.items():
            files = [path for path in state.directory.glob(pattern) if path.stat().st_size]
            if (kind, name) == ("write-ahead log", "closed"):
                continue
            assert files, (name, kind)
    known = {path for pattern in KINDS.values() for path in states["killed"].directory.glob(pattern)}
    there = {path for path in states["killed"].directory.rglob("*") if path.is_file()}
    left = {path.name for path in there - known if "diary" not in path.parts}
    assert left <= {"LOCK", "lock"}, "a new kind of file: flip its bits too"


def test_the_judge_notices_what_is_missing(states: dict[str, State], tmp_path: Path) -> None:
    """A log that lost its last entries or its idempotency rows is not "intact"."""
    state = states["closed"]
    whole = state.whole
    more = Whole([*whole.entries, b"one more"], whole.seen, whole.rows)
    fewer_rows = Whole(whole.entries, whole.seen, whole.rows | {"idempotency": []})
    for wrong in (more, fewer_rows):
        with pytest.raises(AssertionError):
            outcome(copy(state.directory, tmp_path / f"{id(wrong)}"), wrong, write=False)
    assert outcome(copy(state.directory, tmp_path / "right"), whole, write=True) == "intact"
