"""Who observes a log hears of each commit, in order and with its numbers; and what waits can be asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import StoppedError
from merklelog.log import open_log
from tests.support import logs

ROOMY = {"store.min_free_bytes": 0, "log.dedupe": True}


@dataclass
class Notes:
    """Writes down what it hears. `broken` is a step, or "committed", at which it raises."""

    origin: str
    broken: str = ""
    heard: list[str] = field(default_factory=list)
    commits: list[tuple[int, int, int]] = field(default_factory=list)
    threads: dict[str, set[str]] = field(default_factory=dict)

    def step(self, name: str) -> None:
        self.heard.append(name)
        self.threads.setdefault(threading.current_thread().name, set()).add(name)
        if name == self.broken:
            raise RuntimeError("a mistake of an observer")

    def committed(self, requests: int, entries: Sequence[bytes]) -> None:
        self.commits.append((requests, len(entries), sum(map(len, entries))))
        if self.broken == "committed":
            raise RuntimeError("a mistake of an observer")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    merklelog.create_log(tmp_path / "log", "observed.example/log", settings=ROOMY)
    return tmp_path / "log"


def test_each_commit_is_told_once_with_its_numbers(directory: Path) -> None:
    made: list[Notes] = []

    def observer(origin: str) -> Notes:
        made.append(Notes(origin))
        return made[-1]

    with open_log(directory, observer=observer) as log:
        log.append(b"one")
        log.append_batch([b"two", b"three", b"one"])  # of which one is there already
        log.append(b"two")  # nothing new, and a commit all the same
    assert [notes.origin for notes in made] == ["observed.example/log"]
    assert made[0].commits == [(1, 1, 3), (1, 2, 8), (1, 0, 0)]


def test_steps_come_in_their_order_from_two_threads(directory: Path) -> None:
    notes, durably = Notes(""), {"gathered", "synced", "settled"}
    with open_log(directory, observer=lambda _: notes) as log:
        log.append(b"one")
    assert (
        notes.threads["merklelog-sequencer"]
        >= {"drained", "planned", "hashed", "signed", "written"} | durably
    )
    assert notes.threads["merklelog-syncer"] == durably  # the checkpoint that is kept at the end
    made = [name for name in notes.heard if name in {"drained", "planned", "hashed", "signed", "written"}]
    assert made == ["drained", "planned", "hashed", "signed", "written"]
    durable = [name for name in notes.heard if name in {"gathered", "synced", "settled"}]
    assert durable[:3] == ["gathered", "synced", "settled"]
    assert len(durable) % 3 == 0


def test_a_tests_steps_are_told_too(directory: Path) -> None:
    notes, passed = Notes(""), []
    with open_log(directory, observer=lambda _: notes, step=passed.append) as log:
        log.append(b"one")
    assert passed == notes.heard


@pytest.mark.parametrize("broken", ["drained", "written", "committed", "gathered", "synced"])
def test_an_observer_that_raises_stops_the_log_and_everyone_hears_of_it(directory: Path, broken: str) -> None:
    """It must not; but then it is as any other mistake at that place, and nobody waits for ever."""
    log = open_log(directory, observer=lambda origin: Notes(origin, broken))
    with pytest.raises(StoppedError):
        log.append(b"one", idempotency_key="key")
    assert log.stopped
    with pytest.raises(StoppedError):
        log.close()
    with merklelog.open(directory) as again:
        assert again.append(b"one", idempotency_key="key").index == 0
        assert again.size == 1


def test_what_waits_can_be_asked_for(tmp_path: Path) -> None:
    world, gate, entered = logs.FakeWorld(), threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "planned":
            entered.set()
            gate.wait(60)

    world.on_step = hold
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(), world) as log:
        assert log.pending == (0, 0)
        first = log.submit(b"x" * 100)
        assert entered.wait(60)
        queued, held = log.pending
        assert (queued, held >= 100) == (0, True)  # a commit has it, and it is not durable
        rest = [log.submit(b"x" * 100) for _ in range(3)]
        assert log.pending == (3, 4 * held)
        gate.set()
        for future in (first, *rest):
            future.result(60)
        assert log.pending == (0, 0)
