"""SIGKILL at each step of a publication, in real processes: the same disk goes on, or one made of the target.

Both end in one lineage: every checkpoint that was ever shown is of the tree that there is at the end. And every
step that any of these processes passed is one that the model of the protocol can do.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    """A helper module beside the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


publications = load(HERE / "publications.py")
STEPS = ("started", "staged", "headed", "signed", "put", "filed", "pointed", "shown", "collected")


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_the_same_disk_goes_on(tmp_path: Path, step: str) -> None:
    line = publications.Line(tmp_path)
    line.live(1)
    assert line.live(2, step) == []
    if step != "started":
        assert line.live(3, step, 2) == []
    assert line.live(4) == ["closed"]
    assert line.judge() >= len(line.acked)  # what was appended when it was killed may be there as well
    assert line.epochs[-1] == (3 if step == "started" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_the_disk_is_deleted_and_the_log_recovered(tmp_path: Path, step: str) -> None:
    line = publications.Line(tmp_path)
    line.live(1)
    published = len(line.acked)
    assert line.live(2, step) == []
    report = line.recover()
    assert report.size >= published
    if step in ("headed", "signed", "put", "filed", "pointed", "shown"):
        assert report.size > published, "what head names comes back, from staging at least"
    told = {index: set(entries) for index, entries in line.acked.items()}
    assert line.live(3) == ["closed"]
    for index in line.lost:  # the index was given again, in a later epoch
        line.acked[index] -= told[index]
        line.acked[index] or line.acked.pop(index)
    line.lost.clear()
    line.judge()
    assert line.epochs[-1] > max(receipt.epoch for receipt in line.receipts[:-8])


@pytest.mark.slow
@pytest.mark.parametrize("step", ["headed", "put", "pointed"])
def test_two_targets(tmp_path: Path, step: str) -> None:
    """Killed between the two: the first one decides, and both end alike."""
    for count in (1, 2):
        line = publications.Line(tmp_path / str(count), targets=2)
        assert line.live(1, step, count) == []
        assert line.live(2) == ["closed"]
        line.judge()


@pytest.mark.slow
def test_an_old_copy_of_the_disk_refuses(tmp_path: Path) -> None:
    """Whenever it was taken, what is published since is more than it has; the target is as it was."""
    line = publications.Line(tmp_path)
    line.live(1)
    shutil.copytree(line.directory, tmp_path / "old")
    assert line.live(2, "pointed") == []
    before = {path: path.read_bytes() for path in (tmp_path / "target0").rglob("*") if path.is_file()}
    (refusal,) = line.live(3, directory=tmp_path / "old")
    assert refusal.startswith("refused BehindError")
    assert f"recover DIR --from {line.stores[0].location}" in refusal
    assert {path: path.read_bytes() for path in (tmp_path / "target0").rglob("*") if path.is_file()} == before
    assert line.live(4) == ["closed"]
    line.judge()


@pytest.mark.slow
def test_a_copy_newer_than_the_publication_loses_only_receipts(tmp_path: Path) -> None:
    """Older than the last receipt: it goes on, no checkpoint forks, and who has only a receipt is told."""
    line = publications.Line(tmp_path)
    line.live(1)
    shutil.copytree(line.directory, tmp_path / "old")
    known = len(line.acked)
    shutil.copytree(tmp_path / "target0", tmp_path / "before")
    assert line.live(2, "staged") == []  # receipts were given, and nothing of it is published
    beyond = [receipt for receipt in line.receipts if receipt.size > known]
    assert beyond
    lost = line.saved[-len(beyond) :]
    shutil.rmtree(line.directory)
    shutil.move(tmp_path / "old", line.directory)
    shutil.copyfile(tmp_path / "before" / "checkpoint", tmp_path / "checkpoint")
    for index in [index for index in line.acked if index >= known]:
        del line.acked[index]
    for number in range(line.targets):
        line._relearn(tmp_path / f"world-log.{number}", known)
    assert line.live(3) == ["closed"]
    line.judge()
    assert max(receipt.epoch for receipt in beyond) < line.epochs[-1]
    assert [line.becomes(saved) for saved in lost] == ["LostError"] * len(lost)
    assert line.becomes(line.saved[0]) == line.becomes(line.saved[-1]) == "proven"
