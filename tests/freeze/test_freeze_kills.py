"""SIGKILL at each step of the commit that ends a log, and of its publication; and what is recovered afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import FrozenError
from merklelog.formats import parse_checkpoint
from merklelog.formats.statement import Freeze
from merklelog.log.backup import backup
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish.directory import DirectoryStore
from tests.support import logs
from tests.support.checker import check_log

ROOT = Path(__file__).resolve().parents[2]
FREEZER = Path(__file__).with_name("freezer.py")
SUCCESSOR = "killed.example/next"
BEFORE = ("drained", "planned", "hashed", "signed")
AFTER = ("synced", "settled")
PUBLICATION = ("staged", "headed", "signed", "put", "filed", "pointed", "shown", "collected")


def live(directory: Path, step: str = "none", count: int = 1) -> tuple[int, bytes]:
    """One life of the log: its exit status and what it said."""
    words = [sys.executable, str(FREEZER), str(directory), step, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, env=environment, timeout=120)
    assert done.returncode in (0, -9), done.stderr.decode(errors="replace")
    return done.returncode, done.stdout


def assert_frozen(directory: Path, freeze: Freeze) -> None:
    with merklelog.open(directory) as log:
        assert log.statements.ended == freeze
        with pytest.raises(FrozenError):
            log.append(b"x")
        assert log.integrated.size == freeze.size + 1


@pytest.mark.parametrize("step", [*BEFORE, "written", "gathered", *AFTER])
def test_a_kill_leaves_a_log_that_has_ended_or_goes_on(tmp_path: Path, step: str) -> None:
    directory = logs.make(tmp_path / "log")
    status, said = live(directory, step)
    assert status == -9, f"the step {step!r} did not come"
    with merklelog.open(directory) as log:
        ended = log.chain.freeze
        assert log.size == 3 + (ended is not None)
        if step in BEFORE:
            assert ended is None
        if step in AFTER or b"frozen" in said:
            assert ended == Freeze(logs.ORIGIN, 3, SUCCESSOR)
        if ended is not None:
            note = log.checkpoint(4)
            assert note == log.checkpoint()
            assert len(parse_checkpoint(note).note.signatures) == 2
        check_log(log)
    status, _ = live(directory)
    assert status == 0
    # A second life appends three entries before it ends the log.
    assert_frozen(directory, ended or Freeze(logs.ORIGIN, 6, SUCCESSOR))


@pytest.mark.parametrize("step", PUBLICATION)
def test_a_kill_in_the_publication_of_the_end(tmp_path: Path, step: str) -> None:
    """The next life finishes it; and a log that is recovered from the copy has ended too."""
    copy = tmp_path / "copy"
    directory = logs.make(tmp_path / "log", publish__targets=(f"dir:{copy}",), publish__interval=0.05)
    freeze = Freeze(logs.ORIGIN, 3, SUCCESSOR)
    status, _ = live(directory, step, 2 if step == "signed" else 1)
    assert status == -9, f"the step {step!r} did not come"
    status, _ = live(directory)
    assert status == 0
    with merklelog.open_reader(directory) as reader:
        ended = reader.chain.freeze
        # The first publication may have had three entries and no end yet: then the second life appends as many.
        assert ended in (freeze, Freeze(logs.ORIGIN, 6, SUCCESSOR))
        size = reader.size
        assert size == ended.size + 1
    signers = load_signers(directory / "keys", logs.ORIGIN)
    settings = {"store.min_free_bytes": 0, "log.keys": str(directory / "keys")}
    recovered = tmp_path / "recovered"
    report = recover_log(recovered, DirectoryStore(copy), signers, settings=settings)
    assert report.size == size
    assert_frozen(recovered, ended)


def test_a_backup_has_ended_too(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    with merklelog.open(directory) as log:
        log.append(b"one")
        log.freeze()
    backup(directory, tmp_path / "backup")
    with merklelog.open_reader(tmp_path / "backup") as reader:
        assert reader.chain.freeze == Freeze(logs.ORIGIN, 1)
