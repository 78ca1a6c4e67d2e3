from __future__ import annotations

import json
from pathlib import Path

import pytest

from merklelog.errors import FormatError, PolicyError, PolicyUnmetError, ProofError, SignatureError
from merklelog.formats.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint, sign_checkpoint
from merklelog.formats.checkpoint_text import format_checkpoint_text
from merklelog.formats.keys import SignatureType, SigningKey, format_vkey
from merklelog.formats.note import Note, NoteSignature, format_note
from merklelog.formats.policy import Policy, parse_policy, single_log_policy
from merklelog.formats.proof import ProofFile, format_proof, parse_proof
from merklelog.protocol.verdict import PolicyVerdict, evaluate_policy, verify_proof_file
from merklelog.tree.hashing import EMPTY_ROOT, Hash, TreeSize, leaf_hash, node_hash

ED, COSIGNER, MLDSA, _ = SignatureType
ORIGIN = "example.com/log"
VECTORS = Path(__file__).parents[1] / "vectors" / "proof"


def make(number: int, kind: SignatureType, name: str = ORIGIN) -> SigningKey:
    return SigningKey(name, kind, bytes([number]) * 32)


LOG, LOG_MLDSA = make(1, ED), make(2, MLDSA)
ONE, TWO = make(3, COSIGNER, "one.example"), make(4, MLDSA, "two.example")
OTHER_LOG = make(5, ED, "other.example/log")
HEAD = Checkpoint(ORIGIN, TreeSize(9), Hash(bytes(range(32))))


def vkey(key: SigningKey) -> str:
    return format_vkey(key.verifier)


def policy(*rows: str) -> Policy:
    return parse_policy("".join(f"{row}\n" for row in rows).encode())


ANY_LOG = (f"log {vkey(LOG)}", f"log {vkey(LOG_MLDSA)}")
BOTH = (f"witness one {vkey(ONE)}", f"witness two {vkey(TWO)}")


def signed(*lines: NoteSignature, head: Checkpoint = HEAD) -> SignedCheckpoint:
    return SignedCheckpoint(head, Note(format_checkpoint_text(head), lines))


def by(key: SigningKey, time: int = 0, head: Checkpoint = HEAD) -> NoteSignature:
    return sign_checkpoint(head, key, time)


def forged(key: SigningKey) -> NoteSignature:
    blob = bytes(key.type.signature_size + (8 if key.type.is_timestamped else 0))
    return NoteSignature(key.name, key.verifier.key_id, blob)


# --- the log's signature -----------------------------------------------------------------------------------------


def test_any_listed_key_of_the_log_is_enough() -> None:
    both = policy(*ANY_LOG, "quorum none")
    for key in (LOG, LOG_MLDSA):
        verdict = evaluate_policy(both, signed(by(key)))
        assert verdict == PolicyVerdict(key.verifier, (), None)
    assert evaluate_policy(both, signed(by(LOG_MLDSA), by(LOG))).log_key == LOG_MLDSA.verifier


def test_who_wants_mldsa_lists_it_alone() -> None:
    only = policy(f"log {vkey(LOG_MLDSA)}", "quorum none")
    assert evaluate_policy(only, signed(by(LOG), by(LOG_MLDSA))).log_key == LOG_MLDSA.verifier
    with pytest.raises(SignatureError, match="no trusted key"):
        evaluate_policy(only, signed(by(LOG)))


def test_the_logs_own_mldsa_line_may_be_dated() -> None:
    only = policy(f"log {vkey(LOG_MLDSA)}", "quorum none")
    assert evaluate_policy(only, signed(by(LOG_MLDSA, 1_700_000_000))).existed_by is None


def test_a_wrong_signature_under_any_listed_key_rejects() -> None:
    everything = policy(*ANY_LOG, f"log {vkey(OTHER_LOG)}", *BOTH, "quorum one")
    good = (by(LOG), by(ONE, 5))
    assert evaluate_policy(everything, signed(*good))
    for key in (LOG, LOG_MLDSA, OTHER_LOG, ONE, TWO):
        for lines in ((*good, forged(key)), (forged(key), *good)):
            with pytest.raises(SignatureError, match=f"signature of '{key.name}'"):
                evaluate_policy(everything, signed(*lines))
    stranger = make(9, ED, "stranger.example")
    assert evaluate_policy(everything, signed(forged(stranger), *good))


def test_no_log_signature() -> None:
    with pytest.raises(PolicyUnmetError, match="no listed key of that log signed it"):
        evaluate_policy(policy(*ANY_LOG, *BOTH, "quorum one"), signed(by(ONE, 5)))


