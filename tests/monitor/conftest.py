"""A scene a test, and pages that a witness or a webhook would have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from merklelog.log import sequencer
from tests.monitor.scene import Pages, Scene


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(sequencer, "KEEP_INTERVAL", 0.0)  # a checkpoint a commit is kept
    return Scene(tmp_path)


@pytest.fixture
def pages() -> Iterator[Pages]:
    server = Pages()
    yield server
    server.close()
