"""A log whose target is in memory, behind a gate that tests close."""

from __future__ import annotations

from pathlib import Path

import pytest

from merklelog.publish.memory import MemoryStore
from tests.support import targets
from tests.support.targets import Gate


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(MemoryStore())
    targets.use(monkeypatch, gate)
    return gate


@pytest.fixture
def directory(tmp_path: Path, gate: Gate) -> Path:
    return targets.make(tmp_path / "log")
