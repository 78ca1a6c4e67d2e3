"""A whole log that another implementation made, served from a directory and verified by its public key alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from merklelog.client import PublishedSource, VerifiedReads, open_target
from merklelog.errors import NotFoundError, RangeError
from merklelog.formats import parse_bundle, parse_proof, parse_vkey
from merklelog.publish import DirectoryStore, publish_copy
from merklelog.tree import bundle_path

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "tiles" / "tree15"
# The key stands beside the log in its source; its ID is that of the signature lines.
KEY = parse_vkey("example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx")


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """As it is, but for the checkpoints of the smaller sizes, which that log keeps under another name."""
    root = tmp_path / "served"
    shutil.copytree(VECTORS, root, copy_function=shutil.copyfile)
    (root / "checkpoints").mkdir()
    for size in range(16):
        (root / f"checkpoint.{size}").rename(root / "checkpoints" / str(size))
    return root


@pytest.fixture
def reads(served: Path) -> VerifiedReads:
    return VerifiedReads(open_target(f"dir:{served}"), [KEY])


def entries() -> list[bytes]:
    return parse_bundle((VECTORS / bundle_path(0, 15)).read_bytes(), 15)


def test_every_size_is_read_and_verified(served: Path, reads: VerifiedReads) -> None:
    source = PublishedSource(DirectoryStore(served))
    assert list(source.stored_sizes()) == list(range(15, -1, -1))
    assert reads.head().checkpoint.size == 15
    want = entries()
    for size in range(16):
        assert reads.head(size).checkpoint.size == size
        assert list(reads.entries(0, size=size)) == want[:size]
        assert [reads.entry(index, size) for index in range(size)] == want[:size]


def test_every_proof_is_made_and_verified(reads: VerifiedReads) -> None:
    for size in range(16):
        for index in range(size):
            proof = parse_proof(reads.prove(index, size))
            assert proof.index == index
            assert proof.checkpoint == reads.head(size).note
        with pytest.raises(RangeError):
            reads.prove(size, size)
        for old in range(size + 1):
            assert reads.consistency(old, size).old.checkpoint.size == old


def test_as_it_is_in_its_source_there_is_one_checkpoint(tmp_path: Path) -> None:
    root = shutil.copytree(VECTORS, tmp_path / "log", copy_function=shutil.copyfile)
    reads = VerifiedReads(open_target(f"dir:{root}"), [KEY])
    assert list(reads.entries(0)) == entries()
    with pytest.raises(NotFoundError, match="checkpoints/7"):
        reads.prove(0, 7)


def test_it_can_be_published_again(served: Path, tmp_path: Path) -> None:
    copy = DirectoryStore(tmp_path / "copy")
    report = publish_copy(
        PublishedSource(DirectoryStore(served)), copy, verifiers=[KEY], bundle_encoding="gzip"
    )
    assert (report.size, report.origin) == (15, "example.com/log/testdata")
    assert list(VerifiedReads(PublishedSource(copy), [KEY]).entries(0)) == entries()
    assert copy.get("tile/0/000.p/15").data == (VECTORS / "tile/0/000.p/15").read_bytes()
