"""What a publication refuses, leaving every file of the copy as it was, and says by name."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from merklelog.errors import (
    BehindError,
    ConfigError,
    DamagedError,
    ForkError,
    FormatVersionError,
    ImmutableError,
    MerklelogError,
    NotALogError,
    SignatureError,
)
from merklelog.publish import DirectoryStore, PublishReport, publish_copy


def publish(log: Any, root: Path, encoding: str | None = None) -> PublishReport:
    return publish_copy(log, DirectoryStore(root), verifiers=log.vkeys, bundle_encoding=encoding)


@pytest.fixture
def log(memory: ModuleType) -> Any:
    return memory.MemoryLog().grow(700)


@pytest.fixture
def root(tmp_path: Path, log: Any) -> Path:
    publish(log, tmp_path / "copy")
    log.grow(900)
    return tmp_path / "copy"


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def refuses(
    check: ModuleType, root: Path, error: type[MerklelogError], words: str, call: Callable[[], object]
) -> MerklelogError:
    before = check.files(root)
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert check.files(root) == before
    return caught.value


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ('{"format": 2, "bundles": "zstd"}', FormatVersionError, r"merklelog.json: .*version 2 .*reads, 1"),
        ('{"format": 99}', FormatVersionError, r"merklelog.json: .*version 99 .*reads, 1"),
        ('{"format": 0, "bundles": "gzip"}', DamagedError, "merklelog.json: format: got 0"),
        ('{"format": true, "bundles": "gzip"}', DamagedError, "merklelog.json: format: got True"),
        ('{"format": "1", "bundles": "gzip"}', DamagedError, "merklelog.json: format: got '1'"),
        ('{"format": 1}', DamagedError, "merklelog.json: bundles: got None"),
        ('{"format": 1, "bundles": "brotli"}', DamagedError, "merklelog.json: bundles: got 'brotli'"),
        ('{"format": 1, "bundles": ["gzip"]}', DamagedError, "merklelog.json: bundles"),
        ('{"format": 1, "bundles": "gzip", "x": 1}', DamagedError, "merklelog.json: got a field 'x'"),
        ("[1]", DamagedError, "merklelog.json: not a JSON object"),
        ("", DamagedError, "merklelog.json: not a JSON object"),
        ("[" * 5000, DamagedError, "merklelog.json: not a JSON object"),
    ],
)
def test_a_manifest_of_another_kind(
    check: ModuleType, log: Any, root: Path, text: str, error: type[MerklelogError], words: str
) -> None:
    (root / "merklelog.json").write_text(text)
    refuses(check, root, error, words, lambda: publish(log, root))


def test_another_encoding_than_the_copys(check: ModuleType, log: Any, root: Path) -> None:
    refuses(
        check, root, ConfigError, "stored as identity, asked for gzip", lambda: publish(log, root, "gzip")
    )
    refuses(check, root, ConfigError, "got 'zstd'", lambda: publish(log, root, "zstd"))
    assert publish(log, root, "identity").size == 900


def test_a_place_that_holds_something_else(check: ModuleType, log: Any, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    refuses(check, tmp_path, NotALogError, r"it holds letters/a\.txt", lambda: publish(log, tmp_path))


def test_a_copy_without_its_manifest(check: ModuleType, log: Any, root: Path) -> None:
    (root / "merklelog.json").unlink()
    refuses(check, root, NotALogError, "no merklelog.json", lambda: publish(log, root))


def test_the_copy_of_another_log(check: ModuleType, memory: ModuleType, root: Path) -> None:
    other = memory.MemoryLog(keys=(memory.STRANGER,)).grow(900)
    refuses(check, root, SignatureError, "copy/checkpoint: no trusted key", lambda: publish(other, root))
    key = memory.SigningKey("log.example/other", memory.KEY.type, memory.KEY.seed)
    other = memory.MemoryLog("log.example/other", (key,)).grow(900)
    words = "copy/checkpoint: it is a checkpoint of 'log.example/memory'"
    refuses(check, root, SignatureError, words, lambda: publish(other, root))


def test_a_damaged_checkpoint_of_the_copy(check: ModuleType, log: Any, root: Path) -> None:
    good = (root / "checkpoint").read_bytes()
    for data, error in ((b"", DamagedError), (good[:-1], DamagedError), (b"x" * (1 << 21), DamagedError)):
        (root / "checkpoint").write_bytes(data)
        refuses(check, root, error, "copy/checkpoint: ", lambda: publish(log, root))
    (root / "checkpoint").write_bytes(good.replace(b"\n700\n", b"\n701\n"))
    refuses(check, root, SignatureError, "copy/checkpoint: ", lambda: publish(log, root))


@pytest.mark.parametrize("path", ["tile/0/002.p/188", "tile/1/000.p/2"])
def test_a_damaged_right_edge_of_the_copy(check: ModuleType, log: Any, root: Path, path: str) -> None:
    flip(root / path)
    refuses(check, root, DamagedError, path, lambda: publish(log, root))
    (root / path).unlink()
    refuses(check, root, DamagedError, f"{path}: it is not there", lambda: publish(log, root))


def test_another_history(check: ModuleType, memory: ModuleType, root: Path) -> None:
    for size in (700, 900):
        other = memory.MemoryLog().grow(650).grow(size, salt=b"another")
        error = refuses(check, root, ForkError, "two histories", lambda log=other: publish(log, root))
        assert isinstance(error, ForkError)
        assert (error.first, error.second) == ((root / "checkpoint").read_bytes(), other.checkpoint())
    other = memory.MemoryLog().grow(600).grow(650, salt=b"another")
    error = refuses(check, root, ForkError, "two histories", lambda: publish(other, root))
    assert isinstance(error, ForkError)
    assert (error.first, error.second) == (other.checkpoint(), (root / "checkpoint").read_bytes())


def test_a_log_behind_its_copy(check: ModuleType, memory: ModuleType, root: Path) -> None:
    for size in (0, 699):
        behind = memory.MemoryLog().grow(size)
        words = f"it shows size 700, and this log has signed only up to {size}"
        refuses(check, root, BehindError, words, lambda log=behind: publish(log, root))


@pytest.mark.parametrize(("level", "index", "path"), [(0, 1, "tile/0/001"), (0, 3, "tile/0/003.p/132")])
def test_a_damaged_tile_of_the_log_is_not_copied(
    check: ModuleType, memory: ModuleType, tmp_path: Path, level: int, index: int, path: str
) -> None:
    log = memory.MemoryLog().grow(900)
    log.levels[level][(index * 256 + 9) * 32] ^= 1
    with pytest.raises(DamagedError, match=f"^{path}: "):
        publish(log, tmp_path)
    assert check.shown_size(tmp_path) is None
    assert path not in check.files(tmp_path)


def test_a_damaged_tile_above_is_not_copied(check: ModuleType, log: Any, tmp_path: Path, root: Path) -> None:
    log.levels[1][0] ^= 1
    for place in (root, tmp_path / "new"):
        refuses(check, place, DamagedError, "^tile/1/000.p/3: ", lambda at=place: publish(log, at))


def test_what_is_full_in_the_copy_is_not_read_again(log: Any, root: Path) -> None:
    log.levels[0][0] ^= 1
    log.entries[1] = b"something else"
    assert publish(log, root).size == 900


def test_a_damaged_entry_is_not_copied(check: ModuleType, log: Any, tmp_path: Path) -> None:
    log.entries[300] = b"something else"
    with pytest.raises(DamagedError, match=r"tile/entries/001: entry 300 .* tile/0/001"):
        publish(log, tmp_path)
    assert check.shown_size(tmp_path) is None
    log.entries[300] = b" event 300"
    assert publish(log, tmp_path).size == 700
    check.complete(tmp_path, log.vkeys, log.entries)


def test_a_checkpoint_that_is_not_the_logs(
    check: ModuleType, memory: ModuleType, log: Any, tmp_path: Path
) -> None:
    log.sign(keys=(memory.STRANGER,))
    refuses(
        check, tmp_path, SignatureError, "the log's checkpoint: no trusted", lambda: publish(log, tmp_path)
    )
    log.notes[700] = b"garbage"
    refuses(check, tmp_path, DamagedError, "the log's checkpoint: ", lambda: publish(log, tmp_path))


@pytest.mark.parametrize("path", ["tile/0/002", "tile/entries/002", "tile/0/003.p/132", "checkpoints/900"])
def test_an_object_that_is_there_with_other_bytes(check: ModuleType, log: Any, root: Path, path: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"something else")
    with pytest.raises(ImmutableError, match=f"copy/{path}: "):
        publish(log, root)
    assert (root / path).read_bytes() == b"something else"
    assert check.shown_size(root) == 700
    (root / path).unlink()
    assert publish(log, root).size == 900
    check.complete(root, log.vkeys, log.entries)


def test_a_bundle_compressed_by_another_program_is_the_same(
    check: ModuleType, memory: ModuleType, tmp_path: Path
) -> None:
    log = memory.MemoryLog().grow(700)
    publish(log, tmp_path / "a", "gzip")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    data = (tmp_path / "b" / "tile/entries/002.p/188").read_bytes()
    log.grow(900)
    whole = gzip.compress(memory.format_bundle(log.entries[512:768]), 9, mtime=12345)
    (tmp_path / "b" / "tile/entries/002").write_bytes(whole)
    assert publish(log, tmp_path / "b").size == 900
    assert (tmp_path / "b" / "tile/entries/002").read_bytes() == whole != data
    check.complete(tmp_path / "b", log.vkeys, log.entries)
