"""kill -9 at every named step of a publication, in a real child process: the copy stays whole, and is finished."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from merklelog.publish import DirectoryStore, publish_copy
from merklelog.publish.copy import STEPS

# (sizes published before, the size whose publication is killed): the first time; across the end of two tiles.
CASES = [((), 300), ((0, 300, 500), 800)]


def publish(log: Any, root: Path, hook: Callable[[str], None] = lambda _: None) -> None:
    store = DirectoryStore(root, step=lambda name: hook(f"store: {name}"))
    publish_copy(log, store, verifiers=log.vkeys, bundle_encoding="gzip", step=hook)


def killed_at(number: int, log: Any, root: Path) -> bool:
    """Publish in a child that kills itself at its step of that number; whether it came to that."""
    count = 0

    def hook(_: str) -> None:
        nonlocal count
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    if not (pid := os.fork()):
        try:
            publish(log, root, hook)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize(("before", "size"), CASES)
def test_killed_at_every_step(
    tmp_path: Path, memory: ModuleType, check: ModuleType, before: tuple[int, ...], size: int
) -> None:
    log = memory.MemoryLog()
    (tmp_path / "before").mkdir()
    for earlier in before:
        publish(log.grow(earlier), tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    steps: list[str] = []
    publish(log.grow(size), tmp_path / "whole", steps.append)
    want = check.files(tmp_path / "whole")
    assert [step for step in steps if not step.startswith("store: ")] == list(STEPS)
    for number, step in enumerate(steps):
        root = tmp_path / str(number)
        shutil.copytree(tmp_path / "before", root)
        assert killed_at(number, log, root)
        assert check.shown_size(root) in (before[-1] if before else None, size)
        check.complete(root, log.vkeys, log.entries)
        publish(log, root)
        assert check.files(root) == want, f"after a kill at step {number}, {step}"
        assert list((root / ".merklelog" / "temporary").iterdir()) == []
        shutil.rmtree(root)


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again_while_the_log_grows(
    tmp_path: Path, memory: ModuleType, check: ModuleType, seed: int
) -> None:
    choice = random.Random(seed)
    log, shown = memory.MemoryLog(), -1
    for _ in range(6):
        log.grow(log.size + choice.randrange(200))
        killed_at(choice.randrange(40), log, tmp_path)
        size = check.shown_size(tmp_path)
        assert size is None or size >= shown
        shown = -1 if size is None else size
        check.complete(tmp_path, log.vkeys, log.entries)
    publish(log.grow(1280), tmp_path)
    check.complete(tmp_path, log.vkeys, log.entries)
    # Nothing is left of the sizes that were killed before they were shown.
    partial = {name for name in check.files(tmp_path) if name.startswith("tile/0/") and ".p/" in name}
    assert partial == set()
    assert "unfinished" not in check.files(tmp_path)
