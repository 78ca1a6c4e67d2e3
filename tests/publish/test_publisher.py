"""The publisher: what a publication leaves on a target, what it costs, and what a start refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import FailingStore, FailOnce, WrittenOnce
from published_log import KEY, STRANGER, DiskLog, signed
from publisher_tools import drain, dump, publisher, running, shown

from merklelog.errors import (
    BehindError,
    DamagedError,
    ForkError,
    FormatVersionError,
    NotALogError,
    SignatureError,
    StoppedError,
    UsageError,
)
from merklelog.formats import Checkpoint
from merklelog.protocol.publication import ORDER, StepName, TreeHead
from merklelog.publish import BundleEncoding, DirectoryStore, publish_copy
from merklelog.publish.memory import MemoryStore
from merklelog.publish.pointer import read_head
from merklelog.publish.publisher import Publisher
from merklelog.tree import TreeSize


@pytest.fixture
def target() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_every_size_is_published_whole(
    tmp_path: Path, check: ModuleType, target: MemoryStore, encoding: str
) -> None:
    log = DiskLog()
    made = running(log, WrittenOnce(target), encoding=encoding)
    assert drain(made) == []
    sizes = [1, 2, 255, 256, 257, 512, 700, 65_536 - 1, 65_536, 65_537, 66_000]
    for number, size in enumerate(sizes):
        log.grow(size - len(log.entries))
        (report,) = drain(made)
        assert report.head == log.integrated() == log.shown()
        assert (report.moved, report.backlog, report.uncollected) == (True, 0, None)
        if size < 1000 or number == len(sizes) - 1:
            root = dump(target, tmp_path / str(size))
            assert check.complete(root, log.verifiers, log.entries)[-1] == size
    stored = {int(key.removeprefix("checkpoints/")) for key in target.list_keys("checkpoints/")}
    assert stored == set(sizes)
    assert list(target.list_keys("staging/")) == []


def test_partial_tiles_go_when_the_full_one_is_there(target: MemoryStore) -> None:
    log = DiskLog()
    made = running(log, target)
    for _ in range(20):
        log.grow(30)
        drain(made)
    partial = [key for key in target.list_keys("tile/") if ".p/" in key]
    assert {key.split(".p/")[0] for key in partial} == {"tile/0/002", "tile/1/000", "tile/entries/002"}
    assert "tile/0/002.p/28" in partial, "one that a checkpoint which was shown needs is still there"
    log.grow(256)
    drain(made)
    partial = [key for key in target.list_keys("tile/") if ".p/" in key]
    assert {key.split(".p/")[0] for key in partial} == {"tile/0/003", "tile/1/000", "tile/entries/003"}


def test_the_steps_are_done_in_their_order(target: MemoryStore) -> None:
    log, steps = DiskLog().grow(300), []
    made = publisher(log, target, step=steps.append)
    assert made.epoch is None
    assert made.start() == made.epoch == 1
    drain(made)
    assert [step.name for step in steps] == [StepName.STARTED, *ORDER]
    assert all((step.size, step.root) == log.integrated() for step in steps[1:])
    assert {step.target for step in steps} == {"memory:store", ""}
    head = read_head(target)
    assert head is not None
    assert (head.head.epoch, head.head.start, head.head.tree) == (1, 0, log.integrated())


def test_nothing_is_asked_when_there_is_nothing_to_do(target: MemoryStore) -> None:
    gate = FailOnce()
    log = DiskLog().grow(300)
    made = running(log, FailingStore(target, gate))
    drain(made)
    gate.asked.clear()
    for _ in range(10):
        assert made.publish() is None
    assert gate.asked == []


def test_a_thousand_entries_take_at_most_18_requests(target: MemoryStore) -> None:
    gate = FailOnce()
    log = DiskLog()
    made = running(log, FailingStore(target, gate))
    costs = []
    for _ in range(80):
        log.grow(1000)
        gate.asked.clear()
        drain(made)
        costs.append(len(gate.asked))
    assert sum(costs) / len(costs) <= 16
    assert max(costs) <= 18
    assert not any(name.startswith(("get", "list", "stat")) for name in gate.asked)


def test_a_backlog_is_worked_off_in_bounded_pieces(
    tmp_path: Path, check: ModuleType, target: MemoryStore
) -> None:
    log = DiskLog().grow(5000)
    made = running(log, WrittenOnce(target), limit=30_000)
    reports = drain(made)
    sizes = [report.head.size for report in reports]
    assert len(sizes) > 4
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 5000
    assert all(size % 256 == 0 for size in sizes[:-1])
    assert max(report.staged for report in reports) < 50_000
    assert [report.backlog for report in reports] == [5000 - size for size in sizes]
    check.complete(dump(target, tmp_path), log.verifiers, log.entries)


def test_a_start_finishes_nothing_when_all_is_done(target: MemoryStore) -> None:
    log = DiskLog().grow(300)
    drain(running(log, target))
    before = dict(target.objects)
    gate = FailOnce()
    assert publisher(log, FailingStore(target, gate)).start() == 2
    assert {key for key, value in target.objects.items() if before[key] != value} == {"head"}
    assert sum(not name.startswith(("get", "list")) for name in gate.asked) == 1


def test_epochs_go_on_though_a_target_was_emptied(target: MemoryStore) -> None:
    log = DiskLog().grow(10)
    for epoch in (1, 2, 3):
        assert publisher(log, target).start() == epoch
    assert publisher(log, MemoryStore()).start() == 4


def test_a_copy_becomes_a_target(tmp_path: Path, check: ModuleType) -> None:
    """What `publish --to` made is taken as it is, in the encoding that it has."""
    log = DiskLog().grow(700)
    note = log.sign(log.integrated())
    log.tree.notes = {700: note}
    store = DirectoryStore(tmp_path)
    publish_copy(log.tree, store, verifiers=log.verifiers, bundle_encoding="identity")
    log.grow(100)
    made = running(log, store)
    drain(made)
    assert shown(store, log.verifiers) == 800
    assert check.complete(tmp_path, log.verifiers, log.entries)
    head = read_head(store)
    assert head is not None
    assert (head.head.start, head.head.size) == (700, 800)


def test_a_target_that_comes_later_is_brought_up(
    tmp_path: Path, check: ModuleType, target: MemoryStore
) -> None:
    """A log that showed its checkpoints without a target signs no older size again."""
    log = DiskLog().grow(3000)
    log.record_shown(log.integrated(), log.sign(log.integrated()))
    told = len(log.told.signed)
    made = running(log, WrittenOnce(target), limit=20_000)
    reports = drain(made)
    assert [report.moved for report in reports] == [False] * (len(reports) - 1) + [True]
    assert len(reports) > 4
    assert len(log.told.signed) == told
    assert check.complete(dump(target, tmp_path), log.verifiers, log.entries) == [3000, 3000]
    assert list(target.list_keys("staging/")) == []


# --- what a start refuses ----------------------------------------------------------------------------------------


def refused(error: type[Exception], log: Any, target: Any, match: str) -> Any:
    """The error of a start, after which nothing of the target or the log has changed."""
    before, told = dict(target.objects), len(log.told.signed)
    made = publisher(log, target)
    with pytest.raises(error, match=match) as caught:
        made.start()
    assert target.objects == before
    assert len(log.told.signed) == told
    with pytest.raises(StoppedError):
        made.start()
    return caught.value


def test_a_log_behind_its_target_refuses(target: MemoryStore) -> None:
    log = DiskLog().grow(300)
    old = log.copy()
    log.grow(1)
    drain(running(log, target))
    refused(
        BehindError, old, target, "head is at size 301, and this log has 300 .* recover DIR --from memory"
    )


def test_a_log_beside_its_target_refuses_with_both_notes(target: MemoryStore) -> None:
    log = DiskLog().grow(300)
    other = log.copy()
    log.grow(5, b"one")
    drain(running(log, target))
    other.grow(5, b"other")
    other.sign(other.integrated())
    error = refused(ForkError, other, target, "two histories of one log")
    assert error.first == log.notes[305] == target.get("checkpoint").data
    assert error.second == other.notes[305]


def test_a_head_that_was_never_signed_refuses_too(target: MemoryStore) -> None:
    """Killed between `head` and the signature: the head's own text is what is known."""
    log = DiskLog().grow(300)
    other = log.copy()
    log.grow(5, b"one")
    gate = FailOnce(2)
    made = running(log, target)
    made._targets[0].store = FailingStore(target, gate)
    with pytest.raises(Exception, match="refused"):
        made.publish()
    assert gate.asked[2] == "put tile/entries/000"
    error = refused(ForkError, other.grow(5, b"other"), target, "its head has root")
    assert error.first == target.get("head").data
    assert error.second == b""


