"""A producer in trouble: retries, deadlines, refusals, faults of its own."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog import Log
from merklelog.client.producer import Producer, ProducerOptions
from merklelog.client.producer_delivery import Delivery
from merklelog.client.producer_transport import Answer
from merklelog.errors import (
    ForbiddenError,
    OverloadedError,
    StoppedError,
    UnavailableError,
    UsageError,
)
from merklelog.tree import Hash
from tests.client.producer_door import (
    QUICK,
    SECONDS,
    Door,
    Stored,
    entries,
    producer,
    trust_in,
    until,
)


def test_what_may_come_right_is_sent_again_under_the_same_key(door: Door) -> None:
    door.faults = [None, Stored(UnavailableError("gone", 0.001)), None, OverloadedError("full", 0.001)]
    with producer(door, replace(QUICK, max_batch_entries=1)) as to:
        sent = [to.send(entry) for entry in entries(8)]
        assert [each.result(SECONDS).index for each in sent] == list(range(8))
    assert list(door.log.entries(0, door.log.size)) == entries(8)
    keys = [key for _, key in door.sends]
    assert len(keys) > len(set(keys)) == 8


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), each=st.integers(1, 5), flights=st.integers(1, 6))
def test_whatever_breaks_whenever_nothing_is_lost_doubled_or_out_of_order(
    logs: Callable[..., Log], seed: int, each: int, flights: int
) -> None:
    chance = random.Random(seed)
    door = Door(logs())
    for _ in range(30):
        error = chance.choice([UnavailableError("gone", 0.0), OverloadedError("full", 0.0)])
        door.faults.append(chance.choice([None, None, error, Stored(error)]))
    options = ProducerOptions(linger_seconds=0, max_batch_entries=each, max_in_flight=flights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("merklelog.client.retry.Attempts.pause", lambda *_: 0.0)
        with producer(door, options) as to:
            sent = []
            for entry in entries(40):
                sent.append(to.send(entry))
                if chance.random() < 0.1:
                    door.log.append(b"other")
    got = [receipt.result(0).index for receipt in sent]
    assert [door.log.entry(index) for index in got] == entries(40)
    assert [e for e in door.log.entries(0, door.log.size) if e != b"other"] == entries(40)


def test_what_is_never_taken_fails_at_its_deadline(door: Door) -> None:
    door.faults = [UnavailableError("the server is away", 0.01)] * 10_000
    with producer(door, replace(QUICK, deadline_seconds=0.4)) as to:
        first = to.send(b"a")
        with pytest.raises(UnavailableError, match=r"within 0.4 s.*the server is away"):
            first.result(SECONDS)
        with pytest.raises(UnavailableError, match="within"):
            to.flush(SECONDS)
        to.flush(SECONDS)  # heard of it once
        door.faults.clear()
        assert to.send(b"b").result(SECONDS).index == 0


def test_what_is_never_answered_fails_at_its_deadline(door: Door) -> None:
    door.hold = threading.Event()
    with producer(door, replace(QUICK, deadline_seconds=0.4)) as to:
        with pytest.raises(UnavailableError, match="may be stored or not"):
            to.send(b"a").result(SECONDS)
        door.hold.set()
        assert to.send(b"b").result(SECONDS).index == 1
        with pytest.raises(UnavailableError):
            to.flush(SECONDS)


def test_it_waits_in_peace_for_a_log_that_is_away(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when what failed is given up while the next batch is not yet to be sent."""
    pauses: list[None] = []
    pause = Delivery._pause

    async def counted(delivery: Delivery) -> None:
        pauses.append(None)
        await pause(delivery)

    monkeypatch.setattr(Delivery, "_pause", counted)
    door.faults = [UnavailableError("come back later", 0.5)] * 10
    options = replace(QUICK, max_batch_entries=1, max_in_flight=1, deadline_seconds=0.2)
    with producer(door, options) as to:
        sent = [to.send(entry) for entry in entries(3)]
        assert all(isinstance(each.exception(SECONDS), UnavailableError) for each in sent)
        late = to.send(b"late")
        assert isinstance(late.exception(SECONDS), UnavailableError)
        with pytest.raises(UnavailableError):
            to.flush(SECONDS)
    assert len(pauses) < 60


