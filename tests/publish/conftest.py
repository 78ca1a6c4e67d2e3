"""Stores under test, and the log in memory that tests publish from."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from merklelog.publish import DirectoryStore, ObjectStore
from merklelog.publish.memory import MemoryStore
from merklelog.publish.s3 import S3Store, parse_s3_url
from tests.support.s3_servers import MakeBucket, S3Server


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


# A new kind of store joins the contract tests here.
STORES = ("directory", "memory", "seaweedfs", "versitygw")


@pytest.fixture(params=STORES)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], ObjectStore]]:
    """A function that opens one and the same store, empty at first, each time as another process would."""
    if request.param == "directory":
        yield lambda: DirectoryStore(tmp_path / "store")
    elif request.param == "memory":
        store = MemoryStore()
        yield lambda: store
    else:
        with closing_stores(
            request.getfixturevalue(request.param), request.getfixturevalue("s3_bucket")
        ) as open_one:
            yield open_one


@contextmanager
def closing_stores(server: S3Server, s3_bucket: MakeBucket) -> Iterator[Callable[[], ObjectStore]]:
    """Stores that know nothing of each other over one client, in a bucket with Object Lock."""
    bucket = s3_bucket(server)
    with ExitStack() as stack:

        def open_one() -> ObjectStore:
            store = S3Store(bucket.client, parse_s3_url(bucket.url()), server.options(parallel=8))
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def store(reopen: Callable[[], ObjectStore]) -> ObjectStore:
    return reopen()