def test_a_place_of_somebody_else_refuses(target: MemoryStore) -> None:
    target.put("notes.txt", b"mine")
    refused(NotALogError, DiskLog(), target, "notes.txt")


def test_leftovers_of_a_preflight_do_not_make_it_somebody_elses(target: MemoryStore) -> None:
    target.put("preflight/1234/probe", b"")
    assert publisher(DiskLog(), target).start() == 1


def test_a_head_by_a_newer_version_refuses(target: MemoryStore) -> None:
    drain(running(DiskLog().grow(3), target))
    target.put("head", b'{"format":2,"shards":[]}\n')
    refused(FormatVersionError, DiskLog().grow(3), target, "format version 2 is newer")


def test_a_damaged_head_refuses(target: MemoryStore) -> None:
    drain(running(DiskLog().grow(3), target))
    target.put("head", b"{}\n")
    refused(DamagedError, DiskLog().grow(3), target, "memory:store/head")


def test_another_logs_checkpoint_refuses(target: MemoryStore) -> None:
    log = DiskLog().grow(3)
    drain(running(log, target))
    head = log.integrated()
    target.put("checkpoint", signed(Checkpoint(log.origin, TreeSize(3), head.root), (STRANGER,)))
    refused(SignatureError, log, target, "memory:store/checkpoint")


