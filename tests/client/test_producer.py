"""Producer over a log in this process: what it is for, batches and bounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from merklelog import Log
from merklelog.client.producer import ProducerOptions
from merklelog.client.producer_batch import OVERHEAD_BYTES
from merklelog.client.state import StateFile
from merklelog.client.trust import Trust, trusted_head
from merklelog.errors import OverloadedError
from merklelog.formats import (
    parse_checkpoint,
    parse_proof,
    single_log_policy,
)
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash
from tests.client.producer_door import (
    QUICK,
    SECONDS,
    Door,
    entries,
    producer,
    trust_in,
    until,
)

# --- what it is for -------------------------------------------------------------------------------------------


def test_entries_come_in_order_with_receipts_that_verify_offline(door: Door, tmp_path: Path) -> None:
    sent = []
    with producer(door) as to:
        sent = [to.send(entry) for entry in entries(20)]
        assert sent[19].result(SECONDS).index == 19
    receipts = [each.result(0) for each in sent]
    asked = list(door.asked)
    assert list(door.log.entries(0, 20)) == entries(20)
    assert [receipt.index for receipt in receipts] == list(range(20))
    for entry, receipt in zip(entries(20), receipts, strict=True):
        saved = receipt.save(tmp_path / "f.tlog-proof").read_bytes()  # after the end too
        verdict = verify_proof_file(parse_proof(saved), leaf_hash(entry), single_log_policy(door.log.vkeys))
        assert verdict.index == receipt.index
        assert receipt.leaf_hash == leaf_hash(entry)
    assert door.asked == asked  # a receipt holds all that its proof is made of
    assert door.closed == 1


def test_alone_with_its_log_it_asks_for_no_proof(door: Door) -> None:
    with producer(door, replace(QUICK, max_in_flight=1)) as to:
        for entry in entries(600):
            to.send(entry)
        to.flush(SECONDS)
        assert door.asked == []
        assert to.head is not None
        assert to.head.size == 600


def test_it_goes_on_from_a_log_that_others_filled(door: Door) -> None:
    door.log.append_batch(entries(300, "other"))
    with producer(door) as to:
        assert to.send(b"mine").result(SECONDS).index == 300
        assert door.asked == ["range"]  # nothing was trusted before, so nothing is to be extended
        assert to.send(b"mine too").result(SECONDS).index == 301
        assert door.asked == ["range"]
        door.log.append(b"another's")
        assert to.send(b"third").result(SECONDS).index == 303
        assert door.asked == ["range", "range", "consistency"]
        assert to.send(b"fourth").result(SECONDS).index == 304
        assert door.asked == ["range", "range", "consistency"]


def test_two_producers_and_others_write_at_the_same_time(door: Door) -> None:
    other = Door(door.log)
    options = replace(QUICK, max_batch_entries=7)
    with producer(door, options) as one, producer(other, options) as two:
        kept = []
        for i in range(200):
            kept.append((i, one.send(f"one {i}".encode()), two.send(f"two {i}".encode())))
            if i % 10 == 0:
                door.log.append(b"between")
        for i, first, second in kept:
            for name, sent in (("one", first), ("two", second)):
                assert door.log.entry(sent.result(SECONDS).index) == f"{name} {i}".encode()
    for at in (1, 2):
        indexes = [each[at].result(0).index for each in kept]
        assert indexes == sorted(indexes)
    assert "range" in door.asked


def test_an_entry_that_was_there_before_is_proven_where_it_stands(logs: Callable[..., Log]) -> None:
    log = logs(dedupe=True)
    log.append_batch(entries(10))
    door = Door(log)
    with producer(door, ProducerOptions(linger_seconds=0.5, max_batch_entries=3)) as to:  # three, and one
        sent = [to.send(entry) for entry in (b"new", b"entry 7", b"entry 2", b"new")]
        assert [each.result(SECONDS).index for each in sent] == [10, 7, 2, 10]
        assert [each.result(0).leaf_hash for each in sent[1:3]] == [
            leaf_hash(b"entry 7"),
            leaf_hash(b"entry 2"),
        ]
        assert "inclusion" in door.asked
        assert to.send(b"newer").result(SECONDS).index == 11


def test_the_state_file_holds_it_to_what_it_saw(door: Door, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with producer(door, trust=trust_in(door.log, state)) as to:
        to.send(b"a").result(SECONDS)
        to.send(b"b").result(SECONDS)
    assert parse_checkpoint(state.read_bytes()).checkpoint.size == 2
    door.asked.clear()
    door.log.append(b"another's")
    with producer(door, trust=trust_in(door.log, state)) as to:
        to.send(b"c").result(SECONDS)
    assert door.asked == ["range", "consistency"]
    assert parse_checkpoint(state.read_bytes()).checkpoint.size == 4


def test_a_state_file_that_another_moves_on_meanwhile(door: Door, tmp_path: Path) -> None:
    state = tmp_path / "state"
    other = Trust(single_log_policy(door.log.vkeys), StateFile(state))
    with producer(door, trust=trust_in(door.log, state)) as to:
        to.send(b"a").result(SECONDS)
        door.log.append_batch(entries(5))
        newer = trusted_head(other.verify(door.log.checkpoint()))
        stored = Trust(single_log_policy(door.log.vkeys), StateFile(state)).head
        assert stored is not None
        assert other.settle(newer, [stored]) is None
    assert parse_checkpoint(state.read_bytes()).checkpoint.size == 6


# --- batches and bounds ---------------------------------------------------------------------------------------


def test_a_batch_goes_when_it_is_full_by_count_or_bytes(door: Door) -> None:
    options = ProducerOptions(linger_seconds=3600, max_batch_entries=4, max_batch_bytes=250)
    with producer(door, options) as to:
        sent = [to.send(entry) for entry in entries(4)]
        sent[-1].result(SECONDS)
        big = [to.send(bytes(100)) for _ in range(5)]
        big[3].result(SECONDS)
        assert not big[4].done()
    assert [count for count, _ in door.sends] == [4, 2, 2, 1]


def test_a_batch_goes_when_it_is_old_enough(door: Door) -> None:
    with producer(door, ProducerOptions(linger_seconds=0.02)) as to:
        began = time.monotonic()
        sent = [to.send(entry) for entry in entries(10)]
        sent[0].result(SECONDS)
        assert time.monotonic() - began >= 0.02
    assert [count for count, _ in door.sends] == [10]


def test_flush_does_not_wait_for_the_linger_time(door: Door) -> None:
    with producer(door, ProducerOptions(linger_seconds=3600)) as to:
        sent = to.send(b"a")
        to.flush(SECONDS)
        assert sent.done()
        to.send(b"b")
    assert door.log.size == 2


def test_no_more_batches_are_on_their_way_than_asked_for(door: Door) -> None:
    door.hold = threading.Event()
    with producer(door, replace(QUICK, max_in_flight=2, max_batch_entries=1)) as to:
        for entry in entries(6):
            to.send(entry)
        until(lambda: door.waiting == 2)
        time.sleep(0.02)
        assert len(door.sends) == 2
        door.hold.set()
    assert door.log.size == 6


def test_without_room_send_raises_or_waits(door: Door) -> None:
    door.hold = threading.Event()
    options = replace(QUICK, max_pending_bytes=4 * (OVERHEAD_BYTES + 10), block_seconds=0)
    with producer(door, options) as to:
        for _ in range(4):
            to.send(bytes(10))
        with pytest.raises(OverloadedError, match="840 bytes wait"):
            to.send(bytes(10))
        assert to.pending == (4, 840)
        door.hold.set()
        to.flush(SECONDS)
        to.send(bytes(10))
    assert to.pending == (0, 0)
    assert door.log.size == 5


def test_send_waits_for_room_as_long_as_it_may(door: Door) -> None:
    door.hold = threading.Event()
    with producer(door, replace(QUICK, max_pending_bytes=250, block_seconds=0.05)) as to:
        to.send(b"a")
        began = time.monotonic()
        with pytest.raises(OverloadedError):
            to.send(b"b")
        assert time.monotonic() - began >= 0.05
        door.hold.set()
        assert to.send(b"c").result(SECONDS).index == 1
        assert to.send(bytes(1000)).result(SECONDS).index == 2  # larger than the bound, and alone


def test_threads_that_wait_for_room_all_get_in(door: Door) -> None:
    with producer(door, replace(QUICK, max_pending_bytes=600)) as to:

        def send(name: int) -> None:
            for i in range(50):
                to.send(f"{name}:{i}".encode())

        threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
    got = [entry.decode().split(":") for entry in door.log.entries(0, 200)]
    for name in range(4):
        assert [int(i) for who, i in got if who == str(name)] == list(range(50))
