"""Two writers of one log on one target: one goes on, the other stops having signed and locked nothing."""

from __future__ import annotations

import multiprocessing
import random
import sys
import threading
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import FailingStore, WrittenOnce
from publication_path import Path as ModelPath
from publication_path import look
from published_log import DiskLog
from publisher_tools import drain, dump, insist, publisher, running, shown

from merklelog.errors import (
    BehindError,
    FencedError,
    ForkError,
    MerklelogError,
    StoppedError,
    UnreachableError,
)
from merklelog.publish import DirectoryStore
from merklelog.publish.memory import MemoryStore
from merklelog.publish.pointer import read_head

CLONES = 200
HELD = 8  # each of so many is held to the model too, which takes longer than all the rest


class Held:
    """The model's view of two writers on one target: one request at a time, and each is looked at."""

    def __init__(self, target: MemoryStore, kept: WrittenOnce, log: DiskLog) -> None:
        told = log.told
        self.lock = threading.RLock()
        self.path = ModelPath(lambda: look(target, told.entries, told.signed), told.entries)
        self.path.disk(0, ())
        drain(running(self.disk(log, 0), HeldStore(kept, self, 0), step=partial(self.path.passed, 0)))
        self.path.crashed(0)

    def disk(self, log: DiskLog, number: int) -> DiskLog:
        """The disk of a writer, who signs where nobody else does anything."""
        self.path.disk(number, log.told.entries[log.integrated().root])
        sign = log.sign

        def signs(head: Any) -> bytes:
            with self.lock:
                note = sign(head)
                self.path.quietly(number)
                return note

        log.sign = signs  # type: ignore[method-assign]
        return log

    def passed(self, number: int, step: Any) -> None:
        with self.lock:
            self.path.passed(number, step)

    def grow(self, number: int, log: DiskLog, name: bytes) -> None:
        with self.lock:
            self.path.appended(number, log.told.entries[log.grow(3, name).integrated().root])

    def crashed(self, number: int) -> None:
        with self.lock:
            self.path.crashed(number)


class HeldStore(FailingStore):
    """A target as one of these writers reaches it."""

    def __init__(self, target: Any, held: Held, number: int) -> None:
        super().__init__(target, lambda _name, _write: None)
        self.held = held
        self.number = number

    def _write(self, name: str, make: Any) -> Any:
        with self.held.lock:
            done = make()
            self.held.path.quietly(self.number)
            return done


class Clone:
    """One of two processes on copies of one disk; its disk tells what it signed since."""

    def __init__(self, log: DiskLog, store: Any, name: bytes, held: Held | None = None) -> None:
        self.number = int(name == b"other")
        self.log = log.copy() if held is None else held.disk(log.copy(), self.number)
        self.had = set(self.log.notes)
        self.name = name
        self.held = held
        self.error: MerklelogError | AssertionError | None = None
        if held is None:
            self.made = publisher(self.log, store, encoding="identity")
        else:
            reached = HeldStore(store, held, self.number)
            self.made = publisher(self.log, reached, step=partial(held.passed, self.number))

    def live(self, publications: int) -> None:
        """Start, and publish a few times what it appends, until it is stopped."""
        try:
            insist(self.made.start)
            for _ in range(publications):
                self.grow()
                insist(lambda: drain(self.made))
        except (MerklelogError, AssertionError) as error:
            self.error = error
            if self.held is not None and isinstance(error, MerklelogError):
                self.held.crashed(self.number)

    def grow(self) -> None:
        if self.held is None:
            self.log.grow(3, self.name)
        else:
            self.held.grow(self.number, self.log, self.name)

    @property
    def new_notes(self) -> set[int]:
        return set(self.log.notes) - self.had


def begin(log: DiskLog, target: MemoryStore, kept: WrittenOnce, number: int) -> Held | None:
    """Publish what the disk has, before there are two of it; some are held to the model."""
    if number % HELD == 0:
        return Held(target, kept, log)
    drain(running(log, kept))
    return None


def judge(target: Any, one: Clone, other: Clone) -> None:
    """No two checkpoints conflict, each that was signed is filed, and the newest one is shown."""
    for clone in (one, other):
        assert clone.error is None or isinstance(clone.error, FencedError | BehindError | ForkError), (
            clone.error
        )
    if one.error is not None and other.error is not None:
        # Each was stopped by the other, one after the other: then what the later one left is what is shown.
        assert {type(one.error), type(other.error)} <= {FencedError, BehindError, ForkError}
    by_size: dict[int, bytes] = {}
    for clone in (one, other):
        for size in clone.new_notes:
            root = clone.log.root_at(size)
            assert by_size.setdefault(size, root) == root, f"two checkpoints for size {size}"
            assert target.stat(f"checkpoints/{size}") is not None or size == max(clone.log.notes)
    assert shown(target, one.log.verifiers) == max(max(one.log.notes), max(other.log.notes))


def test_clones_started_one_after_the_other() -> None:
    """The second one takes over before the first publishes again, or finds what it published and refuses."""
    choice = random.Random(1)
    ends = []
    for number in range(CLONES):
        target = MemoryStore()
        kept = WrittenOnce(target)
        log = DiskLog().grow(choice.randrange(1, 300))
        held = begin(log, target, kept, number)
        one, other = Clone(log, kept, b"one", held), Clone(log, kept, b"other", held)
        one.live(choice.randrange(2))
        other.live(choice.randrange(2))
        locked = dict(kept.locked)
        if one.error is None:
            try:
                one.grow()
                drain(one.made)
            except MerklelogError as error:
                one.error = error
        if isinstance(one.error, FencedError):
            assert kept.locked == locked, "a fenced writer locked something"
            assert one.new_notes == set() or len(one.log.notes) == 2
            with pytest.raises(StoppedError):
                one.made.publish()
        ends.append((type(one.error), type(other.error)))
        assert (one.error is None) != (other.error is None)
        judge(target, one, other)
    assert set(ends) == {(FencedError, type(None)), (type(None), BehindError)}


