"""Who writes more into a target beside the publisher: when it is called, and that a fenced writer never is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import FailingStore, FailOnce
from published_log import DiskLog
from publisher_tools import drain, publisher, running, shown

from merklelog.errors import DamagedError, FencedError, MerklelogError, UnreachableError
from merklelog.protocol.publication import EMPTY_TREE, TreeHead
from merklelog.publish.beside import PAUSE
from merklelog.publish.memory import MemoryStore


class Beside:
    """Notes each call; `late` makes it due though nothing is published."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.runs: list[tuple[int, TreeHead, int]] = []
        self.late = False
        self.parts = 1
        self.now = 0
        self.shown: Any = lambda: None
        self.fails: list[MerklelogError] = []

    def due(self, now: int, size: int) -> bool:
        return self.late

    def run(self, now: int, shown: TreeHead, tiles: Any) -> int:
        if self.fails:
            raise self.fails.pop()
        self.runs.append((now, shown, self.shown()))
        self.parts -= 1
        self.late = self.late and self.parts > 0
        return 1


@pytest.fixture
def scene() -> tuple[DiskLog, MemoryStore, Beside, Any]:
    log, target = DiskLog(), MemoryStore()
    beside = Beside(target)
    beside.now = 1000
    return log, target, beside, running(log, target, beside=lambda _: beside, now=lambda: beside.now)


def test_it_is_told_what_was_shown_before_the_pointer_moved_and_when(scene: Any) -> None:
    log, target, beside, made = scene
    beside.shown = lambda: shown(target, log.verifiers)
    log.grow(10)
    first = log.integrated()
    drain(made)
    beside.now = 1001
    log.grow(10)
    drain(made)
    # and what readers see by then: it is never before a publication
    assert beside.runs == [(1000, EMPTY_TREE, 10), (1001, first, 20)]


def test_an_idle_log_lets_it_write_what_is_due_and_asks_nothing_else(scene: Any) -> None:
    log, target, beside, made = scene
    log.grow(10)
    drain(made)
    del beside.runs[:]
    assert made.publish() is None
    assert beside.runs == []
    beside.late = True
    before = target.get("head")
    assert made.publish() is None
    assert [tree for _, tree, _ in beside.runs] == [log.integrated()]
    assert target.get("head") == before


def test_a_fenced_writer_writes_nothing_beside(scene: Any) -> None:
    log, target, beside, made = scene
    log.grow(10)
    drain(made)
    running(log.copy(), target)
    del beside.runs[:]
    beside.late = True
    with pytest.raises(FencedError):
        made.publish()
    assert beside.runs == []


def test_nor_one_that_is_fenced_while_it_publishes(scene: Any) -> None:
    log, target, beside, made = scene
    log.grow(10)
    running(log.copy(), target)
    log.grow(1)
    with pytest.raises(FencedError):
        drain(made)
    assert beside.runs == []


@pytest.mark.parametrize("error", [UnreachableError("no answer"), DamagedError("its state is damaged")])
def test_when_it_fails_publications_go_on(scene: Any, error: MerklelogError) -> None:
    log, target, beside, made = scene
    beside.fails = [error, error]
    for size in (10, 20, 30):
        first = log.integrated()
        log.grow(10)
        report = made.publish()
        assert report.moved
        assert shown(target, log.verifiers) == size
        if size < 30:  # told, and not tried again at once
            assert str(error) in report.uncollected
            assert str(error) in made.unwritten
            assert made.publish() is None
            assert str(error) in made.unwritten
            beside.now += PAUSE
    # what it has to know is what was shown before the publication after which it failed first
    assert (report.uncollected, made.unwritten, first.size) == (None, None, 20)
    assert [tree for _, tree, _ in beside.runs] == [EMPTY_TREE]


def test_an_idle_log_tries_again_what_failed(scene: Any) -> None:
    log, _, beside, made = scene
    beside.fails = [UnreachableError("no answer")]
    log.grow(10)
    drain(made)
    assert beside.runs == []
    beside.now += PAUSE
    assert made.publish() is None
    assert [tree for _, tree, _ in beside.runs] == [EMPTY_TREE]
    assert made.unwritten is None


def test_a_part_at_a_time_and_publications_come_first(scene: Any) -> None:
    log, target, beside, made = scene
    beside.late, beside.parts = True, 4
    log.grow(10)
    assert made.publish().moved
    assert len(beside.runs) == 1
    report = made.publish()
    assert (report.moved, report.backlog, len(beside.runs)) == (False, 0, 2)
    log.grow(10)
    assert made.publish().moved
    assert shown(target, log.verifiers) == 20
    assert len(beside.runs) == 3
    assert made.publish() is None
    assert len(beside.runs) == 4


def test_a_start_does_not_wait_for_it(scene: Any) -> None:
    log, target, beside, made = scene
    gate = FailOnce()
    again = publisher(log, FailingStore(target, gate), beside=lambda _: beside, now=lambda: 5)
    log.grow(10)
    drain(made)
    del beside.runs[:]
    beside.late = True
    again.start()
    assert beside.runs == []
    assert again.publish() is None
    assert len(beside.runs) == 1


def test_nothing_is_due_before_anything_is_shown() -> None:
    log, target, gate = DiskLog(), MemoryStore(), FailOnce()
    beside = Beside(target)
    made = publisher(log, FailingStore(target, gate), beside=lambda _: beside)
    made.start()
    beside.late = True
    gate.asked.clear()
    assert made.publish() is None
    assert gate.asked == []
