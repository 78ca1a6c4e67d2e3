"""A recovery that was stopped is gone on with, or begun anew; never half of one log and half of another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checker import check_log
from scenes import ORIGIN, SIGNERS, VERIFIERS, Scene

import merklelog
from merklelog.errors import LockedError
from merklelog.formats import SignatureType, SigningKey, format_vkey, write_signing_key
from merklelog.log import recover_build
from merklelog.log.create import LogInfo
from merklelog.log.head import Signers
from merklelog.log.recover import recover_log
from merklelog.log.recover_draft import Draft
from merklelog.publish import DirectoryStore, publish_copy

Scenes = Callable[..., Scene]


class Stop(Exception):
    """A test stops a recovery."""


@pytest.fixture(autouse=True)
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover_build, "COMMIT_BUNDLES", 1)


def stopping_at(entries: int) -> Callable[[int, int], None]:
    def progress(done: int, _total: int) -> None:
        if done >= entries:
            raise Stop

    return progress


def left(there: Scene) -> set[str]:
    return {each.name for each in there.path.parent.iterdir()}


def test_it_goes_on_from_each_place_where_it_can_be_stopped(scene: Scenes) -> None:
    there = scene(100, 700, 1_300)
    for entries in range(0, 1_281, 256):
        there.path = there.path.with_name(f"recovered{entries}")
        with pytest.raises(Stop):
            there.recover(progress=stopping_at(entries))
        assert not there.path.exists()
        report = there.recover()
        assert report.resumed == entries
        assert report.checkpoints == sum(size > entries for size in (100, 700, 1_300))
        there.check(report, 1_300, (100, 700, 1_300))
        assert not [name for name in left(there) if name.startswith(".")]


def test_it_may_be_stopped_again_and_again(scene: Scenes) -> None:
    there = scene(66_000)
    for entries in (256, 512, 40_000, 65_536, 65_792):
        with pytest.raises(Stop):
            there.recover(progress=stopping_at(entries))
    report = there.recover()
    assert report.resumed == 65_792
    there.check(report, 66_000, (66_000,))


def test_the_copy_went_on_meanwhile(scene: Scenes) -> None:
    there = scene(100, 700)
    with pytest.raises(Stop):
        there.recover(progress=stopping_at(700))  # the whole tree is written, its partial tiles too
    there.log.grow(1_400)
    publish_copy(there.log, there.store, verifiers=VERIFIERS)
    report = there.recover()
    assert report.resumed == 512
    there.check(report, 1_400, (100, 700, 1_400))


def test_a_draft_of_another_history_is_begun_anew(scene: Scenes, tmp_path: Path) -> None:
    there = scene(1_300)
    with pytest.raises(Stop):
        there.recover(progress=stopping_at(768))
    other = Scene(tmp_path, 1_300, salt=b"other")
    report = other.recover()
    assert report.resumed == 0
    other.check(report, 1_300, (1_300,))


def test_a_draft_of_other_keys_is_begun_anew(scene: Scenes) -> None:
    there = scene(1_300)
    with pytest.raises(Stop):
        there.recover(progress=stopping_at(768))
    receipt = SigningKey(f"{ORIGIN}/receipt", SignatureType.RECEIPT, b"\x03" * 32)
    report = there.recover(Signers(ORIGIN, SIGNERS.ed25519, SIGNERS.mldsa44, receipt))
    assert report.resumed == 0
    there.check(report, 1_300, (1_300,))


def test_a_copy_that_has_less_than_the_draft(scene: Scenes, tmp_path: Path) -> None:
    there = scene(1_300)
    with pytest.raises(Stop):
        there.recover(progress=stopping_at(768))
    other = Scene(tmp_path, 500)
    other.check(other.recover(), 500, (500,))


@pytest.mark.parametrize("harm", ["note", "no note", "database", "no database"])
def test_a_draft_that_is_damaged_is_begun_anew(scene: Scenes, harm: str) -> None:
    there = scene(1_300)
    with pytest.raises(Stop):
        there.recover(progress=stopping_at(768))
    note = there.path.with_name(".recovered.recover.json")
    database = there.path.with_name(".recovered.recover") / "db"
    if harm == "note":
        note.write_bytes(note.read_bytes()[:-3])
    elif harm == "no note":
        note.unlink()
    elif harm == "database":
        (database / "CURRENT").write_bytes(b"garbage\n")
    else:
        (database / "CURRENT").unlink()
    report = there.recover()
    assert report.resumed == 0
    there.check(report, 1_300, (1_300,))


def test_one_at_a_time(scene: Scenes) -> None:
    there = scene(300)
    vkeys = tuple(format_vkey(key) for key in VERIFIERS)
    first = Draft(there.path, LogInfo(ORIGIN, vkeys))
    with pytest.raises(LockedError, match="another process recovers this log"):
        there.recover()
    first.close()
    there.check(there.recover(), 300, (300,))


def test_killed_at_each_step_and_gone_on_with(scene: Scenes, tmp_path: Path) -> None:
    there = scene(100, 700)
    copy, keys = tmp_path / "copy", tmp_path / "keys"
    store = DirectoryStore(copy)
    publish_copy(there.log, store, verifiers=VERIFIERS)
    keys.mkdir()
    write_signing_key(keys / "ed25519.key", SIGNERS.ed25519)
    write_signing_key(keys / "mldsa44.key", SIGNERS.mldsa44)
    script = Path(__file__).with_name("killed_recovery.py")
    resumed = set()
    for step in range(1, 100):
        place = tmp_path / f"killed{step}"
        words = [sys.executable, str(script), str(copy), str(place), str(keys)]
        killed = subprocess.run([*words, str(step)], capture_output=True, text=True)
        if killed.returncode == 0:
            break
        assert killed.returncode == -9, killed.stderr
        if not place.exists():
            settings = {"store.min_free_bytes": 0}
            report = recover_log(place, store, SIGNERS, settings=settings, static_copy=True, parallel=2)
            resumed.add(report.resumed)
        with merklelog.open_reader(place) as log:
            assert (log.size, log.root) == (700, there.root(700))
            check_log(log)
    assert step > 12
    assert {0} < resumed <= {0, 256, 512}
