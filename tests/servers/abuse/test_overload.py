"""Ten times what a log takes, for some seconds; `tools/soak.py overload` does it for a minute and more."""

from __future__ import annotations

from pathlib import Path

import pytest
from overload import overload

SECONDS = 4


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_an_overload_is_refused_in_bounded_memory_and_loses_nothing(tmp_path: Path, front: str) -> None:
    assert overload(tmp_path, SECONDS, front) == ""
