"""Every write and every sync fails once, with nothing of it stored and with all of it; then the log is judged.

A log that could not write stops and says why, takes nothing more, and goes on reading. Opened again, it holds what
it acknowledged and a prefix of what it was given, extends every checkpoint it ever showed, and takes appends.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from merklelog import BatchReceipt, Log, Receipt
from merklelog.errors import (
    ClosedError,
    ConflictError,
    DamagedError,
    StoppedError,
    StorageError,
    StorageFullError,
)
from merklelog.log import sequencer
from merklelog.store import Store
from tests.support import logs
from tests.support.checker import check_log, head_of
from tests.support.failing import FailingStore


@pytest.fixture(autouse=True)
def many_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the writes between appends fail too; and commits are small, so that several are in flight."""
    monkeypatch.setattr(sequencer, "KEEP_INTERVAL", 0.0)
    monkeypatch.setattr(sequencer, "MAX_COMMIT_ENTRIES", 100)


@dataclass
class Told:
    """What a client sent, and what it was told."""

    sent: list[bytes] = field(default_factory=list)
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)
    refused: list[BaseException] = field(default_factory=list)
    keyed: bool = False

    def settle(self, entries: list[bytes], receipt: Receipt | BatchReceipt) -> None:
        indexes = [receipt.index] if isinstance(receipt, Receipt) else receipt.indexes
        self.acknowledged.update(zip(indexes, entries, strict=True))
        self.seen.append(receipt.checkpoint)


PROOFS = 8  # of each kind, in each of a thousand judgements
BATCHES = (1, 1, 200, 60, 1, 300, 2, 1, 1)  # one at a time, each has a sync of its own: ten with the repeat


def client(log: Log, told: Told) -> None:
    """One append after the other, as long as the log takes them."""
    told.keyed = True
    told.seen.append(log.checkpoint())
    for number, count in enumerate(BATCHES):
        entries = [b"%d.%d" % (number, i) for i in range(count)]
        told.sent += entries
        try:
            told.settle(entries, log.append_batch(entries, idempotency_key=b"%d" % number))
            if number == 4:  # nothing new: the key is known
                assert log.append_batch(entries, idempotency_key=b"%d" % number).indexes[0] < log.size
        except StoppedError as error:
            told.refused.append(error)
            return


def busy_client(log: Log, told: Told) -> None:
    """Several appends in flight, so that a failure meets some written and some not."""
    told.seen.append(log.checkpoint())
    futures = []
    for number, count in enumerate(BATCHES * 2):
        entries = [b"%d.%d" % (number, i) for i in range(count)]
        try:
            futures.append((entries, log.submit_batch(entries)))
        except StoppedError as error:
            told.refused.append(error)
            break
        told.sent += entries
    for entries, future in futures:
        try:
            told.settle(entries, future.result(timeout=30))
        except StoppedError as error:
            told.refused.append(error)


def judge_stopped(log: Log, told: Told, cause: BaseException) -> None:
    """The log that failed: it says so, takes nothing, and still reads."""
    assert log.stopped
    for error in told.refused:
        assert error.__cause__ is cause
        assert str(cause) in str(error)
    for call in (lambda: log.append(b"more"), lambda: log.submit_batch([b"more"])):
        with pytest.raises(StoppedError) as caught:
            call()
        assert caught.value.__cause__ is cause
    check_log(log, seen=told.seen, acknowledged=told.acknowledged, proofs=PROOFS)
    assert log.size == max(head_of(log, note)[0] for note in told.seen), "shown before it was durable"
    with pytest.raises(StoppedError, match=re.escape(str(cause))):
        log.close()
    log.close()
    with pytest.raises((StoppedError, ClosedError)):
        log.append(b"more")


def judge_again(log: Log, told: Told) -> None:
    """The log opened anew: all that was acknowledged, a prefix of what was sent, and appends go on."""
    with log:
        check_log(log, seen=told.seen, acknowledged=told.acknowledged, proofs=PROOFS)
        entries = list(log.entries(0, log.size))
        assert entries == told.sent[: len(entries)]
        assert len(entries) >= len(told.acknowledged)
        # A client that sends again what it heard nothing of gets one index for it, not two.
        number, at = 0, 0
        while at < len(told.sent):
            batch = told.sent[at : at + BATCHES[number % len(BATCHES)]]
            if told.keyed:
                told.settle(batch, log.append_batch(batch, idempotency_key=b"%d" % number))
            number, at = number + 1, at + len(batch)
        if told.keyed:
            assert list(log.entries(0, log.size)) == told.sent
        told.settle([b"after"], log.append(b"after"))
        check_log(log, seen=told.seen, acknowledged=told.acknowledged, proofs=PROOFS)


def count_operations(run: Callable[[Log, Told], None], tmp_path: Path) -> dict[str, int]:
    store = FailingStore(logs.new_memory())
    with logs.open_store(store, tmp_path, logs.config(), logs.FakeWorld()) as log:  # type: ignore[arg-type]
        run(log, Told())
    return store.counts


