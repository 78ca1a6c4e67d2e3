"""Reads while the head moves under them, endings while others are at work, and processes that fork."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog import Log
from merklelog.errors import ClosedError, DamagedError, RangeError
from merklelog.formats import parse_bundle, parse_checkpoint, parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash, verify_consistency, verify_inclusion
from tests.support import logs
from tests.support.checker import Rehashed, check_log
from tests.support.damage import copy

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with merklelog.open(logs.make(tmp_path / "log", log__lookup=True)) as opened:
        yield opened


def entry(index: int) -> bytes:
    return b"entry %d" % index


@pytest.fixture
def moving(log: Log, monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log that grows by one entry after each look at its head, over every border of a tile."""
    look = Log.integrated.fget  # type: ignore[attr-defined]
    log.append_batch([entry(i) for i in range(200)])
    moves = threading.local()

    def grow_after(self: Log) -> Any:
        head = look(self)
        if not getattr(moves, "now", False) and head.size < 560:
            moves.now = True
            self.append(entry(head.size))
            moves.now = False
        return head

    monkeypatch.setattr(Log, "integrated", property(grow_after))
    monkeypatch.setattr(Log, "published", property(grow_after))
    return log


def test_every_read_holds_while_the_head_moves(moving: Log) -> None:
    """What a call gives belongs to one size, whichever that is."""
    log = moving
    tree = Rehashed([entry(i) for i in range(600)])
    policy = single_log_policy(log.vkeys[:1])
    while log.size < 540:
        size = log.size
        assert log.entry(size - 1) == entry(size - 1)
        assert list(log.entries(0, size)) == [entry(i) for i in range(size)]
        proof = parse_proof(log.prove(size - 1))
        verdict = verify_proof_file(proof, leaf_hash(entry(size - 1)), policy)
        assert verdict.checkpoint.size >= size
        note = parse_checkpoint(log.checkpoint()).checkpoint
        assert note.root == tree.root(note.size)
        verify_inclusion(leaf_hash(entry(3)), 3, size, log.inclusion_proof(3, size), tree.root(size))
        verify_consistency(100, size, tree.root(100), tree.root(size), log.consistency_proof(100, size))
        many = log.inclusion_proofs([0, size - 1], size)
        verify_inclusion(leaf_hash(entry(size - 1)), size - 1, size, many[1], tree.root(size))
        index, width = (size - 1) >> 8, ((size - 1) & 255) + 1
        assert log.tile(0, index, width) == tree.tile(0, index, width)
        assert parse_bundle(log.bundle(index, width), width) == [
            entry(i) for i in range(256 * index, 256 * index + width)
        ]
        assert log.find(leaf_hash(entry(size - 1))) == size - 1
        assert log.find(leaf_hash(b"nothing like it")) is None
        assert merklelog.LogReader.find(log, leaf_hash(entry(size - 1))) == size - 1