def test_a_checkpoint_beyond_head_is_not_forgotten(target: MemoryStore) -> None:
    """Somebody put an older `head` back: the checkpoint still says how far the log was."""
    log = DiskLog().grow(10)
    drain(running(log, target))
    old = target.get("head").data
    log.grow(10)
    drain(running(log, target))
    target.put("head", old)
    refused(BehindError, DiskLog(log.told).grow(15), target, "its checkpoint is at size 20")
    assert publisher(log, target).start() == 3
    head = read_head(target)
    assert head is not None
    assert head.head.size == 20


# --- what is refused later ---------------------------------------------------------------------------------------


def test_a_damaged_log_is_not_published(target: MemoryStore) -> None:
    log = DiskLog().grow(300)
    made = running(log, target)
    log.tree.entries[100] = b"changed"
    with pytest.raises(DamagedError, match="entry 100"):
        made.publish()
    assert [key for key in target.list_keys() if key.startswith(("tile", "staging", "check"))] == []
    with pytest.raises(StoppedError, match="entry 100"):
        made.publish()


def test_a_log_that_forgot_what_it_published_stops(target: MemoryStore) -> None:
    log = DiskLog().grow(300)
    made = running(log, target)
    drain(made)
    other = DiskLog(log.told).grow(400, b"other")
    log.tree.entries, log.tree.levels = other.tree.entries, other.tree.levels
    with pytest.raises(DamagedError, match="does not begin with the one of size 300"):
        made.publish()


def test_a_checkpoint_of_something_else_is_not_locked(
    target: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog().grow(300)
    made = running(log, target)
    note = log.copy().sign(TreeHead(200, log.root_at(200)))
    monkeypatch.setattr(log, "sign", lambda head: note)
    with pytest.raises(DamagedError, match="the log signed size 200"):
        made.publish()
    assert list(target.list_keys("tile/")) == []


def test_an_object_with_other_bytes_is_never_replaced(target: MemoryStore) -> None:
    log = DiskLog().grow(300)
    made = running(log, target)
    target.put("tile/entries/000", b"\x1f\x8bsomebody else's")
    with pytest.raises(Exception, match="tile/entries/000: it must never change"):
        made.publish()
    assert target.get("tile/entries/000").data.endswith(b"else's")
    assert target.stat("checkpoint") is None
    with pytest.raises(StoppedError):
        made.publish()


def test_it_is_called_in_the_right_order(target: MemoryStore) -> None:
    with pytest.raises(UsageError, match="start"):
        publisher(DiskLog(), target).publish()
    with pytest.raises(UsageError, match="no target"):
        Publisher(DiskLog(), [], encoding=lambda _: BundleEncoding.GZIP)


def test_a_checkpoint_by_every_key_is_published(target: MemoryStore, memory: ModuleType) -> None:
    log = DiskLog(keys=(KEY, memory.QUANTUM_KEY)).grow(3)
    drain(running(log, target))
    assert shown(target, log.verifiers[1:]) == 3
