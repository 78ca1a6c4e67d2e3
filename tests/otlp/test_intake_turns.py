"""An intake never holds up its log while it looks something up, nor keeps more in memory than it may."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from merklelog.errors import OverloadedError
from merklelog.ingest.intake import Intake
from merklelog.ingest.ready import Ready
from tests.otlp.conftest import Place
from tests.otlp.events import record
from tests.otlp.test_intake import held, put

MakePlace = Callable[..., Place]


class Looking:
    """A look-up of record IDs that stands still from its `number`th call on, until it is let go."""

    def __init__(self, look_up: Callable[[Sequence[bytes]], object], number: int) -> None:
        self._look_up = look_up
        self._number = number
        self.began = threading.Event()
        self.go = threading.Event()

    def __call__(self, keys: Sequence[bytes]) -> object:
        self._number -= 1
        if self._number < 0:
            self.began.set()
            assert self.go.wait(60)
        return self._look_up(keys)


@contextmanager
def looking(intake: Intake, monkeypatch: pytest.MonkeyPatch, number: int = 0) -> Iterator[Looking]:
    ids = intake._repeats._ids
    slow = Looking(ids.look_up, number)
    with monkeypatch.context() as patch:
        patch.setattr(ids, "look_up", slow)
        try:
            yield slow
        finally:
            slow.go.set()


def test_a_log_goes_on_while_ids_are_looked_up(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    place = make_place()
    intake = place.open(step=held(disk))
    assert place.log is not None
    before = intake.submit([record("before")], "")
    with looking(intake, monkeypatch) as slow, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(put, intake, record("asked", "id"))
        assert slow.began.wait(60)
        disk.set()
        assert [each.index for each in before.result(60)] == [0]
        assert place.log.submit(b"by another door").result(60).index == 1
        slow.go.set()
        assert [each.index for each in asked.result(60)] == [2]


def test_a_log_goes_on_while_what_waited_is_looked_up(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    place = make_place()
    intake = place.open(step=held(disk))
    assert place.log is not None
    with looking(intake, monkeypatch, number=1) as slow:
        first, again = (intake.submit([record("x", "id")], "") for _ in range(2))
        disk.set()
        assert slow.began.wait(60), "the second is looked up once the first is there"
        assert [each.index for each in first.result(60)] == [0]
        assert place.log.submit(b"by another door").result(60).index == 1
        slow.go.set()
        assert [(each.index, each.duplicate) for each in again.result(60)] == [(0, True)]


def test_what_it_would_wait_for_is_over_by_then(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on its way when the look-up began is durable when that ends: nobody tells of it a second time."""
    disk = threading.Event()
    disk.set()
    place = make_place()
    intake = place.open(step=held(disk))
    put(intake, record("known", "known"))
    disk.clear()
    first = intake.submit([record("x", "id")], "")
    with looking(intake, monkeypatch) as slow, ThreadPoolExecutor(1) as pool:
        both = pool.submit(put, intake, record("known", "known"), record("x", "id"))
        assert slow.began.wait(60)
        disk.set()
        first.result(60)
        slow.go.set()
        assert [(each.index, each.duplicate) for each in both.result(60)] == [(0, True), (1, True)]


def test_what_is_not_stored_yet_is_bounded_in_bytes(make_place: MakePlace) -> None:
    """Of a long request a part is in the log's queue; the rest counts as well, until all of it is done."""
    disk = threading.Event()
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    intake = place.open(step=held(disk))
    long = [record(f"{i} " + "x" * 60_000) for i in range(25)]
    first = intake.submit(long, "")  # one alone may be longer than the bound
    assert intake.held > 25 * 60_000
    for _ in range(3):
        with pytest.raises(OverloadedError, match=r"log\.max_pending_bytes is 1,048,576"):
            intake.submit([record()], "")
    disk.set()
    assert [each.index for each in first.result(60)] == list(range(25))
    assert intake.held == 0
    assert [each.index for each in put(intake, *long)] == list(range(25, 50))


def test_what_is_refused_is_not_counted(make_place: MakePlace) -> None:
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    disk = threading.Event()
    intake = place.open(step=held(disk))
    taken = intake.submit([record("x" * 60_000)], "")
    counted = intake.held
    for _ in range(30):
        with pytest.raises(OverloadedError):
            intake.submit([record("x" * 60_000) for _ in range(20)], "")
    assert intake.held == counted
    disk.set()
    taken.result(60)
    intake.close()
    with pytest.raises(Exception, match="closed"):
        intake.submit([record()], "")
    assert intake.held == 0


def test_the_ids_of_a_long_request_are_looked_up_once(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    intake = place.open()
    asked: list[bytes] = []
    ids = intake._repeats._ids
    look_up = ids.look_up

    def noting(keys: Sequence[bytes]) -> object:
        asked.extend(keys)
        return look_up(keys)

    monkeypatch.setattr(ids, "look_up", noting)
    records = [record("x" * 20_000, f"id-{i}") for i in range(100)]
    assert [each.index for each in put(intake, *records)] == list(range(100))
    assert len(asked) <= 110, "2 MB are eight batches"


def test_nothing_stays_of_what_was_refused(make_place: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the submitter is told, or who waits for its future."""
    disk = threading.Event()
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    intake = place.open(step=held(disk))
    gc.collect()
    gc.disable()
    try:
        first, again = (intake.submit([record("x", "id")], "") for _ in range(2))
        full = OverloadedError("full")
        assert place.log is not None
        with monkeypatch.context() as patch:
            patch.setattr(place.log, "submit_batch", refusing(full))
            with pytest.raises(OverloadedError):
                intake.submit([record("y")], "")
        monkeypatch.setattr(intake._repeats, "find", refusing(full))
        disk.set()
        first.result(60)
        assert again.exception(60) is full
        kept = [each for each in gc.get_objects() if isinstance(each, Ready) and b"x" in b"".join(each.data)]
        assert len(kept) <= 1, "the first one's, until its thread has let go of it"
    finally:
        gc.enable()


def refusing(error: Exception) -> Callable[..., object]:
    def refuse(*_: object, **__: object) -> object:
        raise error

    return refuse
