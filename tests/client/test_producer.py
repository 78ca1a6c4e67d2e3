"""Producer over a log in this process: order, batching, bounds, retries, deadlines, and logs that lie."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog import Log
from merklelog.client.producer import Producer, ProducerOptions
from merklelog.client.producer_batch import OVERHEAD_BYTES, Sent
from merklelog.client.producer_delivery import Delivery
from merklelog.client.producer_transport import Answer
from merklelog.client.state import StateFile
from merklelog.client.transport import Included
from merklelog.client.trust import Trust, policy_of, trusted_head
from merklelog.errors import (
    ClosedError,
    EntryError,
    ForbiddenError,
    ForkError,
    FormatError,
    MerklelogError,
    OverloadedError,
    ProofError,
    SignatureError,
    StaleError,
    StoppedError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import (
    SignatureType,
    generate_signing_key,
    parse_checkpoint,
    parse_proof,
    single_log_policy,
)
from merklelog.protocol import verify_proof_file
from merklelog.tree import Hash, leaf_hash

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # what takes longer hangs
QUICK = ProducerOptions(linger_seconds=0, max_batch_entries=3)


def load(name: str) -> Any:
    """A helper of the tests of other rooms."""
    path = ROOT / "tests" / "support" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"producer_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SUPPORT = load("logs")


class Door:
    """A transport to a log in this process, as a server would be: a stream in order, broken as a whole."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.sends: list[tuple[int, bytes]] = []  # how many entries, under which key
        self.faults: list[
            Any
        ] = []  # of the next sends: None, an error, or an error to raise though it was stored
        self.asked: list[str] = []
        self.hold: threading.Event | None = None  # while it is not set, nothing is answered
        self.delay = 0.0
        self._broken: MerklelogError | None = None
        self.closed = 0
        self.waiting = 0

    def connect(self) -> Door:
        return self

    @property
    def proofs(self) -> Door:
        return self

    def send(self, entries: Sequence[bytes], key: bytes) -> asyncio.Future[Answer]:
        self.sends.append((len(entries), key))
        fault = self.faults.pop(0) if self.faults else None
        loop = asyncio.get_running_loop()
        if self._broken is not None:
            answer = loop.create_future()
            answer.set_exception(self._broken)
            return answer
        stored: Any = None
        if isinstance(fault, MerklelogError):
            self._broken = fault
        else:
            stored = self.log.submit_batch(list(entries), idempotency_key=key)
        if isinstance(fault, Stored):
            self._broken = fault.error
        return loop.create_task(self._answer(stored, self._broken))

    async def _answer(self, stored: Any, error: MerklelogError | None) -> Answer:
        self.waiting += 1
        while self.hold is not None and not self.hold.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(self.delay)
        self.waiting -= 1
        if stored is not None:
            receipt = await asyncio.wrap_future(stored)
        if error is not None:
            raise error
        indexes: Sequence[int] = receipt.indexes
        if list(indexes) == list(range(indexes[0], indexes[0] + len(indexes))):
            indexes = range(indexes[0], indexes[0] + len(indexes))
        return self.said(Answer(indexes, receipt.size, receipt.checkpoint))

    def said(self, answer: Answer) -> Answer:
        return answer

    async def reset(self) -> None:
        self._broken = None

    async def close(self) -> None:
        self.closed += 1

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> Sequence[Hash]:
        self.asked.append("range")
        return self.log.range_proof(start, end, size)

    async def inclusions(
        self, indexes: Sequence[int], size: int, root: Hash, seconds: float
    ) -> Sequence[Included]:
        self.asked.append("inclusion")
        proofs = self.log.inclusion_proofs(list(indexes), size)
        leaves = [leaf_hash(self.log.entry(index)) for index in indexes]
        return [Included(leaf, tuple(proof)) for leaf, proof in zip(leaves, proofs, strict=True)]

    async def consistency(self, old: int, new: int, root: Hash, seconds: float) -> Sequence[Hash]:
        self.asked.append("consistency")
        return self.log.consistency_proof(old, new)


class Stored:
    """A fault: the batch is stored, and its answer lost."""

    def __init__(self, error: MerklelogError) -> None:
        self.error = error


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Log]]:
    """`logs()`: an empty log in memory; all have the same keys."""
    opened: list[Log] = []
    folder = tmp_path_factory.mktemp("producer")

    def make(**settings: Any) -> Log:
        config = SUPPORT.config(**settings)
        opened.append(SUPPORT.open_store(SUPPORT.new_memory(), folder, config, SUPPORT.FakeWorld()))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


@pytest.fixture
def log(logs: Callable[..., Log]) -> Log:
    return logs()


@pytest.fixture
def door(log: Log) -> Door:
    return Door(log)


def trust_in(log: Log, state: Path | None = None) -> Trust:
    return Trust(single_log_policy(log.vkeys), None if state is None else StateFile(state))


def producer(door: Door, options: ProducerOptions = QUICK, trust: Trust | None = None) -> Producer:
    return Producer(door.connect, trust or trust_in(door.log), options)


def entries(count: int, name: str = "entry") -> list[bytes]:
    return [f"{name} {i}".encode() for i in range(count)]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.001)


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
    with producer(door) as to:
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


# --- futures, callbacks, ends ---------------------------------------------------------------------------------


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


# --- trouble --------------------------------------------------------------------------------------------------


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


# --- logs that lie --------------------------------------------------------------------------------------------