@pytest.mark.parametrize("run", [client, busy_client], ids=["one at a time", "busy"])
@pytest.mark.parametrize("stored", [False, True], ids=["failed, not stored", "failed, but stored"])
@pytest.mark.parametrize("what", ["write", "sync"])
def test_each_operation_fails_once_in_memory(
    tmp_path: Path, what: str, stored: bool, run: Callable[[Log, Told], None]
) -> None:
    """And then the power goes: of what was never synced, nothing, some or all came through."""
    total = count_operations(run, tmp_path)[what]
    assert total >= (10 if what == "write" or run is client else 1)
    for number in range(1, total + 1):
        memory = logs.new_memory()
        store = FailingStore(memory, what, number, stored=stored)
        log = logs.open_store(store, tmp_path, logs.config(), logs.FakeWorld())  # type: ignore[arg-type]
        told = Told()
        run(log, told)
        if (
            store.failed is None
        ):  # the last operations are those of closing; and a busy log has not always as many
            logs.let_go(log)
        else:
            judge_stopped(log, told, store.failed)
        unsynced = len(memory.written) - memory.synced
        for survivors in {0, 1, unsynced // 2, unsynced}:
            after = memory.crash(survivors)
            copy = Told([*told.sent], {**told.acknowledged}, [*told.seen], keyed=told.keyed)
            judge_again(logs.open_store(after, tmp_path, logs.config(), logs.FakeWorld()), copy)


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True], ids=["failed, not stored", "failed, but stored"])
@pytest.mark.parametrize("what", ["write", "sync"])
def test_each_operation_fails_once_on_disk(tmp_path: Path, what: str, stored: bool) -> None:
    total = count_operations(client, tmp_path)[what]
    for number in range(1, total + 1):
        directory = logs.make(tmp_path / f"log{number}")
        made: list[FailingStore] = []

        def wrap(store: Store, number: int = number, made: list[FailingStore] = made) -> Store:
            made.append(FailingStore(store, what, number, stored=stored))
            return made[-1]  # type: ignore[return-value]

        log = logs.open_in(directory, logs.FakeWorld(), wrap)
        told = Told()
        client(log, told)
        if made[0].failed is not None:
            judge_stopped(log, told, made[0].failed)
        else:
            logs.let_go(log)
        judge_again(logs.open_in(directory, logs.FakeWorld()), told)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "full": lambda: StorageFullError("no room at all"),
    "damaged": lambda: DamagedError("a block is bad"),
    "system": lambda: OSError(5, "Input/output error"),
    "a mistake of ours": lambda: RuntimeError("never thought of that"),
    "no memory": lambda: MemoryError("none left"),
}


