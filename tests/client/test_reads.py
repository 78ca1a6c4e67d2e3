"""Verified reads: what they give, which checkpoint they are under, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.client import PublishedSource, VerifiedReads
from merklelog.errors import (
    DamagedError,
    ForkError,
    NotFoundError,
    PolicyError,
    PolicyUnmetError,
    ProofError,
    RangeError,
    SignatureError,
    UnreachableError,
)
from merklelog.formats import (
    SignatureType,
    SigningKey,
    format_note,
    format_vkey,
    parse_checkpoint,
    parse_policy,
    parse_proof,
    sign_checkpoint,
    single_log_policy,
)
from merklelog.formats.note import Note
from merklelog.protocol import verify_proof_file
from merklelog.publish import DirectoryStore, publish_copy
from merklelog.tree import leaf_hash, verify_consistency

WITNESS = SigningKey("witness.example/w", SignatureType.COSIGNATURE_ED25519, b"\x09" * 32)


@pytest.fixture(scope="module")
def large(memory: ModuleType) -> Any:
    log = memory.MemoryLog()
    for size in (1, 256, 257, 66_000):
        log.grow(size)
    return log


@pytest.fixture(scope="module")
def reads(large: Any, tmp_path_factory: pytest.TempPathFactory) -> VerifiedReads:
    root = tmp_path_factory.mktemp("copy")
    for size in sorted(large.notes):
        source = AtSize(large, size)
        publish_copy(source, DirectoryStore(root), verifiers=large.vkeys, bundle_encoding="gzip")
    return VerifiedReads(PublishedSource(DirectoryStore(root)), large.vkeys)


class AtSize:
    """A log as it was when it had signed that size."""

    def __init__(self, log: Any, size: int) -> None:
        self.log, self.size = log, size
        self.tile, self.bundle, self.close = log.tile, log.bundle, log.close

    def checkpoint(self, size: int | None = None) -> bytes:
        return self.log.checkpoint(self.size if size is None else size)

    def stored_sizes(self) -> Iterator[int]:
        return (size for size in self.log.stored_sizes() if size <= self.size)


def cosigned(note: bytes, timestamp: int) -> bytes:
    signed = parse_checkpoint(note)
    line = sign_checkpoint(signed.checkpoint, WITNESS, timestamp)
    return format_note(Note(signed.note.text, (*signed.note.signatures, line)))


def test_entries_of_every_kind_of_range(large: Any, reads: VerifiedReads) -> None:
    for start, end in (
        (0, 0),
        (0, 1),
        (255, 257),
        (256, 512),
        (100, 1000),
        (65_990, 66_000),
        (66_000, 66_000),
    ):
        assert list(reads.entries(start, end)) == large.entries[start:end]
    assert list(reads.entries(65_530)) == large.entries[65_530:]
    assert list(reads.entries(0, size=257)) == large.entries[:257]


@given(index=st.integers(0, 65_999))
def test_any_entry_and_its_proof(large: Any, reads: VerifiedReads, index: int) -> None:
    assert reads.entry(index) == large.entries[index]
    proof = parse_proof(reads.prove(index))
    assert proof.checkpoint == large.checkpoint()
    verdict = verify_proof_file(proof, leaf_hash(large.entries[index]), single_log_policy(large.vkeys))
    assert verdict.index == index


def test_consistency_of_every_two_stored_sizes(large: Any, reads: VerifiedReads) -> None:
    sizes = sorted(large.notes)
    for new in sizes:
        for old in [size for size in sizes if size <= new]:
            found = reads.consistency(old, new)
            verify_consistency(old, new, found.old.checkpoint.root, found.new.checkpoint.root, found.proof)
            assert (found.old.note, found.new.note) == (large.notes[old], large.notes[new])


def test_what_is_outside_the_tree(reads: VerifiedReads) -> None:
    for index in (-1, 66_000, 1 << 70):
        for call in (reads.entry, reads.prove):
            with pytest.raises(RangeError, match=f"index {index}: .* size 66000"):
                call(index)
    for start, end in ((-1, 5), (5, 4), (0, 66_001)):
        with pytest.raises(RangeError, match="size 66000"):
            reads.entries(start, end)  # at the call, not when the first is taken
    with pytest.raises(RangeError, match="size 257"):
        reads.entry(257, size=257)
    with pytest.raises(RangeError):
        reads.consistency(257, 256)
    for call in (lambda: reads.prove(0, 300), lambda: reads.consistency(0, 300), lambda: reads.head(300)):
        with pytest.raises(NotFoundError, match="checkpoints/300"):
            call()


def test_proofs_cost_no_more_than_the_tiles_they_touch(large: Any) -> None:
    reads = VerifiedReads(large, large.vkeys)
    large.asked.clear()
    for index in range(512, 768):
        reads.prove(index)
    assert sorted(large.asked) == [
        "tile/0/002",
        "tile/0/257.p/208",
        "tile/1/000",
        "tile/1/001.p/1",
        "tile/2/000.p/1",
    ]


def test_a_few_tiles_are_kept_and_no_more(large: Any) -> None:
    reads = VerifiedReads(large, large.vkeys, cached_tiles=2)
    for _ in range(2):
        large.asked.clear()
        for index in range(0, 1280, 256):
            reads.prove(index)
        assert len([path for path in large.asked if path.startswith("tile/0/0")]) == 5


def test_the_newest_checkpoint_that_meets_the_policy(memory: ModuleType, tmp_path: Path) -> None:
    log = memory.MemoryLog()
    for size, time in ((10, 1000), (20, 2000), (30, 0), (40, None)):
        log.grow(size)
        if time is not None:
            log.notes[size] = cosigned(log.notes[size], time)
        publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys)
    policy = parse_policy(
        f"log {format_vkey(log.vkeys[0])}\nwitness w {format_vkey(WITNESS.verifier)}\nquorum w\n".encode()
    )
    for source in (log, PublishedSource(DirectoryStore(tmp_path))):
        reads = VerifiedReads(source, policy)
        assert reads.head().checkpoint.size == 20
        assert reads.head().verdict.existed_by == 2000
        assert parse_proof(reads.prove(3)).checkpoint == log.notes[20]
        assert reads.head(10).checkpoint.size == 10
        for size in (30, 40):
            with pytest.raises(PolicyUnmetError, match=f"checkpoints/{size}: "):
                reads.prove(3, size)
        with pytest.raises(RangeError):
            reads.entry(25)
        assert VerifiedReads(source, log.vkeys).head().checkpoint.size == 40


def test_no_checkpoint_meets_the_policy(memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(10)
    witnessed = f"log {format_vkey(log.vkeys[0])}\nwitness w {format_vkey(WITNESS.verifier)}\nquorum w\n"
    for trust in (
        parse_policy(witnessed.encode()),
        [memory.STRANGER.verifier],
        [memory.QUANTUM_KEY.verifier],
    ):
        with pytest.raises(NotFoundError, match="none of 3 stored checkpoints meets the policy") as caught:
            VerifiedReads(log, trust).head()
        assert caught.value.exit_status == 3
    with pytest.raises(PolicyError):
        VerifiedReads(log, parse_policy(b"quorum none\n")).head()
    with pytest.raises(SignatureError):
        VerifiedReads(log, [memory.STRANGER.verifier]).head(10)


def test_an_older_head_when_the_newest_is_by_another_key(memory: ModuleType) -> None:
    log = memory.MemoryLog(keys=(memory.KEY, memory.QUANTUM_KEY)).grow(10)
    log.grow(12, keys=(memory.KEY,))
    assert VerifiedReads(log, [memory.QUANTUM_KEY.verifier]).head().checkpoint.size == 10
    assert VerifiedReads(log, log.vkeys).head().checkpoint.size == 12


def test_a_wrong_signature_is_not_passed_over(memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(10).grow(12)
    forged = parse_checkpoint(log.sign(keys=(memory.STRANGER,)))
    line = forged.note.signatures[0]
    named = type(line)(line.name, memory.KEY.verifier.key_id, line.blob)
    log.notes[12] = format_note(Note(forged.note.text, (named,)))
    with pytest.raises(SignatureError, match=r"^checkpoint: "):
        VerifiedReads(log, log.vkeys).head()


def test_a_newer_checkpoint_of_another_log_is_not_passed_over(memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(10)
    key = SigningKey("log.example/other", SignatureType.ED25519, memory.KEY.seed)
    log.notes[12] = memory.MemoryLog("log.example/other", (key,)).grow(12).checkpoint()
    with pytest.raises(
        DamagedError, match=r"^checkpoint: got origin 'log.example/other', want 'log.example/mem"
    ):
        VerifiedReads(log, log.vkeys).head()


def test_no_proof_is_given_that_was_not_verified(memory: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    log = memory.MemoryLog().grow(10)
    monkeypatch.setattr("merklelog.client.reads.prove_inclusion", lambda *_: [bytes(32)] * 4)
    with pytest.raises(ProofError):
        VerifiedReads(log, log.vkeys).prove(3)


def test_two_histories_are_a_fork(memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(600)
    other = memory.MemoryLog().grow(550).grow(600, salt=b"another").grow(700)
    other.notes[600] = log.notes[600]
    with pytest.raises(ForkError) as caught:
        VerifiedReads(other, log.vkeys).consistency(600, 700)
    assert (caught.value.first, caught.value.second) == (log.notes[600], other.notes[700])


def test_a_checkpoint_under_the_name_of_another_size(memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(10).grow(20)
    log.notes[10] = log.notes[20]
    with pytest.raises(DamagedError, match="checkpoints/10: it is for size 20"):
        VerifiedReads(log, log.vkeys).head(10)


def test_what_the_tree_requires_and_is_not_there_is_damage(memory: ModuleType, tmp_path: Path) -> None:
    log = memory.MemoryLog().grow(600)
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys)
    for path, call in (
        ("tile/entries/001", lambda reads: reads.entry(300)),
        ("tile/0/001", lambda reads: reads.prove(300)),
        ("tile/1/000.p/2", lambda reads: reads.prove(3)),
    ):
        (tmp_path / path).rename(tmp_path / "away")
        reads = VerifiedReads(PublishedSource(DirectoryStore(tmp_path)), log.vkeys)
        with pytest.raises(
            DamagedError, match=f"^{path}: it is not there, .* size 600 requires it"
        ) as caught:
            call(reads)
        assert caught.value.exit_status == 1
        (tmp_path / "away").rename(tmp_path / path)


def test_what_could_not_be_told_stays_so(memory: ModuleType) -> None:
    class Silent(memory.MemoryLog):
        def tile(self, *_: int) -> bytes:
            raise UnreachableError("no answer")

    log = Silent()
    log.append([b"1"])
    log.sign()
    with pytest.raises(UnreachableError, match="no answer"):
        VerifiedReads(log, log.vkeys).entry(0)
