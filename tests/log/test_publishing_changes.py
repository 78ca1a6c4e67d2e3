"""A log that gets its first target, loses it, is backed up or comes from before there were receipts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import pytest

import merklelog
from merklelog.errors import BehindError, DamagedError, KeyFileError, NotALogError, UnreachableError
from merklelog.formats import (
    format_vkey,
    is_receipt,
    parse_checkpoint,
    parse_receipt,
    verify_note,
    verify_receipt,
)
from merklelog.log.backup import backup
from merklelog.log.create import LogInfo, load_signers
from merklelog.log.directory import DATABASE
from merklelog.protocol.commit import Commit
from merklelog.store import RocksStore
from merklelog.tree import Hash, verify_consistency
from tests.support import targets
from tests.support.checker import check_log
from tests.support.targets import Gate, published


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A log without targets, of 300 entries."""
    path = tmp_path / "log"
    merklelog.create_log(path, targets.ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        log.append_batch([b"%d" % i for i in range(300)])
    return path


def set_targets(path: Path, value: str) -> None:
    file = path / "merklelog.toml"
    text = re.sub(r"(?m)^(# )?targets = .*$", f"targets = {value}", file.read_text())
    file.write_text(text)


def forget_receipts(path: Path) -> None:
    """As a version without receipts left it: no key, and no word of one in the database."""
    (path / "keys" / "receipt.key").unlink()
    store = RocksStore(path / DATABASE)
    raw = store.meta("log")
    assert raw is not None
    info = msgspec.json.decode(raw)
    del info["receipt_vkey"]
    store.put_rows("meta", [(b"log", msgspec.json.encode(info))])
    store.sync()
    store.close()


def test_a_log_that_gets_a_target_goes_on(plain: Path, gate: Gate) -> None:
    with merklelog.open_reader(plain) as reader:
        before, keys = reader.checkpoint(), reader.vkeys
    set_targets(plain, f'["{targets.TARGET}"]')
    gate.down()
    with merklelog.open(plain, wait=None) as log:
        assert (log.size, log.checkpoint()) == (300, before)
        gate.up()
        assert log.wait_published(300).result(targets.PATIENCE).size == 300
        while log.starting:
            gate.refused.wait(0.01)
        gate.down()
        receipt = log.append(b"first with a receipt")
        assert (receipt.epoch, receipt.size, log.size) == (1, 301, 300)
        assert parse_checkpoint(log.checkpoint()).checkpoint == parse_checkpoint(before).checkpoint
        assert is_receipt(log.integrated.note)
        gate.up()
        assert published(log) == 301
        note = log.checkpoint()
        assert len(verify_note(parse_checkpoint(note).note, keys)) == 2
        old, new = parse_checkpoint(before).checkpoint, parse_checkpoint(note).checkpoint
        verify_consistency(300, 301, old.root, new.root, log.consistency_proof(300, 301))
        check_log(log, seen=[before])
        assert {300, 301} <= set(log.stored_sizes())


def test_a_log_shows_its_own_checkpoint_until_more_is_published(plain: Path, gate: Gate) -> None:
    """A crash after the first receipt: what readers saw is still what they see."""
    with merklelog.open_reader(plain) as reader:
        before = reader.checkpoint()
    set_targets(plain, f'["{targets.TARGET}"]')
    with merklelog.open(plain) as log:
        published(log)
        gate.down()
        log.append(b"more")
        log.close(publish_seconds=0.0)
    with merklelog.open_reader(plain) as reader:
        assert (reader.size, reader.integrated.size) == (300, 301)
        said = parse_checkpoint(reader.checkpoint()).checkpoint
        assert said == parse_checkpoint(before).checkpoint


@pytest.mark.parametrize("key_file", [False, True])
def test_a_log_from_before_receipts_gets_its_key(plain: Path, gate: Gate, key_file: bool) -> None:
    kept = (plain / "keys" / "receipt.key").read_bytes()
    forget_receipts(plain)
    with merklelog.open(plain) as log:  # without targets it needs none
        assert log.receipt_vkey is None
        log.append(b"more")
        assert not (plain / "keys" / "receipt.key").exists()
    if key_file:  # put there by its operator, or by an open that was killed
        (plain / "keys" / "receipt.key").write_bytes(kept)
        (plain / "keys" / "receipt.key").chmod(0o600)
    set_targets(plain, f'["{targets.TARGET}"]')
    with merklelog.open(plain) as log:
        assert log.receipt_vkey is not None
        receipt = log.append(b"with a receipt")
        assert verify_receipt(receipt.note, log.receipt_vkey).size == 302
        key = format_vkey(log.receipt_vkey)
    made = plain / "keys" / "receipt.key"
    assert made.stat().st_mode & 0o777 == 0o600
    assert (made.read_bytes() == kept) is key_file
    with merklelog.open_reader(plain) as reader:
        assert reader.receipt_vkey is not None
        assert format_vkey(reader.receipt_vkey) == key
        assert (reader.size, reader.integrated.size) == (302, 302)


def test_a_receipt_key_that_is_missing_or_another_logs(plain: Path, gate: Gate, tmp_path: Path) -> None:
    set_targets(plain, f'["{targets.TARGET}"]')
    file = plain / "keys" / "receipt.key"
    kept = tmp_path / "kept"
    shutil.move(file, kept)
    with pytest.raises(KeyFileError, match=r"receipt\.key is missing"):
        merklelog.open(plain)
    merklelog.create_log(tmp_path / "other", "other.example/log")
    shutil.copy(tmp_path / "other" / "keys" / "receipt.key", file)
    with pytest.raises(KeyFileError, match=r"want 'published\.example/log/receipt'"):
        merklelog.open(plain)
    merklelog.create_log(tmp_path / "twin", targets.ORIGIN)
    shutil.copy(tmp_path / "twin" / "keys" / "receipt.key", file)
    with pytest.raises(KeyFileError, match="a key with ID"):
        merklelog.open(plain)
    shutil.copy(kept, file)
    file.chmod(0o600)
    with merklelog.open(plain) as log:
        assert log.epoch == 1


def test_a_log_whose_target_is_taken_away_signs_checkpoints_again(plain: Path, gate: Gate) -> None:
    set_targets(plain, f'["{targets.TARGET}"]')
    with merklelog.open(plain) as log:
        published(log)
        gate.down()
        log.append(b"receipt only")
        log.close(publish_seconds=0.0)
    set_targets(plain, "[]")
    with merklelog.open(plain) as log:
        assert (log.size, log.epoch, log.levels) == (301, None, ("integrated",))
        assert parse_checkpoint(log.checkpoint()).checkpoint.size == 301
        assert log.append(b"checkpoint").epoch is None
        check_log(log)
    gate.up()
    set_targets(plain, f'["{targets.TARGET}"]')
    with merklelog.open(plain) as log:
        assert log.size == 302
        assert log.append(b"receipt").epoch == 2
        assert published(log) == 303
        check_log(log)


def test_a_backup_of_a_published_log(tmp_path: Path, gate: Gate) -> None:
    path = targets.make(tmp_path / "log")
    with merklelog.open(path) as log:
        log.append_batch([b"%d" % i for i in range(600)])
        published(log)
        gate.down()
        log.append(b"a receipt at most")
        report = backup(path, tmp_path / "backup")
        assert report.size == 601
        gate.up()
        published(log)
    with merklelog.open_reader(tmp_path / "backup") as reader:
        assert (reader.size, reader.integrated.size, reader.epoch) == (600, 601, 1)
        said, _ = parse_receipt(reader.integrated.note)
        assert said.size == 601
        check_log(reader)
    with pytest.raises(KeyFileError):
        merklelog.open(tmp_path / "backup")
    shutil.copytree(path / "keys", tmp_path / "backup" / "keys")
    with merklelog.open(tmp_path / "backup") as log:  # it has all that was published: it goes on
        assert log.append(b"from the backup").index == 601
    with pytest.raises(BehindError):
        merklelog.open(path)


def test_init_looks_at_every_target_first(tmp_path: Path, gate: Gate) -> None:
    with merklelog.open(targets.make(tmp_path / "log")) as log:
        log.append(b"one")
    with pytest.raises(NotALogError, match="merklelog recover DIR --from memory:store"):
        targets.make(tmp_path / "again")
    gate.down()
    with pytest.raises(UnreachableError):
        targets.make(tmp_path / "again")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log"]


@pytest.mark.parametrize(
    "damage", ["published row gone", "published of another tree", "no receipt key known"]
)
def test_damage_of_the_rows_is_found_at_the_next_open(tmp_path: Path, gate: Gate, damage: str) -> None:
    path = targets.make(tmp_path / "log")
    with merklelog.open(path) as log:
        log.append(b"one")
        published(log)
        signers = load_signers(path / "keys", targets.ORIGIN)
        gate.down()
        log.append(b"two")
        log.close(publish_seconds=0.0)
    store = RocksStore(path / DATABASE)
    if damage == "published row gone":
        newest = store.newest()
        assert newest is not None
        store.put_rows("heads", [(b"published", newest)])
    elif damage == "published of another tree":
        store.write(Commit(published=signers.sign(1, Hash(bytes(32)), both=True)))
    else:
        raw = store.meta("log")
        assert raw is not None
        info = msgspec.structs.replace(msgspec.json.decode(raw, type=LogInfo), receipt_vkey="")
        store.put_rows("meta", [(b"log", info.row())])
    store.sync()
    store.close()
    with pytest.raises(DamagedError):
        merklelog.open_reader(path)
    with pytest.raises(DamagedError):
        merklelog.open(path)
