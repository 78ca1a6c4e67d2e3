"""A log with two histories, each shown to some of the witnesses: who accepts both, and who can not."""

from __future__ import annotations

from functools import lru_cache
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
from merklelog.protocol.policy_review import strength_of
from merklelog.protocol.verdict import evaluate_policy
from merklelog.tree.hashing import Hash, TreeSize

ED, COSIGNER, MLDSA, _ = SignatureType
ORIGIN = "example.com/log"
LOG = SigningKey(ORIGIN, ED, bytes([1]) * 32)
NAMES = ("w0", "w1", "w2", "w3", "w4")
WITNESSES = {
    name: SigningKey(f"{name}.example", COSIGNER, bytes([10 + n]) * 32) for n, name in enumerate(NAMES)
}
HISTORIES = tuple(Checkpoint(ORIGIN, TreeSize(7), Hash(bytes([n]) * 32)) for n in range(2))
# Made once: what the log says of each history, and each witness.
LINES = [
    {name: sign_checkpoint(head, key, 1_700_000_000) for name, key in WITNESSES.items()} for head in HISTORIES
]
OWN = [sign_checkpoint(head, LOG) for head in HISTORIES]


def policy(*rows: str) -> Policy:
    witnesses = [f"witness {name} {format_vkey(key.verifier)}" for name, key in WITNESSES.items()]
    text = "\n".join([f"log {format_vkey(LOG.verifier)}", *witnesses, *rows, ""])
    return parse_policy(text.encode())


@lru_cache(maxsize=4_096)
def accepts(read: Policy, history: int, cosigners: frozenset[str]) -> bool:
    """Whether a client with this policy believes a history that these witnesses were shown."""
    head = HISTORIES[history]
    lines = (OWN[history], *(LINES[history][name] for name in sorted(cosigners)))
    try:
        evaluate_policy(read, SignedCheckpoint(head, Note(format_checkpoint_text(head), lines)))
    except PolicyUnmetError:
        return False
    return True


def splits() -> list[frozenset[str]]:
    """Every way to show one history to some witnesses, and the other one to the rest."""
    return [frozenset(some) for some in chain.from_iterable(combinations(NAMES, n) for n in range(6))]


@pytest.mark.parametrize("threshold", [3, 4, 5])
def test_more_than_half_is_never_split(threshold: int) -> None:
    read = policy(f"group g {threshold} {' '.join(NAMES)}", "quorum g")
    for first in splits():
        assert not (accepts(read, 0, first) and accepts(read, 1, frozenset(NAMES) - first))


@pytest.mark.parametrize("threshold", [1, 2])
def test_up_to_half_is_split_without_a_lie(threshold: int) -> None:
    read = policy(f"group g {threshold} {' '.join(NAMES)}", "quorum g")
    assert any(accepts(read, 0, first) and accepts(read, 1, frozenset(NAMES) - first) for first in splits())


def test_without_a_quorum_both_are_believed() -> None:
    read = policy("quorum none")
    assert accepts(read, 0, frozenset())
    assert accepts(read, 1, frozenset())


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    free, rows = list(NAMES), []
    for number in range(draw(st.integers(1, 3))):
        members = draw(st.lists(st.sampled_from(free), unique=True, min_size=1))
        rows.append(f"group g{number} {draw(st.integers(1, len(members)))} {' '.join(members)}")
        free = [name for name in free if name not in members] + [f"g{number}"]
    return policy(*rows, f"quorum {free[-1]}")


@settings(max_examples=40)
@given(policies())
def test_so_many_witnesses_have_to_lie(read: Policy) -> None:
    """Both histories are believed exactly when as many witnesses cosign both as the policy's strength says."""
    liars = strength_of(read).liars
    for count in {max(0, liars - 1), liars}:
        split = any(
            accepts(read, 0, first | lying) and accepts(read, 1, (frozenset(NAMES) - first) | lying)
            for lying in map(frozenset, combinations(NAMES, count))
            for first in splits()
        )
        assert split == (count >= liars)
