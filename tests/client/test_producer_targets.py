"""A producer and a log with publish targets: what is kept until it is published, and what is lost sent again."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.client import producer_kept
from merklelog.client.producer_batch import OVERHEAD_BYTES
from merklelog.errors import (
    ClosedError,
    ForkError,
    OverloadedError,
    ProofError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import parse_checkpoint, parse_proof
from merklelog.formats.receipt import is_receipt
from merklelog.log import Receipt
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash
from tests.client.target_door import BY_THREES, POLICY, SMALL, TargetDoor, producer_of, until
from tests.client.target_log import TargetLog

SECONDS = 60
ENTRIES = [b"entry %d" % i for i in range(10)]


def proves(receipt: Receipt, entry: bytes) -> bool:
    verdict = verify_proof_file(parse_proof(receipt.to_bytes()), leaf_hash(entry), POLICY)
    return bool(verdict.index == receipt.index)


def test_a_receipt_at_once_and_its_publication_later(tmp_path: Path) -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    with producer_of(door, state=tmp_path / "state") as to:
        sent = [to.send(entry) for entry in ENTRIES]
        to.flush(SECONDS)
        assert to.unpublished == 10
        receipts = [each.result(0) for each in sent]
        assert [(each.index, each.epoch) for each in receipts] == [(i, 1) for i in range(10)]
        assert is_receipt(receipts[0].note)
        assert to.head is None
        assert not (tmp_path / "state").exists()
        with pytest.raises(TimeoutError):
            sent[0].published(0.01)
        door.log.publish(5)
        assert proves(sent[2].published(SECONDS), ENTRIES[2])
        with pytest.raises(TimeoutError):
            sent[9].published(0.01)
        door.log.publish()
        for each, entry in zip(sent, ENTRIES, strict=True):
            assert proves(each.published(SECONDS), entry)
        until(lambda: to.unpublished == 0)
    assert parse_checkpoint((tmp_path / "state").read_bytes()).checkpoint.size == 10
    assert door.log.log == ENTRIES


def test_the_end_waits_for_the_publication() -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    to = producer_of(door)
    sent = to.send(b"x")
    to.flush(SECONDS)
    closing = threading.Thread(target=to.close)
    closing.start()
    time.sleep(0.05)
    assert closing.is_alive()
    door.log.publish()
    closing.join(SECONDS)
    assert proves(sent.published(0), b"x")


def test_an_end_before_the_publication_is_said() -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    to = producer_of(door)
    sent = to.send(b"x")
    to.flush(SECONDS)
    with pytest.raises(ClosedError, match="before this was published"):
        to.close(0.05)
    assert sent.result(0).epoch == 1
    with pytest.raises(ClosedError):
        sent.published(0)


@pytest.mark.parametrize("how", ["no receipt key", "wait"])
def test_a_result_may_wait_for_its_publication(how: str) -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    options = SMALL if how == "no receipt key" else replace(SMALL, wait="published")
    with producer_of(door, options, key=how == "wait") as to:
        sent = [to.send(entry) for entry in ENTRIES]
        until(lambda: len(door.sends) == 4)
        with pytest.raises(TimeoutError):
            sent[0].result(0.05)
        door.publishes = True
        assert all(proves(each.result(SECONDS), entry) for each, entry in zip(sent, ENTRIES, strict=True))
        assert sent[3].published(0).to_bytes() == sent[3].result(0).to_bytes()


def test_what_is_not_published_in_time_fails_where_somebody_waits_for_it() -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    options = replace(SMALL, wait="published", deadline_seconds=0.2)
    to = producer_of(door, options)
    with pytest.raises(UnavailableError, match=r"stored it but did not publish it within 0\.2 s"):
        to.send(b"x").result(SECONDS)
    assert to.pending == (0, 0)
    with pytest.raises(UnavailableError):
        to.close()


def test_what_is_kept_counts_to_the_bound() -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    options = replace(SMALL, max_pending_bytes=4 * (OVERHEAD_BYTES + 7), block_seconds=0)
    to = producer_of(door, options)
    for entry in ENTRIES[:4]:
        to.send(entry).result(SECONDS)
    with pytest.raises(OverloadedError):
        to.send(b"entry 4")
    door.publishes = True
    until(lambda: to.unpublished == 0)
    to.send(b"entry 4").result(SECONDS)
    to.close()


def test_options_of_waiting_that_can_not_be() -> None:
    with pytest.raises(UsageError, match="want 'integrated' or 'published'"):
        replace(SMALL, wait="witnessed")


# --- what is lost ------------------------------------------------------------------------------------------------


def test_what_a_disk_took_with_it_is_sent_again_in_order() -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    with producer_of(door, BY_THREES) as to:
        sent = [to.send(entry) for entry in ENTRIES[:7]]
        to.flush(SECONDS)
        door.log.publish(4)
        until(lambda: to.unpublished == 4)  # the batch of 3, 4 and 5 is not all published
        keys = [key for _, key in door.sends]

        def lose() -> None:
            door.log.lose()
            door.break_off()

        door.before = [lose]
        sent += [to.send(entry) for entry in ENTRIES[7:]]
        until(lambda: sent[-1].done())
        door.publishes = True
        receipts = [each.published(SECONDS) for each in sent]
    assert [key for _, key in door.sends[3:5]] == keys[1:3]
    assert [entry for entry in door.log.log if door.log.log.count(entry) == 1] == [
        *ENTRIES[:3],
        *ENTRIES[4:],
    ]
    assert all(proves(each, entry) for each, entry in zip(receipts, ENTRIES, strict=True))


@pytest.mark.parametrize("same_disk", [True, False])
def test_a_new_epoch_behind_a_connection_that_holds(same_disk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy may stand between: then the time without a publication makes it ask."""
    monkeypatch.setattr(producer_kept, "WATCH_SECONDS", 0.02)
    door = TargetDoor(TargetLog(), publishes=False)
    with producer_of(door) as to:
        sent = [to.send(entry) for entry in ENTRIES]
        to.flush(SECONDS)
        first = len(door.sends)
        if same_disk:
            door.log.restart()
        else:
            door.log.lose()
        until(lambda: len(door.sends) == 2 * first)
        door.publishes = True
        assert all(proves(each.published(SECONDS), entry) for each, entry in zip(sent, ENTRIES, strict=True))
    assert door.log.log == ENTRIES
    assert door.sends[first:] == door.sends[:first]


