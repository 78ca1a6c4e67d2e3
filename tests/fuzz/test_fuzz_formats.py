"""A short run of every fuzz target: garbage, and valid inputs bent a little, raise only this project's errors."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import merklelog
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


# Parsers that a target reaches through another one, and by which.
WITHIN = {
    "parse_hash": "head_text",
    "decode_timestamped": "verified_note",
    "decode_text": "signed_note",
    "parse_receipt_text": "receipt_note",
    "parse_statement_text": "log_statement",
    "parse_value": "setting",
    "parse_field": "http_head",
    "records_from_wire": "otlp",
}
# What one process of an audit writes to another of the same audit.
OUR_OWN = {"parse_setup", "parse_task", "parse_scanned"}


def test_every_parser_has_a_target() -> None:
    """Of all of the product: whatever a module calls a parser is fed garbage, here and by a soak."""
    product = Path(merklelog.__file__).parent
    named = re.compile(r"(?m)^def ((?:parse|decode|decompress|records_from)(?:_\w+)?)\(")
    parsers = {name for path in product.rglob("*.py") for name in named.findall(path.read_text("utf-8"))}
    assert len(parsers) > 40
    texts = [path.read_text("utf-8") for path in Path(__file__).parent.glob("*targets.py")]
    fed = {word for text in texts for word in re.findall(r"\w+", text)}
    assert parsers - fed == set(WITHIN) | OUR_OWN
    assert set(WITHIN.values()) <= set(NAMES)


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
