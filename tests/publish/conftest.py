"""Stores under test, and the log in memory that tests publish from."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from merklelog.publish import DirectoryStore, ObjectStore


def load(name: str) -> ModuleType:
    """A module beside this file, one object however often it is asked for."""
    full = f"publish_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture(autouse=True, scope="module")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """No test here cuts the power, so syncing would only take time; one test looks at what would be synced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def memory() -> ModuleType:
    return load("memory_log")


@pytest.fixture(scope="session")
def check() -> ModuleType:
    return load("copy_checker")


@pytest.fixture
def copy(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "copy")


def directory_store(tmp_path: Path) -> Callable[[], ObjectStore]:
    return lambda: DirectoryStore(tmp_path / "store")


# A new kind of store joins the contract tests here: from a scratch folder to a function that opens one and the
# same store, empty at first, each time it is called, as another process would.
STORES = {"directory": directory_store}


@pytest.fixture(params=STORES)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], ObjectStore]:
    return STORES[request.param](tmp_path)


@pytest.fixture
def store(reopen: Callable[[], ObjectStore]) -> ObjectStore:
    return reopen()
