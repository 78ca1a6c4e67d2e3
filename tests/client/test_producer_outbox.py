"""A producer's outbox on disk: what one producer could not get published, the next one sends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.client.producer import Producer
from merklelog.client.producer_batch import OVERHEAD_BYTES, Batch
from merklelog.client.producer_buffer import ProducerOptions
from merklelog.client.producer_outbox import Outbox
from merklelog.errors import (
    CertificateError,
    ClosedError,
    ConflictError,
    DamagedError,
    EntryError,
    ForbiddenError,
    FormatVersionError,
    FrozenError,
    LockedError,
    MerklelogError,
    OverloadedError,
    StorageError,
    UnauthenticatedError,
    UnavailableError,
    UnknownLogError,
    UsageError,
)
from tests.client.target_door import BY_THREES, TargetDoor, producer_of, until
from tests.client.target_log import ORIGIN, TargetLog

SECONDS = 60
ENTRIES = [b"entry %d" % i for i in range(10)]


def kept_in(path: Path, **changes: object) -> ProducerOptions:
    return replace(BY_THREES, outbox=path, **changes)  # type: ignore[arg-type]  # options by name


def files(path: Path) -> list[str]:
    return sorted(file.suffix for file in path.iterdir() if file.suffix in {".batch", ".at"})


def test_it_is_empty_once_everything_is_published(tmp_path: Path) -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    with producer_of(door, kept_in(tmp_path / "box")) as to:
        sent = [to.send(entry) for entry in ENTRIES]
        to.flush(SECONDS)
        assert files(tmp_path / "box") == [".at"] * 4 + [".batch"] * 4
        assert [each.result(0).epoch for each in sent] == [1] * 10
        assert to.pending == (0, 0)  # in memory
        assert to.unpublished == 10
        door.publishes = True
        assert [each.published(SECONDS).index for each in sent] == list(range(10))
        until(lambda: not files(tmp_path / "box"))
    assert door.log.log == ENTRIES


def test_a_log_without_targets_needs_it_only_until_it_answered(tmp_path: Path) -> None:
    log = TargetLog()
    log.targets = False
    with producer_of(TargetDoor(log), kept_in(tmp_path)) as to:
        sent = [to.send(entry) for entry in ENTRIES]
        to.flush(SECONDS)
        assert sent[9].published(0).checkpoint == sent[9].result(0).checkpoint
        until(lambda: not files(tmp_path))


@pytest.mark.parametrize("happens", ["nothing", "restart", "lost", "published", "published and lost"])
def test_the_next_producer_sends_what_this_one_could_not(happens: str, tmp_path: Path) -> None:
    log = TargetLog([b"of others"])
    door = TargetDoor(log, publishes=False)
    to = producer_of(door, kept_in(tmp_path))
    sent = [to.send(entry) for entry in ENTRIES[:6]]
    to.flush(SECONDS)
    door.away = UnavailableError("away")
    sent += [to.send(entry) for entry in ENTRIES[6:9]]  # these were never answered
    until(lambda: len(files(tmp_path)) == 2 + 3)
    to.close(0.05)  # nothing is lost, so nothing is raised
    with pytest.raises(ClosedError):
        sent[8].result(0)
    if "published" in happens:
        log.publish()
    if "lost" in happens:
        log.lose()
    if happens == "restart":
        log.restart()
    sends = TargetDoor(log)
    with producer_of(sends, kept_in(tmp_path, linger_seconds=0)) as to:
        to.send(b"new").published(SECONDS)
    assert log.log == [b"of others", *ENTRIES[:9], b"new"][happens == "lost" :]
    assert not files(tmp_path)
    if happens.startswith("published"):
        assert [len(entries) for entries, _ in sends.sends] == [3, 1]  # what was published was not sent


def test_a_crash_at_any_time_leaves_what_is_needed(tmp_path: Path) -> None:
    """A copy of the directory at each send is what a crash there would leave."""
    log = TargetLog()
    door = TargetDoor(log, publishes=False)
    copies: list[tuple[Path, int]] = []

    def copy() -> None:
        place = tmp_path / f"copy{len(copies)}"
        shutil.copytree(tmp_path / "box", place)
        copies.append((place, len(log.log)))

    door.before = [copy] * 4
    with producer_of(door, kept_in(tmp_path / "box", max_in_flight=1)) as to:
        for entry in ENTRIES:
            to.send(entry)
        to.flush(SECONDS)
        door.publishes = True
    assert len(copies) == 4
    for place, size in copies:
        other = TargetLog(log.log[:size], shown=0)
        with producer_of(TargetDoor(other), kept_in(place)) as to:
            until(lambda: to.unpublished == 0)
        assert set(other.log) >= set(log.log[: size + 1])


def test_it_is_bounded_on_disk_and_in_memory(tmp_path: Path) -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    cost = OVERHEAD_BYTES + len(ENTRIES[0])
    options = kept_in(
        tmp_path, max_pending_bytes=2 * cost, outbox_bytes=4 * cost, block_seconds=0, linger_seconds=0
    )
    with producer_of(door, options) as to:
        for entry in ENTRIES[:4]:
            to.send(entry).result(SECONDS)
        with pytest.raises(OverloadedError):
            to.send(ENTRIES[4])
        assert to.pending == (0, 0)
        door.publishes = True
        until(lambda: to.unpublished == 0)
        to.send(ENTRIES[4]).result(SECONDS)


def test_nothing_fails_at_a_deadline(tmp_path: Path) -> None:
    door = TargetDoor(TargetLog(), publishes=False)
    door.away = UnavailableError("away")
    with producer_of(door, kept_in(tmp_path, deadline_seconds=0.1, linger_seconds=0, wait="published")) as to:
        sent = to.send(b"patient")
        with pytest.raises(TimeoutError):
            sent.result(0.3)
        door.away = None
        door.publishes = True
        assert sent.result(SECONDS).index == 0


@pytest.mark.parametrize("error", [EntryError("no such entry"), ConflictError("another entry has the key")])
def test_what_is_refused_for_itself_is_not_sent_for_ever(error: MerklelogError, tmp_path: Path) -> None:
    door = TargetDoor(TargetLog())
    door.away = error
    to = producer_of(door, kept_in(tmp_path, linger_seconds=0))
    with pytest.raises(type(error)):
        to.send(b"x").result(SECONDS)
    door.away = None
    to.send(b"y").result(SECONDS)
    with pytest.raises(type(error)):
        to.close()
    assert not files(tmp_path)
    assert door.log.log == [b"y"]


REFUSALS = [
    CertificateError("expired"),
    ForbiddenError("no scope"),
    FrozenError("it has ended"),
    UnauthenticatedError("revoked"),
    UnknownLogError("none of that origin"),
    UsageError("the server does not know the request"),
]


def ended(to: Producer) -> bool:
    """Whether it delivers nothing any more."""
    return not to._thread.is_alive()


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_what_every_batch_is_refused_for_ends_the_producer_and_keeps_the_outbox(
    error: MerklelogError, stop: bool, tmp_path: Path
) -> None:
    log = TargetLog()
    door = TargetDoor(log)
    door.away = error
    to = producer_of(door, kept_in(tmp_path, stop_on_error=stop))
    sent = [to.send(entry) for entry in ENTRIES[:3]]
    with pytest.raises(type(error)):
        sent[0].result(SECONDS)
    until(lambda: ended(to))
    with pytest.raises(type(error)):
        to.close()
    assert files(tmp_path) == [".batch"]
    # What the next producer finds is refused once more, and then taken.
    to = producer_of(door, kept_in(tmp_path, stop_on_error=stop))
    until(lambda: ended(to))
    with pytest.raises(type(error)):
        to.close()
    assert files(tmp_path) == [".batch"]
    with producer_of(TargetDoor(log), kept_in(tmp_path)) as to:
        until(lambda: to.unpublished == 0)
    assert log.log == ENTRIES[:3]
    assert not files(tmp_path)


def test_what_was_acknowledged_and_lost_is_kept_when_it_is_refused(tmp_path: Path) -> None:
    log = TargetLog()
    door = TargetDoor(log, publishes=False)
    to = producer_of(door, kept_in(tmp_path))
    for entry in ENTRIES[:9]:
        to.send(entry)
    to.flush(SECONDS)
    to.close(0.05)
    log.lose()
    refuses = TargetDoor(log)
    refuses.before = [lambda: setattr(refuses, "away", UnauthenticatedError("revoked"))]
    to = producer_of(refuses, kept_in(tmp_path))
    until(lambda: ended(to))
    with pytest.raises(UnauthenticatedError):
        to.close()
    assert files(tmp_path).count(".batch") == 3
    with producer_of(TargetDoor(log), kept_in(tmp_path)) as to:
        until(lambda: to.unpublished == 0)
    assert log.log == ENTRIES[:9]


# --- the directory -----------------------------------------------------------------------------------------------


def batch_of(number: int, *entries: bytes) -> Batch:
    batch = Batch(b"key %d" % number, number, 0.0)
    batch.entries, batch.count = list(entries), len(entries)
    batch.size = sum(len(entry) + 8 for entry in entries)
    return batch


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=5), max_size=4),
    st.lists(
        st.none() | st.tuples(st.integers(1, 9), st.integers(0, 2**62), st.booleans()), min_size=4, max_size=4
    ),
)
def test_what_is_stored_is_there_again(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[bytes]],
    places: list[tuple[int, int, bool] | None],
) -> None:
    path = tmp_path_factory.mktemp("box")
    box = Outbox(path, ORIGIN)
    made = [batch_of(number, *entries) for number, entries in enumerate(batches)]
    box.store(made)
    for batch, place in zip(made, places, strict=False):
        if place is not None:
            batch.epoch, first, in_one = place
            batch.indexes = range(first, first + batch.count) if in_one else [first] * batch.count
            box.note_place(batch)
    box.close()
    box.close()
    again = Outbox(path, None)
    left = list(again.left())
    assert [(b.key, b.number, b.count, b.size, b.epoch, b.indexes) for b in left] == [
        (b.key, b.number, b.count, b.size, b.epoch, b.indexes) for b in made
    ]
    assert [again.entries(batch) for batch in left] == batches
    assert again.next_number == len(batches)
    for batch in left:
        assert batch.stored
        again.remove(batch)
        again.remove(batch)
    assert not files(path)
    again.close()


def test_one_producer_at_a_time_and_one_log(tmp_path: Path) -> None:
    box = Outbox(tmp_path, ORIGIN)
    with pytest.raises(LockedError, match="another producer uses it"):
        Outbox(tmp_path, ORIGIN)
    box.close()
    with pytest.raises(
        UsageError, match=r"it is for 'memory.example/log', and this producer sends to 'other"
    ):
        Outbox(tmp_path, "other.example/log")
    (tmp_path / "outbox.json").write_text(json.dumps({"format": 2, "origin": None}))
    with pytest.raises(FormatVersionError, match="got format 2, this version reads 1"):
        Outbox(tmp_path, ORIGIN)
    for nonsense in ("", "[]", "{", '{"format":1}'):
        (tmp_path / "outbox.json").write_text(nonsense or " ")
        with pytest.raises(DamagedError, match=r"outbox\.json: it does not say"):
            Outbox(tmp_path, ORIGIN)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        Outbox(tmp_path / "file" / "box", None)


def test_a_process_that_dies_lets_go_of_it(tmp_path: Path) -> None:
    made = "from merklelog.client.producer_outbox import Outbox; box = Outbox(sys.argv[1], None)"
    code = f"import os, sys; {made}; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 9
    Outbox(tmp_path, ORIGIN).close()


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_file_is_named_and_never_sent(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("box")
    box = Outbox(path, ORIGIN)
    box.store([batch_of(0, b"one", b"two")])
    box.close()
    file = next(path.glob("*.batch"))
    before = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(before)))
    changed = before[:at] + data.draw(st.binary(max_size=3)) + before[at + data.draw(st.integers(0, 3)) :]
    file.write_bytes(changed)
    again = Outbox(path, ORIGIN)
    if changed == before:
        assert [again.entries(batch) for batch in again.left()] == [[b"one", b"two"]]
    else:
        with pytest.raises(DamagedError, match=file.name):
            list(again.left())
    again.close()


def test_a_producer_says_that_its_outbox_is_damaged(tmp_path: Path) -> None:
    box = Outbox(tmp_path, ORIGIN)
    box.store([batch_of(0, b"one")])
    box.close()
    next(tmp_path.glob("*.batch")).write_bytes(b"nonsense")
    to = producer_of(TargetDoor(TargetLog()), kept_in(tmp_path, linger_seconds=0))
    with pytest.raises(DamagedError, match="its entries can not be sent from here"):
        to.send(b"x").result(SECONDS)
    with pytest.raises(DamagedError):
        to.close()
    (tmp_path / "name.batch").write_bytes(b"")
    with pytest.raises(DamagedError, match="no name of a batch"):
        Outbox(tmp_path, ORIGIN)