def test_the_newest_entry_is_found_by_any_thread(log: Log) -> None:
    """The lookup must never read what the sequencer is just moving."""
    problems: list[BaseException] = []
    stop = threading.Event()

    def look() -> None:
        try:
            while not stop.wait(0.001):
                size = log.size
                for index in range(max(0, size - 3), size):
                    assert log.find(leaf_hash(entry(index))) == index
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(0, 600, 3):
        log.append_batch([entry(i) for i in range(start, start + 3)])
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_closing_under_appends_answers_each_of_them(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    log = merklelog.open(directory)
    told: dict[int, bytes] = {}
    ends: list[BaseException] = []

    def thread(name: int) -> None:
        try:
            for i in range(100_000):
                data = b"%d.%d" % (name, i)
                told[log.append(data).index] = data
        except BaseException as error:
            ends.append(error)

    async def tasks() -> None:
        async def one(name: int) -> None:
            try:
                for i in range(100_000):
                    data = b"task %d.%d" % (name, i)
                    told[(await log.append_async(data)).index] = data
            except ClosedError as error:
                ends.append(error)

        await asyncio.gather(*(one(name) for name in range(5)))

    workers = [threading.Thread(target=thread, args=(name,)) for name in range(5)]
    workers.append(threading.Thread(target=lambda: asyncio.run(tasks())))
    for worker in workers:
        worker.start()
    while len(told) < 200:
        pass
    closers = [threading.Thread(target=log.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for each in (*closers, *workers):
        each.join(timeout=60)
        assert not each.is_alive()
    assert [type(end) for end in ends] == [ClosedError] * 10
    with merklelog.open(directory) as again:
        assert again.size == len(told), "one was stored and not told"
        check_log(again, acknowledged=told)


def test_a_half_read_scan_does_not_keep_a_closed_log_open(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    log = merklelog.open(directory)
    log.append_batch([entry(i) for i in range(1000)])
    entries, sizes = log.entries(0, 1000), log.stored_sizes()
    assert next(entries) == entry(0)
    assert next(sizes) == 1000
    log.close()
    with merklelog.open(directory) as again:
        assert again.append(b"on it goes").index == 1000
    with pytest.raises(ClosedError):
        list(entries)
    with pytest.raises(ClosedError):
        log.entry(0)
    assert log.size == 1000
    assert parse_checkpoint(log.checkpoint()).checkpoint.size == 1000


def test_an_exception_in_a_callback_harms_nobody(log: Log) -> None:
    def fail(_done: Future[Any]) -> None:
        raise ValueError("the caller's own mistake")

    future = log.submit(b"a")
    future.add_done_callback(fail)
    assert future.result().index == 0
    assert log.append(b"b").index == 1


def test_a_callback_that_would_end_the_thread_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    world = logs.FakeWorld()
    log = logs.open_store(logs.new_memory(), tmp_path, logs.config(), world)
    gate = threading.Event()
    world.on_step = lambda name: gate.wait(30) if name == "planned" else None

    def leave(_done: Future[Any]) -> None:
        raise SystemExit("enough")

    futures = [log.submit(b"first of one commit")]
    threads = [threading.Thread(target=lambda: log.append(b"thread")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(20):
        futures.append(log.submit(b"%d" % i))
        if i == 10:
            futures[-1].add_done_callback(leave)
    gate.set()
    assert len({future.result(timeout=30).index for future in futures}) == 21
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert [type(each.exc_value) for each in said] == [SystemExit]
    assert log.append(b"next").index == 25
    log.close()


FORKING = """
import os, sys
import merklelog
log = merklelog.open(sys.argv[1])
log.append(b"before")
child = os.fork()
if child == 0:
    sys.exit(0)  # what it inherited is not its own to close
os.waitpid(child, 0)
for i in range(100):
    log.append(b"after %d" % i)
print(log.size)
log.close()
"""


def test_a_fork_does_not_touch_its_parents_log(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    words = [sys.executable, "-c", FORKING, str(directory)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout) == (0, "101\n"), done.stderr
    with merklelog.open(directory) as log:
        check_log(log)
        assert log.size == 101


FORGETFUL = """
import sys, threading
import merklelog
log = merklelog.open(sys.argv[1])
log.append_batch([b"%d" % i for i in range(300)])
futures = [log.submit(b"%d" % i) for i in range(50)]
"""


def test_a_program_that_forgets_to_close_loses_nothing(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    words = [sys.executable, "-c", FORGETFUL, str(directory)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    with merklelog.open_reader(directory) as log:
        assert log.size == 350
        assert len(parse_checkpoint(log.checkpoint()).note.signatures) == 2
        assert next(iter(log.stored_sizes())) == 350


def test_a_log_is_opened_and_closed_again_and_again(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log", log__dedupe=True)
    seen = []
    before = threading.active_count()
    for i in range(15):
        with merklelog.open(directory) as log:
            assert log.append(entry(i)).index == i
            seen.append(log.checkpoint())
    assert threading.active_count() == before, "a thread outlived its log"
    with merklelog.open(directory) as log:
        check_log(log, seen=seen)
        assert list(log.stored_sizes()) == list(range(15, -1, -1))


def test_idempotency_rows_go_when_their_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only ignored: deleted, a bounded number at a time, and never one that was used anew."""
    from merklelog.log import sequencer
    from merklelog.log.request import scoped_key

    monkeypatch.setattr(sequencer, "KEEP_INTERVAL", 0.0)
    monkeypatch.setattr(sequencer, "FORGET_ROWS", 7)
    world = logs.FakeWorld()
    log = logs.open_in(logs.make(tmp_path / "log", idempotency__days=1), world)
    keys = [b"key %d" % i for i in range(30)]
    log.append_batch([entry(i) for i in range(30)], idempotency_keys=keys)
    world.now += 2 * logs.DAY
    assert log.append(b"used anew", idempotency_key=keys[3]).index == 30
    for _ in range(10):
        world.offset += sequencer.FORGET_EVERY + 1
        log.append(b"time goes by")
        while log._sequencer._keep_at is not None:  # the checkpoint that takes old rows along
            pass
    left = [key for key in keys if log._store.remembered(scoped_key(key, "")) is not None]
    assert left == [keys[3]]
    assert log.append(b"used anew", idempotency_key=keys[3]).index == 30
    log.close()


def test_a_copy_of_a_running_log_is_refused_or_whole(log: Log, tmp_path: Path) -> None:
    """What `cp -r` makes beside a writer is no backup: some are whole, and the others say that they are not."""
    outcomes = set()
    stop = threading.Event()

    def append() -> None:
        number = 0
        while not stop.is_set():
            log.append_batch([b"%d.%d" % (number, i) for i in range(40)])
            number += 1
            if number % 5 == 0:
                log._store.settle()

    writer = threading.Thread(target=append)
    writer.start()
    for turn in range(25):
        try:
            made = copy(log.path, tmp_path / f"copy{turn}")
        except OSError:  # a file vanished meanwhile, and cp would say so too
            continue
        try:
            with merklelog.open_reader(made) as reader:
                check_log(reader)
            outcomes.add("whole")
        except DamagedError:
            outcomes.add("refused")
    stop.set()
    writer.join()
    assert outcomes <= {"whole", "refused"}


@pytest.mark.parametrize("call", [lambda log: log.entry(5), lambda log: log.tile(0, 0, 6)])
def test_nothing_past_the_durable_head_is_read(tmp_path: Path, call: Callable[[Log], object]) -> None:
    """Entries that are written and not synced are in the database already."""
    world = logs.FakeWorld()
    store = logs.new_memory()
    log = logs.open_store(store, tmp_path, logs.config(), world)
    log.append_batch([entry(i) for i in range(5)])
    gate, there = threading.Event(), threading.Event()

    def hold() -> None:
        there.set()
        gate.wait(30)

    store_sync = store.sync
    monkey = pytest.MonkeyPatch()
    monkey.setattr(type(store), "sync", lambda self: (hold(), store_sync())[1])
    try:
        future = log.submit_batch([entry(i) for i in range(5, 10)])
        assert there.wait(30)
        while len(store.written) < 3:
            pass
        assert list(store.segments(5, 6)), "it is written"
        with pytest.raises(RangeError):
            call(log)
        assert log.size == 5
    finally:
        gate.set()
        future.result()
        monkey.undo()
        log.close()
