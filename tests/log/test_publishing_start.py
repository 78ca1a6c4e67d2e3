"""What a log with targets does before it takes appends, and what makes it refuse or stop."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

import merklelog
from merklelog import Log
from merklelog.errors import (
    BehindError,
    ClosedError,
    ConfigError,
    FencedError,
    ForkError,
    ImmutableError,
    StoppedError,
    UnavailableError,
    UnreachableError,
)
from merklelog.formats import parse_receipt
from merklelog.log import publishing, publishing_targets
from merklelog.log.places import forget_place
from merklelog.publish.memory import MemoryStore
from tests.support import targets
from tests.support.checker import check_log
from tests.support.targets import Gate, published


def stored_sizes(log: Log) -> list[int]:
    """Every size that a checkpoint was ever signed for."""
    return sorted(log._reads.stored_sizes())


def stopped(log: Log) -> BaseException:
    """Wait until the log has stopped; gives why."""
    told = threading.Event()
    log._sequencer.when_stopped(lambda _error: told.set())
    assert told.wait(targets.PATIENCE)
    assert log.failure is not None
    return log.failure


def let_go(log: Log) -> None:
    """Close a log that has stopped."""
    with pytest.raises(StoppedError):
        log.close()


def test_each_start_takes_the_next_epoch(directory: Path, gate: Gate) -> None:
    for epoch in (1, 2, 3):
        with merklelog.open(directory) as log:
            receipt = log.append(b"%d" % epoch)
            assert (log.epoch, receipt.epoch) == (epoch, epoch)
            assert parse_receipt(receipt.note)[0].epoch == epoch
    with merklelog.open(directory) as log:
        assert (log.epoch, log.size) == (4, 3)
        check_log(log)


def test_an_epoch_is_not_taken_twice_where_the_target_was_emptied(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        assert log.append(b"one").epoch == 1
    gate.inner = MemoryStore()
    forget_place(directory, gate.location)
    with merklelog.open(directory) as log:
        assert log.append(b"two").epoch == 2
        assert published(log) == 2


def test_a_target_that_does_not_answer_at_the_start(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        log.append(b"one")
    gate.down("the cable is cut")
    with merklelog.open(directory, wait=None) as log:
        assert log.starting
        assert gate.refused.wait(targets.PATIENCE)
        with pytest.raises(UnavailableError) as caught:
            log.append(b"two")
        assert caught.value.retry_after is not None
        with pytest.raises(UnavailableError):
            log.append_batch([b"two", b"three"])
        assert (log.size, log.entry(0), log.epoch) == (1, b"one", None)
        assert log.prove(0)
        while log.publishing is None or "cable" not in str(log.publishing.starting):
            assert log.starting
        with pytest.raises(UnavailableError, match="the cable is cut"):
            log.append(b"two")
        later = log.wait_published(2)
        gate.up()
        begun = threading.Event()
        while log.starting:
            begun.wait(0.01)
        assert log.append(b"two").index == 1
        assert later.result(targets.PATIENCE).size == 2
        assert (log.epoch, log.publishing.starting) == (2, None)


def test_opening_waits_and_then_goes_on_without(directory: Path, gate: Gate) -> None:
    gate.down()
    with merklelog.open(directory, wait=0.05) as log:
        assert log.starting
        with pytest.raises(UnavailableError):
            log.append(b"one")
    assert not log._publication._thread.is_alive()  # type: ignore[attr-defined]


def test_closing_while_a_target_is_waited_for(directory: Path, gate: Gate) -> None:
    gate.down()
    log = merklelog.open(directory, wait=None)
    waiting = log.wait_published(1)
    assert gate.refused.wait(targets.PATIENCE)
    log.close()
    with pytest.raises(ClosedError):
        waiting.result(0)
    with pytest.raises(ClosedError):
        log.append(b"one")
    with merklelog.open_reader(directory) as reader:
        assert (reader.size, reader.epoch) == (0, None)


def test_a_target_that_is_lost_for_a_while(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        entries = [b"entry %d" % i for i in range(30)]
        for at, entry in enumerate(entries):
            if at == 7:
                gate.down()
            if at == 23:
                assert gate.refused.wait(targets.PATIENCE)
                gate.up()
            assert log.append(entry).index == at
        assert published(log) == 30
        check_log(log, acknowledged=dict(enumerate(entries)))


def test_closing_publishes_what_is_there(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        log.append_batch([b"%d" % i for i in range(1_000)])
    with merklelog.open_reader(directory) as reader:
        assert (reader.size, reader.integrated.size) == (1_000, 1_000)
        assert gate.inner.get("checkpoint").data == reader.checkpoint()


def test_what_closing_can_not_publish_the_next_open_does(
    directory: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "CLOSING_TRIES", 2)
    with merklelog.open(directory) as log:
        log.append(b"one")
        published(log)
        gate.down()
        log.append(b"two")
    with merklelog.open_reader(directory) as reader:
        assert (reader.size, reader.integrated.size) == (1, 2)
    gate.up()
    with merklelog.open(directory) as log:
        assert published(log) == 2


def test_the_disk_copied_and_started_beside_itself(directory: Path, tmp_path: Path, gate: Gate) -> None:
    first = merklelog.open(directory)
    first.append(b"one")
    published(first)
    first.close()
    shutil.copytree(directory, tmp_path / "clone")
    first = merklelog.open(directory)
    second = merklelog.open(tmp_path / "clone")
    assert (first.epoch, second.epoch) == (2, 3)
    signed = stored_sizes(first)
    waiting = first.wait_published(3)
    receipt = first.append(b"of the first")  # it can not know yet: a receipt of an epoch that is over
    assert isinstance(stopped(first), FencedError)
    with pytest.raises(StoppedError, match="another"):
        first.append(b"more")
    with pytest.raises(StoppedError):
        waiting.result(targets.PATIENCE)
    assert (first.size, first.entry(0)) == (1, b"one")
    assert stored_sizes(first) == signed
    assert receipt.epoch == 2
    let_go(first)
    second.append(b"of the second")
    assert published(second) == 2
    second.close()
    with pytest.raises(ForkError) as caught:
        merklelog.open(directory)
    assert caught.value.exit_status == 1
    assert not any(key == "checkpoints/3" for _, key in gate.calls)


def test_an_old_copy_of_the_disk_refuses(directory: Path, tmp_path: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        log.append(b"one")
    shutil.copytree(directory, tmp_path / "old")
    with merklelog.open(directory) as log:
        log.append(b"two")
    with pytest.raises(BehindError, match="merklelog recover"):
        merklelog.open(tmp_path / "old")
    with merklelog.open_reader(tmp_path / "old") as reader:
        assert reader.entry(0) == b"one"
    with merklelog.open(tmp_path / "old", wait=None) as log:
        assert isinstance(stopped(log), BehindError)
        assert (log.size, log.entry(0)) == (1, b"one")
        with pytest.raises(StoppedError):
            log.append(b"fork")
        let_go(log)
    with merklelog.open(directory) as log:
        assert log.append(b"three").index == 2


def test_another_history_under_the_same_keys_refuses(directory: Path, tmp_path: Path, gate: Gate) -> None:
    shutil.copytree(directory, tmp_path / "twin")
    with merklelog.open(directory) as log:
        log.append(b"one")
        published(log)
    gate.inner, kept = MemoryStore("other"), gate.inner
    with merklelog.open(tmp_path / "twin") as log:
        log.append_batch([b"another", b"history"])
        published(log)
    gate.inner = kept
    with pytest.raises(ForkError) as caught:
        merklelog.open(tmp_path / "twin")
    assert b"\n1\n" in caught.value.first


def test_an_object_of_somebody_else_stops_the_log(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        gate.inner.put_immutable("checkpoints/1", b"mine\n")
        log.append(b"one")
        assert isinstance(stopped(log), ImmutableError)
        assert log.size == 0
        let_go(log)


def test_a_start_that_fails_leaves_the_log_to_the_next(directory: Path, gate: Gate) -> None:
    gate.fails = lambda _operation, _key: ConfigError("no such bucket")
    for _ in range(2):
        with pytest.raises(ConfigError, match="no such bucket"):
            merklelog.open(directory)
    gate.up()
    with merklelog.open(directory) as log:
        assert log.append(b"one").epoch == 1


def test_an_unforeseen_error_stops_the_log_loudly(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        gate.fails = lambda _operation, _key: ZeroDivisionError("a slip of the pen")
        log.append(b"one")
        assert isinstance(stopped(log), ZeroDivisionError)
        with pytest.raises(StoppedError, match="a slip of the pen"):
            log.append(b"two")
        let_go(log)
    gate.up()
    with merklelog.open(directory) as log:
        assert published(log) == 1


def test_several_targets_are_all_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = {"dir:/first": Gate(MemoryStore("first")), "dir:/second": Gate(MemoryStore("second"))}
    targets.use(monkeypatch, None)
    monkeypatch.setattr(publishing_targets, "open_store", lambda target, _options: stores[target])
    path = targets.make(tmp_path / "log", publish__targets=tuple(stores))
    stores["dir:/second"].down("the second is away")
    with merklelog.open(path, wait=None) as log:
        assert stores["dir:/second"].refused.wait(targets.PATIENCE)
        with pytest.raises(UnreachableError):
            log.append(b"one")
        stores["dir:/second"].up()
        while log.starting:
            threading.Event().wait(0.01)
        log.append(b"one")
        assert published(log) == 1
    first, second = (gate.inner.get("checkpoint").data for gate in stores.values())
    assert first == second
