"""A real Collector before a real receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.collector.ends import Ends
from tests.support import collector_program


@pytest.fixture(scope="module")
def collector(need: Callable[[bool, str], None]) -> None:
    """Skips where there is no Collector, and fails in CI."""
    need(collector_program.program() is not None, collector_program.WHAT)


@pytest.fixture
def ends(collector: None, tmp_path: Path) -> Iterator[Ends]:
    """A log with its receiver, and the recipe's Collector in front of it."""
    made = Ends(tmp_path)
    try:
        yield made
    finally:
        made.close()