def test_clones_started_together() -> None:
    """In two threads that the interpreter switches between as it likes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    goes_on = 0
    try:
        for seed in range(CLONES):
            target = MemoryStore()
            kept = WrittenOnce(target)
            log = DiskLog().grow(1 + seed)
            held = begin(log, target, kept, seed)
            clones = Clone(log, kept, b"one", held), Clone(log, kept, b"other", held)
            threads = [threading.Thread(target=clone.live, args=(3,)) for clone in clones]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            judge(target, *clones)
            assert any(clone.error is not None for clone in clones)
            goes_on += any(clone.error is None for clone in clones)
    finally:
        sys.setswitchinterval(before)
    assert goes_on == CLONES


def _clone_process(path: Path, log: DiskLog, name: bytes, answers: Any, together: Any) -> None:
    clone = Clone(log, DirectoryStore(path), name)
    together.wait()
    clone.live(3)
    answers.put((name, type(clone.error).__name__, sorted(clone.new_notes)))


def test_clones_in_processes_on_one_directory(tmp_path: Path, check: ModuleType) -> None:
    """The lock file of a directory is what decides between processes."""
    context = multiprocessing.get_context("fork")
    for number in range(5):
        path = tmp_path / str(number)
        log = DiskLog().grow(250 + number)
        drain(running(log, DirectoryStore(path), encoding="identity"))
        answers, together = context.Queue(), context.Barrier(2)
        workers = [
            context.Process(target=_clone_process, args=(path, log, name, answers, together))
            for name in (b"one", b"other")
        ]
        for worker in workers:
            worker.start()
        told = {name: (error, notes) for name, error, notes in (answers.get(timeout=60) for _ in workers)}
        for worker in workers:
            worker.join()
        ends = sorted(error for error, _ in told.values())
        assert ends[1] == "NoneType" or ends[0] == "NoneType", told
        assert set(ends) <= {"NoneType", "FencedError", "BehindError", "ForkError"}
        winner = next(name for name, (error, _) in told.items() if error == "NoneType")
        entries = log.copy().grow(9, winner).entries
        assert shown(DirectoryStore(path), log.verifiers) == len(entries)
        check.complete(path, log.verifiers, entries)


def test_who_is_fenced_between_its_steps_goes_no_further(tmp_path: Path) -> None:
    """Another writer takes over right after each step of a publication."""
    for at in ("started", "staged", "headed", "signed", "put", "filed", "pointed", "shown"):
        target = MemoryStore()
        kept = WrittenOnce(target)
        log = DiskLog().grow(300)
        others: list[DiskLog] = []

        def step(passed: Any, at: str = at, kept: Any = kept, log: Any = log, others: Any = others) -> None:
            if passed.name == at and not others:
                others.append(log.copy())
                made = running(others[0], kept)
                others[0].grow(10, b"other")
                drain(made)

        made = publisher(log, kept, step=step)
        made.start()
        if at in ("pointed", "shown"):
            drain(made)
            log.grow(1)
        with pytest.raises(FencedError):  # by `head`, or by the pointer that went past it
            drain(made)
        # What `head` named may be finished by both, with the same bytes.
        assert set(log.notes) == (set() if at in ("started", "staged") else {300})
        assert shown(target, log.verifiers) == 310
        head = read_head(target)
        assert head is not None
        assert head.head.epoch == 2
        dump(target, tmp_path / at)


def test_what_a_fenced_writer_says(tmp_path: Path) -> None:
    target = DirectoryStore(tmp_path)
    log = DiskLog().grow(3)
    made = running(log, target)
    other = running(log.copy(), target)
    with pytest.raises(FencedError) as caught:
        drain(made)
    assert str(caught.value).startswith(
        f"dir:{tmp_path}/head: it holds epoch 2, size 0, and this writer knew epoch 1, size 0 there: another "
    )
    assert drain(other)


def test_an_epoch_that_somebody_took_meanwhile_is_not_taken_again() -> None:
    """A start that looks at its target a second time may find its own number there, by another writer."""
    target = MemoryStore()
    log = DiskLog().grow(3)
    old = running(log, target)
    others: list[Any] = []
    events = iter(("swap head", "get checkpoint"))
    wanted = next(events)

    def gate(name: str, _: Any) -> None:
        nonlocal wanted
        if name != wanted:
            return
        if name == "swap head":  # the writer of the epoch before publishes in between
            drain(old)
            wanted = next(events)
        else:  # and another one starts while this one looks again, and gets no answer
            wanted = ""
            others.append(running(log.copy(), target))
            raise UnreachableError(name)

    made = publisher(log.copy(), FailingStore(target, gate))
    with pytest.raises(UnreachableError):
        made.start()
    assert others[0].epoch == 2
    with pytest.raises(FencedError, match="it holds epoch 2"):
        made.start()
    others[0]._log.grow(1)
    assert len(drain(others[0])) == 1


def test_what_a_stopped_writer_staged_goes_with_the_next_start() -> None:
    """As docs/publication.md says: only a start lists what is staged."""
    target = MemoryStore()
    log = DiskLog().grow(10)
    loser = running(log, target)
    drain(loser)
    winner_log = log.copy()
    winner = running(winner_log, target)
    log.grow(3, b"loser")
    with pytest.raises(FencedError):
        drain(loser)
    (left,) = target.list_keys("staging/")
    winner_log.grow(9, b"winner")
    drain(winner)
    assert list(target.list_keys("staging/")) == [left]
    running(winner_log, target)
    assert list(target.list_keys("staging/")) == []
