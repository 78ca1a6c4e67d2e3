"""A log's audit of itself: what is damaged in a copy is made whole, from bytes that were verified."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog.audit.selfaudit import SelfAudit, SelfAuditReport
from merklelog.audit.selfaudit_child import Pacer, audit_apart
from merklelog.audit.worker import Setup
from merklelog.client import Access
from merklelog.errors import MerklelogError
from merklelog.publish import DirectoryStore, publish_copy
from merklelog.servers.selfaudit import SelfAudits
from tests.monitor.scene import append, make_log, numbered

QUICK = 1e9


class Self:
    """A log of 70,000 entries (tiles of two levels) with a copy in each encoding."""

    def __init__(self, path: Path) -> None:
        self.log, self.copies = path / "log", [path / "one", path / "two"]
        self.keys = make_log(self.log)[:2]
        append(self.log, numbered(0, 70_000))
        with merklelog.open_reader(self.log) as reader:
            for copy, encoding in zip(self.copies, ("identity", "gzip"), strict=True):
                publish_copy(reader, DirectoryStore(copy), verifiers=reader.vkeys, bundle_encoding=encoding)

    def run(self, copies: int = 2) -> list[SelfAuditReport | MerklelogError]:
        targets = [f"dir:{copy}" for copy in self.copies[:copies]]
        return list(SelfAudit(self.log, self.keys, targets, Access(), QUICK).run(threading.Event()))

    def reports(self) -> list[SelfAuditReport]:
        found = self.run()
        reports = [each for each in found if isinstance(each, SelfAuditReport)]
        assert len(reports) == len(found) == 3, found
        return reports


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    Self(path)
    return path


@pytest.fixture
def own(whole: Path, tmp_path: Path) -> Self:
    found = Self.__new__(Self)
    shutil.copytree(whole, tmp_path / "own")
    found.log, found.copies = tmp_path / "own" / "log", [tmp_path / "own" / "one", tmp_path / "own" / "two"]
    with merklelog.open_reader(found.log) as reader:
        found.keys = reader.vkeys
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".merklelog" not in path.parts
    }


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def spoil_database(log: Path) -> None:
    spoilt = [
        file for file in (log / "db").iterdir() if file.suffix in {".sst", ".log"} and file.stat().st_size
    ]
    assert spoilt
    for file in spoilt:
        flip(file)


def test_a_sound_log_is_proven_wherever_it_lies(own: Self) -> None:
    reports = own.reports()
    assert [each.report.exit_status for each in reports] == [0, 0, 0]
    assert [each.report.size for each in reports] == [70_000] * 3
    assert all(not each.repaired and not each.remarks for each in reports)


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a bundle with a bit flipped": ("tile/entries/007", flip),
    "a bundle that is gone": ("tile/entries/100", Path.unlink),
    "a bundle cut off": ("tile/entries/011", lambda path: path.write_bytes(path.read_bytes()[:100])),
    "a tile with a bit flipped": ("tile/0/003", flip),
    "a tile that is gone": ("tile/0/004", Path.unlink),
    "a tile of tiles": ("tile/1/000", flip),
    "the last, partial bundle": ("tile/entries/273.p/112", flip),
    "the last, partial tile": ("tile/0/273.p/112", Path.unlink),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_in_a_copy_is_written_anew_to_the_letter(own: Self, name: str) -> None:
    """In copies of either encoding, by turns; all of them are in each in the next test."""
    if list(DAMAGES).index(name) % 2:
        own.copies.reverse()
    key, damage = DAMAGES[name]
    before = files(own.copies[0])
    damage(own.copies[0] / key)
    _, report = own.run(copies=1)
    assert isinstance(report, SelfAuditReport)
    assert report.report.exit_status == 1
    assert f"dir:{own.copies[0]}/{key}" in report.repaired
    assert report.remarks == ()
    assert files(own.copies[0]) == before, "which is proven: see the first test"


def test_many_damages_at_once(own: Self) -> None:
    before = [files(copy) for copy in own.copies]
    for key, damage in DAMAGES.values():
        for copy in own.copies:
            damage(copy / key)
    own.run()
    own.run()  # what hid behind another damage comes out once that is repaired
    assert [files(copy) for copy in own.copies] == before, "which is proven: see the first test"


def test_from_another_copy_where_the_database_is_damaged_too(own: Self) -> None:
    before = files(own.copies[0])
    spoil_database(own.log)
    flip(own.copies[0] / "tile/entries/007")
    found = own.run()
    report = next(each for each in found if isinstance(each, SelfAuditReport) and each.target.endswith("one"))
    assert report.repaired
    assert files(own.copies[0]) == before


def test_nothing_is_taken_from_a_place_that_can_not_prove_it(own: Self) -> None:
    """All three are damaged at the same bundle: nothing is written, and that is said."""
    spoil_database(own.log)
    for copy in own.copies:
        flip(copy / "tile/entries/007")
    before = [files(copy) for copy in own.copies]
    reports = [each for each in own.run() if isinstance(each, SelfAuditReport)][-2:]
    for report in reports:
        assert report.repaired == ()
        assert any("not repaired: no other place has it whole" in remark for remark in report.remarks)
    assert [files(copy) for copy in own.copies] == before


def test_a_copy_with_another_history_is_not_written_over(own: Self, tmp_path: Path) -> None:
    other = Path(shutil.copytree(own.log, tmp_path / "other"))
    append(own.log, numbered(0, 30, "true"))
    append(other, numbered(0, 30, "forged"))
    with merklelog.open_reader(other) as reader:
        publish_copy(reader, DirectoryStore(own.copies[0]), verifiers=reader.vkeys)
    flip(own.copies[0] / "tile/entries/273.p/142")
    before = files(own.copies[0])
    report = own.reports()[1]
    assert report.repaired == ()
    assert report.remarks
    assert files(own.copies[0]) == before


def test_it_ends_when_it_is_told_to(own: Self) -> None:
    stop = threading.Event()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    setup = Setup(str(own.log), 0, "", tuple(own.keys), Access())
    assert audit_apart(setup, 1_000.0, stop) is None  # at this pace it would take more than a minute
    timer.join()


def test_what_can_not_be_audited_is_an_error_of_the_project(tmp_path: Path) -> None:
    (found,) = SelfAudit(tmp_path / "none", (), [], Access(), QUICK).run(threading.Event())
    assert isinstance(found, MerklelogError)


def test_the_pace_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    now = 0.0
    monkeypatch.setattr("merklelog.audit.selfaudit_child.time.monotonic", lambda: now)
    monkeypatch.setattr("merklelog.audit.selfaudit_child.time.sleep", slept.append)
    pacer = Pacer(100.0)
    pacer(1_000, 5_000)
    now = 30.0
    pacer(2_000, 5_000)
    assert slept == [10.0]


def test_a_server_tells_what_it_found_and_made_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy"
    settings: dict[str, int | tuple[str, ...]] = {
        "store.min_free_bytes": 0,
        "publish.targets": (f"dir:{copy}",),
    }
    merklelog.create_log(tmp_path / "log", "own.example/log", settings=settings)
    with merklelog.open(tmp_path / "log") as log:
        log.append_batch(numbered(0, 1_000))
        log.wait_published(1_000).result(60)
        before = files(copy / "tile")
        flip(copy / "tile/entries/001")
        audits = SelfAudits(lambda: [log], 10**9, pause_seconds=0.01)

        def said(words: str) -> list[str]:
            return [text for each in caplog.records if words in (text := each.getMessage())]

        async def until_all_is_sound() -> None:
            task = asyncio.create_task(audits.run())
            while len(said("everything is as it was signed")) < 3:
                await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with caplog.at_level(logging.INFO, "merklelog.server"):
            asyncio.run(asyncio.wait_for(until_all_is_sound(), 120))
    assert files(copy / "tile") == before
    assert len(said(f"written anew, from a verified copy: dir:{copy}/tile/entries/001")) == 1
    assert len(said(f"self-audit: dir:{copy}/tile/entries/001: ")) == 1