@pytest.mark.parametrize("what", ["write", "sync"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_any_error_stops_the_log(tmp_path: Path, what: str, error: Callable[[], BaseException]) -> None:
    memory = logs.new_memory()
    store = FailingStore(memory, what, 4, error=error)
    log = logs.open_store(store, tmp_path, logs.config(), logs.FakeWorld())  # type: ignore[arg-type]
    told = Told()
    client(log, told)
    assert store.failed is not None
    judge_stopped(log, told, store.failed)
    judge_again(logs.open_store(memory.crash(), tmp_path, logs.config(), logs.FakeWorld()), told)


STEPS = ("planned", "hashed", "signed", "written", "synced", "settled", "kept")


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_a_mistake_at_any_step_stops_the_log(tmp_path: Path, step: str, nth: int) -> None:
    """An error of the sequencer's own, and not of the store, is as final."""
    memory, world, told = logs.new_memory(), logs.FakeWorld(), Told()
    mistake = RuntimeError("a mistake in the middle")

    def fail(name: str) -> None:
        if world.passed.count(step) == nth and name == step:
            raise mistake

    world.on_step = fail
    log = logs.open_store(memory, tmp_path, logs.config(), world)
    client(log, told)
    if step == "settled" and not told.refused:
        while not log.stopped:  # its appends had been told already
            time.sleep(0.001)
    judge_stopped(log, told, mistake)
    for survivors in (0, 1, len(memory.written)):
        copy = Told([*told.sent], {**told.acknowledged}, [*told.seen], keyed=told.keyed)
        judge_again(logs.open_store(memory.crash(survivors), tmp_path, logs.config(), logs.FakeWorld()), copy)


def test_nothing_is_shown_before_it_is_durable(tmp_path: Path) -> None:
    world, sizes = logs.FakeWorld(), []
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(), world) as log:
        world.on_step = lambda name: sizes.append((name, log.size, len(list(log.entries(0, log.size)))))
        for count in (1, 3, 300):
            log.append_batch([b"x"] * count)
    before = {"planned", "hashed", "signed", "written", "synced"}
    at = {name: [size for step, size, _ in sizes if step == name] for name in before}
    assert all(shown == size for _, size, shown in sizes)
    assert at["planned"] == at["hashed"] == at["signed"] == [0, 1, 4]
    # A checkpoint is kept between the appends, so the next step may come before or after its sync.
    assert at["written"] == [0, 1, 4]
    assert set(at["synced"]) <= {0, 1, 4, 304}
    assert min(at["synced"]) == 0


@pytest.mark.parametrize("what", ["write", "sync"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_caller_hears_of_a_failure(tmp_path: Path, what: str, number: int) -> None:
    """Threads, futures and tasks of two event loops: none waits for ever, whatever it was in the middle of."""
    memory = logs.new_memory()
    store = FailingStore(memory, what, number)
    log = logs.open_store(store, tmp_path, logs.config(), logs.FakeWorld())  # type: ignore[arg-type]
    told: dict[int, bytes] = {}
    heard: list[StoppedError] = []

    def thread(name: int) -> None:
        try:
            for i in range(10_000):
                entry = b"%d.%d" % (name, i)
                told[log.append(entry).index] = entry
        except StoppedError as error:
            heard.append(error)

    async def task(name: int) -> None:
        try:
            for i in range(10_000):
                entry = b"task %d.%d" % (name, i)
                told[(await log.append_async(entry)).index] = entry
        except StoppedError as error:
            heard.append(error)

    async def loop(base: int) -> None:
        await asyncio.gather(*(task(base + i) for i in range(10)))

    workers = [threading.Thread(target=thread, args=(name,)) for name in range(8)]
    workers += [threading.Thread(target=lambda base=base: asyncio.run(loop(base))) for base in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
        assert not worker.is_alive(), "somebody was never told"
    assert len(heard) == 8 + 20
    assert all(error.__cause__ is store.failed for error in heard)
    check_log(log, acknowledged=told)
    logs.let_go(log)
    with logs.open_store(memory.crash(), tmp_path, logs.config(), logs.FakeWorld()) as again:
        check_log(again, acknowledged=told)


def test_a_failure_while_the_queue_is_drained_loses_no_caller(tmp_path: Path) -> None:
    """Again and again, since it takes luck: the syncer fails as the sequencer takes what waits."""
    for turn in range(60):
        store = FailingStore(logs.new_memory(), "sync", 1 + turn % 4)
        log = logs.open_store(store, tmp_path, logs.config(), logs.FakeWorld())  # type: ignore[arg-type]
        futures = []
        with suppress(StoppedError):  # what comes after the failure is refused at once
            for i in range(400):
                futures.append(log.submit(b"%d" % i))  # noqa: PERF401 - what was taken before counts
        for future in futures:
            future.exception(timeout=30)
        logs.let_go(log)


def test_a_refused_request_is_not_the_end(tmp_path: Path) -> None:
    world = logs.FakeWorld()
    log = logs.open_store(logs.new_memory(), tmp_path, logs.config(min_free_bytes=100), world)
    assert log.append(b"a", idempotency_key=b"k").index == 0
    world.free = 99
    futures = [log.submit(b"%d" % i) for i in range(5)]
    for future in futures:
        with pytest.raises(StorageFullError):
            future.result()
    assert log.entry(0) == b"a"
    world.free = 100
    with pytest.raises(ConflictError):
        log.append(b"b", idempotency_key=b"k")
    assert log.append(b"b").index == 1
    assert not log.stopped
    log.close()


def test_a_failure_of_the_background_flush_stops_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, since the write-ahead log has it all; but the database is not to be trusted any more."""
    monkeypatch.setattr(sequencer, "SETTLE_AFTER", 0.0)
    monkeypatch.setattr(sequencer, "SETTLE_BYTES", 1)
    memory = logs.new_memory()

    def refuse() -> None:
        raise StorageError("no flushing today")

    store = FailingStore(memory)
    monkeypatch.setattr(store, "settle", refuse, raising=False)
    log = logs.open_store(store, tmp_path, logs.config(), logs.FakeWorld())  # type: ignore[arg-type]
    told = Told()
    with pytest.raises(StoppedError) as caught:  # noqa: PT012 - which append meets it is the scheduler's choice
        for i in range(1_000):
            told.settle([b"%d" % i], log.append(b"%d" % i))
    assert isinstance(caught.value.__cause__, StorageError)
    check_log(log, seen=told.seen, acknowledged=told.acknowledged, proofs=PROOFS)
    logs.let_go(log)
    with logs.open_store(memory.crash(), tmp_path, logs.config(), logs.FakeWorld()) as again:
        check_log(again, seen=told.seen, acknowledged=told.acknowledged, proofs=PROOFS)


def test_an_unreadable_idempotency_row_stops_the_log(tmp_path: Path) -> None:
    """Without the row nobody can tell whether an append is a repeat; storing it twice would be a guess."""

    class Unreadable(FailingStore):
        def remembered(self, key: bytes) -> bytes | None:
            raise DamagedError("a block of idempotency rows is bad")

    memory = logs.new_memory()
    log = logs.open_store(Unreadable(memory), tmp_path, logs.config(), logs.FakeWorld())  # type: ignore[arg-type]
    assert log.append(b"without a key").index == 0
    with pytest.raises(StoppedError) as caught:
        log.append(b"with one", idempotency_key=b"k")
    assert isinstance(caught.value.__cause__, DamagedError)
    assert log.size == 1
    logs.let_go(log)
