"""The quorum and "existed by" against a brute-force reading of the specification."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.errors import PolicyUnmetError
from merklelog.formats.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from merklelog.formats.checkpoint_text import format_checkpoint_text
from merklelog.formats.keys import SignatureType, SigningKey, format_vkey
from merklelog.formats.note import Note
from merklelog.formats.policy import Policy, parse_policy
from merklelog.protocol.verdict import evaluate_policy, is_quorum
from merklelog.tree.hashing import Hash, TreeSize

ORIGIN = "example.com/log"
LOG = SigningKey(ORIGIN, SignatureType.ED25519, bytes([1]) * 32)
WITNESSES = [
    SigningKey(f"witness.example/{n}", SignatureType.COSIGNATURE_ED25519, bytes([10 + n]) * 32)
    for n in range(6)
]
HEAD = Checkpoint(ORIGIN, TreeSize(7), Hash(bytes(range(32))))
TEXT = format_checkpoint_text(HEAD)
LOG_LINE = sign_checkpoint(HEAD, LOG)


@dataclass(frozen=True)
class Tree:
    """A quorum as it is meant: a witness, or so many of these."""

    witness: int | None = None
    threshold: int = 0
    members: tuple[Tree, ...] = ()

    def met(self, cosigned: frozenset[int]) -> bool:
        if self.witness is not None:
            return self.witness in cosigned
        return any(
            all(member.met(cosigned) for member in chosen)
            for chosen in combinations(self.members, self.threshold)
        )


@st.composite
def quorums(draw: st.DrawFn) -> tuple[Tree, Policy]:
    """A random forest over six witnesses, one of its nodes the quorum, and the policy file that says so."""
    rows = [f"log {format_vkey(LOG.verifier)}"]
    rows += [f"witness w{n} {format_vkey(key.verifier)}" for n, key in enumerate(WITNESSES)]
    defined = {f"w{n}": Tree(witness=n) for n in range(len(WITNESSES))}
    free = list(defined)
    for number in range(draw(st.integers(0, 4))):
        members = draw(st.lists(st.sampled_from(free), unique=True, min_size=1))
        threshold = draw(st.integers(1, len(members)))
        words = {1: "any", len(members): "all"}
        word = words.get(threshold, str(threshold)) if draw(st.booleans()) else str(threshold)
        rows.append(f"group g{number} {word} {' '.join(members)}")
        defined[f"g{number}"] = Tree(None, threshold, tuple(defined[name] for name in members))
        free = [name for name in free if name not in members] + [f"g{number}"]
    name = draw(st.sampled_from(sorted(defined)))
    return defined[name], parse_policy("\n".join([*rows, f"quorum {name}\n"]).encode())


@given(quorums())
def test_every_set_of_witnesses(quorum: tuple[Tree, Policy]) -> None:
    meant, policy = quorum
    everyone = range(len(WITNESSES))
    for chosen in chain.from_iterable(combinations(everyone, n) for n in range(len(WITNESSES) + 1)):
        assert is_quorum(policy, [b"w%d" % n for n in chosen]) == meant.met(frozenset(chosen))
    assert is_quorum(policy, [b"w%d" % n for n in everyone]), "a policy that can never be met was let in"


LINES = st.lists(st.tuples(st.integers(0, len(WITNESSES) - 1), st.integers(0, 5)), max_size=10)


@settings(max_examples=60)
@given(quorums(), LINES)
def test_verdict(quorum: tuple[Tree, Policy], lines: list[tuple[int, int]]) -> None:
    meant, policy = quorum
    signatures = [sign_checkpoint(HEAD, WITNESSES[witness], time) for witness, time in lines]
    signed = SignedCheckpoint(HEAD, Note(TEXT, (LOG_LINE, *signatures)))
    dated = [(witness, time) for witness, time in lines if time > 0]
    times = [t for t in range(6) if meant.met(frozenset(witness for witness, time in dated if time <= t))]
    if not times:
        with pytest.raises(PolicyUnmetError, match="want the quorum"):
            evaluate_policy(policy, signed)
        return
    verdict = evaluate_policy(policy, signed)
    assert verdict.existed_by == times[0]
    assert verdict.log_key == LOG.verifier
    first = {witness: min(t for w, t in dated if w == witness) for witness, _ in dated}
    assert {(c.witness.name, c.timestamp) for c in verdict.cosigners} == {
        (b"w%d" % w, t) for w, t in first.items()
    }
    assert len(verdict.cosigners) == len(first), "a witness was counted twice"
