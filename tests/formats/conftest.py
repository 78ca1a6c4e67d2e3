"""The vectors, and keys that are the same at each run."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(scope="session")
def note_vectors() -> dict[str, Any]:
    return json.loads((VECTORS / "note" / "signed_note_cases.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def c2sp_example() -> dict[str, str]:
    return json.loads((VECTORS / "note" / "c2sp_signed_note_example.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def typed_notes() -> dict[str, tuple[str, bytes]]:
    """label -> (vkey, note)"""
    rows = (VECTORS / "note" / "typed_notes.tsv").read_text("utf-8").splitlines()
    fields = [row.split("\t") for row in rows if not row.startswith("#")]
    return {label: (vkey, base64.b64decode(note)) for label, vkey, note in fields}


@pytest.fixture(scope="session")
def mldsa_seed_and_public() -> tuple[bytes, bytes]:
    seed, public = (VECTORS / "note" / "mldsa44_seed_key.tsv").read_text("utf-8").strip().split("\t")
    return bytes.fromhex(seed), base64.b64decode(public)


@pytest.fixture(scope="session")
def proof_cases() -> dict[str, Any]:
    return json.loads((VECTORS / "proof" / "tlog_proof_parse_cases.json").read_text("utf-8"))
