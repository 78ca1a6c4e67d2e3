"""Damage in a log's own database: written anew from a verified copy while the log runs, or told."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

import merklelog
from merklelog.audit.selfaudit import SelfAudit, SelfAuditReport
from merklelog.client import Access
from merklelog.errors import DamagedError, RangeError, StoppedError
from merklelog.log.mending import mend
from merklelog.store import RocksStore
from merklelog.store.layout import nodes_key, number, tile_key
from merklelog.tree import BUNDLE_LEVEL, TILE_WIDTH, Tile
from tests.monitor.scene import numbered

ORIGIN = "mended.example/log"
SIZE = 6_100


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a log and its target are, made of commits that end within bundles; `whole` beside it is a copy."""
    folder = tmp_path_factory.mktemp("mended")
    place = folder / "place"
    settings: dict[str, int | tuple[str, ...]] = {
        "store.min_free_bytes": 0,
        "publish.targets": (f"dir:{place}/copy",),
    }
    merklelog.create_log(place / "log", ORIGIN, settings=settings)
    with merklelog.open(place / "log") as log:
        for start, end in ((0, 100), (100, 700), (700, SIZE)):
            log.append_batch(numbered(start, end))
        log.wait_published(SIZE).result(120)
    shutil.copytree(place, folder / "whole")
    return place


@pytest.fixture
def log(place: Path) -> Path:
    """The log's directory, as it was made."""
    shutil.rmtree(place)
    shutil.copytree(place.parent / "whole", place)
    return place / "log"


def rows_of(log: Path) -> dict[str, dict[bytes, bytes]]:
    with closing(RocksStore(log / "db")) as store:
        return {family: dict(store.rows(family)) for family in ("entries", "tiles")}


def damage(log: Path) -> None:
    """A row of each kind is changed, and one of each is gone."""
    with closing(RocksStore(log / "db")) as store:
        entries, tiles = dict(store.rows("entries")), dict(store.rows("tiles"))
        for at in (100, 2048):
            forged = entries[number(at)].replace(b"event", b"evEnt", 1)
            store.put_rows("entries", [(number(at), forged)])
        for key in (tile_key(0, 7), nodes_key(0, 9)):
            store.put_rows("tiles", [(key, tiles[key][:-1] + bytes([tiles[key][-1] ^ 1]))])
        for at in (512, 5120):
            store._families["entries"].delete(number(at))
        store._families["tiles"].delete(tile_key(0, 11))
        store._families["tiles"].delete(nodes_key(0, 13))


def self_audit(log: merklelog.Log) -> list[SelfAuditReport]:
    audit = SelfAudit(log.path, log.vkeys, log.config.publish.targets, Access(), 1e9, partial(mend, log))
    found = list(audit.run(threading.Event()))
    reports = [each for each in found if isinstance(each, SelfAuditReport)]
    assert len(reports) == len(found) == 2, found
    return reports


def test_rows_that_are_wrong_or_gone_are_mended_while_the_log_goes_on(log: Path) -> None:
    before = rows_of(log)
    damage(log)
    assert rows_of(log) != before
    with merklelog.open(log) as opened:
        repaired: set[str] = set()
        for turn in range(3):  # what hid behind another damage comes out once that is mended
            opened.append(b"meanwhile %d" % turn)
            report = self_audit(opened)[0]
            assert report.remarks == ()
            repaired.update(each.partition("/db: ")[2] for each in report.repaired)
            if not report.report.findings:
                break
        assert report.report.exit_status == 0
        assert opened.entry(512) == b"event 512"
    expected = {f"tile/entries/{n:03}" for n in (0, 2, 8, 20)} | {f"tile/0/{n:03}" for n in (7, 9, 11, 13)}
    assert repaired == expected
    after = rows_of(log)
    for family, rows in before.items():
        for key, value in rows.items():
            if family == "tiles" or int.from_bytes(key, "big") not in {100, 512}:
                assert after[family][key] == value, (family, key.hex())


