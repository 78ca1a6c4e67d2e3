"""A publication rests while the rest of the process is busy, and only then."""

from __future__ import annotations

import threading
import time

from merklelog.publish.pace import BUSY, LONGEST, REST, WORK, Pace


class Machine:
    """Clocks that go on as somebody works, and the rests that were made."""

    def __init__(self, others: float) -> None:
        self.others = others  # of a core, taken by other threads
        self.clock = self.thread = self.process = 100.0
        self.rests: list[float] = []

    def work(self, seconds: float) -> None:
        self.clock += seconds
        self.thread += seconds
        self.process += seconds * (1 + self.others)

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.clock += seconds
        self.process += seconds * self.others

    def pace(self) -> Pace:
        return Pace(
            clock=lambda: self.clock,
            process=lambda: self.process,
            thread=lambda: self.thread,
            sleep=self.sleep,
        )


def worked(others: float, pieces: int, seconds: float) -> Machine:
    machine = Machine(others)
    pace = machine.pace()
    for _ in pace.over(range(pieces)):
        machine.work(seconds)
    return machine


def test_nobody_else_is_busy_and_nothing_rests() -> None:
    for others in (0.0, BUSY * 0.99):
        assert worked(others, 100, WORK).rests == []


def test_beside_others_it_works_a_quarter_of_the_time() -> None:
    machine = worked(BUSY * 1.01, 1001, WORK / 4)
    spent = 1001 * WORK / 4
    assert abs(sum(machine.rests) / spent - REST) < 0.05
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
    pace = Pace(sleep=rests.append, clock=time.process_time)

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
