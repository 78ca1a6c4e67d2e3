from __future__ import annotations

import pytest

from merklelog.errors import ForkError, ProofError, StaleError
from merklelog.formats.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from merklelog.formats.checkpoint_text import format_checkpoint_text
from merklelog.formats.keys import SignatureType, SigningKey
from merklelog.formats.note import Note, format_note
from merklelog.protocol.advance import TrustedHead, advance
from merklelog.tree.hashing import EMPTY_ROOT, Hash, TreeSize, leaf_hash, node_hash

ORIGIN = "example.com/log"
LOG = SigningKey(ORIGIN, SignatureType.ED25519, bytes([1]) * 32)
WITNESS = SigningKey("witness.example", SignatureType.COSIGNATURE_ED25519, bytes([2]) * 32)
LEAVES = [leaf_hash(b"%d" % n) for n in range(5)]


def root(leaves: list[Hash]) -> Hash:
    """RFC 6962, section 2.1, as it is written."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(root(leaves[:k]), root(leaves[k:]))


def head(
    size: int, *, of: Hash | None = None, origin: str = ORIGIN, time: int | None = None
) -> SignedCheckpoint:
    checkpoint = Checkpoint(origin, TreeSize(size), root(LEAVES[:size]) if of is None else of)
    lines = [sign_checkpoint(checkpoint, LOG)]
    if time is not None:
        lines.append(sign_checkpoint(checkpoint, WITNESS, time))
    return SignedCheckpoint(checkpoint, Note(format_checkpoint_text(checkpoint), tuple(lines)))


def trusted(size: int) -> TrustedHead:
    return advance(None, head(size), [])


FROM_3_TO_5 = [LEAVES[2], LEAVES[3], node_hash(LEAVES[0], LEAVES[1]), LEAVES[4]]


def test_the_first_head_is_believed() -> None:
    signed = head(3)
    assert advance(None, signed, []) == TrustedHead(
        ORIGIN, TreeSize(3), root(LEAVES[:3]), format_note(signed.note)
    )


def test_advances() -> None:
    newer = advance(trusted(3), head(5), FROM_3_TO_5)
    assert (newer.size, newer.root) == (5, root(LEAVES))
    assert newer.note == format_note(head(5).note)


def test_from_nothing() -> None:
    assert advance(trusted(0), head(5), []).size == 5
    with pytest.raises(ProofError):
        advance(trusted(0), head(5), [LEAVES[0]])


def test_the_same_size_takes_the_newer_note() -> None:
    again = advance(trusted(5), head(5, time=99), [])
    assert again.note == format_note(head(5, time=99).note)
    with pytest.raises(ProofError):
        advance(trusted(5), head(5), [LEAVES[0]])


def test_two_roots_for_one_size_are_a_fork() -> None:
    other = head(5, of=Hash(bytes(32)))
    with pytest.raises(ForkError, match=r"two roots for size 5 of 'example.com/log'") as caught:
        advance(trusted(5), other, [])
    assert caught.value.first == format_note(head(5).note)
    assert caught.value.second == format_note(other.note)
    assert caught.value.exit_status == 1


@pytest.mark.parametrize(
    "proof", [[], FROM_3_TO_5[:-1], FROM_3_TO_5[::-1], [*FROM_3_TO_5, LEAVES[0]], [Hash(bytes(32))] * 4]
)
def test_a_wrong_proof_accuses_nobody(proof: list[Hash]) -> None:
    with pytest.raises(ProofError) as caught:
        advance(trusted(3), head(5), proof)
    assert not isinstance(caught.value, ForkError)


def test_another_history() -> None:
    with pytest.raises(ProofError):
        advance(trusted(3), head(5, of=Hash(bytes(32))), FROM_3_TO_5)
    forged = TrustedHead(ORIGIN, TreeSize(3), Hash(bytes(32)), b"")
    with pytest.raises(ProofError):
        advance(forged, head(5), FROM_3_TO_5)


def test_an_older_head() -> None:
    with pytest.raises(StaleError, match="got size 3, trusted is 5") as caught:
        advance(trusted(5), head(3), FROM_3_TO_5)
    assert caught.value.exit_status == 3


def test_another_log() -> None:
    with pytest.raises(ProofError, match=r"got origin 'other.example', want 'example.com/log'"):
        advance(trusted(3), head(5, origin="other.example"), FROM_3_TO_5)


@pytest.mark.parametrize("before", [None, trusted(0)])
def test_an_empty_tree_has_one_root(before: TrustedHead | None) -> None:
    assert advance(before, head(0), []).root == EMPTY_ROOT
    with pytest.raises(ProofError, match="size 0 with root 0000"):
        advance(before, head(0, of=Hash(bytes(32))), [])
