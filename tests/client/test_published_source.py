"""Published copies as sources: encodings, missing partial tiles, and files that are not what they must be."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from merklelog.client import PublishedSource, VerifiedReads
from merklelog.errors import DamagedError, FormatVersionError, NotALogError, NotFoundError
from merklelog.formats import format_bundle
from merklelog.publish import DirectoryStore, StoredObject, publish_copy


@pytest.fixture
def log(memory: ModuleType) -> Any:
    return memory.MemoryLog().grow(600)


@pytest.fixture(params=["identity", "gzip"])
def root(request: pytest.FixtureRequest, tmp_path: Path, log: Any) -> Path:
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys, bundle_encoding=request.param)
    return tmp_path


def opened(root: Path) -> PublishedSource:
    return PublishedSource(DirectoryStore(root))


def test_a_copy_gives_what_the_log_gives(root: Path, log: Any) -> None:
    source = opened(root)
    assert source.checkpoint() == source.checkpoint(600) == log.checkpoint()
    assert list(source.stored_sizes()) == [600]
    for level, index, width in ((0, 0, 256), (0, 2, 88), (1, 0, 2)):
        assert source.tile(level, index, width) == log.tile(level, index, width)
    for index, width in ((0, 256), (2, 88)):
        assert source.bundle(index, width) == log.bundle(index, width)
    source.close()


def test_a_partial_one_that_is_gone_is_cut_from_the_full_one(root: Path, log: Any) -> None:
    publish_copy(log.grow(768), DirectoryStore(root), verifiers=log.vkeys)
    assert not (root / "tile/0/002.p").exists()
    source = opened(root)
    for width in (1, 88, 255):
        assert source.tile(0, 2, width) == log.tile(0, 2, width)
        assert source.bundle(2, width) == log.bundle(2, width)
    reads = VerifiedReads(source, log.vkeys)
    assert list(reads.entries(0, size=600)) == log.entries[:600]
    assert list(source.stored_sizes()) == [768, 600]


def test_what_is_not_there_is_named(root: Path) -> None:
    source = opened(root)
    with pytest.raises(NotFoundError, match=r"tile/0/003: "):
        source.tile(0, 3)
    with pytest.raises(NotFoundError, match=r"tile/0/003\.p/7: .* the full tile/0/003"):
        source.tile(0, 3, 7)
    with pytest.raises(NotFoundError, match=r"tile/entries/009"):
        source.bundle(9)
    with pytest.raises(NotFoundError, match="checkpoints/599"):
        source.checkpoint(599)


def test_a_tile_of_another_length(root: Path) -> None:
    for data in (b"", bytes(31), bytes(8191), bytes(8193)):
        (root / "tile/0/001").write_bytes(data)
        with pytest.raises(DamagedError, match=f"tile/0/001: (got )?{len(data)} bytes"):
            opened(root).tile(0, 1)
    (root / "tile/0/002").write_bytes(bytes(8000))
    (root / "tile/0/002.p/88").unlink()
    with pytest.raises(DamagedError, match="tile/0/002: got 8000 bytes"):
        opened(root).tile(0, 2, 88)


def test_a_bundle_that_bursts(tmp_path: Path, log: Any) -> None:
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys, bundle_encoding="gzip")
    (tmp_path / "tile/entries/001").write_bytes(gzip.compress(bytes(256 * 65_537 + 1)))
    with pytest.raises(DamagedError, match="tile/entries/001: gzip: it holds more than 16777472 bytes"):
        opened(tmp_path).bundle(1)


def test_the_largest_bundle_fits(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog()
    log.append(bytes([index]) + bytes(65_534) for index in range(256))
    log.sign()
    for encoding in ("identity", "gzip"):
        root = tmp_path / encoding
        publish_copy(log, DirectoryStore(root), verifiers=log.vkeys, bundle_encoding=encoding)
        assert list(VerifiedReads(opened(root), log.vkeys).entries(250)) == log.entries[250:]


def test_a_copy_by_other_software_has_no_manifest(root: Path, log: Any) -> None:
    (root / "merklelog.json").unlink()
    assert list(VerifiedReads(opened(root), log.vkeys).entries(0)) == log.entries


def test_a_bundle_that_begins_like_gzip_is_no_gzip(tmp_path: Path, memory: ModuleType) -> None:
    log = memory.MemoryLog()
    log.append([b"\x08" + bytes(8074), b"second"])
    log.sign()
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys)
    assert (tmp_path / "tile/entries/000.p/2").read_bytes()[:3] == b"\x1f\x8b\x08"
    for _ in ("with its manifest", "without"):
        assert opened(tmp_path).bundle(0, 2) == format_bundle(log.entries)
        (tmp_path / "merklelog.json").unlink(missing_ok=True)


def test_gzip_that_was_decoded_on_the_way_is_read(tmp_path: Path, log: Any) -> None:
    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys, bundle_encoding="gzip")
    path = tmp_path / "tile/entries/001"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert opened(tmp_path).bundle(1) == log.bundle(1)


@pytest.mark.parametrize("kept", ["gzip", "zstd"])
def test_the_encoding_a_store_remembers_goes_first(tmp_path: Path, log: Any, kept: str) -> None:
    class Remembering(DirectoryStore):
        def get(self, key: str, *, limit: int = 1 << 26) -> StoredObject:
            found = super().get(key, limit=limit)
            return StoredObject(found.data, found.version, kept if "entries" in key else None)

    publish_copy(log, DirectoryStore(tmp_path), verifiers=log.vkeys, bundle_encoding="identity")
    path = tmp_path / "tile/entries/001"
    path.write_bytes(gzip.compress(path.read_bytes()))
    source = PublishedSource(Remembering(tmp_path))
    if kept == "gzip":
        assert source.bundle(1) == log.bundle(1)
    else:
        with pytest.raises(DamagedError, match="tile/entries/001: content encoding: got 'zstd'"):
            source.bundle(1)


def test_a_size_that_is_not_shown_yet_is_not_given(root: Path) -> None:
    for name in ("700", "650", "0123", "x", "-1"):
        (root / "checkpoints" / name).write_bytes(b"")
    (root / "checkpoints" / "12").write_bytes(b"")
    assert list(opened(root).stored_sizes()) == [600, 12]


def test_no_copy_at_all(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotALogError, match=f"dir:{root}: "):
            opened(root)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotALogError):
        opened(tmp_path / "file")


def test_a_copy_that_is_still_empty(tmp_path: Path) -> None:
    (tmp_path / "merklelog.json").write_text('{"format": 1, "bundles": "gzip"}')
    source = opened(tmp_path)
    with pytest.raises(NotFoundError, match="/checkpoint"):
        source.checkpoint()
    with pytest.raises(NotFoundError, match="/checkpoint"):
        list(source.stored_sizes())


def test_a_manifest_that_can_not_be_obeyed(root: Path) -> None:
    (root / "merklelog.json").write_text('{"format": 7}')
    with pytest.raises(FormatVersionError, match=r"merklelog\.json: format version 7 .*, 1"):
        opened(root)
    (root / "merklelog.json").write_text('{"format"')
    with pytest.raises(DamagedError, match=r"merklelog\.json: "):
        opened(root)


def test_a_checkpoint_that_is_none(root: Path) -> None:
    (root / "checkpoint").write_bytes(b"hello\n")
    with pytest.raises(DamagedError, match="/checkpoint: "):
        list(opened(root).stored_sizes())
