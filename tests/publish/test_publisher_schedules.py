"""Every interleaving of two writers with two switches between them, request by request.

Two copies of one disk start and publish, on one target or two. The first runs for so many requests, then the
second one for so many, then the first to its end, then the second. On one target all such schedules are tried.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from publication_walk import Process, Walk

from merklelog.errors import BehindError, FencedError, ForkError
from merklelog.protocol.publication import TreeHead


class Meeting(Walk):
    """Two writers that start from copies of one disk, of which 3 entries are published, and 2 more are not."""

    def __init__(self, targets: int, *, same: bool) -> None:
        super().__init__(0, targets=targets)
        first, second = self.processes
        self._through_all(first, [first.begin])
        self.grow(first, 3, "both")
        self._through_all(first, [first.publish])
        first.kill()
        assert first.disk is not None
        if same:
            self.grow(first, 2, "more")
        self._give(second, first.disk.copy())
        self.same = same
        # Who finds a target behind brings it up first: so it may take more than one call.
        self.programs = {p.number: [p.begin, p.publish, p.publish, p.publish] for p in self.processes}
        self.errors: dict[int, BaseException | None] = {}

    def grow(self, process: Process, count: int, salt: str) -> None:
        assert process.disk is not None
        size = len(process.disk.entries)
        process.disk.append([f"{salt} {index}".encode() for index in range(size, size + count)])
        for path in self.paths:
            path.appended(process.number, self.told.entries[process.disk.integrated().root])

    def _through_all(self, process: Process, calls: list[object]) -> None:
        for call in calls:
            call()  # type: ignore[operator]
            self._through(process)

    def advance(self, process: Process) -> bool:
        """One request of a writer, or the beginning of its next call; False: it has come to its end."""
        if not process.idle:
            process.turn()
            self._look()
            return True
        program = self.programs[process.number]
        if not program or process.number in self.errors:
            return False
        call = program.pop(0)
        if len(program) == 2 and not self.same:
            self.grow(process, 2, "AB"[process.number])
        call()
        return True

    def over(self, process: Process) -> None:
        if isinstance(process.ended, FencedError | BehindError | ForkError):
            self.errors[process.number] = process.ended
        super().over(process)

    def run_for(self, number: int, units: int) -> int:
        """Let a writer run; how far it came."""
        done = 0
        while done < units and self.advance(self.processes[number]):
            done += 1
        return done


def length(targets: int, *, same: bool) -> int:
    return Meeting(targets, same=same).run_for(0, 10**6)


def judge(meeting: Meeting, schedule: tuple[int, int]) -> None:
    """One went on, or both had the same to publish; nothing forked, and what is shown is whole."""
    errors = meeting.errors
    assert len(errors) < 2, f"{schedule}: both stopped: {errors}"
    by_size: dict[int, TreeHead] = {}
    for head in meeting.told.signed:
        assert by_size.setdefault(head.size, head) == head, f"{schedule}: two checkpoints of size {head.size}"
    for process in meeting.processes:
        assert process.disk is not None
        if process.number in errors and not meeting.same:
            assert set(process.disk.notes) <= {3, *by_size}
        if process.number not in errors:
            assert process.disk.last_shown == process.disk.integrated()
    sizes = [len(path.seen().pointer) for path in meeting.paths]
    assert sizes == [5] * len(sizes)


def meet(meeting: Meeting, first: int, second: int) -> bool:
    """One schedule, judged; whether the second writer came to its end: more room for it would change nothing."""
    meeting.run_for(0, first)
    ran = meeting.run_for(1, second)
    meeting.run_for(0, 10**6)
    meeting.run_for(1, 10**6)
    judge(meeting, (first, second))
    return ran < second


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False], ids=["same-entries", "other-entries"])
def test_on_one_target(*, same: bool) -> None:
    total = length(1, same=same)
    assert total > 15
    ends: set[str] = set()
    for first in range(total + 1):
        for second in range(total + 1):
            meeting = Meeting(1, same=same)
            is_over = meet(meeting, first, second)
            ends |= {f"{number} {type(error).__name__}" for number, error in meeting.errors.items()}
            if is_over:
                break
    assert ends >= {"0 FencedError", "1 FencedError"}
    assert not same or "0 ForkError" not in ends


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False], ids=["same-entries", "other-entries"])
def test_on_two_targets(*, same: bool) -> None:
    """Each sixth second switch, for the time it takes; every one of them with some first switch."""
    total = length(2, same=same)
    assert total > 30
    for first in range(total + 1):
        for second in range(first % 6, total + 1, 6):
            meeting = Meeting(2, same=same)
            if meet(meeting, first, second):
                break
