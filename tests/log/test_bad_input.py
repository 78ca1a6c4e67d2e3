"""What can not be a log, a key, a path or a setting: this project's errors only, and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog import Log
from merklelog.errors import (
    ConfigError,
    DamagedError,
    EntryError,
    KeyFileError,
    MerklelogError,
    NotALogError,
    OriginError,
    RangeError,
    StorageError,
)
from merklelog.log.config import format_config, load_config
from merklelog.log.head import read_head
from merklelog.protocol.commit import Checkpointed, Commit
from tests.support import logs

ORIGIN = "bad.example/log"
NO_UTF8 = os.fsdecode(b"caf\xe9")


def create(path: Path, **more: object) -> None:
    merklelog.create_log(path, ORIGIN, **more)  # type: ignore[arg-type]


CREATIONS: dict[str, tuple[type[MerklelogError], Callable[[Path], object]]] = {
    "no origin": (OriginError, lambda at: merklelog.create_log(at / "log", "")),
    "a long origin": (OriginError, lambda at: merklelog.create_log(at / "log", "x" * 256)),
    "a scheme": (OriginError, lambda at: merklelog.create_log(at / "log", "https://bad.example/log")),
    "an unknown setting": (ConfigError, lambda at: create(at / "log", settings={"log.size": 1})),
    "a setting of a wrong type": (ConfigError, lambda at: create(at / "log", settings={"log.dedupe": 1})),
    "too small a setting": (ConfigError, lambda at: create(at / "log", settings={"idempotency.days": 0})),
    "another origin": (
        ConfigError,
        lambda at: create(at / "log", settings={"log.origin": "other.example/log"}),
    ),
    "keys as a setting": (ConfigError, lambda at: create(at / "log", settings={"log.keys": "elsewhere"})),
    "a file in the way": (NotALogError, lambda at: create(at / "file")),
    "a file above": (StorageError, lambda at: create(at / "file" / "log")),
    "a full directory": (NotALogError, lambda at: create(at / "full")),
    "no UTF-8": (NotALogError, lambda at: create(at / NO_UTF8)),
    "keys in no UTF-8": (NotALogError, lambda at: create(at / "log", keys=at / NO_UTF8)),
    "a zero byte": (NotALogError, lambda at: create(at / "a\0b")),
    "keys that are there": (KeyFileError, lambda at: create(at / "log", keys=at / "keys")),
    "keys below a file": (MerklelogError, lambda at: create(at / "log", keys=at / "file" / "keys")),
}


@pytest.mark.parametrize(("error", "call"), CREATIONS.values(), ids=CREATIONS.keys())
def test_a_log_that_can_not_be_made(
    tmp_path: Path, error: type[MerklelogError], call: Callable[[Path], object]
) -> None:
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("of somebody's")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ed25519.key").write_text("of somebody's")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(error):
        call(tmp_path)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("opening", [merklelog.open, merklelog.open_reader])
@pytest.mark.parametrize("name", ["a\0b", NO_UTF8, "x" * 300, ""])
def test_a_path_that_can_not_be_a_log(tmp_path: Path, name: str, opening: Callable[[str], object]) -> None:
    with pytest.raises(NotALogError):
        opening(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["with space", "new\nline", 'quo"te', "back\\slash", "tab\t\x7f", "ünï", "[x]"]
)
def test_any_other_path_will_do(tmp_path: Path, name: str) -> None:
    merklelog.create_log(
        tmp_path / name, ORIGIN, keys=tmp_path / f"keys {name}", settings={"store.min_free_bytes": 0}
    )
    assert load_config(tmp_path / name).keys == str(tmp_path / f"keys {name}")
    with merklelog.open(tmp_path / name) as log:
        assert log.append(b"x").index == 0
        with merklelog.open_reader(tmp_path / name) as reader:
            assert reader.size == 1


def test_a_configuration_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    odd = "".join(map(chr, range(1, 128))) + "é€😀"
    text = format_config({"log.origin": ORIGIN, "log.keys": odd, "log.dedupe": True, "idempotency.days": 7})
    (tmp_path / "merklelog.toml").write_text(text, "utf-8")
    read = load_config(tmp_path, {})
    assert (read.keys, read.dedupe, read.idempotency_days) == (odd, True, 7)


APPENDS: dict[str, Callable[[Log], object]] = {
    "a key that is no text": lambda log: log.append(b"x", idempotency_key="\udcff"),
    "a submitter that is no text": lambda log: log.append(b"x", idempotency_key="k", submitter="\udcff"),
    "a key that is a number": lambda log: log.append(b"x", idempotency_key=5),  # type: ignore[arg-type]
    "an empty key among others": lambda log: log.append_batch([b"x", b"y"], idempotency_keys=["k", ""]),
    "bytes for a batch": lambda log: log.append_batch(b"abc"),  # type: ignore[arg-type]
    "a text for a batch": lambda log: log.append_batch("abc"),  # type: ignore[arg-type]
    "nothing": lambda log: log.append(None),  # type: ignore[arg-type]
    "a list": lambda log: log.append([b"x"]),  # type: ignore[arg-type]
    "a short identity": lambda log: log.append(b"x", identity=b"short"),
    "an identity of another type": lambda log: log.append(b"x", identity=bytearray(32)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", APPENDS.values(), ids=APPENDS.keys())
def test_an_append_that_can_not_be_taken(tmp_path: Path, call: Callable[[Log], object]) -> None:
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(dedupe=True), logs.FakeWorld()) as log:
        with pytest.raises(EntryError):
            call(log)
        assert log.append(b"x").index == 0
        assert not log.stopped


def test_bytes_of_other_kinds_are_taken_as_they_are_now(tmp_path: Path) -> None:
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(), logs.FakeWorld()) as log:
        changing = bytearray(b"before")
        future = log.submit(changing)  # type: ignore[arg-type]
        changing[:] = b"after!"
        future.result()
        log.append(memoryview(bytes(range(10)))[::3])  # type: ignore[arg-type]
        assert list(log.entries(0, 2)) == [b"before", bytes([0, 3, 6, 9])]


READS: dict[str, Callable[[Log], object]] = {
    "an entry before the first": lambda log: log.entry(-1),
    "an entry after the last": lambda log: log.entry(3),
    "an entry far away": lambda log: log.entry(10**40),
    "a range backwards": lambda log: log.entries(2, 1),
    "a range too far": lambda log: log.entries(0, 4),
    "a proof in no tree": lambda log: log.prove(0, 0),
    "a proof in the future": lambda log: log.prove(0, 4),
    "a path in the future": lambda log: log.inclusion_proof(0, 4),
    "a path far away": lambda log: log.inclusion_proof(0, 10**40),
    "paths of one too many": lambda log: log.inclusion_proofs([0, 3]),
    "a range of nothing": lambda log: log.range_proof(1, 1),
    "a range past the tree": lambda log: log.range_proof(1, 3, 2),
    "a range in the future": lambda log: log.range_proof(0, 1, 4),
    "new before old": lambda log: log.consistency_proof(2, 1),
    "an old one before all": lambda log: log.consistency_proof(-1),
    "a checkpoint before all": lambda log: log.checkpoint(-1),
    "a checkpoint in the future": lambda log: log.checkpoint(4),
    "a tile too high": lambda log: log.tile(1, 0, 1),
    "a tile far away": lambda log: log.tile(0, 10**40),
    "a tile below all": lambda log: log.tile(-1, 0),
    "a tile of no width": lambda log: log.tile(0, 0, 0),
    "a tile too wide": lambda log: log.tile(0, 0, 4),
    "a bundle before all": lambda log: log.bundle(-1),
    "a bundle too wide": lambda log: log.bundle(0, 257),
}


@pytest.mark.parametrize("call", READS.values(), ids=READS.keys())
def test_a_read_of_what_is_not_there(tmp_path: Path, call: Callable[[Log], object]) -> None:
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(), logs.FakeWorld()) as log:
        log.append_batch([b"a", b"b", b"c"])
        with pytest.raises(RangeError):
            call(log)


@pytest.mark.parametrize(
    "note",
    [b"", b"garbage", logs.SIGNERS.sign(5, bytes(32), both=True), b"\xff" * 100],  # type: ignore[arg-type]
)
def test_a_newest_checkpoint_that_is_none(note: bytes) -> None:
    """Unreadable, unsigned, or signed and of another tree."""
    store = logs.new_memory()
    store.write(Commit(checkpoint=Checkpointed(0, note, keep=False)))
    keys = (logs.SIGNERS.ed25519.verifier, logs.SIGNERS.mldsa44.verifier)
    with pytest.raises(DamagedError, match="here"):
        read_head(store, logs.ORIGIN, keys, "here")


def test_empty_slices_of_receipts(tmp_path: Path) -> None:
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(), logs.FakeWorld()) as log:
        receipts = log.append_batch([b"a", b"b"])
        assert list(receipts[2:]) == []
        assert "0 entries" in repr(receipts[2:])
        assert [receipt.index for receipt in receipts[::-1]] == [1, 0]