def test_a_listed_log_can_not_speak_for_another() -> None:
    """The key name MUST correspond to the origin."""
    two_logs = policy(f"log {vkey(LOG)}", f"log {vkey(OTHER_LOG)}", "quorum none")
    with pytest.raises(PolicyUnmetError, match="no listed key of that log"):
        evaluate_policy(two_logs, signed(by(OTHER_LOG)))
    with pytest.raises(PolicyUnmetError, match=r"lists no log of that name, only 'other.example/log'"):
        evaluate_policy(policy(f"log {vkey(OTHER_LOG)}", "quorum none"), signed(by(OTHER_LOG)))
    assert evaluate_policy(two_logs, signed(by(OTHER_LOG), by(LOG))).log_key == LOG.verifier


def test_a_policy_without_logs_is_met_by_nothing() -> None:
    with pytest.raises(PolicyError, match="lists no log") as caught:
        evaluate_policy(policy(*BOTH, "quorum none"), signed(by(LOG)))
    assert caught.value.exit_status == 2


# --- the witnesses -----------------------------------------------------------------------------------------------


def test_quorum_of_both_types() -> None:
    both = policy(*ANY_LOG, *BOTH, "group g all one two", "quorum g")
    verdict = evaluate_policy(both, signed(by(LOG), by(TWO, 30), by(ONE, 20)))
    assert [(c.witness.name, c.timestamp) for c in verdict.cosigners] == [(b"one", 20), (b"two", 30)]
    assert verdict.existed_by == 30
    for lines, names in (((by(ONE, 20),), "'one'"), ((by(TWO, 20),), "'two'"), ((), "none")):
        with pytest.raises(PolicyUnmetError, match=f"cosigned by {names}, want the quorum 'g'"):
            evaluate_policy(both, signed(by(LOG), *lines))


@pytest.mark.parametrize("witness", [ONE, TWO])
def test_timestamp_zero_counts_toward_nothing(witness: SigningKey) -> None:
    one = policy(*ANY_LOG, f"witness w {vkey(witness)}", "quorum w")
    with pytest.raises(PolicyUnmetError, match="cosigned by none"):
        evaluate_policy(one, signed(by(LOG), by(witness, 0)))
    verdict = evaluate_policy(one, signed(by(LOG), by(witness, 0), by(witness, 7)))
    assert verdict.existed_by == 7


def test_one_witness_has_one_vote() -> None:
    both = policy(*ANY_LOG, *BOTH, "group g 2 one two", "quorum g")
    with pytest.raises(PolicyUnmetError):
        evaluate_policy(both, signed(by(LOG), by(ONE, 5), by(ONE, 5), by(ONE, 6)))


def test_the_earliest_time_of_a_witness_counts() -> None:
    any_of = policy(*ANY_LOG, *BOTH, "group g any one two", "quorum g")
    verdict = evaluate_policy(any_of, signed(by(LOG), by(ONE, 50), by(TWO, 40), by(ONE, 30), by(TWO, 60)))
    assert verdict.existed_by == 30
    assert [c.timestamp for c in verdict.cosigners] == [30, 40]


def test_quorum_none_gives_no_time() -> None:
    none = policy(*ANY_LOG, *BOTH, "quorum none")
    verdict = evaluate_policy(none, signed(by(LOG), by(ONE, 50)))
    assert verdict.existed_by is None
    assert [c.witness.name for c in verdict.cosigners] == [b"one"]


def test_the_logs_line_is_no_cosignature() -> None:
    """A log's 0x06 line is dated here, and its key is no witness of the policy."""
    one = policy(*ANY_LOG, *BOTH, "group g any one two", "quorum g")
    with pytest.raises(PolicyUnmetError, match="cosigned by none"):
        evaluate_policy(one, signed(by(LOG), by(LOG_MLDSA, 50)))


# --- proof files -------------------------------------------------------------------------------------------------

LEAVES = [leaf_hash(b"entry %d" % n) for n in range(3)]
ROOT = node_hash(node_hash(LEAVES[0], LEAVES[1]), LEAVES[2])
TREE = Checkpoint(ORIGIN, TreeSize(3), ROOT)
NOTE = format_note(signed(by(LOG, head=TREE), head=TREE).note)
HASHES = (LEAVES[0], LEAVES[2])
KEY = single_log_policy([LOG.verifier])


def test_proof_file() -> None:
    verdict = verify_proof_file(ProofFile(1, HASHES, NOTE, b"extra"), LEAVES[1], KEY)
    assert verdict.checkpoint == TREE
    assert (verdict.index, verdict.log_key, verdict.cosigners, verdict.existed_by) == (
        1,
        LOG.verifier,
        (),
        None,
    )


