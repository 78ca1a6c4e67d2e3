"""The witnesses of a module: real processes, shared by its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.witness_client.scene import Scene, scene


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three witnesses, all running."""
    with scene(tmp_path_factory.mktemp("witnessed")) as made:
        yield made


@pytest.fixture(autouse=True)
def running(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that killed a witness leaves it running for the next."""
    yield
    if "witnessed" in request.fixturenames:
        for each in request.getfixturevalue("witnessed").witnesses:
            if each.process is None:
                each.start()
