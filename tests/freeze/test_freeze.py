"""A log that ends: one statement, under the last checkpoint, in one commit; and nothing after it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog import Log
from merklelog.errors import (
    ConflictError,
    EntryError,
    FrozenError,
    OriginError,
    StoppedError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import parse_checkpoint
from merklelog.formats.statement import Follows, Freeze, sign_statement
from merklelog.log import open_log, sequencer
from merklelog.log.create import load_signers
from merklelog.store import Store
from merklelog.tree import Hash
from tests.support import logs, targets
from tests.support.checker import check_log
from tests.support.failing import FailingStore

SUCCESSOR = "engine.example/next"


def refused_everywhere(log: Log) -> None:
    """Every way to append, and none of them does."""
    size = log.integrated.size
    ways: list[Callable[[], object]] = [
        lambda: log.append(b"x"),
        lambda: log.append(b"x", idempotency_key="k"),
        lambda: log.append_batch([b"x", b"y"]),
        lambda: log.submit(b"x"),
        lambda: log.submit_batch([b"x"]),
        lambda: asyncio.run(log.append_async(b"x")),
        lambda: asyncio.run(log.append_batch_async([b"x"])),
        lambda: log.freeze(),
        lambda: log.statements.follow("a.example/log", 1, Hash(bytes(32))),
    ]
    for way in ways:
        with pytest.raises(FrozenError, match="is frozen since entry"):
            way()
    assert log.integrated.size == size


@pytest.mark.parametrize("before", [0, 1, 255, 256, 300])
def test_the_last_entry_and_the_last_checkpoint(tmp_path: Path, before: int) -> None:
    directory = logs.make(tmp_path / "log")
    with merklelog.open(directory) as log:
        if before:
            log.append_batch([b"%d" % i for i in range(before)])
        receipt = log.freeze(SUCCESSOR)
        assert (receipt.index, receipt.size) == (before, before + 1)
        assert log.chain.freeze == Freeze(logs.ORIGIN, before, SUCCESSOR)
        assert log.statements.ended == log.chain.freeze
        note = log.checkpoint()
        assert note == receipt.note == log.checkpoint(before + 1)
        assert len(parse_checkpoint(note).note.signatures) == 2, "the last checkpoint has both signatures"
        refused_everywhere(log)
    for _ in range(2):
        with merklelog.open(directory) as log:
            refused_everywhere(log)
            assert log.checkpoint() == note, "nothing is signed anew"
            check_log(log)
    with merklelog.open_reader(directory) as reader:
        assert reader.chain.freeze == Freeze(logs.ORIGIN, before, SUCCESSOR)
        assert reader._reads.checkpoint(before + 1) == note, "it is filed under its size"


@pytest.mark.parametrize("settings", [{"log__dedupe": True}, {"log__lookup": True}])
def test_with_an_index_of_identities(tmp_path: Path, settings: dict[str, object]) -> None:
    directory = logs.make(tmp_path / "log", **settings)
    with merklelog.open(directory) as log:
        log.append(b"one")
        receipt = log.freeze()
        assert log.find(receipt.leaf_hash) == 1
    with merklelog.open(directory) as log:
        assert log.find(receipt.leaf_hash) == 1
        refused_everywhere(log)


def test_what_was_called_before_is_stored_before(tmp_path: Path) -> None:
    """Appends from many threads: each one is in the log in front of the statement, or was refused."""
    stored: list[int] = []
    with merklelog.open(logs.make(tmp_path / "log")) as log:
        going = threading.Barrier(9)

        def append() -> None:
            going.wait()
            while True:
                try:
                    stored.append(log.append(b"entry").index)
                except FrozenError:
                    return

        threads = [threading.Thread(target=append) for _ in range(8)]
        for thread in threads:
            thread.start()
        going.wait()
        while log.size < 50:
            pass
        index = log.freeze().index
        for thread in threads:
            thread.join()
        assert sorted(stored) == list(range(index)), "every acknowledged entry stands before the statement"
        assert log.size == index + 1
        check_log(log)


def test_two_freezes_at_once_make_one_statement(tmp_path: Path) -> None:
    outcomes: list[object] = []
    with merklelog.open(logs.make(tmp_path / "log")) as log:

        def freeze() -> None:
            try:
                outcomes.append(log.freeze().index)
            except FrozenError as error:
                outcomes.append(type(error))

        threads = [threading.Thread(target=freeze) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes, key=str) == [0, *[FrozenError] * 7]
        assert log.size == 1


def test_a_full_disk_does_not_keep_a_log_from_ending(tmp_path: Path) -> None:
    world = logs.FakeWorld(free=0)
    log = logs.open_in(logs.make(tmp_path / "log", store__min_free_bytes=1), world)
    assert log.freeze().index == 0
    log.close()


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failure_ends_the_log_or_does_not(
    tmp_path: Path, operation: str, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "KEEP_INTERVAL", 1e9)  # so that the second write is the statement's
    directory = logs.make(tmp_path / "log")

    def wrap(store: Store) -> Store:
        return FailingStore(store, operation, 2, stored=stored)  # type: ignore[return-value]  # it passes all on

    log = logs.open_in(directory, logs.FakeWorld(), wrap)
    log.append(b"one")
    with pytest.raises(StoppedError, match="may have been stored"):
        log.freeze(SUCCESSOR)
    logs.let_go(log)
    with merklelog.open(directory) as log:
        if log.chain.freeze is None:
            assert log.append(b"two").index == 1
            log.freeze(SUCCESSOR)
        refused_everywhere(log)
        check_log(log)


@pytest.mark.parametrize("successor", ["", "a b", "https://a.example", "merklelog/statement/v1"])
def test_a_successor_that_can_be_none(tmp_path: Path, successor: str) -> None:
    with merklelog.open(logs.make(tmp_path / "log")) as log:
        with pytest.raises(OriginError):
            log.freeze(successor)
        with pytest.raises(UsageError, match="does not follow itself"):
            log.freeze(logs.ORIGIN)
        assert log.append(b"goes on").index == 0


# --- the reserved bytes ------------------------------------------------------------------------------------------

KEPT = (
    b"merklelog/statement/v1\n",
    b"merklelog/statement/v1",
    b"merklelog/statement/v1\nexample.com\n0\nfrozen\n",
)


@pytest.mark.parametrize("entry", KEPT)
def test_no_caller_appends_what_begins_like_a_statement(tmp_path: Path, entry: bytes) -> None:
    with merklelog.open(logs.make(tmp_path / "log")) as log:
        for ask in (
            lambda: log.append(entry),
            lambda: log.append(bytearray(entry)),
            lambda: log.append(entry, idempotency_key="k"),
            lambda: log.submit(entry),
            lambda: log.submit_batch([entry]),
            lambda: log.append_batch([b"a", entry]),
            lambda: log.append_batch([b"a", memoryview(entry)]),
            lambda: asyncio.run(log.append_async(entry)),
            lambda: asyncio.run(log.append_batch_async([entry, b"a"])),
        ):
            with pytest.raises(EntryError, match="kept for what the log says of itself"):
                ask()
        assert log.size == 0
        log.append_batch([b"merklelog/statement/v10", b" " + entry])


def test_a_true_statement_appended_by_a_caller(tmp_path: Path) -> None:
    """Not even one that the log's keys signed: who holds them has `freeze`."""
    directory = logs.make(tmp_path / "log")
    signers = load_signers(directory / "keys", logs.ORIGIN)
    with merklelog.open(directory) as log, pytest.raises(EntryError):
        log.append(sign_statement(Freeze(logs.ORIGIN, 0), (signers.ed25519,)))


