"""A copy whose `head` is damaged or gone, or names what can not be brought back: no fork comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scenes import ORIGIN, VERIFIERS, Scene

import merklelog
from merklelog.errors import BehindError, ConfigError, DamagedError, UsageError
from merklelog.log.config import load_config
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish import DirectoryStore
from merklelog.publish.layout import HEAD_KEY, staging_key
from merklelog.publish.pointer import read_head

Scenes = Callable[..., Scene]


def targets(there: Scene) -> tuple[str, ...]:
    return load_config(there.path, {}).publish.targets


# --- head is damaged or gone


def test_a_damaged_head_still_makes_it_a_target(scene: Scenes) -> None:
    there = scene(100, 300)
    there.store.put(HEAD_KEY, b"{}")
    with pytest.raises(UsageError, match=r"`head` is damaged.*--epoch"):
        there.recover()
    with pytest.raises(ConfigError, match="can sign a second history"):
        there.recover(epoch=4, settings={"publish.targets": ()})
    with pytest.raises(UsageError, match="is no static copy: it has a `head`"):
        there.recover(static_copy=True)
    assert not there.path.exists()
    there.check(there.recover(epoch=4), 300, (100, 300))
    assert targets(there) == (there.store.location,)
    with merklelog.open_reader(there.path) as log:
        assert log.epoch == 4


def test_without_head_somebody_has_to_say_what_it_is(scene: Scenes) -> None:
    there = scene(300)
    named = {"publish.targets": (there.store.location,)}
    for options in (
        {"static_copy": False},
        {"static_copy": False, "epoch": 4},
        {"static_copy": False, "settings": {"publish.targets": ("dir:/elsewhere",)}},
        {"static_copy": True, "settings": named},
    ):
        with pytest.raises(ConfigError, match="--static-copy"):
            there.recover(**options)
    with pytest.raises(UsageError, match=r"`head` is gone.*--epoch"):
        there.recover(static_copy=False, settings=named)
    with pytest.raises(UsageError, match="a static copy has none"):
        there.recover(static_copy=True, epoch=4)
    with pytest.raises(UsageError, match="epoch 0"):
        there.recover(static_copy=False, epoch=0, settings=named)
    assert not there.path.exists()
    there.check(there.recover(static_copy=False, epoch=4, settings=named), 300, (300,))
    assert targets(there) == (there.store.location,)


def test_the_epoch_of_head_is_noted(scene: Scenes) -> None:
    there = scene(300)
    there.head(300, epoch=7)
    there.recover(VERIFIERS, epoch=3)
    with merklelog.open_reader(there.path) as log:
        assert log.epoch == 7


class Life:
    """A log with a directory for a target, 10 entries published in epoch 1 and 20 in epoch 2, its disk lost."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, folder / "keys"
        self.store = DirectoryStore(folder / "target")
        self.settings = {"store.min_free_bytes": 0, "publish.targets": (f"dir:{folder / 'target'}",)}
        merklelog.create_log(folder / "log", ORIGIN, keys=self.keys, settings=self.settings)  # type: ignore[arg-type]
        for _ in range(2):
            self.grow(folder / "log", 10)

    def grow(self, path: Path, count: int) -> int | None:
        with merklelog.open(path) as log:
            log.append_batch([b"entry %d" % (log.size + number) for number in range(count)])
            return log.publish_now().result().size

    def recover(self, **options: object) -> Path:
        place = self.folder / "recovered"
        settings = {**self.settings, "log.keys": str(self.keys)}
        signers = load_signers(self.keys, ORIGIN)
        recover_log(place, self.store, signers, settings=settings, **options)  # type: ignore[arg-type]
        return place


@pytest.mark.parametrize("after", [2, 41])
def test_no_epoch_comes_twice_though_head_is_gone(tmp_path: Path, after: int) -> None:
    life = Life(tmp_path)
    life.store.delete(HEAD_KEY)
    place = life.recover(epoch=after)
    assert life.grow(place, 5) == 25
    found = read_head(life.store)
    assert found is not None
    assert (found.head.epoch, found.head.size) == (after + 1, 25)


# --- what is staged can not be brought back


@pytest.mark.parametrize("staged", [b"merklelog staging 1\n{}\n", None], ids=["damaged", "gone"])
def test_without_what_is_staged(scene: Scenes, staged: bytes | None) -> None:
    there = scene(300)
    there.log.grow(1_000)
    there.head(1_000, epoch=3)
    if staged is not None:
        there.store.put(staging_key(1_000, there.root(1_000)), staged)
    with pytest.raises(DamagedError, match=r"behind size 300: `merklelog recover --without-staged`"):
        there.recover()
    report = there.recover(without_staged=True)
    there.check(report, 300, (300,))
    assert report.left_out
    assert "700 entries behind size 300 are left out" in report.remarks[0]
    with merklelog.open_reader(there.path) as log:
        assert log.epoch == 3


def test_it_starts_when_head_was_put_away_and_takes_the_next_epoch(tmp_path: Path) -> None:
    life = Life(tmp_path)
    found = read_head(life.store)
    assert found is not None
    life.store.put(HEAD_KEY, found.data.replace(b'"size":20', b'"size":30'))
    place = life.recover(without_staged=True)
    with pytest.raises(BehindError):
        merklelog.open(place).close()
    life.store.delete(HEAD_KEY)
    assert life.grow(place, 1) == 21
    now = read_head(life.store)
    assert now is not None
    assert now.head.epoch == 3
