"""`merklelog prove`, `verify` and `consistency`: what proves, and that nothing else does."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.formats import (
    Note,
    SignatureType,
    format_note,
    format_proof,
    format_vkey,
    generate_signing_key,
    parse_checkpoint,
    parse_proof,
    sign_checkpoint,
)

NAME = "cli.example/log"


@pytest.fixture
def proof(run: Callable, log: Path, tmp_path: Path) -> Path:
    """The proof of entry 1, b"two", under a checkpoint that one key signed; and the entry, in `entry`."""
    (tmp_path / "entry").write_bytes(b"two")
    run("append", log, "--jsonl", stdin=b"four\nfive\nsix\n")
    run("prove", log, 1, "-o", "full.tlog-proof")
    full = parse_proof((tmp_path / "full.tlog-proof").read_bytes())
    note = parse_checkpoint(full.checkpoint).note
    single = format_note(Note(note.text, note.signatures[:1]))
    path = tmp_path / "proof.tlog-proof"
    path.write_bytes(format_proof(type(full)(full.index, full.hashes, single)))
    return path


def test_a_proof_goes_to_standard_output_or_to_a_file(run: Callable, log: Path, tmp_path: Path) -> None:
    printed = run("prove", log, 1).out
    done = run("prove", log, 1, "-o", "p")
    assert (tmp_path / "p").read_bytes() == printed
    assert done.text == "proof of entry 1 of cli.example/log, in its tree of size 3: p\n"
    result = run("prove", log, 1, "-o", "p", "--json").json
    assert (result["index"], result["size"], result["path"]) == (1, 3, "p")
    assert result["proof"] == printed.decode()
    assert result["leaf_hash"] == hashlib.sha256(b"\0two").hexdigest()


def test_a_proof_verifies_by_either_key_and_by_the_leaf_hash(
    run: Callable, log: Path, vkeys: list[str], tmp_path: Path
) -> None:
    (tmp_path / "entry").write_bytes(b"two")
    run("prove", log, 1, "-o", "p")
    for vkey, kind in zip(vkeys[:2], ("Ed25519", "ML-DSA-44"), strict=True):
        done = run("verify", "p", "--entry", "entry", "--vkey", vkey)
        assert done.text.startswith("proven: entry 1 of cli.example/log, in its tree of size 3\n")
        assert kind in done.text
    leaf = hashlib.sha256(b"\0two").hexdigest()
    result = run("verify", "p", "--leaf-hash", leaf, "--vkey", vkeys[0], "--json").json
    assert (result["index"], result["log_key"], result["leaf_hash"]) == (1, vkeys[0], leaf)
    assert (result["cosigners"], result["existed_by"]) == ([], None)


def test_standard_input_can_be_the_entry_or_the_proof(
    run: Callable, log: Path, vkeys: list[str], tmp_path: Path
) -> None:
    (tmp_path / "entry").write_bytes(b"two")
    proof = run("prove", log, 1).out
    (tmp_path / "p").write_bytes(proof)
    run("verify", "p", "--entry", "-", "--vkey", vkeys[0], stdin=b"two")
    run("verify", "-", "--entry", "entry", "--vkey", vkeys[0], stdin=proof)
    run("verify", "-", "--entry", "-", "--vkey", vkeys[0], stdin=proof, status=2)


def test_a_proof_to_an_older_checkpoint(run: Callable, log: Path, vkeys: list[str], tmp_path: Path) -> None:
    run("append", log, stdin=b"four")
    assert run("prove", log, 1, "--size", 3, "-o", "p", "--json").json["size"] == 3
    run("verify", "p", "--entry", "-", "--vkey", vkeys[0], stdin=b"two")


@pytest.mark.parametrize("entry", [b"", b"Two", b"two\n", b"three", b"x" * 100_000])
def test_another_entry_is_disproven(run: Callable, proof: Path, vkeys: list[str], entry: bytes) -> None:
    done = run("verify", proof, "--entry", "-", "--vkey", vkeys[0], stdin=entry, status=1)
    assert done.out == b""
    assert done.err.startswith(f"merklelog: {proof}: not proven: leaf 1 in size 6: got root ")


def test_no_byte_of_a_proof_can_be_changed(
    run: Callable, proof: Path, vkeys: list[str], tmp_path: Path
) -> None:
    """One bit, one case, one space, one digit at every place: verify never says proven."""
    good = proof.read_bytes()
    run("verify", proof, "--entry", "entry", "--vkey", vkeys[0])
    seen = set()
    for at in range(len(good)):
        for byte in {good[at] ^ 1, good[at] ^ 0x20, ord("0"), ord("\n"), 0xFF} - {good[at]}:
            proof.write_bytes(good[:at] + bytes([byte]) + good[at + 1 :])
            done = run("verify", proof, "--entry", "entry", "--vkey", vkeys[0], status=None)
            seen.add(done.status)
            assert done.status == 1, (at, byte, done)
            assert "unexpected" not in done.err
    assert seen == {1}


def test_no_byte_can_be_taken_away_or_added(run: Callable, proof: Path, vkeys: list[str]) -> None:
    good = proof.read_bytes()
    for at in range(len(good) + 1):
        for changed in (good[:at] + good[at + 1 :], good[:at] + b"\n" + good[at:], good[:at]):
            if changed != good:
                proof.write_bytes(changed)
                run("verify", proof, "--entry", "entry", "--vkey", vkeys[0], status=1)


def test_a_changed_line_of_a_second_key_convinces_nobody_who_lists_only_that_key(
    run: Callable, proof: Path, vkeys: list[str], tmp_path: Path
) -> None:
    """What an unlisted key signed is not looked at (signed-note), so it can change; a listed one's can not."""
    full = tmp_path / "full.tlog-proof"
    good = full.read_bytes()
    full.write_bytes(good[:-100] + (b"A" if good[-100:-99] != b"A" else b"B") + good[-99:])
    run("verify", full, "--entry", "entry", "--vkey", vkeys[0])
    run("verify", full, "--entry", "entry", "--vkey", vkeys[1], status=1)
    run("verify", full, "--entry", "entry", "--vkey", vkeys[0], "--vkey", vkeys[1], status=1)


