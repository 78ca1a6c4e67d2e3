"""What an append promises: indexes, repeats, refusals, and every way of waiting for it."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import (
    ClosedError,
    ConflictError,
    EntryError,
    LockedError,
    OverloadedError,
    RangeError,
    StorageFullError,
)
from merklelog.formats import parse_checkpoint, parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.tree import TileHashes, leaf_hash, root_hash, verify_inclusion

SUPPORT = Path(__file__).resolve().parent.parent / "support"


def load(name: str):
    """A helper of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(f"appends_{name}", SUPPORT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


checker, logs = load("checker"), load("logs")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[merklelog.Log]:
    with merklelog.open(logs.make(tmp_path / "log")) as opened:
        yield opened


@pytest.fixture
def deduping(tmp_path: Path) -> Iterator[merklelog.Log]:
    with merklelog.open(logs.make(tmp_path / "log", log__dedupe=True)) as opened:
        yield opened


# --- receipts --------------------------------------------------------------------------------------------------


def test_a_receipt_proves_its_entry_under_a_signed_checkpoint(log: merklelog.Log, tmp_path: Path) -> None:
    log.append_batch([b"x%d" % i for i in range(700)])
    receipt = log.append(b"an event")
    root = parse_checkpoint(receipt.checkpoint).checkpoint.root
    verify_inclusion(leaf_hash(b"an event"), receipt.index, receipt.size, receipt.proof, root)
    proof = parse_proof(receipt.save(tmp_path / "p.tlog-proof").read_bytes())
    assert verify_proof_file(proof, leaf_hash(b"an event"), single_log_policy(log.vkeys[:1])).index == 700


def test_batch_receipts_are_a_sequence(log: merklelog.Log) -> None:
    log.append(b"first")
    batch = log.append_batch([b"a", b"b", b"c"])
    assert batch.indexes == [1, 2, 3]
    assert [receipt.index for receipt in batch] == [batch[i].index for i in range(3)] == [1, 2, 3]
    assert [receipt.leaf_hash for receipt in batch[1:]] == [leaf_hash(b"b"), leaf_hash(b"c")]
    assert batch[-1].size == batch.size == 4


def test_receipts_outlive_the_log(tmp_path: Path) -> None:
    with merklelog.open(logs.make(tmp_path / "log")) as log:
        batch = log.append_batch([b"%d" % i for i in range(300)])
    policy = single_log_policy(log.vkeys[:1])
    assert verify_proof_file(parse_proof(batch[7].to_bytes()), leaf_hash(b"7"), policy).index == 7


def test_an_old_receipt_still_proves_to_its_own_checkpoint(log: merklelog.Log) -> None:
    old = log.append(b"old")
    log.append_batch([b"%d" % i for i in range(1_000)])
    proof = parse_proof(old.to_bytes())
    assert verify_proof_file(proof, leaf_hash(b"old"), single_log_policy(log.vkeys[:1])).checkpoint.size == 1


# --- waiting ---------------------------------------------------------------------------------------------------


def test_threads_tasks_futures_and_readers_at_once(log: merklelog.Log, tmp_path: Path) -> None:
    told: dict[int, bytes] = {}
    failures: list[BaseException] = []

    def thread(name: int) -> None:
        for i in range(60):
            entry = b"thread %d.%d" % (name, i)
            told[log.append(entry).index] = entry

    async def tasks() -> None:
        async def one(name: int) -> None:
            for i in range(40):
                entry = b"task %d.%d" % (name, i)
                told[(await log.append_async(entry)).index] = entry

        await asyncio.gather(*(one(name) for name in range(10)))
        batch = await log.append_batch_async([b"batch a", b"batch b"])
        told.update(zip(batch.indexes, (b"batch a", b"batch b"), strict=True))

    def read() -> None:
        try:
            while any(worker.is_alive() for worker in workers[:-2]):
                size = log.size
                root = root_hash(size, TileHashes(size, lambda tile: log.tile(*tile)))
                for index in range(max(0, size - 5), size):
                    proof = log.inclusion_proof(index, size)
                    verify_inclusion(leaf_hash(log.entry(index)), index, size, proof, root)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=thread, args=(name,)) for name in range(8)]
    workers += [threading.Thread(target=lambda: asyncio.run(tasks())), threading.Thread(target=read)]
    for worker in workers:
        worker.start()
    future = log.submit(b"future")
    for worker in workers:
        worker.join()
    told[future.result().index] = b"future"
    assert not failures
    assert len(told) == 8 * 60 + 10 * 40 + 2 + 1 == log.size
    checker.check_log(log, acknowledged=told)


