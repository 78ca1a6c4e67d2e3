"""How an audit is spread: the tasks, who gets them, and that nobody waits for one who waits for him."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.audit import audit, workers
from merklelog.audit.database import DatabaseRows
from merklelog.audit.heads import HeadReader
from merklelog.audit.run import tasks_of
from merklelog.audit.scan import SHORT_TASK_BUNDLES, TASK_BUNDLES, Scanned, Task, scan
from merklelog.audit.worker import Setup
from merklelog.audit.workers import AHEAD, Workers
from merklelog.errors import DamagedError, StorageError

SETUP = Setup("dir:/nowhere", 1, "example.com/none", ())

# A worker that opens nothing: each answer says which task it is for, and is as long as the task was told.
ECHO = """
import json, sys
sys.stdin.readline()
for line in sys.stdin:
    first, last, sizes = json.loads(line)
    heads = [[size, None, None] for size in sizes]
    answer = {"roots": [], "peaks": [], "heads": heads, "findings": [], "counts": [0, 1, last - first, first]}
    print(json.dumps(answer), flush=True)
"""
# Answers in one write each, whatever Python does with its output.
REFUSING = """import os; os.write(1, b'{"error":["DamagedError","gone meanwhile"]}\\n')"""
UNASKED = r"import os, sys; os.write(1, b'{}\n'); sys.stdin.read()"


def scan_here(task: Task) -> Scanned:
    return Scanned(task, (), (), (), (), 0, 0, task.last - task.first, task.first)


@given(st.integers(0, 5000), st.integers(1, 5))
def test_tasks_are_all_bundles_once_and_begin_at_a_multiple_of_their_length(full: int, count: int) -> None:
    tasks = list(tasks_of(full, count, lambda end: (end,)))
    at = 0
    for task in tasks:
        length = task.last - task.first
        assert task.first == at
        assert task.sizes == (task.last * 256,)
        assert length in (TASK_BUNDLES, SHORT_TASK_BUNDLES) or (task is tasks[-1] and length > 0)
        assert task.first % (TASK_BUNDLES if length > SHORT_TASK_BUNDLES else SHORT_TASK_BUNDLES) == 0
        at = task.last
    assert at == full


def test_the_end_of_an_audit_has_short_tasks_for_all_who_hash() -> None:
    tasks = list(tasks_of(10_000, 2, lambda _end: ()))
    short = [task for task in tasks if task.last - task.first < TASK_BUNDLES]
    assert short == tasks[-len(short) :]
    assert len(short) > 2 * AHEAD


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("sizes", [0, workers._SIZES // AHEAD, 20_000])
def test_results_come_in_order_however_long_the_messages_are(
    count: int, sizes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 checkpoints a task are more than a pipe holds, in both directions."""
    monkeypatch.setattr(workers, "_BOOT", ECHO)
    tasks = [Task(n, n + 1, tuple(range(sizes))) for n in range(12)]
    taken: list[Scanned] = []
    with Workers(SETUP, count, tasks, taken.append) as spread:
        spread.finish(scan_here)
    assert [found.task for found in taken] == tasks
    assert [(found.tiles, found.bytes) for found in taken] == [(1, n) for n in range(12)]
    by_workers = sum(found.bundles for found in taken)
    assert (by_workers > 0) == (count > 0)


@pytest.mark.parametrize(
    ("sizes", "most"), [(0, 2 * workers._HELD), (TASK_BUNDLES * 256, 4), (workers._SIZES_HELD + 1, 1)]
)
def test_beside_a_worker_that_does_not_answer_so_much_is_begun_and_no_more(
    sizes: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that still starts keeps nobody waiting, and what waits for it is bounded."""
    monkeypatch.setattr(workers, "_BOOT", "import sys; sys.stdin.readline(); sys.stdin.read()")
    checkpoints = tuple(range(sizes))
    tasks = (Task(n, n + 1, checkpoints) for n in range(1000))
    with Workers(SETUP, 1, tasks, lambda _found: None) as spread:
        for _ in range(3):
            spread.attend()
        told = len(spread._all[0]._given)
        assert told == (AHEAD if not sizes else 1)
        here = iter(spread._next, None)
        assert told + len(list(here)) == most


def test_what_stands_in_the_way_while_others_look_is_raised_by_finish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_BOOT", REFUSING)
    with Workers(SETUP, 1, [Task(0, 1)], lambda _found: None) as spread:
        select.select([spread._all[0].answers], [], [])
        spread.beat()
        spread.beat()
        with pytest.raises(DamagedError, match="gone meanwhile"):
            spread.finish(scan_here)


def test_an_answer_that_nobody_asked_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_BOOT", UNASKED)
    with Workers(SETUP, 1, [], lambda _found: None) as spread:
        select.select([spread._all[0].answers], [], [])
        with pytest.raises(StorageError, match="nobody asked"):
            spread.attend()


@pytest.mark.parametrize(
    "line", ["", "printed by an interpreter that starts", "{}", "[]", '{"roots":["zz"]}', '{"error":[1]}']
)
def test_what_is_no_answer_is_an_error_of_this_project(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_BOOT", f"import os, sys; os.write(1, {line!r}.encode() + b'\\n'); input()")
    with Workers(SETUP, 1, [Task(0, 1), Task(1, 2)], lambda _found: None) as spread:
        spread.attend()
        with pytest.raises(StorageError, match="no answer"):
            spread.attend(wait=True)


@pytest.mark.parametrize("length", [TASK_BUNDLES, SHORT_TASK_BUNDLES])
def test_what_stands_beside_the_tree_is_looked_at_in_stretches_that_no_task_moves(
    length: int, data: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a finding about a stretch would say another one in an audit by another number of processes."""
    stretches: list[tuple[int, int]] = []
    monkeypatch.setattr(
        DatabaseRows, "check_beside", lambda _rows, first, last, _findings: stretches.append((first, last))
    )
    with closing(DatabaseRows(data(70_000))) as rows:
        for first in range(0, 273, length):
            task = Task(first, min(first + length, 273))
            scan(rows, 70_000, task, HeadReader(rows, "example.com/audited", ()))
    assert stretches == [(at, min(at + SHORT_TASK_BUNDLES, 273)) for at in range(0, 273, SHORT_TASK_BUNDLES)]


def test_the_rest_of_a_copy_is_looked_at_while_workers_hash(
    copies: Callable[[int, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a worker that can not open the copy is no finding about it."""
    target = f"dir:{copies(70_000, 'identity')}"
    one, two = audit(target, processes=1), audit(target, processes=2)
    assert (one.findings, one.remarks) == (two.findings, two.remarks)
    monkeypatch.setattr(workers, "_BOOT", REFUSING)
    with pytest.raises(DamagedError, match="gone meanwhile"):
        audit(target, processes=2)