def _other(kind: SignatureType, name: str = NAME) -> str:
    return format_vkey(generate_signing_key(name, kind).verifier)


def test_another_key_of_the_same_name_proves_nothing(run: Callable, proof: Path) -> None:
    for kind in (SignatureType.ED25519, SignatureType.COSIGNATURE_MLDSA44):
        run("verify", proof, "--entry", "entry", "--vkey", _other(kind), status=1)
    run("verify", proof, "--entry", "entry", "--vkey", _other(SignatureType.ED25519, "x.example"), status=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda key: key + "x", "base64"),
        (lambda key: key[:-4] + "AAA=", "--vkey"),
        (lambda key: key.replace("+", "-", 1), "--vkey"),
        (lambda _: "", "--vkey"),
        (lambda _: "nonsense", "want NAME+ID+KEY"),
        (lambda _: _other(SignatureType.COSIGNATURE_ED25519), "type 0x04"),
    ],
)
def test_a_key_of_the_wrong_form_or_type_is_a_usage_error(
    run: Callable, proof: Path, vkeys: list[str], change: Callable, said: str
) -> None:
    assert said in run("verify", proof, "--entry", "entry", "--vkey", change(vkeys[0]), status=2).err


def test_the_receipt_key_alone_is_named_as_what_it_is(run: Callable, log: Path, proof: Path) -> None:
    receipt_key = run("vkey", log).text.splitlines()[2]
    said = run("verify", proof, "--entry", "entry", "--vkey", receipt_key, status=2).err
    name, key_id, _ = receipt_key.split("+", 2)
    assert f"--vkey: {name} ({key_id}) is a receipt key, which signs no checkpoint" in said


def test_a_signing_key_where_a_verifier_key_belongs_is_not_repeated(
    run: Callable, proof: Path, log: Path
) -> None:
    secret = (log / "keys" / "ed25519.key").read_text().strip()
    done = run("verify", proof, "--entry", "entry", "--vkey", secret, status=2)
    assert secret.split("+", 4)[-1] not in done.err


# --- policies ---


def _policy(path: Path, *rows: str) -> str:
    path.write_text("".join(f"{row}\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (["log {}", "quorum nobody"], "line 2"),
        (["log {}", "group g 2 w", "quorum g"], "line 2"),
        (["log {}", "witness w {}", "quorum w"], "line 2"),
        (["log {}"], "no quorum"),
        (["log {}", "quorum none", "quorum none"], "line 3"),
        (["# only a comment"], "no quorum"),
        (["quorum none"], "lists no log"),
        (["log {}\x00", "quorum none"], "line 1"),
    ],
)
def test_a_policy_that_can_not_be_met_is_refused(
    run: Callable, proof: Path, vkeys: list[str], tmp_path: Path, rows: list[str], line: str
) -> None:
    policy = _policy(tmp_path / "policy", *(row.format(vkeys[0]) for row in rows))
    done = run("verify", proof, "--entry", "entry", "--policy", policy, status=2)
    assert line in done.err
    if line.startswith("line"):
        assert policy in done.err


