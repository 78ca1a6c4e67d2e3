"""Damaged, foreign and missing checkpoints of a published copy: each is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.audit import FindingKind, audit
from merklelog.formats import (
    Checkpoint,
    Note,
    SignatureType,
    format_checkpoint_text,
    format_note,
    generate_signing_key,
    sign_checkpoint,
    single_log_policy,
)
from merklelog.log.create import load_signers
from merklelog.publish import DirectoryStore, publish_copy
from merklelog.tree import Hash, TreeSize, leaf_hash, root_hash


def test_a_broken_signature_is_named(grown_victim: Any) -> None:
    note = (grown_victim.path / "checkpoints/700").read_bytes()
    start = note.index("— ".encode()) + 60
    # A character of base64 that another one becomes: "A" for one would be "@", and the line no signature at all.
    within = next(at for at in range(start, len(note)) if chr(note[at] ^ 1).isalnum())
    grown_victim.flip("checkpoints/700", within)
    report = grown_victim.audit()
    (finding,) = report.findings
    assert (finding.kind, report.exit_status) == (FindingKind.SIGNATURE, 1)
    assert finding.where.endswith("/checkpoints/700")
    assert "not this key's signature" in finding.detail
    assert report.checkpoints == 4


def test_a_broken_newest_checkpoint_is_named_and_the_stored_one_audited(grown_victim: Any) -> None:
    note = (grown_victim.path / "checkpoint").read_bytes()
    grown_victim.flip("checkpoint", note.index(b"1000"), bit=1)  # 3000
    report = grown_victim.audit()
    (finding,) = report.findings
    assert finding.kind is FindingKind.SIGNATURE
    assert finding.where.endswith("/victim/checkpoint")
    assert (report.size, report.entries) == (1000, 1000)


def test_a_missing_newest_checkpoint_is_named_and_the_stored_one_audited(grown_victim: Any) -> None:
    (grown_victim.path / "checkpoint").unlink()
    report = grown_victim.audit()
    (finding,) = report.findings
    assert (finding.kind, finding.disproven, report.size) == (FindingKind.CHECKPOINT, True, 1000)
    assert finding.where.endswith("/victim/checkpoint")


def test_a_checkpoint_that_is_none_is_named(grown_victim: Any) -> None:
    grown_victim.write("checkpoints/300", b"hello\n")
    (finding,) = grown_victim.audit().findings
    assert finding.kind is FindingKind.CHECKPOINT
    assert finding.where.endswith("/checkpoints/300")


def test_a_checkpoint_under_another_size_is_named(grown_victim: Any) -> None:
    grown_victim.write("checkpoints/701", (grown_victim.path / "checkpoints/700").read_bytes())
    (finding,) = grown_victim.audit().findings
    assert finding.where.endswith("/checkpoints/701")
    assert "for size 700" in finding.detail


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 512, 700, 999])
def test_a_signed_checkpoint_of_another_tree_is_a_finding(grown_victim: Any, size: int) -> None:
    forged = signed(grown_victim.log, size, leaf_hash(b"another tree"))
    grown_victim.write(f"checkpoints/{size}", forged)
    report = grown_victim.audit()
    (finding,) = report.findings
    agreed = max((known for known in (0, 300, 700) if known < size), default=0)
    assert (finding.kind, finding.entries) == (FindingKind.CHECKPOINT, (agreed, size))
    assert finding.where.endswith(f"/checkpoints/{size}")
    assert leaf_hash(b"another tree").hex() in finding.detail


@pytest.mark.parametrize("size", [1, 255, 256, 257, 300, 511, 512, 513, 768, 999, 1000])
def test_a_checkpoint_of_this_tree_agrees_at_any_size(grown_victim: Any, size: int) -> None:
    with merklelog.open_reader(grown_victim.log) as reader:
        root = root_hash(size, reader._hashes_at(size))
    grown_victim.write(f"checkpoints/{size}", signed(grown_victim.log, size, root))
    assert grown_victim.audit().findings == ()


def signed(log: Path, size: int, root: Hash) -> bytes:
    return load_signers(log / "keys", "example.com/audited").sign(size, root, both=True)


def test_many_checkpoints_of_another_tree_are_counted(grown_victim: Any) -> None:
    for size in range(10, 40):
        note = signed(grown_victim.log, size, leaf_hash(b"another tree"))
        grown_victim.write(f"checkpoints/{size}", note)
    report = grown_victim.audit()
    assert len(report.findings) == 9
    assert "22 more checkpoints, of sizes 18 to 39" in report.findings[-1].detail


def test_a_tree_that_was_rewritten_as_a_whole_does_not_pass(tmp_path: Path, grown: tuple[Path, Path]) -> None:
    """Another log's tiles under this log's checkpoints: everything fits but what was signed."""
    other = tmp_path / "other"
    merklelog.create_log(other, "example.com/audited")
    with merklelog.open(other) as log, merklelog.open_reader(grown[0]) as reader:
        entries = list(reader.entries(0, 1000))
        entries[400] += b"!"
        log.append_batch(entries)
    copy = tmp_path / "victim"
    shutil.copytree(grown[1], copy)
    shutil.rmtree(copy / "tile")
    with merklelog.open_reader(other) as reader:
        publish_copy(reader, DirectoryStore(tmp_path / "fresh"), verifiers=reader.vkeys)
    shutil.copytree(tmp_path / "fresh/tile", copy / "tile")
    with merklelog.open_reader(grown[0]) as reader:
        report = audit(f"dir:{copy}", single_log_policy(reader.vkeys))
    kinds = [(finding.kind, finding.entries) for finding in report.findings]
    assert (FindingKind.ROOT, (300, 1000)) in kinds
    assert (FindingKind.CHECKPOINT, (300, 700)) in kinds
    assert report.exit_status == 1


def test_a_bit_anywhere_in_a_copy_is_found(tmp_path: Path, grown: tuple[Path, Path]) -> None:
    """Every file of a copy, one bit in the middle of each: a finding in that file, or what it means is whole."""
    copy = tmp_path / "victim"
    shutil.copytree(grown[1], copy)
    with merklelog.open_reader(grown[0]) as reader:
        policy = single_log_policy(reader.vkeys)
    files = sorted(file for file in copy.rglob("*") if file.is_file() and ".merklelog/" not in str(file))
    assert len(files) > 12
    for file in files:
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[len(damaged) // 2] ^= 4
        file.write_bytes(damaged)
        report = audit(f"dir:{copy}", policy)
        assert report.exit_status == 1, file
        assert any(finding.where.endswith(str(file.relative_to(copy))) for finding in report.findings), file
        file.write_bytes(whole)
    assert audit(f"dir:{copy}", policy).findings == ()


# --- trust -----------------------------------------------------------------------------------------------------


def test_a_copy_that_another_key_signed_does_not_pass(grown: tuple[Path, Path]) -> None:
    stranger = generate_signing_key("example.com/audited", SignatureType.ED25519).verifier
    report = audit(f"dir:{grown[1]}", single_log_policy([stranger]))
    assert report.exit_status == 1
    assert {finding.kind for finding in report.findings} == {FindingKind.SIGNATURE}
    assert report.entries == 1000


def test_a_copy_of_a_log_that_the_policy_does_not_list_does_not_pass(grown: tuple[Path, Path]) -> None:
    stranger = generate_signing_key("example.com/another", SignatureType.ED25519).verifier
    report = audit(f"dir:{grown[1]}", single_log_policy([stranger]))
    assert (report.exit_status, report.signatures_checked, report.entries) == (1, False, 1000)
    assert "the policy lists no log of that name" in report.findings[0].detail


def test_one_of_the_keys_is_enough(grown: tuple[Path, Path]) -> None:
    with merklelog.open_reader(grown[0]) as reader:
        for key in reader.vkeys:
            assert audit(f"dir:{grown[1]}", single_log_policy([key])).findings == ()


def test_a_checkpoint_of_another_origin_is_named(grown_victim: Any) -> None:
    key = generate_signing_key("example.com/another", SignatureType.ED25519)
    checkpoint = Checkpoint("example.com/another", TreeSize(5), leaf_hash(b""))
    note = format_note(Note(format_checkpoint_text(checkpoint), (sign_checkpoint(checkpoint, key),)))
    grown_victim.write("checkpoints/5", note)
    (finding,) = grown_victim.audit().findings
    assert "it is a checkpoint of" in finding.detail
