"""What a producer gives back: futures, callbacks, ends; and what it does not take."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from typing import Any

import pytest

from merklelog.client.producer import ProducerOptions
from merklelog.client.producer_batch import Sent
from merklelog.errors import (
    ClosedError,
    EntryError,
    ForbiddenError,
    MerklelogError,
    OverloadedError,
    UsageError,
)
from tests.client.producer_door import (
    QUICK,
    SECONDS,
    Door,
    entries,
    producer,
    until,
)


def test_callbacks_are_called_once_in_order_whenever_they_are_added(door: Door) -> None:
    called: list[int] = []
    with producer(door) as to:
        for entry in entries(10):
            to.send(entry, lambda sent: called.append(sent.result(0).index))
        to.flush(SECONDS)
        until(lambda: len(called) == 10)
        late = to.send(b"late")
        late.result(SECONDS)
        late.add_done_callback(lambda sent: called.append(sent.result(0).index))
    assert called == list(range(11))


def test_a_callback_that_raises_harms_nobody(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", said.append)

    def fail(sent: Sent) -> None:
        raise SystemExit(f"callback of {sent.result(0).index}")

    with producer(door) as to:
        to.send(b"a", fail)
        to.send(b"b").result(SECONDS)
        assert to.send(b"c").result(SECONDS).index == 2
    assert [str(each.exc_value) for each in said] == ["callback of 0"]


def test_a_callback_may_send_but_never_waits_for_room(door: Door) -> None:
    seen: list[Any] = []

    def again(sent: Sent) -> None:
        for action in (lambda: to.send(bytes(300)), lambda: to.send(b"x"), lambda: sent.result(0).proof):
            try:
                seen.append(action())
            except MerklelogError as error:
                seen.append(error)

    with producer(door, replace(QUICK, max_pending_bytes=600)) as to:
        to.send(b"a", again)
        until(lambda: len(seen) == 3)
    assert [type(each) for each in seen] == [Sent, OverloadedError, list]
    assert door.log.size == 2


def test_a_callback_that_would_wait_for_itself_is_told(door: Door) -> None:
    seen: list[Exception] = []

    def end(_sent: Sent) -> None:
        for action in (to.flush, to.close):
            try:
                action()
            except UsageError as error:
                seen.append(error)

    with producer(door) as to:
        to.send(b"a", end)
    assert [str(each)[:5] for each in seen] == ["flush", "close"]


def test_futures_serve_event_loops_too(door: Door) -> None:
    async def main() -> None:
        with producer(door, replace(QUICK, max_pending_bytes=1000)) as to:
            sent = [await to.send_async(entry) for entry in entries(50)]
            receipts = await asyncio.gather(*sent)
            assert [receipt.index for receipt in receipts] == list(range(50))
            assert receipts[7].to_bytes()
            assert (await sent[0]).index == 0

    asyncio.run(main())


def test_send_async_raises_when_there_was_no_room_for_long(door: Door) -> None:
    async def main() -> None:
        door.hold = threading.Event()
        with producer(door, replace(QUICK, max_pending_bytes=250, block_seconds=0.02)) as to:
            await to.send_async(b"a")
            with pytest.raises(OverloadedError):
                await to.send_async(b"b")
            door.hold.set()

    asyncio.run(main())


def test_results_that_are_not_there_yet(door: Door) -> None:
    door.hold = threading.Event()
    with producer(door) as to:
        sent = to.send(b"a")
        assert repr(sent) == "<Sent: on its way>"
        with pytest.raises(TimeoutError):
            sent.result(0.01)
        with pytest.raises(TimeoutError, match="1 entries"):
            to.flush(0.01)
        door.hold.set()
        assert sent.exception(SECONDS) is None
        assert repr(sent) == "<Sent: done>"


def test_a_closed_producer_takes_nothing(door: Door) -> None:
    to = producer(door)
    to.send(b"a")
    to.close()
    to.close()
    with pytest.raises(ClosedError):
        to.send(b"b")
    assert door.log.size == 1


def test_close_gives_up_after_its_time(door: Door) -> None:
    door.hold = threading.Event()
    to = producer(door)
    sent = to.send(b"a")
    with pytest.raises(ClosedError, match="stored or not"):
        to.close(0.05)
    with pytest.raises(ClosedError):
        sent.result(0)
    assert repr(sent) == "<Sent: failed>"
    door.hold.set()
    until(lambda: door.closed == 1)


def test_the_error_of_a_block_is_not_hidden_by_that_of_its_end(door: Door) -> None:
    door.faults = [ForbiddenError("no")] * 2
    with pytest.raises(ZeroDivisionError), producer(door) as to:
        raise ZeroDivisionError(to.send(b"a"))


@pytest.mark.parametrize("bad", ["text", None, 7, [b"x"]])
def test_what_is_no_entry_is_refused_at_once(door: Door, bad: Any) -> None:
    with producer(door) as to:
        with pytest.raises(EntryError, match=type(bad).__name__):
            to.send(bad)
        with pytest.raises(EntryError, match="65,536 bytes"):
            to.send(bytes(65_536))
        for fine in (bytearray(b"1"), memoryview(b"2"), b"", bytes(65_535)):
            to.send(fine)
    assert [len(entry) for entry in door.log.entries(0, 4)] == [1, 1, 0, 65_535]


@pytest.mark.parametrize(
    "bad",
    [
        {"max_batch_entries": 0},
        {"max_batch_entries": 10_001},
        {"max_batch_bytes": 0},
        {"max_pending_bytes": 0},
        {"max_in_flight": 0},
        {"linger_seconds": -1},
        {"block_seconds": -0.1},
        {"deadline_seconds": 0},
        {"deadline_seconds": float("nan")},
    ],
)
def test_options_that_can_not_be(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        ProducerOptions(**bad)


def test_a_child_after_a_fork_takes_nothing(door: Door) -> None:
    with producer(door) as to:
        to.send(b"a").result(SECONDS)
        child = os.fork()
        if child == 0:
            try:
                to.send(b"b")
            except ClosedError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert to.send(b"c").result(SECONDS).index == 1
