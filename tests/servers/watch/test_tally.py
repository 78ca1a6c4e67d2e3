"""Tallies: what falls into which bucket, and whose time a stage's is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from merklelog.servers.tally import COMMIT_ENTRIES, STAGES, LogTally, RequestTally, Tally, merged


def test_a_bound_belongs_to_its_bucket() -> None:
    tally = Tally((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        tally.add(value)
    assert tally.counts == [2, 2, 1]
    assert tally.total == 7.5


@given(st.lists(st.floats(0, 1e6, allow_nan=False)), st.lists(st.floats(0, 1e6, allow_nan=False)))
def test_merged_is_as_if_one_had_counted_all(first: list[float], second: list[float]) -> None:
    parts = [Tally(COMMIT_ENTRIES), Tally(COMMIT_ENTRIES)]
    whole = Tally(COMMIT_ENTRIES)
    for tally, values in zip(parts, (first, second), strict=True):
        for value in values:
            tally.add(value)
            whole.add(value)
    assert merged(parts).counts == whole.counts
    assert sum(whole.counts) == len(first) + len(second)
    for bound, seen in zip(whole.bounds, cumulative(whole.counts), strict=False):
        assert seen == sum(value <= bound for value in first + second)


def cumulative(counts: list[int]) -> Iterator[int]:
    seen = 0
    for count in counts:
        seen += count
        yield seen


def test_a_request_is_under_way_until_it_ends() -> None:
    tally = RequestTally("http", "POST /add")
    first, second = tally.begin(), tally.begin()
    assert tally.under_way == 2
    tally.end(second, "200")
    tally.end(first, "429")
    assert (tally.under_way, tally.codes, sum(tally.seconds.counts)) == (0, {"200": 1, "429": 1}, 2)


class Clock:
    """Goes on by one with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def stages(*steps: str) -> dict[str, list[float]]:
    tally = LogTally(Clock())
    for step in steps:
        tally.step(step)
    return {stage: [tally.stages[stage].total, sum(tally.stages[stage].counts)] for stage in STAGES}


def test_each_stage_is_timed_from_the_step_before_it() -> None:
    assert stages("drained", "planned", "hashed", "signed", "written") == {
        **{stage: [1.0, 1] for stage in ("plan", "hash", "sign", "write")},
        **{stage: [0.0, 0] for stage in ("sync", "tell")},
    }
    assert stages("gathered", "synced", "settled")["sync"] == [1.0, 1]


def test_the_two_threads_do_not_take_each_others_time() -> None:
    got = stages("drained", "gathered", "planned", "synced", "settled", "hashed", "signed", "written")
    assert got == {
        "plan": [2.0, 1],
        "hash": [3.0, 1],
        "sign": [1.0, 1],
        "write": [1.0, 1],
        "sync": [2.0, 1],
        "tell": [1.0, 1],
    }


def test_time_between_commits_belongs_to_no_stage() -> None:
    """A commit of repeats alone ends when it is planned; and what is beside commits ("kept") is no stage."""
    got = stages("drained", "planned", "kept", "x", "drained", "planned", "hashed", "signed", "written")
    assert got["plan"] == [2.0, 2]
    assert stages("written", "settled", "planned", "hashed")["plan"] == [0.0, 0]


def test_a_commit_is_counted_once() -> None:
    tally = LogTally()
    tally.committed(3, [b"x" * 100] * 10)
    tally.committed(1, [])
    assert (tally.requests, tally.entry_bytes, tally.commit_entries.total) == (4, 1_000, 10)
    assert sum(tally.commit_entries.counts) == 2


def test_a_reader_in_another_thread_sees_whole_numbers() -> None:
    """The sum of the buckets never falls behind what an earlier look had."""
    tally, done = Tally((0.5,)), threading.Event()

    def write() -> None:
        for i in range(100_000):
            tally.add(i % 2)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    last = 0
    while not done.is_set():
        now = sum(tally.counts)
        assert now >= last
        last = now
    thread.join()
    assert tally.counts == [50_000, 50_000]
