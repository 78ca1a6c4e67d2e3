"""kill -9 at each step from a request to the index of record IDs: what was answered stays, nothing comes twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import parse_entry
from merklelog.ingest.split import join_entries
from tests.otlp import submitter
from tests.otlp.conftest import Place

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("drained", "hashed", "written", "synced", "settled", "ids before", "ids after")
ALL = range(submitter.BATCHES * submitter.EACH)


def submit(place: Place, step: str, number: int) -> tuple[int, dict[int, int]]:
    """The exit status of a submitter, and the index of each event that it was answered."""
    command = [sys.executable, submitter.__file__, str(place.path), step, str(number)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )
    return done.returncode, {int(a): int(b) for a, b in (line.split() for line in done.stdout.splitlines())}


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_sent_again(make_place: Callable[..., Place], step: str) -> None:
    place = make_place()
    answered: dict[int, int] = {}
    for number in (2, 3):  # twice, so that what was rebuilt is relied on
        status, found = submit(place, step, number)
        assert status == -signal.SIGKILL
        assert answered.items() <= {**answered, **found}.items(), "an answer stays the same"
        answered |= found
    intake = place.open()
    placed = intake.submit([submitter.event(each) for each in ALL], "").result(60)
    for each in answered:
        assert (placed[each].index, placed[each].duplicate) == (answered[each], True)
    entries = place.entries()
    records = []
    for index, data in enumerate(entries):
        entry = parse_entry(data)
        assert entry is not None
        assert entry.part is not None
        if entry.part.split is None or entry.part.split.part == 0:
            records.append(join_entries(entries.__getitem__, index).record_bytes)
    assert sorted(records) == sorted(encode_record(submitter.event(each)) for each in ALL)


def test_without_a_kill_all_is_there(make_place: Callable[..., Place]) -> None:
    status, answered = submit(make_place(), "never", 1)
    assert (status, sorted(answered)) == (0, list(ALL))
