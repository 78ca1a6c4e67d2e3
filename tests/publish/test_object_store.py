"""The contract of ObjectStore, run on every store of conftest.STORES."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from merklelog.errors import DamagedError, ImmutableError, NotFoundError, UsageError
from merklelog.publish import NewObject, ObjectKind, ObjectStore

Reopen = Callable[[], ObjectStore]

BAD_KEYS = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "a/./b", ".hidden", "a/.hidden"),
    *("a b", "a\\b", "a\x00", "a\n", "ü", "a:b", "a?b", "a%2fb", "x" * 256, "/".join(["x" * 100] * 11)),
]


def test_what_was_put_is_there_for_everybody(store: ObjectStore, reopen: Reopen) -> None:
    for key, data in (("a", b""), ("b/c", b"\x00\xff" * 5), ("b/d.p/7", bytes(3 << 20)), ("_-.x", b"1")):
        assert store.put_immutable(key, data) is True
        assert reopen().get(key).data == data
        assert reopen().stat(key).size == len(data)


def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    for key in ("a", "a/b", "a/b/c"):
        with pytest.raises(NotFoundError, match=f"{store.location}/{key}"):
            store.get(key)
        assert store.stat(key) is None
        store.delete(key)
    store.put("a/b", b"1")
    with pytest.raises(NotFoundError):
        store.get("a/b/c")  # a key below an object
    assert store.stat("a/b/c") is None
    assert store.stat("a") is None
    assert list(store.list_keys("none")) == []


def test_an_immutable_object_never_changes(store: ObjectStore, reopen: Reopen) -> None:
    assert store.put_immutable("tile/0/000", b"one") is True
    assert reopen().put_immutable("tile/0/000", b"one") is False
    with pytest.raises(ImmutableError, match=f"{store.location}/tile/0/000"):
        reopen().put_immutable("tile/0/000", b"two")
    assert store.get("tile/0/000").data == b"one"


def test_the_kind_says_what_counts_as_the_same(store: ObjectStore) -> None:
    loose = ObjectKind(same=lambda there, new: there.lower() == new.lower())
    store.put_immutable("k", b"Note", loose)
    assert store.put_immutable("k", b"NOTE", loose) is False
    assert store.get("k").data == b"Note"
    with pytest.raises(ImmutableError):
        store.put_immutable("k", b"note")
    with pytest.raises(ImmutableError):
        store.put_immutable("k", b"vote", loose)


def test_many_at_once(store: ObjectStore, reopen: Reopen) -> None:
    objects = [NewObject(f"many/{i % 7}/{i}", b"%d" % i * (i % 50)) for i in range(300)]
    assert store.put_many(iter(objects[:200])) == 200
    assert reopen().put_many(objects) == 100
    assert reopen().put_many(objects) == 0
    assert store.put_many([]) == 0
    assert {key: store.get(key).data for key in store.list_keys("many/")} == {o.key: o.data for o in objects}


def test_many_with_one_key_twice(store: ObjectStore) -> None:
    assert store.put_many([NewObject("k", b"1"), NewObject("k", b"1")]) == 1
    with pytest.raises(ImmutableError, match="/m"):
        store.put_many([NewObject("m", b"1"), NewObject("m", b"2")])


def test_many_with_one_that_is_another(store: ObjectStore) -> None:
    store.put_immutable("b", b"there")
    with pytest.raises(ImmutableError, match="/b"):
        store.put_many([NewObject("a", b"new"), NewObject("b", b"other"), NewObject("c", b"new")])
    assert store.get("b").data == b"there"
    assert store.put_many([NewObject("a", b"new"), NewObject("c", b"new")]) in (0, 1, 2)
    assert [store.get(key).data for key in "abc"] == [b"new", b"there", b"new"]


def test_many_lets_through_what_its_iterable_raises(store: ObjectStore) -> None:
    def objects() -> Iterator[NewObject]:
        yield NewObject("a", b"1")
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        store.put_many(objects())


def test_compare_and_swap(store: ObjectStore, reopen: Reopen) -> None:
    first = store.put_if_version("head", b"1", None)
    assert first is not None
    assert first == reopen().get("head").version
    assert reopen().put_if_version("head", b"2", None) is None
    second = reopen().put_if_version("head", b"2", first)
    assert second not in (None, first)
    assert store.put_if_version("head", b"3", first) is None
    assert store.put_if_version("head", b"3", "no version") is None
    assert store.get("head").data == b"2"
    assert store.put_if_version("head", b"2", second) is not None  # to the same bytes


def test_compare_and_swap_of_what_is_gone(store: ObjectStore) -> None:
    version = store.put_if_version("head", b"1", None)
    store.delete("head")
    assert store.put_if_version("head", b"2", version) is None
    assert store.stat("head") is None
    assert store.put_if_version("head", b"2", None) is not None


def test_put_replaces_and_is_seen_by_compare_and_swap(store: ObjectStore) -> None:
    before = store.put("head", b"1")
    assert store.get("head").version == before
    store.put("head", b"2")
    assert store.get("head").data == b"2"
    assert store.put_if_version("head", b"3", before) is None


def test_deleted_is_gone_and_may_come_again(store: ObjectStore, reopen: Reopen) -> None:
    store.put_immutable("a/b/c", b"1")
    store.put_immutable("a/b2", b"1")
    store.delete("a/b/c")
    reopen().delete("a/b/c")
    assert store.stat("a/b/c") is None
    assert list(reopen().list_keys()) == ["a/b2"]
    assert store.put_immutable("a/b/c", b"2") is True
    assert reopen().get("a/b/c").data == b"2"


def test_many_are_deleted_and_superseded_ones_stay_what_they_are(store: ObjectStore, reopen: Reopen) -> None:
    store.put_many([NewObject(f"a/{number}", b"%d" % number) for number in range(20)])
    version = store.put_if_version("head", b"1", None)
    version = store.put_if_version("head", b"2", version)
    store.put("checkpoint", b"3")
    store.delete_many((f"a/{number}" for number in range(1, 20)), superseded=["head", "checkpoint", "none"])
    assert list(reopen().list_keys()) == ["a/0", "checkpoint", "head"]
    assert [reopen().get(key).data for key in ("a/0", "checkpoint", "head")] == [b"0", b"3", b"2"]
    assert store.put_if_version("head", b"4", version) is not None
    reopen().delete_many(["a/0", "a/0", "never/there"], superseded=["head"])
    assert list(store.list_keys()) == ["checkpoint", "head"]
    store.delete_many([])
    for calls in ({"keys": ["a//b"]}, {"keys": [], "superseded": [".."]}):
        with pytest.raises(UsageError, match="object key"):
            store.delete_many(**calls)


def test_keys_are_listed_in_the_order_of_their_bytes(store: ObjectStore) -> None:
    keys = [
        "a",
        "a-b",
        "a.b",
        "a/b",
        "a/b.p/1",
        "a/b.p/10",
        "a/b.p/2",
        "a/b/c",
        "a0",
        "a_",
        "b/1",
        "A",
        "9/x",
        "-",
    ]
    keys.remove("a/b")  # no object may stand where another one's folder does
    keys.remove("a")
    for key in reversed(keys):
        store.put(key, b"")
    assert list(store.list_keys()) == sorted(keys)
    for prefix in ("a", "a/", "a/b", "a/b.p/", "a/b.p/1", "b", "c", "a/b.p/1/"):
        assert list(store.list_keys(prefix)) == sorted(k for k in keys if k.startswith(prefix)), prefix


def test_no_more_is_read_than_asked_for(store: ObjectStore) -> None:
    store.put("k", bytes(100))
    assert len(store.get("k", limit=100).data) == 100
    with pytest.raises(DamagedError, match=f"{store.location}/k: .*99"):
        store.get("k", limit=99)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_what_is_no_key_is_refused_by_every_call(store: ObjectStore, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.stat(key),
        lambda: store.put_immutable(key, b"1"),
        lambda: store.put_many([NewObject(key, b"1")]),
        lambda: store.put_if_version(key, b"1", None),
        lambda: store.put(key, b"1"),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="object key"):
            call()
    if key and not key.endswith("/"):
        with pytest.raises(UsageError):
            list(store.list_keys(key))
    assert list(store.list_keys()) == []


def test_one_of_many_writers_creates(reopen: Reopen) -> None:
    def create(number: int) -> int | None:
        try:
            return number if reopen().put_immutable("k", b"%d" % number) else None
        except ImmutableError:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(create, range(16)) if number is not None]
    assert len(winners) == 1
    assert reopen().get("k").data == b"%d" % winners[0]


def test_no_swap_is_lost(reopen: Reopen) -> None:
    reopen().put("counter", b"0")

    def count(_: int) -> None:
        store, added = reopen(), False
        while not added:
            found = store.get("counter")
            value = b"%d" % (int(found.data) + 1)
            added = store.put_if_version("counter", value, found.version) is not None

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(24)))
    assert reopen().get("counter").data == b"24"


def test_readers_see_the_old_or_the_new_and_nothing_between(reopen: Reopen) -> None:
    values = [bytes([byte]) * (200_000 + byte) for byte in range(2)]
    reopen().put("k", values[0])
    stop = threading.Event()

    def read(_: int) -> set[bytes]:
        seen = set()
        store = reopen()
        while not stop.is_set():
            seen.add(store.get("k").data)
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, 0) for _ in range(2)]
        try:
            store = reopen()
            for turn in range(40):
                store.put("k", values[turn % 2])
        finally:
            stop.set()
        assert all(reader.result() <= set(values) for reader in readers)


def test_emptying_a_folder_while_another_fills_it(reopen: Reopen) -> None:
    def fill_and_empty(number: int) -> None:
        store = reopen()
        for turn in range(30):
            key = f"a/b.p/{number}"
            assert store.put_immutable(key, b"%d" % turn)
            assert store.get(key).data == b"%d" % turn
            store.delete(key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill_and_empty, range(4)))
    assert list(reopen().list_keys()) == []
