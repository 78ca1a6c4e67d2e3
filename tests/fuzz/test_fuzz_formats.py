"""A short run of every fuzz target: garbage, and valid inputs bent a little, raise only this project's errors."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import MerklelogError


def load_targets() -> ModuleType:
    path = Path(__file__).with_name("targets.py")
    spec = importlib.util.spec_from_file_location("fuzz_targets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


targets = load_targets()
NAMES = sorted(targets.TARGETS)


def test_every_target_has_seeds() -> None:
    assert set(targets.SEEDS) == set(NAMES)
    assert all(targets.SEEDS.values())


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_accepted(name: str) -> None:
    for seed in targets.SEEDS[name]:
        targets.TARGETS[name](seed)


@pytest.mark.parametrize("name", NAMES)
def test_mutated(name: str) -> None:
    accepted = targets.run(name, Random(name), 400)
    assert accepted < 400, "no mutation was ever refused: the mutator does nothing"


@pytest.mark.parametrize("name", NAMES)
@given(
    st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_garbage(name: str, data: bytes) -> None:
    with contextlib.suppress(MerklelogError):
        targets.TARGETS[name](data)


def test_a_finding_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_data: bytes) -> None:
        raise ValueError("not one of ours")

    monkeypatch.setitem(targets.TARGETS, "decimal", broken)
    with pytest.raises(ValueError) as caught:
        targets.run("decimal", Random(1), 1)
    assert "target decimal" in caught.value.__notes__[0]
