"""Witnesses for tests: without sockets, in one event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from merklelog.witness.config import load_witness_config
from merklelog.witness.service import Witness


@pytest.fixture
def opened() -> Iterator[Callable[..., Witness]]:
    """`opened(directory, **clocks)`: the witness there, closed at the end; options are of its configuration."""
    made: list[Witness] = []

    def open_one(directory: Path, *, options: dict[str, str] | None = None, **clocks: object) -> Witness:
        witness = Witness(directory, load_witness_config(directory, {}, options), **clocks)  # type: ignore[arg-type]
        made.append(witness)
        return witness

    yield open_one
    for each in made:
        each.close()
