"""Logs in memory, published, and recovered into real directories."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "publish"), str(TESTS / "support")]

from scenes import Scene  # noqa: E402  the path comes first


@pytest.fixture(autouse=True, scope="module")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """No test here cuts the power, so syncing would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        yield


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Scene]:
    """Makes a published log, grown and published at each of the sizes given."""
    return lambda *sizes, **options: Scene(tmp_path, *sizes, **options)
