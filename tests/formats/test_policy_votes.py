"""One witness, one vote; no log is its own witness; and what could never be met is not let in."""

from __future__ import annotations

import hashlib

import pytest

from merklelog.errors import PolicyError
from merklelog.formats.keys import SignatureType, SigningKey, VerifierKey, format_vkey, key_id
from merklelog.formats.policy import Policy, parse_policy

ED, COSIGNER, MLDSA, _ = SignatureType
ORIGIN = "example.com/log"


def vkey(number: int, kind: SignatureType = COSIGNER, name: str = "") -> str:
    name = name or f"witness.example/{number}"
    if kind is MLDSA:
        return format_vkey(SigningKey(name, kind, number.to_bytes(32, "big")).verifier)
    public = hashlib.sha256(b"%d" % number).digest()
    return format_vkey(VerifierKey(name, key_id(name, kind, public), kind, public))


LOG = f"log {vkey(1, ED, ORIGIN)}\n"
ALICE = f"witness a {vkey(2, COSIGNER, 'alice.example')}\n"
ALICE_MLDSA = f"witness am {vkey(3, MLDSA, 'alice.example')}\n"
ALICE_OLD = f"witness ao {vkey(4, COSIGNER, 'alice.example')}\n"
BOB = f"witness b {vkey(5, COSIGNER, 'bob.example')}\n"
THREE = LOG + ALICE + ALICE_MLDSA + BOB


def parse(text: str) -> Policy:
    return parse_policy(text.encode())


@pytest.mark.parametrize(
    "rest",
    [
        "group g any a am\nquorum g\n",
        "group g 1 am a\nquorum g\n",
        "group g any a am b\nquorum g\n",
        "group g any a am\ngroup both all g b\nquorum both\n",
        "group g any a am\nquorum none\n",
        "group g any a am\nquorum b\n",
    ],
)
def test_two_keys_in_one_any_group(rest: str) -> None:
    assert len(parse(THREE + rest).witnesses) == 3


def test_three_keys_in_one_any_group() -> None:
    assert parse(LOG + ALICE + ALICE_MLDSA + ALICE_OLD + "group g any a am ao\nquorum g\n")


@pytest.mark.parametrize(
    "rest",
    [
        "quorum none\n",
        "quorum a\n",
        "group g all a am\nquorum g\n",
        "group g 2 a am b\nquorum g\n",
        "group g any a b\nquorum g\n",
        "group g any a\ngroup h any am\ngroup top all g h\nquorum top\n",
        "group g any a\ngroup h any am\ngroup top any g h\nquorum top\n",
        "group g any a\ngroup h any g am\nquorum h\n",
    ],
)
def test_two_keys_elsewhere(rest: str) -> None:
    with pytest.raises(
        PolicyError, match=r"^policy line 3: .*two keys of one witness belong in one 'any' group"
    ) as got:
        parse(THREE + rest)
    assert "'alice.example' is that of 'a' on line 2" in str(got.value)


def test_the_third_key_is_the_one_outside() -> None:
    text = LOG + ALICE + ALICE_MLDSA + ALICE_OLD + "group g any a am\ngroup h all g ao\nquorum h\n"
    with pytest.raises(PolicyError, match=r"^policy line 4: witness 'ao'"):
        parse(text)


def test_names_that_only_look_alike_are_two_witnesses() -> None:
    other = f"witness x {vkey(6, COSIGNER, 'Alice.example')}\n"
    assert parse(LOG + ALICE + other + "group g all a x\nquorum g\n")


@pytest.mark.parametrize("kind", [COSIGNER, MLDSA])
def test_a_logs_name_as_a_witness(kind: SignatureType) -> None:
    own = f"witness me {vkey(7, kind, ORIGIN)}\n"
    with pytest.raises(
        PolicyError, match=r"^policy line 2: witness 'me'.* is a log's on line 1, and no log is its own"
    ):
        parse(LOG + own + "quorum me\n")
    with pytest.raises(PolicyError, match=r"^policy line 2: log .*a witness' key has that name on line 1"):
        parse(own + LOG + "quorum me\n")


def test_another_logs_name_as_a_witness() -> None:
    other = f"log {vkey(8, ED, 'other.example/log')}\n"
    with pytest.raises(PolicyError, match=r"^policy line 3: witness 'w'"):
        parse(LOG + other + f"witness w {vkey(9, COSIGNER, 'other.example/log')}\nquorum w\n")


def test_a_logs_key_in_a_group() -> None:
    with pytest.raises(PolicyError, match=r"^policy line 3: the name 'example.com/log' is not defined above"):
        parse(LOG + BOB + f"group g any b {ORIGIN}\nquorum g\n")
    with pytest.raises(PolicyError, match=r"^policy line 2: .*public key is there already on line 1"):
        parse(LOG + f"witness w {vkey(1, COSIGNER, 'w.example')}\ngroup g any w\nquorum g\n")


def many(count: int, threshold: str) -> str:
    rows = [f"witness w{n} {vkey(100 + n)}\n" for n in range(count)]
    names = " ".join(f"w{n}" for n in range(count))
    return LOG + "".join(rows) + f"group g {threshold} {names}\n"


def test_a_quorum_that_no_note_has_room_for() -> None:
    assert parse(many(127, "all") + "quorum g\n").quorum == b"g"
    assert parse(many(200, "127") + "quorum g\n").quorum == b"g"
    with pytest.raises(PolicyError, match=r"^policy line 203: .*takes 128 cosignatures and can never be met"):
        parse(many(200, "128") + "quorum g\n")
    assert parse(many(200, "128") + "quorum none\n"), "only the quorum has to be met"


def test_the_fewest_are_counted_through_groups() -> None:
    text = many(128, "all") + BOB
    assert parse(text + "group h any g b\nquorum h\n").quorum == b"h"
    with pytest.raises(PolicyError, match="takes 129 cosignatures"):
        parse(text + "group h all g b\nquorum h\n")
