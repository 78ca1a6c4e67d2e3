"""Any one object of a copy changed, cut or gone: the log comes back as it was, or recovery says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scenes import Scene

from merklelog.errors import DamagedError, MerklelogError, NotFoundError, UnreachableError
from merklelog.publish import ObjectKind, StoredObject
from merklelog.publish.layout import TILES, checkpoint_key
from merklelog.publish.objects import MAX_OBJECT_BYTES, PLAIN
from merklelog.publish.s3_options import ObjectVersion

Scenes = Callable[..., Scene]
CHANGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": lambda data: bytes((data[0] ^ 1,)) + data[1:],
    "flipped at its end": lambda data: data[:-1] + bytes((data[-1] ^ 1,)),
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda _: b"",
    "gone": lambda _: None,
}


def spoil(there: Scene, key: str, change: str) -> None:
    data = CHANGES[change](there.store.get(key).data)
    there.store.delete(key)
    if data is not None:
        there.store.put(key, data)


@pytest.mark.parametrize(
    ("encoding", "change"),
    [*(("identity", change) for change in CHANGES if change != "empty"), ("gzip", "flipped at its end")],
)
def test_any_one_object(scene: Scenes, encoding: str, change: str) -> None:
    whole = scene(100, 600, encoding=encoding)
    whole.log.grow(900)
    whole.head(900, start=100)
    whole.stage(600, 900)
    before = dict(whole.store.objects)
    refused = remarked = 0
    for number, key in enumerate(sorted(before)):
        whole.path = whole.path.with_name(f"recovered{number}")
        whole.store.objects = dict(before)
        spoil(whole, key, change)
        said: dict[str, Any] = {"epoch": 9} if key == "head" else {}
        if key == "head" and change == "gone":
            said |= {"static_copy": False, "settings": {"publish.targets": (whole.store.location,)}}
        try:
            report = whole.recover(**said)
        except MerklelogError:
            refused += 1
            assert not whole.path.exists()
            continue
        if report.size == 900:
            kept = {100, 600} - {size for size in (100,) if checkpoint_key(size) == key}
            whole.check(report, 900, sorted(kept))
        else:  # what `head` named is known from `head` alone
            assert key == "head"
            whole.check(report, 600, (100, 600))
        remarked += bool(report.remarks)
    assert refused >= 2
    assert remarked >= 2


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_tile_is_made_anew(scene: Scenes, change: str) -> None:
    there = scene(600)
    spoil(there, "tile/0/001", change)
    report = there.recover()
    there.check(report, 600, (600,))
    assert report.remarks
    assert "tile/0/001" in report.remarks[0]
    assert report.remarks[0].endswith("made anew from the entries")


@pytest.mark.parametrize("key", ["tile/0/002.p/88", "tile/1/000.p/2"])
@pytest.mark.parametrize("change", ["flipped", "gone"])
def test_a_damaged_tile_at_the_right_edge_too(scene: Scenes, change: str, key: str) -> None:
    there = scene(600)
    spoil(there, key, change)
    report = there.recover()
    there.check(report, 600, (600,))
    assert [remark.split(":")[1] for remark in report.remarks] == [f"/memory/store/{key}"]


def test_a_damaged_entry_is_named(scene: Scenes) -> None:
    there = scene(600)
    bundle = there.store.get("tile/entries/001").data
    there.store.put("tile/entries/001", bundle.replace(b"event 300", b"event 30O"))
    with pytest.raises(DamagedError, match="tile/entries/001: entry 300 does not have the hash"):
        there.recover()
    spoil(there, "tile/0/001", "gone")  # nor can anybody tell then, but that it is in this bundle
    with pytest.raises(DamagedError, match="tile/0/001"):
        there.recover()


def test_a_bundle_that_is_gone_is_named(scene: Scenes) -> None:
    there = scene(600)
    spoil(there, "tile/entries/001", "gone")
    with pytest.raises(DamagedError, match="tile/entries/001"):
        there.recover()


def test_many_damaged_tiles_are_counted(scene: Scenes) -> None:
    there = scene(256 * 40)
    for key in list(there.store.list_keys(TILES)):
        if key.startswith("tile/0/"):
            spoil(there, key, "flipped")
    report = there.recover()
    there.check(report, 256 * 40, (256 * 40,))
    assert report.remarks[-1] == "and 20 such remarks more: audit the copy"


class Versions:
    """A store that keeps every version, as S3 does: what is put over an object hides it and no more."""

    def __init__(self, scene: Scene) -> None:
        self._store = scene.store
        self.first: dict[str, tuple[bytes, ObjectKind]] = {}
        self.location = scene.store.location
        self.list_keys = scene.store.list_keys

    def hide(self, key: str, data: bytes | None) -> None:
        self.first[key] = self._store.objects[key]
        self._store.delete(key)
        if data is not None:
            self._store.put(key, data)

    def close(self) -> None:
        pass

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        return self._store.get(key, limit=limit)

    def get_version(self, key: str, version_id: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        if version_id == "first" and key in self.first:
            return StoredObject(self.first[key][0], "first")
        return self._store.get(key, limit=limit)

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        for key in sorted({*self.first, *self._store.objects}):
            if key.startswith(key_prefix):
                there = key in self._store.objects
                yield ObjectVersion(key, "newest", True, not there, None, 0)  # type: ignore[arg-type]
                if key in self.first:
                    yield ObjectVersion(key, "first", False, False, None, 0)  # type: ignore[arg-type]


def test_what_was_put_over_locked_objects_is_read_past(scene: Scenes) -> None:
    there = scene(100, 600)
    versions = Versions(there)
    versions.hide("tile/entries/001", b"\0\0" * 256)
    versions.hide("tile/0/000", None)
    versions.hide(checkpoint_key(100), b"garbage")
    there.store = versions  # type: ignore[assignment]
    report = there.recover()
    there.check(report, 600, (100, 600))
    assert report.remarks == ()


class Silent:
    """A store that stops answering after so many reads."""

    def __init__(self, scene: Scene, reads: int) -> None:
        self._store, self._left = scene.store, reads
        self.location = scene.store.location
        self.list_keys = scene.store.list_keys

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        self._left -= 1
        if self._left < 0:
            raise UnreachableError("no answer")
        return self._store.get(key, limit=limit)


def test_a_store_that_falls_silent_is_no_damage(scene: Scenes) -> None:
    there = scene(100, 600)
    whole, reads = there.store, 0
    while True:
        there.store = Silent(there, reads)  # type: ignore[assignment]
        try:
            report = there.recover()
        except UnreachableError:
            assert not there.path.exists()
        else:
            break
        there.store, reads = whole, reads + 1
    assert reads >= 8
    there.check(report, 600, (100, 600))
    assert report.remarks == ()


def test_an_object_nobody_put_there_changes_nothing(scene: Scenes) -> None:
    there = scene(100, 600)
    for key in ("tile/0/007", "tile/entries/x", "checkpoints/x", "checkpoints/0x10", "else", "staging/5-00"):
        there.store.put(key, b"x", PLAIN)
    there.check(there.recover(), 600, (100, 600))
    with pytest.raises(NotFoundError):
        there.store.get("tile/0/008")
