from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from merklelog.errors import ProofError
from merklelog.tree import verify_consistency, verify_inclusion

VECTORS = Path(__file__).parent.parent / "vectors" / "merkle"
FILES = {kind: sorted((VECTORS / kind).rglob("*.json")) for kind in ("inclusion", "consistency")}


def name_of(path: Path) -> str:
    return str(path.relative_to(VECTORS))


def proof_of(case: dict[str, Any]) -> list[bytes]:
    return [b64decode(text, validate=True) for text in case["proof"] or []]


def test_the_vectors_are_all_here() -> None:
    assert {kind: len(files) for kind, files in FILES.items()} == {"inclusion": 98, "consistency": 98}
    good = [f for files in FILES.values() for f in files if not json.loads(f.read_text())["wantErr"]]
    assert len(good) == 12, "vectors that verify"


@pytest.mark.parametrize("path", FILES["inclusion"], ids=name_of)
def test_inclusion_vector(path: Path) -> None:
    case = json.loads(path.read_text())
    leaf, root = b64decode(case["leafHash"]), b64decode(case["root"])
    arguments = (leaf, case["leafIdx"], case["treeSize"], proof_of(case), root)
    if case["wantErr"]:
        with pytest.raises(ProofError):
            verify_inclusion(*arguments)
    else:
        verify_inclusion(*arguments)


@pytest.mark.parametrize("path", FILES["consistency"], ids=name_of)
def test_consistency_vector(path: Path) -> None:
    case = json.loads(path.read_text())
    roots = b64decode(case["root1"]), b64decode(case["root2"])
    arguments = (case["size1"], case["size2"], *roots, proof_of(case))
    if case["wantErr"]:
        with pytest.raises(ProofError):
            verify_consistency(*arguments)
    else:
        verify_consistency(*arguments)
