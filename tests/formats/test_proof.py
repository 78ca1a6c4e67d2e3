from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError
from merklelog.formats.proof import MAX_PROOF_BYTES, ProofFile, format_proof, parse_proof
from merklelog.tree.hashing import Hash

HASH = Hash(bytes(range(32)))
HASH_LINE = base64.b64encode(HASH) + b"\n"
HEADER = b"c2sp.org/tlog-proof@v1\n"
GOOD = HEADER + b"extra ZXh0cmE=\nindex 3\n" + HASH_LINE + b"\ncheckpoint\n"


def test_vectors(proof_cases: dict[str, Any]) -> None:
    assert len(proof_cases["marshal"]) == 3
    for case in proof_cases["marshal"]:
        hashes = tuple(Hash(base64.b64decode(text)) for text in case["hashes"])
        extra = None if case["extra"] is None else case["extra"].encode()
        proof = ProofFile(case["index"], hashes, case["checkpoint"].encode(), extra)
        assert format_proof(proof) == case["want"].encode()
        assert parse_proof(case["want"].encode()) == proof


def test_bad_vectors(proof_cases: dict[str, Any]) -> None:
    assert len(proof_cases["errors"]) == 7
    for text in proof_cases["errors"]:
        with pytest.raises(FormatError):
            parse_proof(text.encode())


def test_parts() -> None:
    assert parse_proof(GOOD) == ProofFile(3, (HASH,), b"checkpoint\n", b"extra")


def test_the_checkpoint_is_verbatim() -> None:
    checkpoint = b"a\n1\n\nb\n\n\xff\r\n"
    proof = ProofFile(0, (), checkpoint)
    assert parse_proof(format_proof(proof)).checkpoint == checkpoint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        HEADER,
        GOOD[1:],
        b" " + GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"@v1", b"@v2"),
        GOOD.replace(b"@v1", b"@v1 "),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"extra ZXh0cmE=", b"extra"),
        GOOD.replace(b"extra ZXh0cmE=", b"extra "),
        GOOD.replace(b"extra ZXh0cmE=", b"extra  ZXh0cmE="),
        GOOD.replace(b"extra ZXh0cmE=", b"extra ZXh0cmF="),
        GOOD.replace(b"extra ZXh0cmE=", b"extra ZXh0cmE"),
        GOOD.replace(b"extra ZXh0cmE=", b"Extra ZXh0cmE="),
        GOOD.replace(b"extra ZXh0cmE=\n", b"extra ZXh0cmE=\nextra ZXh0cmE=\n"),
        GOOD.replace(b"extra ZXh0cmE=\nindex 3\n", b"index 3\nextra ZXh0cmE=\n"),
        GOOD.replace(b"index 3\n", b""),
        GOOD.replace(b"index 3", b"index"),
        GOOD.replace(b"index 3", b"index "),
        GOOD.replace(b"index 3", b"index 03"),
        GOOD.replace(b"index 3", b"index +3"),
        GOOD.replace(b"index 3", b"index -3"),
        GOOD.replace(b"index 3", b"index  3"),
        GOOD.replace(b"index 3", b"index 3 "),
        GOOD.replace(b"index 3", b"index 1_0"),
        GOOD.replace(b"index 3", b"index\t3"),
        GOOD.replace(b"index 3", "index ٣".encode()),
        GOOD.replace(b"index 3", b"index 9223372036854775808"),
        GOOD.replace(b"index 3", b"index 3\nindex 3"),
        GOOD.replace(HASH_LINE, base64.b64encode(bytes(31)) + b"\n"),
        GOOD.replace(HASH_LINE, base64.b64encode(bytes(33)) + b"\n"),
        GOOD.replace(HASH_LINE, HASH_LINE.replace(b"8=", b"9=")),
        GOOD.replace(HASH_LINE, b" " + HASH_LINE),
        GOOD.replace(HASH_LINE, HASH_LINE * 64),
        GOOD.replace(b"\n\n", b"\n"),
        GOOD.replace(b"checkpoint\n", b""),
    ],
)
def test_refused(data: bytes) -> None:
    assert data != GOOD
    with pytest.raises(FormatError):
        parse_proof(data)


def test_limits() -> None:
    assert len(parse_proof(GOOD.replace(HASH_LINE, HASH_LINE * 63)).hashes) == 63
    with pytest.raises(FormatError, match="got 64 hashes, want at most 63"):
        parse_proof(GOOD.replace(HASH_LINE, HASH_LINE * 64))
    with pytest.raises(FormatError, match=f"want at most {MAX_PROOF_BYTES}"):
        parse_proof(GOOD + bytes(MAX_PROOF_BYTES))


PROOFS = st.builds(
    ProofFile,
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
    st.binary(min_size=1, max_size=80),
    st.none() | st.binary(min_size=1, max_size=80),
)


@given(PROOFS)
def test_round_trip(proof: ProofFile) -> None:
    assert parse_proof(format_proof(proof)) == proof


@pytest.mark.parametrize(
    "proof",
    [
        ProofFile(-1, (), b"c\n"),
        ProofFile(2**63, (), b"c\n"),
        ProofFile(0, (Hash(b"short"),), b"c\n"),
        ProofFile(0, (HASH,) * 64, b"c\n"),
        ProofFile(0, (), b""),
        ProofFile(0, (), b"c\n", b""),
        ProofFile(0, (), bytes(MAX_PROOF_BYTES)),
    ],
)
def test_not_written(proof: ProofFile) -> None:
    with pytest.raises(FormatError):
        format_proof(proof)
