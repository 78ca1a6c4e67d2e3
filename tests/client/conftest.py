"""The log in memory of tests/publish, and copies of it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

HELPER = Path(__file__).resolve().parent.parent / "publish" / "memory_log.py"


@pytest.fixture(scope="session")
def memory() -> ModuleType:
    name = "publish_tests_memory_log"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HELPER)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(autouse=True, scope="module")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """No test here cuts the power, so syncing would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        yield
