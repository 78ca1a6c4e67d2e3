"""A log, and its intake, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from merklelog.ingest.intake import Intake, open_intake
from merklelog.ingest.placed import Finding
from merklelog.log import Log, create_log, open_log

ORIGIN = "otlp.example/audit"
ROOMY = {"store.min_free_bytes": 0}


class Place:
    """A log's directory, opened and closed at will. `clock` is what the intake takes for the time."""

    def __init__(self, path: Path, **settings: Any) -> None:
        create_log(path, ORIGIN, settings={**ROOMY, **settings})
        self.path = path
        self.clock = 10**18
        self.findings: list[Finding] = []
        self.log: Log | None = None
        self.intake: Intake | None = None

    def open(self, **how: Any) -> Intake:
        self.close()
        self.log = open_log(self.path, **how)
        self.intake = open_intake(self.log, alert=self.findings.append, clock=lambda: self.clock)
        return self.intake

    def close(self) -> None:
        if self.intake is not None:
            self.intake.close()
        if self.log is not None:
            self.log.close()
        self.intake = self.log = None

    def entries(self) -> list[bytes]:
        assert self.log is not None
        return list(self.log.entries(0, self.log.size))


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """`make_place(**settings)`: a new log, closed at the end."""
    made: list[Place] = []

    def make(**settings: Any) -> Place:
        made.append(Place(tmp_path / f"log{len(made)}", **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
