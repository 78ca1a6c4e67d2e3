"""The start check: what a log may do before its witnesses have answered, and that no old copy goes on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import BehindError, ForkError, UnavailableError
from merklelog.formats import Checkpoint, load_signing_key
from merklelog.formats.witness import format_add_checkpoint
from merklelog.log import open_log
from merklelog.log.recover import recover_log
from merklelog.publish import DirectoryStore
from merklelog.tree import TreeSize, leaf_hash
from tests.witness.support import signed
from tests.witness_client.scene import PATIENCE, OneLog, Scene, run


def grow(one: OneLog, count: int = 1) -> None:
    """So many entries more, witnessed; then the log is closed."""
    with merklelog.open(one.path) as log:
        for number in range(count):
            log.append(b"entry %d of %d" % (number, log.integrated.size))
        log.wait_witnessed(log.integrated.size).result(PATIENCE)


def signed_sizes(path: Path) -> list[int]:
    with merklelog.open_reader(path) as reader:
        return list(reader.stored_sizes())


@pytest.mark.parametrize("has_target", [False, True], ids=["no target", "target"])
def test_a_log_waits_for_witnesses_that_could_be_a_quorum_without_those_it_reached(
    witnessed: Scene, tmp_path: Path, has_target: bool
) -> None:
    one = witnessed.log(target=tmp_path / "copy" if has_target else None, timeout=1.0)
    grow(one)
    before = signed_sizes(one.path)
    for each in witnessed.witnesses[1:]:
        each.kill()
    with open_log(one.path, wait=None) as log:
        with pytest.raises(UnavailableError, match="waits for its targets") as refused:
            log.append(b"too early")
        assert refused.value.retry_after
        assert log.starting
        ends = time.monotonic() + PATIENCE
        while "w1a, w1b" not in str(log.publishing and log.publishing.starting):
            assert time.monotonic() < ends
            time.sleep(0.02)
        assert log.size == 1  # reads are served
        assert log.entry(0)
        assert signed_sizes(one.path) == before  # and nothing was signed
        witnessed.witnesses[1].start()  # w2 alone is no quorum, so it is not waited for
        while log.starting:
            assert time.monotonic() < ends
            time.sleep(0.02)
        log.append(b"now")
        log.wait_witnessed(2).result(PATIENCE)


def test_an_old_copy_of_a_log_without_a_target_does_not_start(witnessed: Scene, tmp_path: Path) -> None:
    """Witnesses are all there is to know better; the log that has everything goes on."""
    one = witnessed.log()
    grow(one, 2)
    old = one.copied(tmp_path / "old")
    grow(one, 3)
    before = signed_sizes(old.path)
    with pytest.raises(
        BehindError, match=r"witness w\da, w\db \(http.*it has cosigned size 5 of this log, and 2 is"
    ):
        merklelog.open(old.path)
    assert signed_sizes(old.path) == before
    grow(one)


def test_old_copies_of_a_log_and_its_target_do_not_start(witnessed: Scene, tmp_path: Path) -> None:
    one = witnessed.log(target=tmp_path / "copy")
    rules = (one.path / "witnesses.policy").read_text()
    grow(one, 2)
    old = one.copied(tmp_path / "old")
    shutil.copytree(tmp_path / "copy", tmp_path / "old-copy")
    grow(one, 3)
    old.configure(rules, target=tmp_path / "old-copy")
    there = {path: path.read_bytes() for path in (tmp_path / "old-copy").rglob("*") if path.is_file()}
    with pytest.raises(BehindError, match="it has cosigned size 5"):
        merklelog.open(old.path)
    assert {path: path.read_bytes() for path in (tmp_path / "old-copy").rglob("*") if path.is_file()} == there


def test_an_old_copy_of_a_log_is_caught_by_its_target_first(witnessed: Scene, tmp_path: Path) -> None:
    one = witnessed.log(target=tmp_path / "copy")
    grow(one, 2)
    old = one.copied(tmp_path / "old")
    grow(one, 3)
    with pytest.raises(BehindError, match="merklelog recover DIR --from dir:"):
        merklelog.open(old.path)


def test_an_old_copy_of_the_target_is_filled_again(witnessed: Scene, tmp_path: Path) -> None:
    """The log has all that was published, and the witnesses have nothing else."""
    one = witnessed.log(target=tmp_path / "copy")
    grow(one, 2)
    shutil.copytree(tmp_path / "copy", tmp_path / "old-copy")
    grow(one, 3)
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "old-copy").rename(tmp_path / "copy")
    grow(one)
    assert one.names((tmp_path / "copy" / "checkpoint").read_bytes())
    assert (tmp_path / "copy" / "cosigned" / "6").exists()


def test_a_witness_that_has_another_tree_of_that_size_stops_the_start(witnessed: Scene) -> None:
    """Somebody with the log's key had it cosign something else while the log did not hear of it."""
    one = witnessed.log()
    other = witnessed.witnesses[1]
    other.kill()
    grow(one)
    other.start()
    keys = [load_signing_key(path) for path in sorted((one.path / "keys").iterdir())]
    key = next(each for each in keys if each.verifier == one.keys[0])
    note = signed(Checkpoint(key.name, TreeSize(1), leaf_hash(b"forked")), [key])
    assert other.process is not None
    assert other.process.add(format_add_checkpoint(0, [], note)).status == 200
    with pytest.raises(ForkError, match=r"w1a, w1b .*another tree"):
        merklelog.open(one.path)


