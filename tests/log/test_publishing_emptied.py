"""A target that lost what it had: a log that was published there refuses to begin there again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.errors import DamagedError, LockedError, UnreachableError, UsageError
from merklelog.log.head import Epoch, read_epoch
from merklelog.log.places import forget_place
from merklelog.publish.memory import MemoryStore
from merklelog.tree import Hash, TreeSize
from tests.support import targets
from tests.support.targets import Gate, published


def grow(directory: Path, count: int) -> int:
    """Append so many entries and publish them; gives the epoch they are of."""
    with merklelog.open(directory) as log:
        log.append_batch([b"%d of %d" % (number, count) for number in range(count)])
        published(log)
        assert log.epoch is not None
        return log.epoch


def test_an_old_copy_of_the_disk_beside_a_target_that_is_not_mounted(tmp_path: Path) -> None:
    mount = tmp_path / "mnt"
    directory = targets.make(tmp_path / "log", publish__targets=(f"dir:{mount}/trail",))
    assert grow(directory, 10) == 1
    shutil.copytree(directory, tmp_path / "old")
    assert grow(directory, 10) == 2
    mount.rename(tmp_path / "unmounted")
    mount.mkdir()
    for _ in range(2):
        with pytest.raises(DamagedError, match="emptied, or not mounted"):
            merklelog.open(tmp_path / "old")
    assert not list(mount.rglob("*.json"))
    with merklelog.open_reader(tmp_path / "old") as reader:
        assert (reader.size, reader.integrated.size, reader.epoch) == (10, 10, 1)
    mount.rmdir()
    (tmp_path / "unmounted").rename(mount)
    assert grow(directory, 1) == 3


def test_a_target_that_was_emptied_on_purpose(tmp_path: Path, gate: Gate) -> None:
    directory = targets.make(tmp_path / "log")
    assert grow(directory, 3) == 1
    gate.inner = MemoryStore()
    with pytest.raises(DamagedError, match="--refill"):
        merklelog.open(directory)
    with pytest.raises(UsageError, match="was not published there"):
        forget_place(directory, "dir:/elsewhere")
    forget_place(directory, gate.location)
    assert grow(directory, 2) == 2
    assert gate.inner.get("checkpoint").data
    gate.inner = MemoryStore()
    with pytest.raises(DamagedError, match="emptied"):  # it was published there again
        merklelog.open(directory)


def test_nobody_forgets_a_place_of_an_open_log(tmp_path: Path, gate: Gate) -> None:
    directory = targets.make(tmp_path / "log")
    with merklelog.open(directory), pytest.raises(LockedError):
        forget_place(directory, gate.location)


def test_a_new_place_is_begun(tmp_path: Path, gate: Gate) -> None:
    directory = targets.make(tmp_path / "log")
    assert grow(directory, 3) == 1
    gate.inner = MemoryStore("another")
    assert grow(directory, 1) == 2
    gate.inner = MemoryStore()  # the first one, and empty: it is remembered beside the second
    with pytest.raises(DamagedError, match="emptied"):
        merklelog.open(directory)


def test_the_row_of_an_epoch_names_its_places() -> None:
    class Rows:
        def __init__(self, row: bytes) -> None:
            self.row = row

        def epoch(self) -> bytes:
            return self.row

    for places in ((), ("dir:/a",), ("s3://bucket/é", "dir:/b\nc")):
        epoch = Epoch(7, TreeSize(9), Hash(bytes(range(32))), places)
        rows: Any = Rows(epoch.row())
        assert read_epoch(rows, "here") == epoch
    whole = Epoch(7, TreeSize(9), Hash(bytes(32)), ("dir:/a",)).row()
    for cut in (47, len(whole) - 1):
        damaged: Any = Rows(whole[:cut])
        with pytest.raises(DamagedError, match="epoch"):
            read_epoch(damaged, "here")


def test_pointers_that_are_gone(tmp_path: Path, gate: Gate) -> None:
    directory = targets.make(tmp_path / "log")
    shutil.copytree(directory, tmp_path / "old")
    grow(directory, 3)
    gate.inner.delete_many(["head", "checkpoint"])
    gate.calls.clear()
    for path in (directory, tmp_path / "old"):
        with pytest.raises(DamagedError, match=r"checkpoints/3.*merklelog recover"):
            merklelog.open(path)
    with pytest.raises(DamagedError, match="checkpoints/3"):
        targets.make(tmp_path / "new")
    assert not [call for call in gate.calls if call[0].startswith("put")]


@dataclass
class Version:
    key: str
    is_delete_marker: bool


class Versioned(MemoryStore):
    """A store in which a deletion hides, as in a versioned bucket."""

    hidden: tuple[str, ...] = ()
    denies = False

    def versions(self, prefix: str = "") -> Any:
        if self.denies:
            raise UnreachableError("403")
        for key in self.hidden:
            if key.startswith(prefix):
                yield Version(key, True)
                yield Version(key, False)


def test_checkpoints_that_are_only_hidden(tmp_path: Path, gate: Gate) -> None:
    gate.inner = Versioned()
    directory = targets.make(tmp_path / "log")
    grow(directory, 3)
    gate.inner.delete_many(["head", "checkpoint", "checkpoints/3"])
    gate.inner.hidden = ("checkpoint", "checkpoints/3", "head")
    with pytest.raises(DamagedError, match="checkpoints/3"):
        merklelog.open(directory)
    with pytest.raises(DamagedError, match="checkpoints/3"):
        targets.make(tmp_path / "new")
    gate.inner.denies = True  # who may not list versions goes by the keys
    targets.make(tmp_path / "other")


def test_a_first_start_that_was_killed_behind_the_manifest(tmp_path: Path, gate: Gate) -> None:
    directory = targets.make(tmp_path / "log")
    gate.fails = lambda _operation, key: ZeroDivisionError("killed") if key == "head" else None
    with (
        pytest.raises((ZeroDivisionError, merklelog.errors.MerklelogError)),
        merklelog.open(directory) as log,
    ):
        log.append(b"one")
    gate.up()
    assert grow(directory, 1) == 1
