"""SIGKILL at every named step of a commit, in a real child process, life after life of one log."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

import merklelog.log

HERE = Path(__file__).parent


def load(path: Path):
    """A helper module beside the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(HERE.parent.parent))
kills = load(HERE / "kills.py")
checker = load(HERE.parent / "support" / "checker.py")
logs = load(HERE.parent / "support" / "logs.py")


@pytest.mark.slow
@pytest.mark.parametrize("step", kills.STEPS)
def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path, step: str) -> None:
    """Three kills a step: early, at some commit, and in the log that the one before left."""
    directory = logs.make(tmp_path / "log")
    rng = random.Random(step)
    told = kills.Witnessed()
    killed = 0
    for life in range(3):
        count = (1, rng.randrange(2, 6), rng.randrange(2, 40))[life] if step != "kept" else 1 + life
        killed += kills.kill_once(directory, 100 * life + len(step), step, count, told)
        kills.judge(directory, told, checker.check_log)
    assert killed == 3, f"the step {step!r} did not come often enough: {killed} kills"
    assert told.heads


def test_every_step_that_a_commit_passes_is_one_that_kills(tmp_path: Path) -> None:
    """A new step in the sequencer or the syncer: kill there too."""
    passed: set[str] = set()
    directory = logs.make(tmp_path / "log")
    with merklelog.log.open_log(directory, step=passed.add) as log:
        log.append(b"one")
    assert passed == set(kills.STEPS)


def test_a_writer_that_is_not_killed_says_so(tmp_path: Path) -> None:
    """The harness itself: a whole life, and every append of it is found again."""
    directory = logs.make(tmp_path / "log")
    told = kills.Witnessed()
    assert not kills.kill_once(directory, 1, "none", 1, told)
    kills.judge(directory, told, checker.check_log)
    assert len(told.acknowledged) > 400


def test_the_judge_notices_a_lost_entry(tmp_path: Path) -> None:
    directory = logs.make(tmp_path / "log")
    told = kills.Witnessed()
    kills.kill_once(directory, 2, "settled", 3, told)
    told.acknowledged[max(told.acknowledged) + 10_000] = b"never stored"
    with pytest.raises(AssertionError, match="was acknowledged"):
        kills.judge(directory, told, checker.check_log)
