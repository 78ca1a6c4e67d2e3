"""Recovery of whole copies, of what `head` names, and of copies that were set back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from memory_log import MemoryLog
from scenes import ORIGIN, SIGNERS, VERIFIERS, Scene

import merklelog
from merklelog.audit import audit
from merklelog.errors import (
    ConfigError,
    DamagedError,
    ForkError,
    KeyFileError,
    NotALogError,
    NotFoundError,
    SignatureError,
    UsageError,
)
from merklelog.formats import SignatureType, SigningKey, single_log_policy, write_signing_key
from merklelog.log.head import Signers
from merklelog.publish import publish_copy
from merklelog.publish.layout import CHECKPOINT_KEY, HEAD_KEY, checkpoint_key, staging_key
from merklelog.tree import Hash

Scenes = Callable[..., Scene]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(
    "sizes", [(0,), (1,), (255,), (256,), (257,), (0, 5, 511, 512, 513), (300, 1_000)], ids=str
)
def test_a_copy_of_any_size_comes_back(scene: Scenes, sizes: tuple[int, ...], encoding: str) -> None:
    there = scene(*sizes, encoding=encoding)
    before = dict(there.store.objects)
    seen: list[tuple[int, int]] = []
    report = there.recover(progress=lambda done, total: seen.append((done, total)))
    there.check(report, sizes[-1], sizes)
    assert report.checkpoints == len(sizes)
    assert (report.origin, report.epoch, report.start, report.staged, report.resumed) == (
        ORIGIN,
        None,
        None,
        0,
        0,
    )
    assert report.remarks == ()
    assert report.can_append
    assert seen[-1] == (sizes[-1], sizes[-1])
    assert seen == sorted(seen)
    assert there.store.objects == before, "a recovery only reads"
    assert [each.name for each in there.path.parent.iterdir()] == ["recovered"]


def test_tiles_of_three_levels_come_back(scene: Scenes) -> None:
    there = scene(300, 66_000)
    there.check(there.recover(), 66_000, (300, 66_000))
    assert audit(str(there.path), single_log_policy(VERIFIERS), processes=1).findings == ()


def keys_in(folder: Path) -> Path:
    folder.mkdir()
    write_signing_key(folder / "ed25519.key", SIGNERS.ed25519)
    write_signing_key(folder / "mldsa44.key", SIGNERS.mldsa44)
    return folder


def test_the_log_goes_on_where_it_was(scene: Scenes, tmp_path: Path) -> None:
    there = scene(300, 700)
    there.recover(settings={"log.keys": str(keys_in(tmp_path / "keys"))})
    with merklelog.open(there.path) as log:
        assert log.append(b"next").index == 700
        there.log.append([b"next"])
        assert log.root == there.root(701)
    with merklelog.open_reader(there.path) as reader:
        publish_copy(reader, there.store, verifiers=VERIFIERS)
    there.log.sign()
    again = Scene(tmp_path / "again")
    (tmp_path / "again").mkdir()
    again.store, again.log = there.store, there.log
    assert again.recover().root == there.root(701)


@pytest.mark.parametrize("key", ["log.dedupe", "log.lookup"])
def test_what_lies_in_entries_is_found_again(scene: Scenes, tmp_path: Path, key: str) -> None:
    there = scene(700)
    there.recover(settings={"log.keys": str(keys_in(tmp_path / "keys")), key: True})
    with merklelog.open(there.path) as log:
        assert log.find(merklelog.tree.leaf_hash(there.log.entries[650])) == 650
        if key == "log.dedupe":
            assert log.append(there.log.entries[650]).index == 650
            assert log.size == 700


def test_without_private_keys_it_is_for_reading(scene: Scenes) -> None:
    there = scene(300)
    report = there.recover(VERIFIERS)
    assert not report.can_append
    there.check(report, 300, (300,))
    with pytest.raises(KeyFileError):
        merklelog.open(there.path)


# --- what `head` names


def test_what_head_names_is_finished_from_staging(scene: Scenes) -> None:
    there = scene(100, 300)
    there.log.grow(1_000)
    there.head(1_000, epoch=3, start=100)
    there.stage(300, 1_000)
    before = dict(there.store.objects)
    report = there.recover()
    there.check(report, 1_000, (100, 300))
    assert (report.epoch, report.start, report.published) == (3, 100, (300,))
    assert report.staged == 700
    assert there.store.objects == before
    with merklelog.open_reader(there.path) as log:
        assert log.config.publish.targets == (there.store.location,)


def test_head_names_what_is_published_already(scene: Scenes) -> None:
    there = scene(100, 300, 500)
    there.head(500, epoch=2, start=100)
    report = there.recover()
    there.check(report, 500, (100, 300, 500))
    assert (report.epoch, report.start, report.published, report.staged) == (2, 100, (500, 300), 0)


def test_a_start_that_published_nothing_yet(scene: Scenes) -> None:
    there = scene(300)
    there.head(300, epoch=9, start=300)
    report = there.recover()
    assert (report.epoch, report.start, report.published) == (9, 300, ())


def test_a_first_publication_that_was_never_finished(scene: Scenes) -> None:
    there = scene()
    there.log.grow(400)
    there.head(400)
    there.stage(0, 400)
    there.store.put("merklelog.json", b'{"format": 1, "bundles": "identity"}\n')
    with pytest.raises(NotFoundError, match="without the private keys"):
        there.recover(VERIFIERS)
    there.check(there.recover(), 400, ())


def test_a_target_that_was_started_and_never_published_to(scene: Scenes) -> None:
    there = scene()
    there.head(0)
    report = there.recover()
    there.check(report, 0, ())
    assert report.published == ()


def test_tiles_in_place_need_no_staging(scene: Scenes) -> None:
    there = scene(300)
    for key, data in _staged(there, 300, 1_000).items():
        there.store.put(key, data)
    there.head(1_000)
    there.check(there.recover(), 1_000, (300,))


def _staged(there: Scene, old: int, size: int) -> dict[str, bytes]:
    there.log.grow(size)
    objects = there.stage(old, size)
    there.store.delete(staging_key(size, there.root(size)))
    return objects


def test_neither_staging_nor_tiles(scene: Scenes) -> None:
    there = scene(300)
    _staged(there, 300, 1_000)
    there.head(1_000)
    with pytest.raises(DamagedError, match="nothing else has its entries"):
        there.recover()
    assert not there.path.exists()
    # what was signed still comes back
    there.check(there.recover(VERIFIERS), 300, (300,))


def test_without_keys_what_no_checkpoint_shows_is_left(scene: Scenes) -> None:
    there = scene(300)
    there.log.grow(1_000)
    there.head(1_000)
    there.stage(300, 1_000)
    report = there.recover(VERIFIERS)
    there.check(report, 300, (300,))
    assert report.staged == 0
    assert "700 entries behind size 300 come back with the private keys only" in report.remarks[0]


def test_staging_that_is_wrong(scene: Scenes) -> None:
    there = scene(300)
    there.log.grow(1_000)
    there.head(1_000)
    there.stage(300, 1_000, origin="example.com/other")
    with pytest.raises(DamagedError, match=r"staging/1000-.*: it is of 'example.com/other'"):
        there.recover()
    there.store.put(staging_key(1_000, there.root(1_000)), b"merklelog staging 1\n{}\n")
    with pytest.raises(DamagedError, match="staging/1000-"):
        there.recover()
    there.stage(300, 1_000)
    there.head(1_000, root=Hash(bytes(32)))
    with pytest.raises(DamagedError):
        there.recover()
    assert not there.path.exists()


def test_head_beside_the_checkpoint_is_a_fork(scene: Scenes) -> None:
    there = scene(300)
    there.head(300, root=Hash(bytes(32)))
    with pytest.raises(ForkError, match="two histories") as error:
        there.recover()
    assert error.value.first == there.log.notes[300]
    assert error.value.second == there.store.get(HEAD_KEY).data


def test_staging_of_another_history_is_a_fork(scene: Scenes, tmp_path: Path) -> None:
    there, other = scene(300), Scene(tmp_path, salt=b"other")
    other.log.grow(1_000, b"other")
    other.store = there.store
    for tile, data in _staged(other, 0, 1_000).items():
        there.store.put(tile, data)
    other.head(1_000)
    with pytest.raises(ForkError) as error:
        there.recover()
    assert error.value.first == there.log.notes[300]
    assert error.value.second == there.store.get(HEAD_KEY).data


def test_a_head_that_was_set_back(scene: Scenes) -> None:
    there = scene(100, 300)
    there.head(100, epoch=2)
    report = there.recover()
    there.check(report, 300, (100, 300))
    assert "head was set back" in report.remarks[0]


def test_a_head_that_is_damaged(scene: Scenes) -> None:
    there = scene(100, 300)
    there.store.put(HEAD_KEY, b"{}")
    report = there.recover(epoch=4)
    there.check(report, 300, (100, 300))
    assert "head" in report.remarks[0]
    assert report.epoch is None


# --- checkpoints


def test_a_pointer_that_was_set_back(scene: Scenes) -> None:
    there = scene(100, 300)
    there.store.put(CHECKPOINT_KEY, there.log.notes[100])
    report = there.recover()
    there.check(report, 300, (100, 300))
    assert "checkpoint shows size 100, and 300 is signed" in report.remarks[0]


def test_a_pointer_that_is_damaged_or_gone(scene: Scenes) -> None:
    there = scene(100, 300)
    there.store.put(CHECKPOINT_KEY, b"garbage")
    report = there.recover()
    there.check(report, 300, (100, 300))
    assert "checkpoint" in report.remarks[0]
    there.path.rename(there.path.with_name("first"))
    there.store.delete(CHECKPOINT_KEY)
    there.check(there.recover(), 300, (100, 300))


def test_no_checkpoint_that_verifies(scene: Scenes) -> None:
    there = scene(300)
    other = SigningKey(ORIGIN, SignatureType.ED25519, b"\x07" * 32)
    with pytest.raises(SignatureError):
        there.recover(
            Signers(ORIGIN, other, SigningKey(ORIGIN, SignatureType.COSIGNATURE_MLDSA44, b"\x08" * 32))
        )
    there.store.put(CHECKPOINT_KEY, b"garbage")
    there.store.delete(checkpoint_key(300))
    with pytest.raises(DamagedError, match="checkpoint"):
        there.recover()
    assert not there.path.exists()


def test_a_kept_checkpoint_that_is_damaged_is_left_out(scene: Scenes) -> None:
    there = scene(100, 200, 300)
    there.store.put(checkpoint_key(200), there.log.notes[100])
    report = there.recover()
    there.check(report, 300, (100, 300))
    assert "checkpoints/200: it is the checkpoint of size 100; left out" in report.remarks[0]


def test_a_kept_checkpoint_of_another_history_is_a_fork(scene: Scenes) -> None:
    there = scene(100, 300)
    other = MemoryLog(ORIGIN, there.log.keys).grow(200, b"other")
    there.store.put(checkpoint_key(200), other.notes[200])
    with pytest.raises(ForkError, match="its checkpoint of size 200 is not of the tree") as error:
        there.recover()
    assert (error.value.first, error.value.second) == (other.notes[200], there.log.notes[300])
    assert not there.path.exists()


# --- what is asked


def test_nothing_is_there(scene: Scenes) -> None:
    with pytest.raises(NotALogError, match="no published copy"):
        scene().recover()


def test_a_place_that_is_taken(scene: Scenes) -> None:
    there = scene(10)
    there.path.mkdir()
    (there.path / "file").touch()
    with pytest.raises(UsageError, match="move it away"):
        there.recover()
    (there.path / "file").unlink()
    there.check(there.recover(), 10, (10,))


def test_a_target_stays_a_target(scene: Scenes) -> None:
    there = scene(10)
    there.head(10)
    for targets in ((), ("dir:/elsewhere",)):
        with pytest.raises(ConfigError, match="can sign a second history"):
            there.recover(settings={"publish.targets": targets})
    assert not there.path.exists()


def test_settings_that_are_none_are_told_first(scene: Scenes) -> None:
    with pytest.raises(ConfigError, match=r"no key log\.nothing"):
        scene().recover(settings={"log.nothing": 1})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (VERIFIERS[:1], "no key of type COSIGNATURE_MLDSA44"),
        (VERIFIERS[1:], "no key of type ED25519"),
        ((), "no key of type"),
        (
            (*VERIFIERS, SigningKey(ORIGIN, SignatureType.ED25519, b"\x05" * 32).verifier),
            "want the verifier keys of one log",
        ),
        (
            (VERIFIERS[0], SigningKey("x", SignatureType.COSIGNATURE_MLDSA44, b"\x05" * 32).verifier),
            "two logs",
        ),
    ],
)
def test_keys_that_are_not_one_logs(scene: Scenes, keys: tuple[object, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        scene(10).recover(keys)
