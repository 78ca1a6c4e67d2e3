"""Writers wait for a disk that fell behind without keeping every other thread of the program waiting."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from merklelog.store import RocksStore, room
from merklelog.store.room import FAILED, SLOWED, STOPPED, await_room


class Told:
    """A database whose properties another thread sets."""

    def __init__(self, **values: int) -> None:
        self.values = {STOPPED: 0, SLOWED: 0, FAILED: 0, **values}
        self.asked = 0

    def property_int_value(self, name: str) -> int | None:
        self.asked += 1
        return self.values[name]


def waiter(database: Told) -> threading.Thread:
    thread = threading.Thread(target=await_room, args=(database,), daemon=True)
    thread.start()
    return thread


def test_nothing_is_waited_for_where_writes_are_taken() -> None:
    database = Told()
    await_room(database)
    assert database.asked == 2


def test_a_stopped_database_is_waited_for_until_it_takes_writes() -> None:
    database = Told(**{STOPPED: 1})
    thread = waiter(database)
    thread.join(2 * room.SLOWED_SECONDS)  # this thread runs meanwhile
    assert thread.is_alive()
    database.values[STOPPED] = 0
    thread.join(30)
    assert not thread.is_alive()


def test_a_slowed_one_only_for_a_while() -> None:
    database = Told(**{SLOWED: 1_000_000})
    began = time.monotonic()
    await_room(database)
    assert time.monotonic() - began >= room.SLOWED_SECONDS


def test_a_failed_one_not_at_all() -> None:
    await_room(Told(**{STOPPED: 1, FAILED: 1}))


@pytest.mark.parametrize("name", [STOPPED, SLOWED, FAILED])
def test_the_database_knows_these_properties(tmp_path: Path, name: str) -> None:
    store = RocksStore.create(tmp_path / "db", {})
    assert store._database is not None
    assert store._database.property_int_value(name) == 0
    store.close()