@pytest.mark.parametrize("hangs", [True, False])
def test_what_is_stored_and_never_proven_fails_at_its_deadline(log: Log, hangs: bool) -> None:
    door = Door(log)
    log.append(b"another's")
    proof = door.range_proof

    async def none(start: int, end: int, size: int, root: Hash, seconds: float) -> Sequence[Hash]:
        if hangs:
            await asyncio.sleep(3_600)
        raise UnavailableError("no proofs today")

    door.range_proof = none  # type: ignore[method-assign]
    with producer(door, replace(QUICK, deadline_seconds=0.4)) as to:
        with pytest.raises(UnavailableError, match=r"stored it but did not prove it within 0\.4 s"):
            to.send(b"a").result(SECONDS)
        with pytest.raises(UnavailableError):
            to.flush(SECONDS)
        door.range_proof = proof  # type: ignore[method-assign]
        assert to.send(b"b").result(SECONDS).index == 2


def test_overload_that_lasts_is_said_as_such(door: Door) -> None:
    door.faults = [OverloadedError("full", 0.01)] * 10_000
    to = producer(door, replace(QUICK, deadline_seconds=0.5))
    with pytest.raises(OverloadedError, match="full"):
        to.send(b"a").result(SECONDS)
    with pytest.raises(OverloadedError):
        to.close()


def test_a_refusal_fails_one_batch_and_the_rest_goes_on(door: Door) -> None:
    door.hold = threading.Event()
    door.faults = [None, ForbiddenError("append is not for you")]
    with producer(door, replace(QUICK, max_batch_entries=1)) as to:
        sent = [to.send(entry) for entry in entries(4)]
        until(lambda: door.waiting == 4 or len(door.sends) >= 4)
        door.hold.set()
        assert [type(each.exception(SECONDS)) for each in sent] == [
            type(None),
            ForbiddenError,
            type(None),
            type(None),
        ]
        with pytest.raises(ForbiddenError):
            to.flush()
    assert list(door.log.entries(0, 3)) == [b"entry 0", b"entry 2", b"entry 3"]


def test_stop_on_error_stores_nothing_behind_what_failed(door: Door) -> None:
    door.faults = [None, ForbiddenError("append is not for you")]
    to = producer(door, replace(QUICK, max_batch_entries=1, stop_on_error=True))
    sent = [to.send(b"entry 0"), to.send(b"entry 1")]
    assert isinstance(sent[1].exception(SECONDS), ForbiddenError)
    with pytest.raises(ForbiddenError):
        to.send(b"entry 2")
    with pytest.raises(ForbiddenError):
        to.close()
    assert list(door.log.entries(0, door.log.size)) == [b"entry 0"]


def test_a_way_that_can_not_be_made_ends_it(log: Log) -> None:
    def connect() -> Door:
        raise UsageError("no such place")

    to = Producer(connect, trust_in(log), QUICK)
    until(lambda: not to._thread.is_alive())
    with pytest.raises(UsageError, match="no such place"):
        to.send(b"a")
    with pytest.raises(UsageError):
        to.close()


def test_a_fault_of_its_own_leaves_nobody_waiting(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Door):
        def send(self, entries: Sequence[bytes], key: bytes) -> asyncio.Future[Answer]:
            raise ZeroDivisionError

    to = producer(Broken(log))
    with pytest.raises(StoppedError, match="ZeroDivisionError"):
        to.send(b"a").result(SECONDS)
    with pytest.raises(StoppedError):
        to.close()
    assert "the producer failed" in caplog.text
