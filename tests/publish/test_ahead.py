"""Reading ahead: many at a time, in bounded memory, and nothing else than what reading one by one gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import DamagedError, NotFoundError, UnreachableError
from merklelog.publish.ahead import MOST_BYTES, ReadAhead, Wanted
from merklelog.publish.memory import MemoryStore
from merklelog.publish.objects import StoredObject
from tests.client.target_door import until


class Counting:
    """A store that counts what is asked of it, how many at a time, and may fail or wait."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._store = MemoryStore()
        for key, data in objects.items():
            self._store.put(key, data)
        self.asked: list[str] = []
        self.under_way: list[int] = []  # the limits of those that are asked for now
        self.most_under_way = 0
        self.gate: threading.Event | None = None
        self.broken: set[str] = set()
        self.barrier: threading.Barrier | None = None
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return "memory:counting"

    def get(self, key: str, *, limit: int = 1 << 26) -> StoredObject:
        with self._lock:
            self.asked.append(key)
            self.under_way.append(limit)
            self.most_under_way = max(self.most_under_way, sum(self.under_way))
        try:
            return self._answer(key, limit)
        finally:
            with self._lock:
                self.under_way.remove(limit)

    def _answer(self, key: str, limit: int) -> StoredObject:
        if self.gate is not None and key > KEYS[SMALL]:
            self.gate.wait(60)
        if self.barrier is not None:
            self.barrier.wait(60)
        if key in self.broken:
            raise UnreachableError(f"{key}: no answer")
        return self._store.get(key, limit=limit)


KEYS = [f"tile/0/{number:03d}" for number in range(100)]
SMALL = 20
OBJECTS = {key: key.encode() * 7 for key in KEYS}


def planned(store: Any, keys: list[str], threads: int = 4, limit: int = 4096) -> ReadAhead:
    ahead = ReadAhead(store, threads)
    ahead.expect(Wanted(key, limit) for key in keys)
    return ahead


def test_expected_objects_are_asked_for_several_at_a_time() -> None:
    store = Counting(OBJECTS)
    store.barrier = threading.Barrier(4)  # opens when four are asked for at once, and never for fewer
    ahead = planned(store, KEYS[:40])
    assert [ahead.get(key).data for key in KEYS[:40]] == [OBJECTS[key] for key in KEYS[:40]]
    assert sorted(store.asked) == KEYS[:40]
    ahead.close()


@given(st.lists(st.sampled_from(KEYS[:30]), max_size=30), st.lists(st.sampled_from(KEYS[:40]), max_size=40))
def test_whatever_was_expected_each_object_is_what_it_is(expected: list[str], asked: list[str]) -> None:
    ahead = planned(Counting(OBJECTS), expected, threads=2)
    assert [ahead.get(key).data for key in asked] == [OBJECTS[key] for key in asked]
    ahead.close()


def test_what_is_held_is_bounded() -> None:
    store = Counting({key: bytes(4 << 20) for key in KEYS})
    ahead = planned(store, KEYS, threads=16, limit=8 << 20)
    for number, key in enumerate(KEYS):
        ahead.get(key)
        # 64 MiB of objects of 4 MiB, and the one that was given out
        assert len(store.asked) <= number + 1 + 16
    ahead.close()


def test_large_objects_after_small_ones_are_bounded_too() -> None:
    """Whatever the ones before say of the next: what is under way may be as large as it is read to."""
    limit, large = 16 << 20, bytes(5 << 20)
    objects = {key: b"small" if number <= SMALL else large for number, key in enumerate(KEYS[:60])}
    store = Counting(objects)
    store.gate = threading.Event()
    ahead = planned(store, list(objects), threads=16, limit=limit)
    for key in KEYS[: SMALL + 1]:
        assert ahead.get(key).data == b"small"
    until(lambda: len(store.under_way) == 16)
    assert sum(store.under_way) <= MOST_BYTES
    store.gate.set()
    for key in KEYS[SMALL + 1 : 60]:
        assert ahead.get(key, limit=limit).data == large
    assert store.most_under_way <= MOST_BYTES + limit  # and the one that is given out
    assert len(store.asked) < 60 + 2 * 16 + 1  # those under way by then were read twice, and no other
    ahead.close()


def test_what_is_not_expected_any_more_counts_until_it_is_there() -> None:
    store = Counting(dict.fromkeys(KEYS, b"x"))
    store.gate = threading.Event()
    limit = MOST_BYTES // 4
    ahead = planned(store, KEYS[SMALL + 1 : 60], threads=4, limit=limit)
    until(lambda: len(store.under_way) == 4)
    ahead.expect(Wanted(key, limit) for key in KEYS[60:])
    assert len(store.asked) == 4  # all the room is taken by requests that can not be called back
    store.gate.set()
    assert [ahead.get(key, limit=limit).data for key in KEYS[60:]] == [b"x"] * 40
    assert len(store.asked) <= 4 + 40 + 1
    assert store.most_under_way <= MOST_BYTES + limit  # and the one that is given out
    ahead.close()


def test_objects_that_are_passed_over_do_not_end_it() -> None:
    store = Counting(OBJECTS)
    ahead = planned(store, KEYS)
    for key in KEYS[::3]:
        assert ahead.get(key).data == OBJECTS[key]
    assert len(store.asked) <= 100
    assert len(set(store.asked)) == len(store.asked)
    ahead.close()


def test_errors_come_to_who_asks() -> None:
    store = Counting(OBJECTS)
    store.broken = {KEYS[1]}
    ahead = planned(store, [KEYS[0], KEYS[1], "tile/0/777", KEYS[2], KEYS[3]])
    assert ahead.get(KEYS[0]).data == OBJECTS[KEYS[0]]
    with pytest.raises(UnreachableError, match=KEYS[1]):
        ahead.get(KEYS[1])
    with pytest.raises(NotFoundError, match="777"):
        ahead.get("tile/0/777")
    with pytest.raises(DamagedError, match="want at most 3"):
        ahead.get(KEYS[2], limit=3)
    store.broken.clear()
    assert ahead.get(KEYS[1]).data == OBJECTS[KEYS[1]]
    ahead.close()
    assert ahead.get(KEYS[3]).data == OBJECTS[KEYS[3]]


def test_another_expectation_takes_the_place_of_the_one_before() -> None:
    store = Counting(OBJECTS)
    ahead = planned(store, KEYS[:50], threads=1)
    ahead.expect(Wanted(key, 4096) for key in KEYS[50:])
    assert ahead.get(KEYS[50]).data == OBJECTS[KEYS[50]]
    assert len([key for key in store.asked if key < KEYS[50]]) <= 4
    ahead.close()


@pytest.mark.parametrize("known", [0, 1, 4, 9, 20])
def test_a_plan_that_breaks_is_told_to_who_asks_next(known: int) -> None:
    def plan() -> Iterator[Wanted]:
        yield from (Wanted(key, 4096) for key in KEYS[:known])
        raise UnreachableError("the listing broke")

    ahead = ReadAhead(Counting(OBJECTS), 1)
    ahead.expect(plan())
    answers: list[object] = []

    def ask() -> None:
        for key in KEYS[:40]:
            try:
                answers.append(ahead.get(key).data)
            except UnreachableError as error:
                answers.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(60)
    assert not asking.is_alive()
    assert answers.count("the listing broke") == 1
    assert [data for data in answers if isinstance(data, bytes)] == [
        OBJECTS[key] for number, key in enumerate(KEYS[:40]) if isinstance(answers[number], bytes)
    ]
    ahead.close()
