"""Every request of a publication fails in turn in three ways, and every one is the last thing a process does.

Then it goes on: the published log is whole, and no immutable object was ever asked to change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import FailingStore, FailOnce, Fault, Killed, WrittenOnce
from publication_path import Path as ModelPath
from publication_path import look
from published_log import DiskLog, recovered
from publisher_tools import drain, dump, insist, publisher, shown

from merklelog.errors import UnreachableError
from merklelog.publish.layout import parse_staging_key
from merklelog.publish.memory import MemoryStore
from merklelog.publish.pointer import read_head

# What was published before, and up to where the failing publication goes: the first one, one that completes a
# bundle and a tile above, one that widens partial tiles.
CASES = {"first": (0, 300), "across": (300, 800), "wider": (800, 801)}


class Scene:
    """A log and its target just before a publication; every step of it is held to the model."""

    def __init__(self, before: int, after: int, *, started: bool) -> None:
        self.target = MemoryStore()
        self.kept = WrittenOnce(self.target)
        self.log = DiskLog().grow(before)
        entries, signed = self.log.told.entries, self.log.told.signed
        self.path: ModelPath | None = ModelPath(lambda: look(self.target, entries, signed), entries)
        self.disk()
        if before:
            self.again()
            drain(self.made)
            self.killed()
        self.gate = FailOnce()
        self.store = FailingStore(self.kept, self.gate)
        self.made = publisher(self.log, self.store, step=self.passed)
        if started:
            self.made.start()
        self.log.grow(after - before)
        self.disk()
        self.lost = False  # its disk, with what it was about to publish

    def arm(self, at: int, fault: Fault, *, kill: bool = False) -> None:
        self.gate.__init__(at, fault, kill=kill)  # type: ignore[misc]

    def again(self) -> None:
        """Another process starts on the disk, past the gate."""
        self.made = publisher(self.log, self.kept, step=self.passed)
        self.made.start()

    # --- the model

    def passed(self, step: Any) -> None:
        if self.path is not None:
            self.path.passed(0, step)

    def killed(self) -> None:
        if self.path is not None:
            self.path.quietly(0)  # what was stored, and nobody heard of
            self.path.crashed(0)

    def disk(self) -> None:
        """The disk is another one, or holds more."""
        if self.path is not None:
            newest = self.log.told.entries[self.log.integrated().root]
            if self.path.world.writers[0].epoch:
                self.path.appended(0, newest)
            else:
                self.path.disk(0, newest)

    def grow(self, count: int, salt: bytes = b"") -> None:
        self.log.grow(count, salt)
        self.disk()

    def judge(self, check: ModuleType, folder: Path) -> None:
        """What is published is whole, and nothing is left over."""
        assert shown(self.target, self.log.verifiers) == len(self.log.entries)
        sizes = check.complete(dump(self.target, folder), self.log.verifiers, self.log.entries)
        assert sizes[-1] == len(self.log.entries)
        # What is staged for a larger size may be what a `head` will name, for all that is known.
        staged = [parse_staging_key(key)[0] for key in self.target.list_keys("staging/")]
        assert all(size > len(self.log.entries) for size in staged)
        assert not staged or self.lost
        assert self.log.shown() == self.log.integrated()
        head = read_head(self.target)
        assert head is not None
        assert head.head.tree == self.log.integrated()


def requests(before: int, after: int, act: Callable[[Scene], Any], *, started: bool) -> int:
    """How many requests the undisturbed thing takes."""
    scene = Scene(before, after, started=started)
    scene.gate.asked.clear()
    act(scene)
    return len(scene.gate.asked)


def publish(scene: Scene) -> None:
    insist(lambda: drain(scene.made))


def start(scene: Scene) -> None:
    insist(scene.made.start)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fault", Fault)
def test_every_request_of_a_publication(tmp_path: Path, check: ModuleType, case: str, fault: Fault) -> None:
    before, after = CASES[case]
    count = requests(before, after, publish, started=True)
    assert count >= 7
    for at in range(count):
        scene = Scene(before, after, started=True)
        scene.arm(at, fault)
        error = None
        try:
            reports = drain(scene.made)
        except UnreachableError as caught:
            error = caught
        if error is None:  # only what is collected may fail without a word of its own
            assert scene.gate.asked[at].startswith("delete")
            assert fault.value in reports[-1].uncollected
            scene.grow(1)
        publish(scene)
        scene.judge(check, tmp_path / str(at))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fault", Fault)
def test_every_request_of_a_start(tmp_path: Path, check: ModuleType, case: str, fault: Fault) -> None:
    before, after = CASES[case]
    count = requests(before, after, start, started=False)
    assert count > 4
    for at in range(count):
        scene = Scene(before, after, started=False)
        scene.arm(at, fault)
        with pytest.raises(UnreachableError):
            scene.made.start()
        start(scene)
        assert scene.made.epoch == (2 if before else 1)
        publish(scene)
        scene.judge(check, tmp_path / str(at))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.STORED], ids=["before", "after"])
@pytest.mark.parametrize("disk", ["same disk", "recovered"])
def test_killed_at_every_request(
    tmp_path: Path, check: ModuleType, case: str, fault: Fault, disk: str
) -> None:
    """Another process goes on, on the same disk or on one that was rebuilt from the target alone."""
    before, after = CASES[case]
    for at in range(requests(before, after, publish, started=True)):
        scene = Scene(before, after, started=True)
        scene.arm(at, fault, kill=True)
        with pytest.raises(Killed):
            drain(scene.made)
        scene.killed()
        if disk == "recovered":
            scene.log, scene.lost = recovered(scene.target, scene.log.told), True
            scene.disk()
            assert len(scene.log.entries) in (before, after)
        scene.again()
        scene.grow(200, b"afterwards")
        publish(scene)
        scene.judge(check, tmp_path / str(at))
        by_size = {head.size: head.root for head in scene.log.told.signed}
        assert all(head.root == by_size[head.size] for head in scene.log.told.signed)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.STORED], ids=["before", "after"])
def test_killed_at_every_request_of_finishing(tmp_path: Path, check: ModuleType, fault: Fault) -> None:
    """A start that finishes what `head` names is killed as well, and the next one finishes it."""

    def killed_with_head(scene: Scene) -> None:
        scene.arm(2, Fault.REFUSED, kill=True)  # staged and headed, and nothing put
        with pytest.raises(Killed):
            drain(scene.made)
        scene.killed()

    scene = Scene(300, 800, started=True)
    killed_with_head(scene)
    scene.gate.__init__()  # type: ignore[misc]
    publisher(scene.log, scene.store, step=scene.passed).start()
    count = len(scene.gate.asked)
    assert count > 15
    for at in range(count):
        scene = Scene(300, 800, started=True)
        killed_with_head(scene)
        scene.arm(at, fault, kill=True)
        with pytest.raises(Killed):
            publisher(scene.log, scene.store, step=scene.passed).start()
        scene.killed()
        scene.again()
        scene.judge(check, tmp_path / str(at))


def test_partial_tiles_of_a_killed_publication_are_collected(tmp_path: Path) -> None:
    """Killed after everything but collecting: the next start knows from staging where partial tiles are left."""
    scene = Scene(300, 800, started=True)
    count = requests(300, 800, publish, started=True)
    scene.arm(count - 1, Fault.REFUSED, kill=True)
    with pytest.raises(Killed):
        drain(scene.made)
    left = list(scene.target.list_keys("tile/0/001.p/"))
    assert left == ["tile/0/001.p/44"]
    scene.killed()
    scene.again()
    partial = {key for key in scene.target.list_keys("tile/") if ".p/" in key}
    assert partial == {"tile/0/003.p/32", "tile/entries/003.p/32", "tile/1/000.p/1", "tile/1/000.p/3"}
    assert list(scene.target.list_keys("staging/")) == []


def test_a_target_that_never_collects_stops_nothing() -> None:
    """No permission to delete: publications go on, each says so, and what is left is tried again."""
    scene = Scene(0, 10, started=True)
    denied = True

    def gate(name: str, _: Any) -> None:
        if denied and name.startswith("delete"):
            raise UnreachableError(f"{name}: AccessDenied")

    scene.store.gate = gate
    for _ in range(5):
        scene.grow(300)
        (report,) = drain(scene.made)
        assert report.moved
        assert "AccessDenied" in report.uncollected
    assert len(list(scene.target.list_keys("staging/"))) == 5
    denied = False
    scene.grow(1)
    (report,) = drain(scene.made)
    assert report.collected == 6 + 2 * 4  # staging objects; four bundles became full since
    assert list(scene.target.list_keys("staging/")) == []


def test_reads_that_come_late_are_no_other_writer() -> None:
    """A store that shows an older `head` for a while after it took ours, and did not answer."""
    scene = Scene(300, 800, started=True)
    scene.arm(1, Fault.STORED)  # the compare-and-swap of head: stored, and no answer
    stale = scene.target.get("head")
    with pytest.raises(UnreachableError):
        drain(scene.made)
    new = scene.target.get

    late = 20

    def get(key: str, **limits: int) -> Any:
        nonlocal late
        if key == "head" and late:
            late -= 1
            return stale
        return new(key, **limits)

    scene.target.get = get  # type: ignore[method-assign]
    publish(scene)
    assert late == 0
    assert shown(scene.target, scene.log.verifiers) == 800


@pytest.mark.parametrize("when", ["before it starts", "after it starts", "after it publishes"])
def test_writes_that_arrive_after_their_process_is_gone(tmp_path: Path, check: ModuleType, when: str) -> None:
    """Any request may be on its way for long. Whoever goes on is not disturbed by what still comes."""
    for at in range(requests(300, 800, publish, started=True)):
        scene = Scene(300, 800, started=True)
        scene.arm(at, Fault.LATE, kill=True)
        with pytest.raises(Killed):
            drain(scene.made)
        late = scene.gate._late
        assert late is not None
        scene.path = None  # no writer of the model does anything after its end

        def arrive(moment: str, late: Callable[[], Any] = late) -> None:
            if moment == when:
                late()

        arrive("before it starts")
        scene.again()
        arrive("after it starts")
        scene.grow(300)
        drain(scene.made)
        arrive("after it publishes")
        scene.grow(1)
        drain(scene.made)
        scene.again()  # a staging object that came late goes at the next start
        scene.judge(check, tmp_path / str(at))
