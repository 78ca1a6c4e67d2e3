"""A publication rests while the rest of the process is busy, and only then."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from merklelog.publish.pace import FREE, LONGEST, REST, WORK, Pace


class Machine:
    """Clocks that go on as somebody works, and the rests that were made."""

    def __init__(self, others: float, appended: float = 1e6) -> None:
        self.others = others  # of a core, taken by other threads
        self.appended = appended  # entries a second
        self.clock = self.thread = self.process = 100.0
        self.rests: list[float] = []
        self.size = 0.0

    def work(self, seconds: float) -> None:
        self.clock += seconds
        self.thread += seconds
        self.process += seconds * (1 + self.others)
        self.size += seconds * self.appended

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.clock += seconds
        self.process += seconds * self.others
        self.size += seconds * self.appended

    def pace(self) -> Pace:
        return Pace(
            lambda: int(self.size),
            clock=lambda: self.clock,
            process=lambda: self.process,
            thread=lambda: self.thread,
            sleep=self.sleep,
        )


def worked(others: float, pieces: int, seconds: float, appended: float = 1e6) -> Machine:
    machine = Machine(others, appended)
    pace = machine.pace()
    for _ in pace.over(range(pieces)):
        machine.work(seconds)
    return machine


def test_nobody_else_is_busy_and_nothing_rests() -> None:
    for others in (0.0, FREE * 0.99):
        assert worked(others, 100, WORK).rests == []


def test_nobody_appends_and_nothing_rests() -> None:
    assert worked(2.0, 100, WORK, appended=0.0).rests == []


@pytest.mark.parametrize("others", [0.3, 1.0, 1.6])
def test_the_more_others_take_the_longer_it_rests(others: float) -> None:
    machine = worked(others, 1001, WORK / 4)
    spent = 1001 * WORK / 4
    assert abs(sum(machine.rests) / spent - REST * (others - FREE) ** 2) < 0.1
    assert len(machine.rests) == 250  # and not after each piece, however small


def test_a_long_piece_is_followed_by_a_bounded_rest() -> None:
    assert worked(1.0, 3, 10.0).rests == [LONGEST, LONGEST]


def test_it_goes_on_at_once_when_others_are_done() -> None:
    machine = Machine(2.0)
    pace = machine.pace()
    pace()
    machine.work(WORK)
    pace()
    machine.others = 0.0
    machine.work(WORK)
    pace()
    assert len(machine.rests) == 1


def test_the_real_clocks_tell_other_threads_from_ones_own() -> None:
    rests: list[float] = []
    # Of the time that the process gets, whatever else runs on the machine.
    sizes = itertools.count(1)
    pace = Pace(lambda: next(sizes), sleep=rests.append, clock=time.process_time)

    def spin(until: threading.Event) -> None:
        while not until.is_set():
            sum(range(1000))

    over = threading.Event()
    others = [threading.Thread(target=spin, args=(over,)) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        ends = time.monotonic() + 60
        while not rests and time.monotonic() < ends:
            pace()
            time.sleep(0.02)  # this thread takes nothing, and they take what there is
    finally:
        over.set()
        for thread in others:
            thread.join()
    assert rests
