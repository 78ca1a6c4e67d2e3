"""Waiting for a publication: as long as the server, the request and the call's deadline allow, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import ClosedError
from merklelog.log import Log
from merklelog.servers.waits import TIME_LEFT, Waits

FOREVER = 3_600.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """One entry that is shown; a second one never comes by itself."""
    merklelog.create_log(tmp_path / "log", "example.com/waits", settings={"store.min_free_bytes": 0})
    with merklelog.open(tmp_path / "log") as opened:
        opened.append(b"first")
        yield opened


def test_what_is_shown_is_not_waited_for(log: Log) -> None:
    for seconds in (None, 0.0, FOREVER):
        head = asyncio.run(Waits(FOREVER).published(log, 1, seconds))
        assert head is not None
        assert head.size == 1


@pytest.mark.parametrize(
    ("server", "request_"), [(0.01, None), (0.01, FOREVER), (FOREVER, 0.01), (FOREVER, 0.0)]
)
def test_the_shorter_patience_counts(log: Log, server: float, request_: float | None) -> None:
    assert asyncio.run(Waits(server).published(log, 2, request_)) is None


def test_a_deadline_leaves_time_for_the_answer(log: Log) -> None:
    async def wait() -> None:
        for left in (0.02, 0.0, -1.0):
            TIME_LEFT.set(lambda left=left: left)
            assert await Waits(FOREVER).published(log, 2) is None
        TIME_LEFT.set(lambda: None)
        assert await Waits(0.01).published(log, 2) is None

    asyncio.run(wait())


def test_a_drain_ends_waits_under_way_and_later_ones(log: Log) -> None:
    async def wait() -> None:
        waits = Waits(FOREVER)
        running = [asyncio.create_task(waits.published(log, 2)) for _ in range(3)]
        await asyncio.sleep(0)
        waits.drain(0.01)
        assert await asyncio.gather(*running) == [None] * 3
        assert await waits.published(log, 2) is None

    asyncio.run(wait())


def test_it_ends_when_the_entry_is_shown_and_when_the_log_is_closed(log: Log) -> None:
    async def wait() -> None:
        waits = Waits(FOREVER)
        second = asyncio.create_task(waits.published(log, 2))
        third = asyncio.create_task(waits.published(log, 3))
        await asyncio.sleep(0)
        await log.append_async(b"second")
        head = await second
        assert head is not None
        assert head.size == 2
        await asyncio.to_thread(log.close)
        with pytest.raises(ClosedError):
            await third

    asyncio.run(wait())


def test_who_waits_may_be_cancelled(log: Log) -> None:
    async def wait() -> None:
        waits = Waits(FOREVER)
        task = asyncio.create_task(waits.published(log, 2))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not waits._running

    asyncio.run(wait())
