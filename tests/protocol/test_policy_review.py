"""What a policy amounts to, against every set of witnesses there is."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.formats.keys import SignatureType, SigningKey, format_vkey
from merklelog.formats.policy import Policy, parse_policy
from merklelog.protocol.policy_review import Caution, Strength, counted, review_policy, strength_of
from merklelog.protocol.verdict import is_quorum

ED, COSIGNER, MLDSA, _ = SignatureType
ORIGIN = "example.com/log"


def vkey(number: int, kind: SignatureType, name: str) -> str:
    return format_vkey(SigningKey(name, kind, bytes([number]) * 32).verifier)


LOG = f"log {vkey(1, ED, ORIGIN)}"
LOG_MLDSA = f"log {vkey(2, MLDSA, ORIGIN)}"
WITNESSES = [f"witness w{n} {vkey(10 + n, COSIGNER, f'w{n}.example')}" for n in range(6)]
# The same three witnesses again, with an ML-DSA-44 key each.
SECOND = [f"witness m{n} {vkey(20 + n, MLDSA, f'w{n}.example')}" for n in range(3)]


def policy(*rows: str) -> Policy:
    return parse_policy("".join(f"{row}\n" for row in rows).encode())


def cautions(*rows: str) -> list[tuple[Caution, int]]:
    return [(remark.caution, remark.line) for remark in review_policy(policy(*rows))]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A random forest over six witnesses, of which up to three have a second key in an `any` group."""
    twins = draw(st.integers(0, 3))
    rows = [LOG, *WITNESSES, *SECOND[:twins]]
    rows += [f"group p{n} any w{n} m{n}" for n in range(twins)]
    free = [f"p{n}" for n in range(twins)] + [f"w{n}" for n in range(twins, len(WITNESSES))]
    names = list(free)
    for number in range(draw(st.integers(0, 4))):
        if not free:
            break
        members = draw(st.lists(st.sampled_from(free), unique=True, min_size=1))
        rows.append(f"group g{number} {draw(st.integers(1, len(members)))} {' '.join(members)}")
        free = [name for name in free if name not in members] + [f"g{number}"]
        names.append(f"g{number}")
    return policy(*rows, f"quorum {draw(st.sampled_from(names))}")


@settings(max_examples=150)
@given(policies())
def test_strength_is_what_trying_every_set_says(read: Policy) -> None:
    parties = sorted({witness.key.name for witness in read.witnesses})
    subsets = [
        frozenset(chosen)
        for chosen in chain.from_iterable(combinations(parties, n) for n in range(len(parties) + 1))
    ]

    def met(chosen: frozenset[str]) -> bool:
        return is_quorum(read, [w.name for w in read.witnesses if w.key.name in chosen])

    quorums = [chosen for chosen in subsets if met(chosen)]
    everyone = frozenset(parties)
    matters = {party for party in parties if any(met(q) and not met(q - {party}) for q in quorums)}
    assert strength_of(read) == Strength(
        witnesses=len(matters),
        fewest=min(map(len, quorums)),
        spare=min(len(silent) for silent in subsets if not met(everyone - silent)) - 1,
        liars=min(len(one & other) for one in quorums for other in quorums),
    )
    assert {w.key.name for w in read.witnesses if w.name in counted(read)} == matters


@given(policies())
def test_a_split_view_is_warned_of_exactly_where_it_is_possible(read: Policy) -> None:
    found = {remark.caution for remark in review_policy(read)}
    assert (Caution.SPLIT_VIEW in found) == (strength_of(read).liars == 0)
    assert (Caution.ONE_WITNESS in found) == (strength_of(read).fewest == 1)


def test_no_quorum_promises_nothing() -> None:
    assert strength_of(policy(LOG, "quorum none")) == Strength(0, 0, 0, 0)
    assert cautions(LOG, "quorum none") == [(Caution.NO_QUORUM, 0)]


def test_two_of_three_is_sound() -> None:
    rows = (LOG, *WITNESSES[:3], "group most 2 w0 w1 w2", "quorum most")
    assert strength_of(policy(*rows)) == Strength(3, 2, 1, 1)
    assert cautions(*rows) == []


@pytest.mark.parametrize(("threshold", "liars"), [(1, 0), (2, 0), (3, 2), (4, 4)])
def test_half_of_four_is_not_enough(threshold: int, liars: int) -> None:
    rows = (LOG, *WITNESSES[:4], f"group g {threshold} w0 w1 w2 w3", "quorum g")
    assert strength_of(policy(*rows)).liars == liars
    assert (Caution.SPLIT_VIEW in dict(cautions(*rows))) == (liars == 0)


def test_an_ed25519_key_of_the_log_beside_its_mldsa_key() -> None:
    sound = (*WITNESSES[:3], "group most 2 w0 w1 w2", "quorum most")
    assert cautions(LOG_MLDSA, LOG, *sound) == [(Caution.ED25519_SUFFICES, 2)]
    assert cautions(LOG_MLDSA, *sound) == []
    assert cautions(LOG, *sound) == []
    other = f"log {vkey(3, MLDSA, 'other.example')}"
    assert cautions(LOG, other, *sound) == []


def test_an_ed25519_key_of_a_witness_beside_its_mldsa_key() -> None:
    rows = (LOG, WITNESSES[0], SECOND[0], *WITNESSES[1:3], "group p any w0 m0", "group most 2 p w1 w2")
    assert cautions(*rows, "quorum most") == [(Caution.ED25519_SUFFICES, 6)]
    text = review_policy(policy(*rows, "quorum most"))[0].text
    assert "group 'p': the Ed25519 key 'w0' alone suffices beside the ML-DSA-44 key 'm0'" in text


def test_ed25519_cosignatures_alone_beside_mldsa_keys() -> None:
    rows = (LOG, SECOND[0], *WITNESSES[1:4])
    assert cautions(*rows, "group g 3 m0 w1 w2 w3", "quorum g") == [(Caution.ED25519_SUFFICES, 0)]
    assert cautions(*rows, "group g all m0 w1 w2 w3", "quorum g") == []


def test_what_does_not_count() -> None:
    rows = (LOG, *WITNESSES[:4], "group most 2 w0 w1 w2", "group rest any w3", "quorum most")
    assert cautions(*rows) == [(Caution.NOT_COUNTED, 5), (Caution.NOT_COUNTED, 7)]


def test_no_log_and_a_logs_name() -> None:
    sound = (*WITNESSES[:2], "group g all w0 w1", "quorum g")
    assert cautions(*sound) == [(Caution.NO_LOG, 0)]
    named = WITNESSES[0].replace("w0", ORIGIN, 1)
    rows = (LOG, named, WITNESSES[1], f"group g all {ORIGIN} w1", "quorum g")
    assert cautions(*rows) == [(Caution.LOGS_NAME, 2)]


def test_a_deep_policy_is_reviewed_at_once() -> None:
    rows = [LOG, *WITNESSES[:3], "group g0 2 w0 w1 w2"]
    rows += [f"group g{n} any g{n - 1}" for n in range(1, 5_000)]
    deep = policy(*rows, "quorum g4999")
    assert strength_of(deep) == Strength(3, 2, 1, 1)
    assert review_policy(deep) == ()