def test_a_cancelled_append_may_be_stored_and_harms_nobody(log: merklelog.Log) -> None:
    async def cancel_one() -> int:
        task = asyncio.create_task(log.append_async(b"cancelled"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await log.append_async(b"next")).index

    assert asyncio.run(cancel_one()) == 1
    assert log.entry(0) == b"cancelled"


def test_an_event_loop_that_went_away_harms_nobody(tmp_path: Path) -> None:
    world = logs.FakeWorld()
    log = logs.open_in(logs.make(tmp_path / "log"), world)
    gate = threading.Event()
    world.on_step = lambda name: gate.wait(10) if name == "written" else None

    async def leave() -> None:
        task = asyncio.create_task(log.append_async(b"nobody waits"))
        await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(leave())
    gate.set()
    assert log.append(b"next").index == 1
    log.close()


def test_closing_commits_what_waits(tmp_path: Path) -> None:
    log = merklelog.open(logs.make(tmp_path / "log"))
    futures = [log.submit_batch([b"%d.%d" % (n, i) for i in range(50)]) for n in range(40)]
    log.close()
    assert [future.result().indexes[0] for future in futures] == [50 * n for n in range(40)]
    with pytest.raises(ClosedError):
        log.append(b"late")
    log.close()
    with merklelog.open_reader(tmp_path / "log") as reader:
        assert reader.size == 2_000
        assert len(parse_checkpoint(reader.checkpoint()).note.signatures) == 2, (
            "the last one has both signatures"
        )


# --- repeats ---------------------------------------------------------------------------------------------------


def test_dedupe_gives_the_first_index(deduping: merklelog.Log) -> None:
    assert deduping.append_batch([b"a", b"b", b"a", b"c", b"b"]).indexes == [0, 1, 0, 2, 1]
    assert deduping.append_batch([b"c", b"d"]).indexes == [2, 3]
    assert deduping.append(b"a").index == 0
    assert deduping.size == 4


def test_a_given_identity_decides_and_not_the_bytes(deduping: merklelog.Log) -> None:
    one, two = b"1" * 32, b"2" * 32
    assert deduping.append(b"same", identity=one).index == 0
    assert deduping.append(b"same", identity=two).index == 1
    again = deduping.append(b"other", identity=one)
    assert again.index == 0
    assert again.leaf_hash == leaf_hash(b"same"), "the receipt is of the entry that is stored"
    assert deduping.append_batch([b"x", b"y", b"z"], identities=[two, None, one]).indexes == [1, 2, 0]


def test_dedupe_is_remembered_across_restarts(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log", log__dedupe=True)
    identity = bytes(range(32))
    with merklelog.open(directory) as log:
        log.append_batch([b"%d" % i for i in range(600)])
        assert log.append(b"mine", identity=identity).index == 600
    for file in (directory / "index").iterdir():
        file.unlink()  # derived: made anew
    with merklelog.open(directory) as log:
        assert log.append_batch([b"599", b"0", b"new"]).indexes == [599, 0, 601]
        assert log.append(b"whatever", identity=identity).index == 600


def test_dedupe_switched_on_later_knows_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = logs.make(tmp_path / "log")
    with merklelog.open(directory) as log:
        assert log.append_batch([b"a", b"a", b"b"]).indexes == [0, 1, 2]
    monkeypatch.setenv("MERKLELOG_LOG__DEDUPE", "true")
    with merklelog.open(directory) as log:
        assert log.append_batch([b"b", b"a", b"c"]).indexes == [2, 0, 3]


def test_an_idempotency_key_answers_the_same_again(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    with merklelog.open(directory) as log:
        assert log.append(b"pay", idempotency_key="k").index == 0
        assert log.append(b"pay", idempotency_key=b"k").index == 0
        assert log.append(b"pay", idempotency_key="k", submitter="somebody else").index == 1
        assert log.append_batch([b"x", b"y"], idempotency_key="batch").indexes == [2, 3]
        assert log.append_batch([b"p", b"q"], idempotency_keys=["p", None]).indexes == [4, 5]
    with merklelog.open(directory) as log:
        assert log.append(b"pay", idempotency_key="k").index == 0
        assert log.append_batch([b"x", b"y"], idempotency_key="batch").indexes == [2, 3]
        assert log.append_batch([b"p", b"q"], idempotency_keys=["p", None]).indexes == [4, 6]
        assert log.size == 7


@pytest.mark.parametrize("batch", [False, True])
def test_a_key_with_other_bytes_is_a_conflict_and_stores_nothing(log: merklelog.Log, batch: bool) -> None:
    log.append(b"pay 1", idempotency_key="k")
    entries, keys = ([b"new", b"pay 2"], [None, "k"]) if batch else ([b"pay 2"], ["k"])
    with pytest.raises(ConflictError, match="other bytes"):
        log.append_batch(entries, idempotency_keys=keys)
    with pytest.raises(ConflictError, match="entry 1 of the batch"):
        log.append_batch([b"u", b"v"], idempotency_keys=["w", "w"])
    assert log.size == 1


def test_many_retries_at_once_store_once(log: merklelog.Log) -> None:
    futures = [log.submit(b"pay", idempotency_key="k") for _ in range(50)]
    assert {future.result().index for future in futures} == {0}
    assert log.size == 1


def test_a_key_is_forgotten_when_its_days_are_over(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log", idempotency__days=2)
    world = logs.FakeWorld()
    log = logs.open_in(directory, world)
    assert log.append(b"a", idempotency_key="k").index == 0
    world.now += 2 * logs.DAY - 1
    assert log.append(b"a", idempotency_key="k").index == 0
    world.now += 3
    assert log.append(b"b", idempotency_key="k").index == 1, "the key may be used anew"
    assert log.append(b"b", idempotency_key="k").index == 1
    log.close()
    log = logs.open_in(directory, world)
    assert log.append(b"b", idempotency_key="k").index == 1
    log.close()


# --- refusals --------------------------------------------------------------------------------------------------


def test_what_is_no_entry(log: merklelog.Log) -> None:
    with pytest.raises(EntryError, match=r"65,536 bytes.*65,535"):
        log.append(b"x" * 65_536)
    with pytest.raises(EntryError, match="entry 1 of the batch has 70,000 bytes"):
        log.append_batch([b"", b"x" * 70_000])
    with pytest.raises(EntryError, match="type str"):
        log.append("text")
    with pytest.raises(EntryError, match="no entries"):
        log.append_batch([])
    with pytest.raises(EntryError, match="does not dedupe"):
        log.append(b"x", identity=bytes(32))
    for key in (b"", b"k" * 129, "ü" * 65):
        with pytest.raises(EntryError, match="1 to 128 bytes"):
            log.append(b"x", idempotency_key=key)
    with pytest.raises(EntryError, match="not both"):
        log.append_batch([b"x"], idempotency_key="a", idempotency_keys=["b"])
    with pytest.raises(EntryError, match="2 idempotency keys for 1"):
        log.append_batch([b"x"], idempotency_keys=["b", "c"])
    assert log.size == 0
    assert log.append(b"x" * 65_535).index == 0
    assert log.append(bytearray(b"bytes alike")).index == 1
    assert log.append(b"").index == 2


def test_what_is_no_identity(deduping: merklelog.Log) -> None:
    with pytest.raises(EntryError, match="31 bytes"):
        deduping.append(b"x", identity=bytes(31))
    with pytest.raises(EntryError, match="1 identities for 2"):
        deduping.append_batch([b"x", b"y"], identities=[None])
    assert deduping.size == 0


def test_what_is_no_index_or_size(log: merklelog.Log) -> None:
    log.append_batch([b"a", b"b", b"c"])
    for index, shown in ((-1, "-1"), (3, "3"), (1 << 70, "")):
        with pytest.raises(RangeError, match=f"entry {shown}"):
            log.entry(index)
        with pytest.raises(RangeError, match=f"leaf {shown}"):
            log.inclusion_proof(index)
    with pytest.raises(RangeError, match="size 4"):
        log.inclusion_proof(0, 4)
    with pytest.raises(RangeError):
        log.inclusion_proof(0, 0)
    with pytest.raises(RangeError, match="3 and 2"):
        log.consistency_proof(3, 2)
    with pytest.raises(RangeError, match="2:9"):
        log.entries(2, 9)
    assert log.consistency_proof(0, 3) == []


def test_backpressure_refuses_and_recovers(tmp_path: Path) -> None:
    world = logs.FakeWorld()
    log = logs.open_in(logs.make(tmp_path / "log", log__max_pending_bytes=1 << 20), world)
    gate = threading.Event()
    world.on_step = lambda name: gate.wait(30) if name == "planned" else None
    accepted: list[Future] = []
    refused: OverloadedError | None = None
    while refused is None and len(accepted) < 100:
        try:
            accepted.append(log.submit(b"x" * 60_000))
        except OverloadedError as error:
            refused = error
    assert refused is not None
    assert "log.max_pending_bytes" in str(refused)
    assert refused.retry_after > 0
    assert 10 < len(accepted) < 20
    gate.set()
    indexes = [future.result().index for future in accepted]
    assert indexes == list(range(len(accepted)))
    assert log.append(b"again").index == len(accepted), "nothing of what was refused was stored"
    with pytest.raises(EntryError, match=r"a batch of .* bytes: log.max_pending_bytes is 1,048,576"):
        log.append_batch([b"x" * 60_000] * 20)
    log.close()


def test_too_little_room_refuses_until_there_is_some(tmp_path: Path) -> None:
    world = logs.FakeWorld(free=5_000)
    log = logs.open_in(logs.make(tmp_path / "log", store__min_free_bytes=10_000), world)
    with pytest.raises(StorageFullError, match=r"5,000 bytes are free .* store.min_free_bytes is 10,000"):
        log.append(b"x")
    assert (log.size, log.stopped) == (0, False)
    world.free = 10_000
    assert log.append(b"x").index == 0
    assert log.entry(0) == b"x"
    log.close()


# --- one writer ------------------------------------------------------------------------------------------------


def test_a_second_writer_learns_the_first_ones_pid(log: merklelog.Log) -> None:
    import os

    with pytest.raises(LockedError, match=f"process {os.getpid()}") as caught:
        merklelog.open(log.path)
    assert caught.value.pid == os.getpid()
    code = "import sys, merklelog; merklelog.open(sys.argv[1])"
    words = [sys.executable, "-c", code, str(log.path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=SUPPORT.parent.parent)
    assert f"is open for writing by process {os.getpid()}" in done.stderr
    assert log.append(b"the first goes on").index == 0


def test_readers_beside_the_writer_see_one_moment(log: merklelog.Log) -> None:
    log.append_batch([b"%d" % i for i in range(300)])
    with merklelog.open_reader(log.path) as reader:
        log.append_batch([b"%d" % i for i in range(300, 900)])
        checker.check_log(reader)
        assert reader.size == 300
        reader.refresh()
        assert reader.size == 900
        checker.check_log(reader)
