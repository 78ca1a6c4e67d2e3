"""Clones of one disk in real processes: one goes on, the other stops having signed and locked nothing."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import FencedError, ForkError, MerklelogError, StoppedError
from merklelog.formats import parse_checkpoint

sys.path.insert(0, str(Path(__file__).parent))
import publications


def checkpoints(directory: Path) -> dict[int, bytes]:
    """The root of every checkpoint that a disk holds, by size."""
    with merklelog.open_reader(directory) as log:
        notes = [log.checkpoint(size) for size in log.stored_sizes()]
    found = [parse_checkpoint(note).checkpoint for note in notes]
    return {checkpoint.size: checkpoint.root for checkpoint in found}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def locked(folder: Path) -> set[str]:
    """What a bucket would have locked."""
    names = files(folder)
    return {name for name in names if name.startswith(("tile/", "checkpoints/")) and ".p/" not in name}


@pytest.mark.slow
def test_a_clone_that_takes_over_fences_the_other(tmp_path: Path) -> None:
    for number in range(3):
        line = publications.Line(tmp_path / str(number))
        with merklelog.open(line.directory) as log:
            log.append(b"first")
            log.publish_now().result(60)
        clone = line.folder / "clone"
        shutil.copytree(line.directory, clone)
        one = merklelog.open(line.directory)
        before = checkpoints(line.directory)
        other = merklelog.open(clone)  # it has the same entries: it takes over
        assert other.epoch == one.epoch + 1
        held = locked(line.folder / "target0")
        one.append(b"of the first")
        with pytest.raises((StoppedError, FencedError)):
            one.publish_now().result(60)
        assert isinstance(one.failure, FencedError)
        with pytest.raises(StoppedError):
            one.append(b"never")
        with pytest.raises(StoppedError):
            one.close()
        assert checkpoints(line.directory) == before, "it signed something"
        assert locked(line.folder / "target0") == held
        other.append(b"of the clone")
        assert other.publish_now().result(60).size == 2
        other.close()
        with pytest.raises(ForkError, match="two histories"):
            merklelog.open(line.directory)


def live(directory: Path, ends: dict[Path, MerklelogError | None]) -> None:
    """Open a log, append and publish three times; what stopped it."""
    try:
        with merklelog.open(directory) as log:
            for turn in range(3):
                log.append(f"{directory.name} {turn}".encode())
                log.publish_now().result(60)
    except MerklelogError as error:
        ends[directory] = error
    else:
        ends[directory] = None


@pytest.mark.slow
def test_clones_started_together(tmp_path: Path) -> None:
    """Two processes' worth of locks and threads, at the same moment: never two histories."""
    for number in range(4):
        line = publications.Line(tmp_path / str(number))
        with merklelog.open(line.directory) as log:
            log.append(b"first")
            log.publish_now().result(60)
        clone = line.folder / "clone"
        shutil.copytree(line.directory, clone)
        ends: dict[Path, MerklelogError | None] = {}

        threads = [threading.Thread(target=live, args=(path, ends)) for path in (line.directory, clone)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stopped = {path: error for path, error in ends.items() if error is not None}
        assert len(stopped) == 1, ends
        ((loser, _),) = stopped.items()
        winner = clone if loser == line.directory else line.directory
        mine, theirs = checkpoints(loser), checkpoints(winner)
        assert all(theirs.get(size, root) == root for size, root in mine.items()), (
            "two checkpoints of one size"
        )
        shown = parse_checkpoint(line.stores[0].get("checkpoint").data).checkpoint
        assert theirs[shown.size] == shown.root
        assert shown.size == 4