# --- a successor -------------------------------------------------------------------------------------------------


def test_the_first_entry_of_a_successor_points_back(tmp_path: Path) -> None:
    root = Hash(bytes(range(32)))
    with merklelog.open(logs.make(tmp_path / "log")) as log:
        with pytest.raises(UsageError, match="does not follow itself"):
            log.statements.follow(logs.ORIGIN, 5, root)
        assert log.statements.follow("a.example/log", 5, root).index == 0
        assert log.chain.follows == Follows(logs.ORIGIN, "a.example/log", 5, root)
        assert log.chain.freeze is None
        with pytest.raises(UsageError, match="has 1 entries: only its first one"):
            log.statements.follow("a.example/log", 5, root)
        assert log.append(b"goes on").index == 1
        log.freeze()
        assert log.chain.follows is not None
        assert log.chain.freeze == Freeze(logs.ORIGIN, 2)
        check_log(log)


def test_an_idempotency_key_of_before_gives_no_index_after(tmp_path: Path) -> None:
    with merklelog.open(logs.make(tmp_path / "log")) as log:
        log.append(b"one", idempotency_key="k")
        with pytest.raises(ConflictError):
            log.append(b"two", idempotency_key="k")
        log.freeze()
        with pytest.raises(FrozenError):
            log.append(b"one", idempotency_key="k")


# --- with a publish target ---------------------------------------------------------------------------------------


def test_a_log_with_a_target_publishes_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets.use(monkeypatch, gate := targets.Gate(targets.MemoryStore()))
    directory = targets.make(tmp_path / "log")
    with merklelog.open(directory) as log:
        log.append(b"one")
        receipt = log.freeze(SUCCESSOR)
        assert receipt.epoch == log.epoch, "what a lost disk could take back is no checkpoint yet"
        assert targets.published(log) == 2
        assert log.chain.freeze == Freeze(targets.ORIGIN, 1, SUCCESSOR)
        refused_everywhere(log)
    with merklelog.open(directory) as log:
        assert not log.starting
        refused_everywhere(log)
    gate.down()
    with open_log(directory, wait=None) as log:
        assert log.starting
        refused_everywhere(log)


def test_a_log_that_waits_for_its_target_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets.use(monkeypatch, gate := targets.Gate(targets.MemoryStore()))
    directory = targets.make(tmp_path / "log")
    gate.down()
    with open_log(directory, wait=None) as log:
        with pytest.raises(UnavailableError):
            log.freeze()
        gate.up()
        log._publication.started.wait(targets.PATIENCE)  # type: ignore[attr-defined]
        assert log.append(b"one").index == 0
