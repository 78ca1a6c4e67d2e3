"""How far behind a publication is, how it catches up, who waits for it, and how it ends."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

import merklelog
from merklelog.cli.sinks import LogSink
from merklelog.errors import ClosedError, UnavailableError
from merklelog.log import late, publishing_targets
from merklelog.log.head import Head
from merklelog.log.lag import MAX_MARKS, Lag
from merklelog.log.waiting import Waiters
from merklelog.publish.memory import MemoryStore
from merklelog.publish.publisher import Publisher
from merklelog.tree import EMPTY_ROOT, TreeSize
from tests.support import targets
from tests.support.targets import Gate, published


def head(size: int) -> Head:
    return Head(TreeSize(size), EMPTY_ROOT, b"", ())


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


# --- lag ---------------------------------------------------------------------------------------------------------


def test_the_lag_is_that_of_the_oldest_entry_not_published() -> None:
    clock = Clock()
    lag = Lag(0, 0, clock)
    for at in range(10):  # ten entries in each of ten seconds
        clock.now = 1_000.0 + at
        lag.grew(10 * (at + 1))
    assert lag.seconds(0) == 9.0
    assert lag.seconds(9) == 9.0
    assert lag.seconds(10) == 8.0
    assert lag.seconds(55) == 4.0
    assert lag.seconds(100) == 0.0
    clock.now += 500
    assert lag.seconds(100) == 0.0
    lag.grew(101)
    clock.now += 3
    assert lag.seconds(100) == 3.0


def test_the_lag_of_a_long_outage_takes_bounded_memory() -> None:
    clock = Clock()
    lag = Lag(0, 5, clock)
    for at in range(4 * MAX_MARKS):
        clock.now += 1
        lag.grew(6 + at)
    assert len(lag._marks) <= MAX_MARKS
    assert lag.seconds(4) == 4 * MAX_MARKS
    age = lag.seconds(5 + 2 * MAX_MARKS)
    assert 2 * MAX_MARKS <= age + 1 <= 2 * MAX_MARKS + 16


def test_a_log_opened_with_a_backlog_says_how_long_it_lasts(tmp_path: Path, gate: Gate) -> None:
    directory = targets.make(tmp_path / "log")
    with merklelog.open(directory) as log:
        gate.down()
        log.append(b"one")
        log.close(publish_seconds=0.0)
    with merklelog.open(directory, wait=None) as log:
        assert gate.refused.wait(targets.PATIENCE)
        status = log.publishing
        assert status is not None
        assert status.starting
        assert (status.lag_entries, status.lag_seconds > 0.0) == (1, True)


def test_a_backlog_is_worked_off_without_waiting(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing_targets, "Publisher", partial(Publisher, limit=64 << 10))
    directory = targets.make(tmp_path / "log", publish__interval=3_600.0)
    with merklelog.open(directory) as log:
        log.append_batch([b"%1000d" % number for number in range(3_000)])
        assert published(log) == 3_000  # in a dozen publications, one of which is in an hour
        assert log.publishing is not None
        assert log.publishing.publications >= 3
        assert log.publishing.lag_seconds == 0.0


def test_a_target_that_lags_is_brought_up_without_waiting(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing_targets, "Publisher", partial(Publisher, limit=64 << 10))
    directory = targets.make(tmp_path / "log", publish__interval=3_600.0)
    with merklelog.open(directory) as log:
        log.append_batch([b"%1000d" % number for number in range(3_000)])
        published(log)
    gate.inner = MemoryStore("added")
    with merklelog.open(directory) as log:
        while (status := log.publishing) is not None and status.behind:
            assert status.behind == ("memory:added",)
            assert not log.stopped
            gate.refused.wait(0.01)
        assert gate.inner.get("checkpoints/3000").data


# --- who waits ---------------------------------------------------------------------------------------------------


def test_waits_that_were_given_up_are_let_go_of() -> None:
    waiters = Waiters()
    kept = [waiters.wait(size, head(0)) for size in (5, 3, 9)]
    for _ in range(1_000):
        waiters.wait(4, head(0)).cancel()
        assert len(waiters._heap) <= 8
    waiters.moved(head(5))
    assert [future.done() for future in kept] == [True, True, False]
    kept[2].cancel()
    assert not waiters._heap
    waiters.fail(ClosedError("over"))


def test_an_upgrade_that_takes_too_long_waits_no_more(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "UPGRADE_SECONDS", 0.01)
    with merklelog.open(targets.make(tmp_path / "log")) as log:
        sink = LogSink(log, "published", 0.01)
        gate.down()
        receipt = log.append(b"one")
        with pytest.raises(UnavailableError):
            receipt.upgrade()
        with pytest.raises(UnavailableError):
            sink.grown()
        assert not log._publication.waiters._heap  # type: ignore[attr-defined]
        gate.up()


# --- the end -----------------------------------------------------------------------------------------------------


def test_a_publication_that_can_not_go_on_leaves_the_log_open(tmp_path: Path, gate: Gate) -> None:
    """As in a program whose main thread has ended: no thread can be started, and appends still come."""
    with merklelog.open(targets.make(tmp_path / "log")) as log:
        gate.fails = lambda operation, _key: ClosedError("the end") if operation == "put_many" else None
        waiting = log.wait_published(1)
        log.append(b"one")
        with pytest.raises(ClosedError, match="the end"):
            waiting.result(targets.PATIENCE)
        assert log.append(b"two").index == 1
        assert not log.stopped
        assert log.publishing is not None
        assert log.publishing.last_error == "the end"
        with pytest.raises(ClosedError):
            log.publish_now().result(targets.PATIENCE)
    gate.up()
    with merklelog.open(tmp_path / "log") as log:
        assert published(log) == 2


def test_nothing_is_published_once_the_log_is_closed(tmp_path: Path, gate: Gate) -> None:
    log = merklelog.open(targets.make(tmp_path / "log"))
    there, go_on = threading.Event(), threading.Event()

    def stall(operation: str, _key: str) -> None:
        if operation == "put_many":
            there.set()
            assert go_on.wait(targets.PATIENCE)

    gate.fails = stall
    log.append(b"one")
    assert there.wait(targets.PATIENCE)
    thread = log._publication._thread  # type: ignore[attr-defined]
    log.close(publish_seconds=0.01)
    gate.calls.clear()
    go_on.set()
    thread.join(targets.PATIENCE)
    assert not thread.is_alive()
    assert not [key for operation, key in gate.calls if operation.startswith("put")]
    gate.up()
    with merklelog.open(tmp_path / "log") as log:
        assert published(log) == 1
