"""What a recovered log shows that waits for witnesses: a checkpoint of the tree that came back, and no other."""

from __future__ import annotations

from collections.abc import Callable

from scenes import SIGNERS, VERIFIERS, Scene

from merklelog.log.recover_source import Published
from merklelog.publish.layout import CHECKPOINT_KEY, cosigned_key
from merklelog.tree import Hash, TreeSize

Scenes = Callable[..., Scene]


def forked(size: int) -> bytes:
    return SIGNERS.sign(TreeSize(size), Hash(b"x" * 32), both=True)


def held(there: Scene) -> tuple[bytes | None, list[str]]:
    published = Published(there.store, VERIFIERS, parallel=1)
    return published.held(published.aim(can_sign=True))


def test_a_cosigned_checkpoint_of_another_tree_is_passed_over(scene: Scenes) -> None:
    there = scene(100, 300, 600)
    assert held(there) == (there.log.notes[600], [])
    there.store.delete(CHECKPOINT_KEY)
    there.store.put(cosigned_key(100), there.log.notes[100])
    there.store.put(cosigned_key(200), forked(200))
    there.store.put(cosigned_key(250), there.log.notes[100])  # under a size that is not its own
    there.store.put(cosigned_key(600), forked(600))
    note, remarks = held(there)
    assert note == there.log.notes[100]
    assert [remark.split(":")[2] for remark in remarks] == [
        f" the log signed root {'78' * 32} for size {size}, and what comes back has {there.root(size).hex()}; "
        "readers are not shown it"
        for size in (600, 200)
    ]


def test_what_is_shown_is_judged_as_well(scene: Scenes) -> None:
    there = scene(100, 300)
    there.store.put(CHECKPOINT_KEY, forked(200))
    note, (remark,) = held(there)
    assert note is None
    assert f"/checkpoint: the log signed root {'78' * 32} for size 200" in remark


def test_where_that_can_not_be_told_it_is_not_shown(scene: Scenes) -> None:
    there = scene(256, 600)
    there.store.put(CHECKPOINT_KEY, there.log.notes[256])
    assert held(there) == (there.log.notes[256], [])
    there.store.delete("tile/0/002.p/88")
    note, (remark,) = held(there)
    assert note is None
    assert "it can not be compared with what comes back: tile/0/002.p/88: it is not there" in remark