def test_a_policy_with_a_witness_says_since_when(
    run: Callable, proof: Path, vkeys: list[str], tmp_path: Path
) -> None:
    witness = generate_signing_key("w.example", SignatureType.COSIGNATURE_ED25519)
    rows = [f"log {vkeys[0]}", f"witness wit {format_vkey(witness.verifier)}", "quorum wit"]
    policy = _policy(tmp_path / "policy", *rows)
    done = run("verify", proof, "--entry", "entry", "--policy", policy, status=1)
    assert "want the quorum 'wit'" in done.err
    file = parse_proof(proof.read_bytes())
    signed = parse_checkpoint(file.checkpoint)
    line = sign_checkpoint(signed.checkpoint, witness, 1_700_000_000)
    note = format_note(Note(signed.note.text, (*signed.note.signatures, line)))
    proof.write_bytes(format_proof(type(file)(file.index, file.hashes, note)))
    done = run("verify", proof, "--entry", "entry", "--policy", policy)
    assert "existed by 2023-11-14T22:13:20Z" in done.text
    result = run("verify", proof, "--entry", "entry", "--policy", policy, "--json").json
    assert result["existed_by"] == 1_700_000_000
    assert result["cosigners"] == [
        {"name": "wit", "vkey": format_vkey(witness.verifier), "time": 1_700_000_000}
    ]


def test_a_policy_that_nothing_stored_meets_could_not_tell(
    run: Callable, log: Path, vkeys: list[str], tmp_path: Path
) -> None:
    witness = format_vkey(generate_signing_key("w.example", SignatureType.COSIGNATURE_ED25519).verifier)
    policy = _policy(tmp_path / "policy", f"log {vkeys[0]}", f"witness w {witness}", "quorum w")
    for words in (("prove", log, 0), ("checkpoint", log), ("get", log, 0), ("follow", log)):
        assert "meets the policy" in run(*words, "--policy", policy, status=3).err


def test_who_is_trusted_has_to_be_said_once(
    run: Callable, proof: Path, vkeys: list[str], copy: str, tmp_path: Path
) -> None:
    policy = _policy(tmp_path / "policy", f"log {vkeys[0]}", "quorum none")
    run("verify", proof, "--entry", "entry", "--policy", policy)
    both = ("--policy", policy, "--vkey", vkeys[0])
    assert "one of them" in run("verify", proof, "--entry", "entry", *both, status=2).err
    assert "--vkey" in run("verify", proof, "--entry", "entry", status=2).err
    for words in (("prove", copy, 0), ("get", copy, 0), ("follow", copy), ("consistency", copy, 0, 3)):
        done = run(*words, status=2)
        assert "--vkey" in done.err
        assert done.out == b""
    run("prove", copy, 0, "--policy", policy)
    run("prove", copy, 0, "--vkey", _other(SignatureType.ED25519), status=3)


@pytest.mark.parametrize("leaf", ["", "00", "zz" * 32, "00" * 33, " " + "00" * 31 + "0"])
def test_a_leaf_hash_is_64_hex_digits(run: Callable, proof: Path, vkeys: list[str], leaf: str) -> None:
    assert "64 hex digits" in run("verify", proof, "--leaf-hash", leaf, "--vkey", vkeys[0], status=2).err


def test_the_entry_or_its_hash_but_not_both(run: Callable, proof: Path, vkeys: list[str]) -> None:
    both = ("--entry", "entry", "--leaf-hash", "00" * 32)
    for given in ((), both):
        assert "--leaf-hash" in run("verify", proof, *given, "--vkey", vkeys[0], status=2).err


def test_files_that_are_not_there_are_named(run: Callable, proof: Path, vkeys: list[str]) -> None:
    key = ("--vkey", vkeys[0])
    assert "nowhere: No such file" in run("verify", "nowhere", "--entry", "entry", *key, status=4).err
    assert "nowhere: No such file" in run("verify", proof, "--entry", "nowhere", *key, status=4).err
    done = run("verify", proof, "--entry", "entry", "--policy", "nowhere", status=4)
    assert "nowhere: No such file" in done.err


# --- consistency ---


def test_consistency_prints_the_verdict_and_the_proof(
    run: Callable, log: Path, vkeys: list[str], tmp_path: Path
) -> None:
    run("append", log, stdin=b"four")
    done = run("consistency", log, 3, 4)
    verdict, *hashes = done.text.splitlines()
    assert verdict == "consistent: the tree of cli.example/log of size 3 begins that of size 4"
    result = run("consistency", log, 3, 4, "--json").json
    assert [base64.b64decode(each).hex() for each in hashes] == result["proof"]
    assert (result["old_size"], result["new_size"], len(hashes)) == (3, 4, 3)
    run("publish", log, "--to", "dir:copy")
    assert run("consistency", "dir:copy", 4, 4, "--vkey", vkeys[0], "--json").json["proof"] == []
    only = run("consistency", log, 3, 4, "-o", "proof")
    assert only.text.splitlines() == [verdict]
    assert (tmp_path / "proof").read_text().splitlines() == hashes


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 3), (3, 3)])
def test_there_is_nothing_to_prove_from_nothing_and_for_one_size(
    run: Callable, log: Path, old: int, new: int
) -> None:
    assert run("consistency", log, old, new, "--json").json["proof"] == []


def test_a_size_without_a_stored_checkpoint_could_not_tell(run: Callable, log: Path) -> None:
    assert "size 2" in run("consistency", log, 2, 3, status=3).err