class Liar(Door):
    """A door that changes what the log says from the third answer on."""

    def __init__(self, log: Log, lie: Callable[[Liar, Answer], Answer]) -> None:
        super().__init__(log)
        self.lie = lie
        self.told = 0
        self.first: Answer | None = None
        self.proof: Callable[[Sequence[Hash]], Sequence[Hash]] = lambda proof: proof

    def said(self, answer: Answer) -> Answer:
        self.told += 1
        self.first = self.first or answer
        return answer if self.told < 3 else self.lie(self, answer)

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> Sequence[Hash]:
        return self.proof(await super().range_proof(start, end, size, root, seconds))

    async def consistency(self, old: int, new: int, root: Hash, seconds: float) -> Sequence[Hash]:
        return self.proof(await super().consistency(old, new, root, seconds))


def lied(answer: Answer, **changed: Any) -> Answer:
    return replace(answer, **changed)


def other_root(liar: Liar, answer: Answer) -> Answer:
    """A note by the log's own key over another tree of that size."""
    return lied(answer, note=forged(answer.size))


def forged(size: int, root: bytes = b"\x07" * 32) -> bytes:
    """A note with the log's own signature."""
    note: bytes = SUPPORT.SIGNERS.sign(size, Hash(root), both=False)
    return note


LIES: list[tuple[str, Callable[[Liar, Answer], Answer], type[MerklelogError], str]] = [
    ("another root", other_root, ProofError, "got root"),
    ("the first note again", lambda liar, answer: liar.first or answer, StaleError, "verified already"),
    (
        "an old note for the new size",
        lambda liar, a: lied(a, note=(liar.first or a).note),
        ProofError,
        "size",
    ),
    (
        "a wrong index",
        lambda liar, a: lied(a, indexes=range(a.indexes[0] - 1, a.indexes[-1])),
        ProofError,
        "root",
    ),
    ("an index beyond", lambda liar, a: lied(a, indexes=range(a.size, a.size + 1)), ProofError, "index"),
    ("an enormous index", lambda liar, a: lied(a, indexes=range(2**64, 2**64 + 1)), ProofError, "index"),
    ("too few indexes", lambda liar, a: lied(a, indexes=range(0)), ProofError, "0 indexes"),
    ("another size", lambda liar, a: lied(a, size=a.size + 1), ProofError, "checkpoint of size"),
    ("a note cut short", lambda liar, a: lied(a, note=a.note[:-20]), FormatError, ""),
    ("no note", lambda liar, a: lied(a, note=b""), FormatError, ""),
    (
        "a signature changed",
        lambda liar, a: lied(a, note=resigned(a.note)),
        SignatureError,
        "",
    ),
]


def resigned(note: bytes) -> bytes:
    """The note with one letter of its signatures changed."""
    text, signatures = note.split(b"\n\n")
    lines = signatures.split(b"\n")
    name = lines[0].rsplit(b" ", 1)
    value = name[1]
    other = b"B" if value[40:41] != b"B" else b"C"
    lines[0] = name[0] + b" " + value[:40] + other + value[41:]
    return text + b"\n\n" + b"\n".join(lines)


@pytest.mark.parametrize(("lie", "error", "match"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_a_log_that_lies_is_caught_and_believed_no_more(
    log: Log, lie: Callable[[Liar, Answer], Answer], error: type[MerklelogError], match: str
) -> None:
    liar = Liar(log, lie)
    to = producer(liar, replace(QUICK, max_batch_entries=1))
    to.send(b"a").result(SECONDS)
    to.send(b"b").result(SECONDS)
    caught = to.send(b"c").exception(SECONDS)
    assert isinstance(caught, error)
    assert match in str(caught)
    with pytest.raises(error):
        to.send(b"d")
    with pytest.raises(error):
        to.close()
    assert to.head is not None
    assert to.head.size == 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cut", lambda proof: proof[:-1]),
        ("longer", lambda proof: [*proof, proof[0]]),
        ("swapped", lambda proof: [proof[-1], *proof[1:-1], proof[0]]),
        ("a byte changed", lambda proof: [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]),
        ("a hash too short", lambda proof: [proof[0][:-1], *proof[1:]]),
    ],
)
def test_a_proof_that_does_not_hold_is_caught(log: Log, name: str, change: Any) -> None:
    liar = Liar(log, lambda liar, answer: answer)
    log.append_batch(entries(5))
    to = producer(liar)
    to.send(b"a").result(SECONDS)
    log.append_batch(entries(6))
    liar.proof = change
    with pytest.raises(ProofError):
        to.send(b"b").result(SECONDS)
    with pytest.raises(ProofError):
        to.close()


@pytest.mark.parametrize(
    ("there", "size"),
    [
        pytest.param([b"other"], 2, id="as long as the first"),
        pytest.param([b"other", *entries(8)], 10, id="longer"),
        pytest.param([b"b"], 1, id="not longer, as it has the entry"),
    ],
)
def test_a_fork_is_caught_with_both_notes(logs: Callable[..., Log], there: list[bytes], size: int) -> None:
    """Behind the door another log of the same keys comes to stand, with proofs of its own that all hold."""
    log, fork = logs(dedupe=True), logs(dedupe=True)
    door = Door(log)
    to = producer(door)
    seen = to.send(b"a").result(SECONDS)
    fork.append_batch(there)
    door.log = fork
    caught = to.send(b"b").exception(SECONDS)
    assert isinstance(caught, ForkError)
    assert caught.first == seen.checkpoint
    assert parse_checkpoint(caught.second).checkpoint.size == size
    with pytest.raises(ForkError) as raised:
        to.close()
    assert (raised.value.first, raised.value.second) == (caught.first, caught.second)


def test_a_trust_that_lists_other_keys_believes_nothing(log: Log) -> None:
    stranger = generate_signing_key(log.origin, SignatureType.ED25519).verifier
    to = Producer(Door(log).connect, Trust(policy_of(stranger)), QUICK)
    with pytest.raises(SignatureError):
        to.send(b"a").result(SECONDS)
    with pytest.raises(SignatureError):
        to.close()
