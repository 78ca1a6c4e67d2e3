"""The names of logs: a data directory, `dir:PATH`, and what this version can not read."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import merklelog
from merklelog.client import VerifiedReads, open_target, published_directory
from merklelog.errors import NotALogError, UsageError
from merklelog.publish import publish_copy


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    merklelog.create_log(path, "log.example/targets")
    with merklelog.open(path) as writer:
        writer.append_batch([b"event %d" % index for index in range(300)])
    return path


def test_a_data_directory_and_its_copy_read_the_same(log: Path, tmp_path: Path) -> None:
    with merklelog.open_reader(log) as reader:
        keys = reader.vkeys
        report = publish_copy(reader, published_directory(f"dir:{tmp_path}/copy"), verifiers=keys)
    assert report.size == 300
    found = []
    for target in (str(log), f"dir:{tmp_path}/copy"):
        source = open_target(target)
        try:
            reads = VerifiedReads(source, keys)
            found.append((list(reads.entries(0)), reads.prove(299), reads.head().note))
        finally:
            source.close()
    assert found[0] == found[1]
    assert found[0][0][299] == b"event 299"


def test_a_published_log_grows(log: Path, tmp_path: Path) -> None:
    copy = published_directory(f"dir:{tmp_path}/copy")
    sizes = []
    for _ in range(3):
        with merklelog.open(log) as writer:
            writer.append_batch([b"more"] * 200)
        with merklelog.open_reader(log) as reader:
            sizes.append(publish_copy(reader, copy, verifiers=reader.vkeys, bundle_encoding="gzip").size)
            keys = reader.vkeys
    assert sizes == [500, 700, 900]
    source = open_target(f"dir:{tmp_path}/copy")
    assert VerifiedReads(source, keys).consistency(500, 900).new.checkpoint.size == 900


@pytest.mark.parametrize("target", ["grpc://x:1", "grpcs://x"])
def test_what_has_no_tiles(target: str) -> None:
    with pytest.raises(UsageError, match="has no tiles"):
        open_target(target)


def test_what_is_no_target(tmp_path: Path) -> None:
    for target, words in (("ftp://x", "ftp:// is not known"), ("", "want a PATH"), ("dir:", "want dir:PATH")):
        with pytest.raises(UsageError, match=words):
            open_target(target)
    for target in ("", "dir:", "copy", "s3://bucket"):
        with pytest.raises(UsageError, match="want dir:PATH"):
            published_directory(target)
    for target in (str(tmp_path), str(tmp_path / "none"), f"dir:{tmp_path}", f"dir:{tmp_path}/none"):
        with pytest.raises(NotALogError, match=str(tmp_path)):
            open_target(target)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_without_its_prefix_is_explained(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog().grow(3)
    publish_copy(log, published_directory(f"dir:{tmp_path}"), verifiers=log.vkeys)
    with pytest.raises(NotALogError, match=f"it is a published copy, so name it dir:{tmp_path}"):
        open_target(str(tmp_path))