def test_the_same_epoch_again_is_asked_for_nothing() -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    with producer_of(door) as to:
        to.send(b"x").result(SECONDS)
        door.before = [door.break_off]
        to.send(b"y").result(SECONDS)
        door.publishes = True
    assert [entries for entries, _ in door.sends] == [[b"x"], [b"y"]]
    assert "epoch" in door.asked


def test_what_was_published_is_not_sent_again_though_keys_are_forgotten() -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    with producer_of(door) as to:
        sent = [to.send(entry) for entry in ENTRIES[:3]]
        to.flush(SECONDS)
        gone = UnavailableError("the server went away")
        door.away = gone
        until(lambda: door.asked[-1] in {"grown", "still"})
        door.log.publish()
        door.log.lose()  # nothing, as it turns out, but the keys
        to.send(b"later")
        door.away = None
        door.publishes = True
        assert all(proves(each.published(SECONDS), entry) for each, entry in zip(sent, ENTRIES, strict=False))
    assert door.log.log == [*ENTRIES[:3], b"later"]


def test_a_disk_lost_before_an_answer_was_checked() -> None:
    door = TargetDoor(TargetLog([b"of others"]), publishes=False)
    real = door.range_proof

    async def lost_meanwhile(*words: object) -> object:
        if door.log.number == 1:
            door.log.lose()
            door.break_off()
        return await real(*words)  # type: ignore[arg-type]  # as it was called

    door.range_proof = lost_meanwhile  # type: ignore[method-assign,assignment]  # one answer of this test
    with producer_of(door) as to:
        sent = [to.send(entry) for entry in ENTRIES]
        to.flush(SECONDS)
        door.publishes = True
        assert all(proves(each.published(SECONDS), entry) for each, entry in zip(sent, ENTRIES, strict=True))
    assert door.log.log == ENTRIES


# --- what is no loss ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [True, False])
def test_another_entry_published_in_the_same_epoch_is_a_fork(key: bool) -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    to = producer_of(door, key=key)
    sent = to.send(b"x")
    until(lambda: to.unpublished == 1 or (not key and door.sends and "grown" in door.asked))
    note = door.log.receipt(1)
    door.log.log = [b"other"]
    door.log.publish()
    with pytest.raises(ForkError if key else ProofError) as caught:
        sent.published(SECONDS)
    if isinstance(caught.value, ForkError):
        assert (caught.value.first, caught.value.second) == (note, door.log.signed(1))
    with pytest.raises((ForkError, ProofError)):
        to.close()


def test_receipts_of_one_epoch_that_part_are_a_fork() -> None:
    door = TargetDoor(TargetLog([b"of others"]), publishes=False)
    to = producer_of(door)
    first = to.send(b"x").result(SECONDS)
    door.log.log[0] = b"otherwise"
    with pytest.raises(ForkError) as caught:
        to.send(b"y").result(SECONDS)
    assert caught.value.first == first.note
    with pytest.raises(ForkError):
        to.close()


# --- whatever happens --------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(data=st.data())
def test_whatever_breaks_restarts_or_is_lost_everything_is_published_once_and_in_order(
    data: st.DataObject,
) -> None:
    draw = random.Random(data.draw(st.integers(0, 2**32)))
    door = TargetDoor(TargetLog(), publishes=False)
    log = door.log

    def partial() -> None:
        # What a crash cuts is never half a batch; half of one, published alone, would come twice.
        log.publish(draw.choice([size for size in log.commits if size >= log.shown]))

    def happen() -> None:
        for _ in range(draw.randint(0, 2)):
            what = draw.choice(["publish", "break", "lose", "restart"])
            if what == "publish":
                partial()
            elif what == "lose":
                log.lose()
            elif what == "restart":
                log.restart()
            if what != "publish":
                door.break_off()

    count = draw.randint(5, 30)
    door.before = [happen] * draw.randint(1, 12)
    options = replace(
        SMALL, max_in_flight=draw.choice([1, 2, 16]), wait=draw.choice(["integrated", "published"])
    )
    with producer_of(door, options, key=draw.choice([True, True, False])) as to:
        sent = [to.send(b"%d" % number) for number in range(count)]
        if options.wait == "integrated" and draw.random() < 0.5:
            time.sleep(0.01)
        door.publishes = True
        for number, each in enumerate(sent):
            assert proves(each.published(SECONDS), b"%d" % number)
    published = [int(entry) for entry in log.log]
    assert published == sorted(published)
    assert set(published) == set(range(count))
