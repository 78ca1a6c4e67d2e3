"""Several targets: each step on all before the next, the first one decides, and who lags is brought up."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import FailingStore, FailOnce, Fault, Killed, WrittenOnce
from publication_path import Path as ModelPath
from publication_path import look
from published_log import DiskLog, recovered
from publisher_tools import drain, dump, insist, publisher, running, shown

from merklelog.errors import BehindError, FencedError, ForkError, UnreachableError
from merklelog.protocol.publication import EMPTY_TREE, OF_THE_LOG, ORDER, StepName
from merklelog.publish import BundleEncoding
from merklelog.publish.memory import MemoryStore
from merklelog.publish.pointer import format_head, read_head
from merklelog.publish.publisher import Publisher


class Three:
    """A log with three targets, of which any request can fail; each is held to the model by itself."""

    def __init__(self, *, before: int = 0) -> None:
        self.log = DiskLog()
        self.targets = [MemoryStore(name) for name in ("first", "second", "third")]
        self.kept = [WrittenOnce(target) for target in self.targets]
        self.gate = FailOnce()
        self.stores = [FailingStore(kept, self.gate) for kept in self.kept]
        entries, signed = self.log.told.entries, self.log.told.signed
        self.paths = [
            ModelPath(lambda target=target: look(target, entries, signed), entries) for target in self.targets
        ]
        for path in self.paths:
            path.disk(0, ())
        self.made: Publisher | None = None
        self.start()
        if before:
            self.grow(before)
            drain(self.publisher)

    @property
    def publisher(self) -> Publisher:
        assert self.made is not None
        return self.made

    def start(self) -> None:
        self.made = publisher(self.log, *self.stores, step=self.passed, encoding="identity")
        insist(self.made.start)

    def passed(self, step: Any) -> None:
        for target, path in zip(self.targets, self.paths, strict=True):
            if step.target in ("", target.location):
                path.passed(0, step)

    def grow(self, count: int, salt: bytes = b"") -> None:
        self.log.grow(count, salt)
        for path in self.paths:
            path.appended(0, self.log.told.entries[self.log.integrated().root])

    def killed(self) -> None:
        for path in self.paths:
            path.quietly(0)
            path.crashed(0)

    def heads(self) -> list[int]:
        found = [read_head(target) for target in self.targets]
        return [one.head.size if one else -1 for one in found]

    def judge(self, check: ModuleType, folder: Path) -> None:
        """The first one is whole, and the others hold the same."""
        first, *others = self.targets
        check.complete(dump(first, folder), self.log.verifiers, self.log.entries)
        assert shown(first, self.log.verifiers) == len(self.log.entries) == self.heads()[0]
        locked = [{key: data for key, (data, kind) in t.objects.items() if kind.retain} for t in self.targets]
        assert all(locked[0] == other for other in locked[1:])
        assert all(target.get("checkpoint") == first.get("checkpoint") for target in others)
        assert self.heads() == [len(self.log.entries)] * 3
        assert recovered(others[0], self.log.told).entries == self.log.entries


def test_each_step_is_done_on_all_before_the_next() -> None:
    steps: list[Any] = []
    targets = [MemoryStore(name) for name in ("first", "second", "third")]
    made = running(DiskLog().grow(300), *targets, step=steps.append)
    drain(made)
    names = [target.location for target in targets]
    want = [(StepName.STARTED, name) for name in names]
    for step in ORDER:
        want += [(step, name) for name in ([""] if step in OF_THE_LOG else names)]
    assert [(step.name, step.target) for step in steps] == want


@pytest.mark.parametrize("kill", [False, True], ids=["error", "kill"])
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.STORED])
def test_every_request_of_a_publication(
    tmp_path: Path, check: ModuleType, fault: Fault, *, kill: bool
) -> None:
    whole = Three(before=300)
    whole.grow(500)
    whole.gate.asked.clear()
    drain(whole.publisher)
    count = len(whole.gate.asked)
    assert count > 30
    for at in range(count):
        scene = Three(before=300)
        scene.grow(500)
        scene.gate.__init__(at, fault, kill=kill)  # type: ignore[misc]
        try:
            drain(scene.publisher)
        except UnreachableError:
            assert scene.heads() == sorted(scene.heads(), reverse=True), "the first one is never behind"
            for path in scene.paths:
                path.quietly(0)
            insist(lambda made=scene.publisher: drain(made))
        except Killed:
            assert scene.heads() == sorted(scene.heads(), reverse=True)
            scene.killed()
            scene.start()
            drain(scene.publisher)
        scene.judge(check, tmp_path / str(at))


def test_a_disk_lost_between_two_heads_comes_back_from_the_first(tmp_path: Path, check: ModuleType) -> None:
    """The first target's head is ahead of the others': whoever recovers from another one is told it is behind."""
    scene = Three(before=300)
    scene.grow(500)

    def step(passed: Any) -> None:
        scene.passed(passed)
        if passed.name == "headed":
            raise Killed

    scene.publisher._step = step
    with pytest.raises(Killed):
        drain(scene.publisher)
    assert scene.heads() == [800, 300, 300]
    assert all(len(head.root) and head.size == 300 for head in scene.log.told.signed)
    late = recovered(scene.targets[1], scene.log.told)
    with pytest.raises(BehindError, match="memory:first: its head is at size 800"):
        publisher(late, *scene.kept).start()
    scene.killed()
    scene.log = recovered(scene.targets[0], scene.log.told)
    for path in scene.paths:
        path.disk(0, scene.log.told.entries[scene.log.integrated().root])
    scene.start()
    drain(scene.publisher)
    scene.judge(check, tmp_path)


def test_a_target_that_does_not_answer_holds_the_publication(tmp_path: Path, check: ModuleType) -> None:
    """Nothing is signed before each has staged and headed; it goes on by itself when the target is back."""
    scene = Three(before=300)
    gone = True

    def gate(name: str, _: Any) -> None:
        if gone:
            raise UnreachableError(f"memory:second: {name}")

    scene.stores[1].gate = gate
    scene.grow(100)
    for _ in range(3):
        with pytest.raises(UnreachableError, match="memory:second"):
            scene.publisher.publish()
    assert scene.heads() == [300, 300, 300]
    assert len(scene.log.notes) == 1
    scene.grow(100)
    gone = False
    sizes = [report.head.size for report in drain(scene.publisher)]
    assert sizes == [400, 500], "what was begun is finished first, as it was staged"
    scene.judge(check, tmp_path)


def test_a_target_that_is_added_is_brought_up_in_pieces(tmp_path: Path, check: ModuleType) -> None:
    log = DiskLog()
    first, second = MemoryStore("first"), MemoryStore("second")
    made = running(log, first)
    for _ in range(6):
        log.grow(500)
        drain(made)
    told = len(log.told.signed)
    kept = WrittenOnce(second)
    made = running(log, first, kept, limit=20_000)
    head = read_head(second)
    assert head is not None
    assert head.head.tree == EMPTY_TREE
    reports = drain(made)
    assert len(reports) > 4
    assert [report.moved for report in reports] == [False] * (len(reports) - 1) + [True]
    assert len(log.told.signed) == told
    assert shown(second, log.verifiers) == 3000
    assert check.complete(dump(second, tmp_path), log.verifiers, log.entries) == [3000, 3000]
    log.grow(1)
    (report,) = drain(made)
    assert report.moved
    assert shown(second, log.verifiers) == shown(first, log.verifiers) == 3001


@pytest.mark.parametrize("fault", Fault)
def test_bringing_up_goes_on_after_any_failure(tmp_path: Path, check: ModuleType, fault: Fault) -> None:
    def scene() -> tuple[DiskLog, MemoryStore, FailOnce, Publisher]:
        log, first, second, gate = DiskLog(), MemoryStore("first"), MemoryStore("second"), FailOnce()
        made = running(log, first)
        log.grow(1200)
        drain(made)
        made = running(log, first, FailingStore(WrittenOnce(second), gate), limit=15_000)
        gate.asked.clear()
        return log, second, gate, made

    log, _, gate, made = scene()
    drain(made)
    for at in range(len(gate.asked)):
        log, second, gate, made = scene()
        gate.at, gate.fault = at, fault
        insist(lambda made=made: drain(made))
        assert shown(second, log.verifiers) == 1200
        check.complete(dump(second, tmp_path / str(at)), log.verifiers, log.entries)


def test_two_encodings(tmp_path: Path, check: ModuleType) -> None:
    log = DiskLog().grow(900)
    first, second = MemoryStore("first"), MemoryStore("second")

    def encoding(store: Any) -> BundleEncoding:
        return BundleEncoding.GZIP if store is first else BundleEncoding.IDENTITY

    made = Publisher(log, [first, second], encoding=encoding, limit=20_000)
    made.start()
    drain(made)
    for target in (first, second):
        root = dump(target, tmp_path / target.location[7:])
        check.complete(root, log.verifiers, log.entries)
    assert first.get("tile/entries/000").data != second.get("tile/entries/000").data


def test_a_target_beside_the_first_refuses() -> None:
    log = DiskLog().grow(10)
    other = DiskLog(log.told).grow(10, b"other")
    first, second = MemoryStore("first"), MemoryStore("second")
    drain(running(log, first))
    drain(running(other, second))
    with pytest.raises(ForkError, match="memory:second"):
        publisher(log, first, second).start()


@pytest.mark.parametrize("stop", [0, 1])
def test_two_starts_that_meet_leave_one(stop: int) -> None:
    """Another writer starts while this one has taken so many of the targets: exactly one goes on."""
    log = DiskLog().grow(10)
    targets = [MemoryStore("first"), MemoryStore("second")]
    drain(running(log, *targets))
    second: list[Publisher] = []

    def step(passed: Any) -> None:
        if passed.name == "started" and passed.target == targets[stop].location and not second:
            second.append(publisher(log.copy(), *targets))
            second[0].start()

    made = publisher(log, *targets, step=step)
    if stop == 0:
        with pytest.raises(FencedError):
            made.start()
    else:
        made.start()
        log.grow(1)
        with pytest.raises(FencedError):
            drain(made)
    assert drain(second[0]) == []
    second[0]._log.grow(1)  # type: ignore[attr-defined]
    assert len(drain(second[0])) == 1
    assert [read_head(target).head.epoch for target in targets] == [3, 3]  # type: ignore[union-attr]


def test_an_earlier_writer_that_moves_the_second_target_meanwhile_is_overruled() -> None:
    """It had `head` on the first already; who took the first from it has the right of way on all."""
    log = DiskLog().grow(10)
    targets = [MemoryStore("first"), MemoryStore("second")]
    drain(running(log, *targets))
    log.grow(5)
    old = read_head(targets[1])
    assert old is not None
    moved = format_head(type(old.head)(1, 0, 15, log.integrated().root, old.head.writer))

    def step(passed: Any) -> None:
        if passed.name == "started" and passed.target == "memory:first":
            assert old is not None
            assert targets[1].put_if_version("head", moved, old.version)

    made = publisher(log, *targets, step=step)
    assert made.start() == 2
    drain(made)
    assert [read_head(target).head.size for target in targets] == [15, 15]  # type: ignore[union-attr]