def test_nothing_is_written_where_no_copy_has_it(log: Path) -> None:
    damage(log)
    (log.parent / "copy" / "tile" / "entries" / "008").unlink()
    with merklelog.open(log) as opened:
        audit = SelfAudit(
            opened.path, opened.vkeys, [f"dir:{log.parent}/copy"], Access(), 1e9, partial(mend, opened)
        )
        report = next(iter(audit.run(threading.Event())))
    assert isinstance(report, SelfAuditReport)
    assert not any("tile/entries/008" in each for each in report.repaired)
    assert any("tile/entries/008: not repaired: no other place" in each for each in report.remarks)


def test_a_damaged_file_of_the_database_is_told_and_left_alone(log: Path) -> None:
    """Rows written over it would read well until the database came to rewrite the file, and then stop it."""
    with merklelog.open_reader(log) as reader:
        hashes = reader.tile(0, 3)[:64]
    (file,) = (file for file in (log / "db").glob("*.sst") if hashes in file.read_bytes())
    data = bytearray(file.read_bytes())
    data[data.index(hashes)] ^= 4
    file.write_bytes(data)
    with merklelog.open(log) as opened:
        report = self_audit(opened)[0]
    assert report.report.exit_status == 1
    assert report.repaired == ()
    assert any("merklelog recover NEW --from dir:" in each for each in report.remarks)


def test_without_the_writer_nothing_is_mended(log: Path) -> None:
    damage(log)
    with merklelog.open_reader(log) as reader:
        keys = reader.vkeys
    (report, _) = SelfAudit(log, keys, [f"dir:{log.parent}/copy"], Access(), 1e9).run(threading.Event())
    assert isinstance(report, SelfAuditReport)
    assert report.repaired == ()
    assert any("has it whole" in each for each in report.remarks)


@pytest.fixture
def opened(log: Path) -> Iterator[merklelog.Log]:
    with merklelog.open(log) as found:
        yield found


def test_only_what_never_changes_is_written(opened: merklelog.Log) -> None:
    """No partial tile or bundle, and nothing beyond what readers are shown."""
    for tile in (
        Tile(0, SIZE // TILE_WIDTH, SIZE % TILE_WIDTH),
        Tile(0, SIZE // TILE_WIDTH, TILE_WIDTH),
        Tile(1, 0, TILE_WIDTH),
        Tile(BUNDLE_LEVEL, SIZE // TILE_WIDTH, TILE_WIDTH),
        Tile(0, 1 << 40, TILE_WIDTH),
    ):
        with pytest.raises(RangeError, match="not full under the checkpoint"):
            mend(opened, tile, bytes(8_192))


def test_nothing_is_written_into_a_log_that_has_stopped(
    opened: merklelog.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile, other = Tile(0, 3, TILE_WIDTH), opened.tile(0, 4)
    with monkeypatch.context() as patch:
        patch.setattr(merklelog.Log, "stopped", True)
        with pytest.raises(StoppedError, match="has stopped"):
            mend(opened, tile, other)
    assert opened.tile(0, 3) != other


def test_what_is_right_is_not_written(opened: merklelog.Log) -> None:
    assert not mend(opened, Tile(0, 3, TILE_WIDTH), opened.tile(0, 3))
    assert not mend(opened, Tile(BUNDLE_LEVEL, 2, TILE_WIDTH), opened.bundle(2))


@pytest.mark.parametrize("tile", [Tile(0, 3, TILE_WIDTH), Tile(BUNDLE_LEVEL, 3, TILE_WIDTH)])
def test_a_write_that_does_not_take_is_an_error(
    opened: merklelog.Log, monkeypatch: pytest.MonkeyPatch, tile: Tile
) -> None:
    take: Callable[..., bytes] = opened.bundle if tile.level == BUNDLE_LEVEL else partial(opened.tile, 0)
    other = take(4)
    monkeypatch.setattr(RocksStore, "put_rows", lambda *_: None)
    with pytest.raises(DamagedError, match="reads as something else"):
        mend(opened, tile, other)
