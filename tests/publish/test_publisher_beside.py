"""Who writes more into a target beside the publisher: when it is called, and that a fenced writer never is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import FailingStore, FailOnce
from published_log import DiskLog
from publisher_tools import drain, insist, publisher, running, shown

from merklelog.errors import FencedError, UnreachableError
from merklelog.protocol.publication import EMPTY_TREE, TreeHead
from merklelog.publish.memory import MemoryStore


class Beside:
    """Notes each call; `late` makes it due though nothing is published."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.runs: list[tuple[int, TreeHead, int]] = []
        self.late = False
        self.fails = 0

    def due(self, now: int, size: int) -> bool:
        return self.late

    def run(self, now: int, shown: TreeHead, tiles: Any) -> int:
        if self.fails:
            self.fails -= 1
            raise UnreachableError("beside: no answer")
        pointer = self.store.objects.get("checkpoint")
        self.runs.append((now, shown, 0 if pointer is None else 1))
        self.late = False
        return 1


@pytest.fixture
def scene() -> tuple[DiskLog, MemoryStore, Beside, Any]:
    log, target = DiskLog(), MemoryStore()
    beside = Beside(target)
    clock = iter(range(1000, 2000))
    return log, target, beside, running(log, target, beside=lambda _: beside, now=lambda: next(clock))


def test_it_is_told_what_is_shown_before_the_pointer_moves(scene: Any) -> None:
    log, _, beside, made = scene
    log.grow(10)
    first = log.integrated()
    drain(made)
    log.grow(10)
    drain(made)
    assert [told[1:] for told in beside.runs] == [(EMPTY_TREE, 0), (first, 1)]
    assert 1000 == beside.runs[0][0] < beside.runs[1][0]


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


def test_when_it_fails_the_publication_goes_on_later(scene: Any) -> None:
    log, target, beside, made = scene
    beside.fails = 3
    log.grow(10)
    with pytest.raises(UnreachableError, match="beside"):
        made.publish()
    assert target.stat("checkpoint") is None
    insist(lambda: drain(made))
    assert shown(target, log.verifiers) == 10
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
