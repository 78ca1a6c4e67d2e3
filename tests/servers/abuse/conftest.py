"""A server process with the native front, and what it must still be after each abuse."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent)]  # the modules here that are not tests

from victim import Victim  # noqa: E402

import merklelog  # noqa: E402

Make = Callable[..., Victim]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Make]:
    """`victim(stall_seconds=1)`: a server with these limits of its native front."""
    made: list[Victim] = []

    def make(**limits: float) -> Victim:
        path = tmp_path / f"log{len(made)}"
        merklelog.create_log(path, "abuse.example/log", settings={"store.min_free_bytes": 0})
        made.append(Victim(path, **limits))
        return made[-1]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()
