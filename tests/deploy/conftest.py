"""What the tests of tools/deploy share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent)]

from served import Served  # noqa: E402 - found because of the line above

import merklelog  # noqa: E402


@pytest.fixture
def log_directory(tmp_path: Path) -> Path:
    """A log of ten entries."""
    directory = tmp_path / "log"
    merklelog.create_log(directory, "deploy.example/log", settings={"store.min_free_bytes": 0})
    with merklelog.open(directory) as log:
        log.append_batch([b"entry %d" % number for number in range(10)])
    return directory


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """`serve(DIR, before=..., words=..., VARIABLE=...)`: `merklelog serve` as a process, ready."""
    running: list[Served] = []

    def start(
        directory: Path,
        *,
        before: tuple[object, ...] = (),
        words: tuple[str, ...] = (),
        **environment: str,
    ) -> Served:
        running.append(Served(directory, environment, before, words))
        running[-1].wait_ready()
        return running[-1]

    yield start
    for each in running:
        each.end()
