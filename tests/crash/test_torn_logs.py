"""A write-ahead log cut off at every byte of its last record, as a power cut leaves it: all before it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import DamagedError
from tests.support.checker import check_log
from tests.support.damage import copy, hashes, records
from tests.support.logs import make


@pytest.fixture(autouse=True, scope="module")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """Readers sync what they read. No test here cuts the power: a thousand copies would be written for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@dataclass(frozen=True)
class Torn:
    """A log as a kill left it, its write-ahead log, and what was acknowledged by its records."""

    directory: Path
    log: Path
    data: bytes
    sizes: list[int]
    seen: list[bytes]

    def cut(self, place: Path, at: int, acknowledged: int) -> Path:
        """A copy whose write-ahead log ends at this byte, and whose callers heard of so many entries."""
        shutil.rmtree(place, ignore_errors=True)
        copy(self.directory, place)
        self.cut_again(place, at, acknowledged)
        return place

    def cut_again(self, place: Path, at: int, acknowledged: int) -> None:
        """The same in a copy that was only read since."""
        (place / "db" / self.log.name).write_bytes(self.data[:at])
        (place / "acknowledged").write_bytes(acknowledged.to_bytes(8, "big"))


def entry(index: int) -> bytes:
    return b"torn %d" % index


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Torn:
    folder = tmp_path_factory.mktemp("torn")
    directory = make(folder / "log")
    with merklelog.open(directory) as log:
        log.append_batch([entry(i) for i in range(300)])
    sizes, seen = [300], []
    with merklelog.open(directory) as log:
        log._sequencer._keep_at = None  # only these commits
        for count in (1, 5, 250, 2, 1):
            start = log.size
            seen.append(log.append_batch([entry(i) for i in range(start, start + count)]).checkpoint)
            sizes.append(log.size)
        killed = copy(directory, folder / "killed")
    wal = max((killed / "db").glob("*.log"))
    return Torn(killed, wal, wal.read_bytes(), sizes, seen)


def test_the_log_is_what_these_tests_take_it_for(torn: Torn) -> None:
    found = records(torn.data)
    assert len(found) == len(torn.sizes) - 1, "a record a commit"
    assert found[-1][0] + 7 + found[-1][1] == len(torn.data)
    with merklelog.open_reader(torn.directory) as log:
        check_log(log, seen=torn.seen, acknowledged={i: entry(i) for i in range(torn.sizes[-1])})


@pytest.mark.slow
def test_cut_at_every_byte_of_the_last_record(torn: Torn, tmp_path: Path) -> None:
    """The last commit was under way: nobody heard of it, and it is there whole or not at all."""
    start, before = records(torn.data)[-1][0], torn.sizes[-2]
    place = torn.cut(tmp_path / "log", start, before)
    for at in range(start, len(torn.data) + 1):
        torn.cut_again(place, at, before)
        want = torn.sizes[-1] if at == len(torn.data) else before
        with merklelog.open_reader(place) as log:
            assert log.size == want, at
            assert log.entry(want - 1) == entry(want - 1)
            if at % 40 == 0:
                check_log(log, seen=torn.seen[:-1], acknowledged={i: entry(i) for i in range(before)})


def test_a_log_that_was_cut_goes_on(torn: Torn, tmp_path: Path) -> None:
    """In every record, at its border and inside it: the commits before are kept, and appends go on."""
    for number, (start, length) in enumerate(records(torn.data)):
        for at in (start, start + 1, start + 7, start + 7 + length // 2, start + 6 + length):
            place = torn.cut(tmp_path / "log", at, torn.sizes[number])
            with merklelog.open(place) as log:
                assert log.size == torn.sizes[number]
                check_log(log, seen=torn.seen[:number])
                assert log.append(b"after").index == torn.sizes[number]
            with merklelog.open(place) as log:
                check_log(log, seen=torn.seen[:number])
                assert log.size == torn.sizes[number] + 1


def test_an_acknowledged_commit_that_was_cut_off_is_missed(torn: Torn, tmp_path: Path) -> None:
    """No power cut does this to what was synced: somebody lost a part of the disk."""
    for number, (start, _) in enumerate(records(torn.data)):
        place = torn.cut(tmp_path / "log", start + 9, torn.sizes[number + 1])
        before = hashes(place / "db")
        for opening in (merklelog.open_reader, merklelog.open):
            with pytest.raises(DamagedError, match=f"{torn.sizes[number + 1]} were acknowledged"):
                opening(place)
        assert hashes(place / "db") == before


def test_zeros_after_the_last_record_are_no_damage(torn: Torn, tmp_path: Path) -> None:
    """Space that the file system had set aside."""
    place = torn.cut(tmp_path / "log", len(torn.data), torn.sizes[-1])
    with (place / "db" / torn.log.name).open("ab") as file:
        file.write(bytes(5_000))
    with merklelog.open(place) as log:
        check_log(log, seen=torn.seen, acknowledged={i: entry(i) for i in range(torn.sizes[-1])})