@pytest.mark.parametrize(
    ("proof", "leaf"),
    [
        (ProofFile(1, HASHES, NOTE), LEAVES[0]),
        (ProofFile(0, HASHES, NOTE), LEAVES[1]),
        (ProofFile(2, HASHES, NOTE), LEAVES[1]),
        (ProofFile(3, HASHES, NOTE), LEAVES[1]),
        (ProofFile(2**62, HASHES, NOTE), LEAVES[1]),
        (ProofFile(1, HASHES[::-1], NOTE), LEAVES[1]),
        (ProofFile(1, HASHES[:1], NOTE), LEAVES[1]),
        (ProofFile(1, (), NOTE), LEAVES[1]),
        (ProofFile(1, (*HASHES, HASHES[0]), NOTE), LEAVES[1]),
        (ProofFile(1, (HASHES[0], Hash(bytes(32))), NOTE), LEAVES[1]),
    ],
)
def test_wrong_proofs(proof: ProofFile, leaf: Hash) -> None:
    with pytest.raises(ProofError) as caught:
        verify_proof_file(proof, leaf, KEY)
    assert caught.value.exit_status == 1


def test_nothing_is_in_an_empty_tree() -> None:
    head = Checkpoint(ORIGIN, TreeSize(0), EMPTY_ROOT)
    note = format_note(signed(by(LOG, head=head), head=head).note)
    with pytest.raises(ProofError, match="got 0, want less than the tree size 0"):
        verify_proof_file(ProofFile(0, (), note), EMPTY_ROOT, KEY)


def test_signatures_come_before_the_proof() -> None:
    unsigned = format_note(signed(by(make(8, ED, "stranger.example"), head=TREE), head=TREE).note)
    with pytest.raises(SignatureError):
        verify_proof_file(ProofFile(1, HASHES[::-1], unsigned), LEAVES[1], KEY)


def test_a_proof_file_without_a_checkpoint() -> None:
    with pytest.raises(FormatError):
        verify_proof_file(ProofFile(1, HASHES, b"test checkpoint\n"), LEAVES[1], KEY)


def test_oak_merkle_proof() -> None:
    """The hashes are a real log's; the checkpoint around them is signed here."""
    real = json.loads((VECTORS / "oak_tlog_proof.json").read_text("utf-8"))["real_merkle"]
    rows = [ORIGIN, str(real["size"]), real["root"]]
    head = parse_checkpoint("\n".join([*rows, "", "— a AAAAAAA=\n"]).encode()).checkpoint
    note = format_note(signed(by(LOG, head=head), head=head).note).decode()
    lines = ["c2sp.org/tlog-proof@v1", f"index {real['index']}", *real["proof"], "", note]
    verdict = verify_proof_file(
        parse_proof("\n".join(lines).encode()), leaf_hash(real["entry"].encode()), KEY
    )
    assert verdict.index == 76958
    assert verdict.checkpoint.size == 76959


# --- one byte changed anywhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [LOG, LOG_MLDSA], ids=["ed25519", "mldsa"])
def test_every_changed_byte_of_a_proof_file(key: SigningKey) -> None:
    note = format_note(signed(by(key, head=TREE), head=TREE).note)
    data = format_proof(ProofFile(1, HASHES, note))
    trusted = single_log_policy([key.verifier])
    assert verify_proof_file(parse_proof(data), LEAVES[1], trusted)
    caught_as = set()
    for at, old in enumerate(data):
        for new in {old ^ 1, ord("1"), ord("\n")} - {old}:
            changed = data[:at] + bytes([new]) + data[at + 1 :]
            with pytest.raises((FormatError, SignatureError, PolicyUnmetError, ProofError)) as caught:
                verify_proof_file(parse_proof(changed), LEAVES[1], trusted)
            assert str(caught.value)
            caught_as.add(caught.type)
    assert caught_as == {FormatError, SignatureError, PolicyUnmetError, ProofError}


def test_every_changed_byte_under_a_quorum() -> None:
    """Every line is needed here, so none of them may change."""
    trusted = policy(f"log {vkey(LOG)}", *BOTH[:1], "quorum one")
    note = format_note(signed(by(LOG, head=TREE), by(ONE, 77, TREE), head=TREE).note)
    data = format_proof(ProofFile(1, HASHES, note))
    assert verify_proof_file(parse_proof(data), LEAVES[1], trusted).existed_by == 77
    for at in range(len(data)):
        for bit in range(8):
            changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            with pytest.raises((FormatError, SignatureError, PolicyUnmetError, ProofError)):
                verify_proof_file(parse_proof(changed), LEAVES[1], trusted)


def test_every_lost_or_doubled_byte() -> None:
    data = format_proof(ProofFile(1, HASHES, NOTE))
    for at in range(len(data)):
        for changed in (data[:at] + data[at + 1 :], data[:at] + data[at : at + 1] + data[at:], data[:at]):
            if changed != data:
                with pytest.raises((FormatError, SignatureError, PolicyUnmetError, ProofError)):
                    verify_proof_file(parse_proof(changed), LEAVES[1], KEY)


def test_extra_data_is_not_covered_by_anything() -> None:
    for extra in (None, b"a", b"b"):
        assert verify_proof_file(ProofFile(1, HASHES, NOTE, extra), LEAVES[1], KEY)