def test_a_target_that_was_set_back_is_recovered_from_by_a_witness_checkpoint(
    witnessed: Scene, tmp_path: Path
) -> None:
    """Its pointers and kept checkpoints are old ones, its tiles are whole: a witness says what they lead to."""
    one = witnessed.log(target=tmp_path / "copy")
    grow(one, 2)
    kept = {
        name: (tmp_path / "copy" / name).read_bytes()
        for name in ("checkpoint", "checkpoint.unwitnessed", "head")
    }
    grow(one, 3)
    for name, data in kept.items():
        (tmp_path / "copy" / name).write_bytes(data)
    for size in ("3", "4", "5"):
        (tmp_path / "copy" / "checkpoints" / size).unlink(missing_ok=True)
    rules = (one.path / "witnesses.policy").read_text()
    (tmp_path / "policy").write_text(rules)
    settings = ("--set", f"publish.targets=dir:{tmp_path}/copy", "--set", "store.min_free_bytes=0")
    words = ("recover", "--from", f"dir:{tmp_path}/copy", "--keys", str(one.path / "keys"), *settings)
    witness = ("--set", f"witness.policy={tmp_path}/policy")
    assert run(words[0], str(tmp_path / "short"), *words[1:], *witness)["size"] == 2
    with pytest.raises(BehindError, match="it has cosigned size 5"):
        merklelog.open(tmp_path / "short")
    shown = f"http://{witnessed.witnesses[0].address}"
    made = run(words[0], str(tmp_path / "whole"), *words[1:], *witness, "--witness", shown)
    assert made["size"] == 5
    assert any("the witness' checkpoint has size 5" in remark for remark in made["remarks"])
    with merklelog.open(tmp_path / "whole") as log:
        log.append(b"on")
        log.wait_witnessed(6).result(PATIENCE)
        assert log.entry(4) == b"entry 2 of 4"
    assert one.names((tmp_path / "copy" / "checkpoint").read_bytes())


def test_a_recovery_is_held_against_a_smaller_checkpoint_of_a_witness(
    witnessed: Scene, tmp_path: Path
) -> None:
    """It has seen another tree than the copy's at its size: both notes say so, and nothing is recovered."""
    one = witnessed.log(target=tmp_path / "copy")
    grow(one, 3)
    keys = [load_signing_key(path) for path in sorted((one.path / "keys").iterdir())]
    key = next(each for each in keys if each.verifier == one.keys[0])
    source = DirectoryStore(tmp_path / "copy")
    settings: dict[str, int | tuple[str, ...]] = {
        "publish.targets": (source.location,),
        "store.min_free_bytes": 0,
    }
    notes = [
        signed(Checkpoint(key.name, TreeSize(1), leaf_hash(leaf)), [key])
        for leaf in (b"other", b"entry 0 of 0")
    ]
    place = tmp_path / "new"
    with pytest.raises(ForkError, match=r"the witness has root .* for size 1, and under size 3") as found:
        recover_log(place, source, one.keys, settings=settings, witnessed=notes[0])
    assert found.value.second == notes[0]
    assert not place.exists()
    assert recover_log(place, source, one.keys, settings=settings, witnessed=notes[1]).size == 3
