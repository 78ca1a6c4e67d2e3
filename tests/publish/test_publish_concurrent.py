"""Several publishers of one copy, and readers beside them: it never goes back and is whole at all times."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from merklelog.errors import BehindError, ForkError, ImmutableError
from merklelog.publish import DirectoryStore, PublishReport, publish_copy
from merklelog.publish.copy import STEPS


def publish(log: Any, root: Path, at: str = "", then: Any = None) -> PublishReport:
    def step(name: str) -> None:
        if name == at:
            then()

    return publish_copy(log, DirectoryStore(root), verifiers=log.vkeys, step=step)


@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("before", [None, 500])
def test_another_publishes_a_larger_tree_meanwhile(
    tmp_path: Path, memory: ModuleType, check: ModuleType, at: str, before: int | None
) -> None:
    if before is not None:
        publish(memory.MemoryLog().grow(before), tmp_path)
    slow, quick = memory.MemoryLog().grow(600), memory.MemoryLog().grow(800)
    report = publish(slow, tmp_path, at, lambda: publish(quick, tmp_path))
    overtaken = STEPS.index(at) < STEPS.index("shown")
    assert (report.size, report.moved) == ((800, False) if overtaken else (600, True))
    assert (tmp_path / "checkpoint").read_bytes() == quick.checkpoint()
    assert 800 in check.complete(tmp_path, quick.vkeys, quick.entries)


@pytest.mark.parametrize("at", STEPS[: STEPS.index("shown")])
def test_another_publishes_a_smaller_tree_meanwhile(
    tmp_path: Path, memory: ModuleType, check: ModuleType, at: str
) -> None:
    slow, quick = memory.MemoryLog().grow(800), memory.MemoryLog().grow(600)
    report = publish(slow, tmp_path, at, lambda: publish(quick, tmp_path))
    assert (report.size, report.moved) == (800, True)
    assert sorted(check.complete(tmp_path, slow.vkeys, slow.entries)) == [600, 800, 800]


def test_what_is_shown_keeps_its_partial_tiles(tmp_path: Path, memory: ModuleType) -> None:
    publish(memory.MemoryLog().grow(100), tmp_path)
    slow, quick = memory.MemoryLog().grow(800), memory.MemoryLog().grow(300)
    kept = []

    def meanwhile() -> None:
        publish(quick, tmp_path)
        kept.append((tmp_path / "tile/0/001.p/44").exists() and (tmp_path / "tile/0/001").exists())

    publish(slow, tmp_path, "full", meanwhile)
    assert kept == [True]
    assert not (tmp_path / "tile/0/001.p").exists()


@pytest.mark.parametrize("at", STEPS[: STEPS.index("shown")])
def test_another_publishes_the_same_tree_meanwhile(
    tmp_path: Path, memory: ModuleType, check: ModuleType, at: str
) -> None:
    log = memory.MemoryLog().grow(600)
    report = publish(log, tmp_path, at, lambda: publish(log, tmp_path))
    assert (report.size, report.moved) == (600, False)
    check.complete(tmp_path, log.vkeys, log.entries)


@pytest.mark.parametrize("at", STEPS[: STEPS.index("shown")])
@pytest.mark.parametrize("size", [550, 650])
def test_another_publishes_another_history_meanwhile(
    tmp_path: Path, memory: ModuleType, check: ModuleType, at: str, size: int
) -> None:
    log = memory.MemoryLog().grow(600)
    fork = memory.MemoryLog().grow(530).grow(size, salt=b"another")
    with pytest.raises((ForkError, ImmutableError)) as caught:
        publish(log, tmp_path, at, lambda: publish(fork, tmp_path))
    assert isinstance(caught.value, ForkError)
    assert {caught.value.first, caught.value.second} == {log.checkpoint(), fork.checkpoint()}
    assert (tmp_path / "checkpoint").read_bytes() == fork.checkpoint()


def test_publishers_in_several_processes_under_a_reader(
    tmp_path: Path, memory: ModuleType, check: ModuleType
) -> None:
    sizes = range(1, 1600, 83)
    whole = memory.MemoryLog().grow(max(sizes))
    children = []
    for number in range(3):
        if pid := os.fork():
            children.append(pid)
            continue
        try:
            log = memory.MemoryLog()
            for size in list(sizes)[number % 2 :]:
                try:
                    publish(log.grow(size), tmp_path)
                except BehindError:
                    continue  # another one is ahead of this one's log
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    last, seen = -1, set()
    running = list(children)
    while running:
        pid, status = os.waitpid(running[0], os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            running.remove(pid)
        size = check.shown_size(tmp_path)
        if size is not None:
            assert size >= last, "the copy went back"
            last = size
            seen.update(check.complete(tmp_path, whole.vkeys, whole.entries))
    assert last == max(sizes)
    assert len(seen) > 5
    assert list((tmp_path / ".merklelog" / "temporary").iterdir()) == []
