"""What every store must do, run on each of them: the reference in memory, and RocksDB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merklelog.errors import ClosedError, LockedError
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.store import MemoryStore, RocksStore, Store
from tests.support.commits import Maker, key, row


class Backend(Protocol):
    def new(self) -> Store: ...
    def again(self, store: Store) -> Store: ...


class Memory:
    """Opening again is what a clean end leaves: everything written."""

    def new(self) -> MemoryStore:
        return MemoryStore(metas={"format": b"1"})

    def again(self, store: Store) -> MemoryStore:
        assert isinstance(store, MemoryStore)
        return store.crash(len(store.written))


class Rocks:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[RocksStore] = []

    def new(self) -> RocksStore:
        path = self.folder / str(len(self.made)) / "db"
        path.parent.mkdir()
        self.made.append(RocksStore.create(path, {"format": b"1"}))
        return self.made[-1]

    def again(self, store: Store) -> RocksStore:
        assert isinstance(store, RocksStore)
        store.close()
        self.made.append(RocksStore(store.path))
        return self.made[-1]


@pytest.fixture(params=["memory", "rocks"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "memory":
        yield Memory()
        return
    rocks = Rocks(tmp_path)
    yield rocks
    for store in rocks.made:
        store.close()


def entries(count: int, tag: str = "e") -> list[bytes]:
    return [b"%s %d" % (tag.encode(), i) for i in range(count)]


def test_a_new_store_is_empty(backend: Backend) -> None:
    store = backend.new()
    for _ in range(2):
        Maker().check(store)
        assert store.meta("format") == b"1"
        assert store.meta("nothing") is None
        assert list(store.segments(0, 10)) == []
        assert store.remembered_before(2**62, 5) == []
        store = backend.again(store)


def test_commits_are_seen_at_once_and_after_opening_again(backend: Backend) -> None:
    store, maker = backend.new(), Maker()
    for count in (1, 1, 3, 250, 1, 1, 255, 256, 257, 600, 0, 1):
        store.write(maker.commit(entries(count), keep=count % 2 == 0))
        maker.check(store)
    store.sync()
    store = backend.again(store)
    maker.check(store)
    store.write(maker.commit(entries(300), keep=False))
    maker.check(store)
    maker.check(backend.again(store))


def test_opening_again_after_each_commit_changes_nothing(backend: Backend) -> None:
    """Pieces of a partial tile come from many openings; all go when it is full."""
    store, maker = backend.new(), Maker()
    for count in (1, 2, 100, 152, 1, 255, 1, 511, 3):
        store.write(maker.commit(entries(count), keep=True))
        store = backend.again(store)
        maker.check(store)


def test_settling_changes_nothing(backend: Backend) -> None:
    store, maker = backend.new(), Maker()
    for count in (3, 300, 300, 1):
        store.write(maker.commit(entries(count), own=range(count)[:2], remember=[(key(count), row(count))]))
        store.settle()
        maker.check(store)
    maker.check(backend.again(store))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000])
def test_segments_of_every_border(backend: Backend, size: int) -> None:
    store, maker = backend.new(), Maker()
    while len(maker.entries) < size:
        step = min(size - len(maker.entries), 1 + len(maker.entries) % 117)
        store.write(maker.commit(entries(step)))
    places = sorted({0, 1, 2, 254, 255, 256, 257, 511, 512, size // 2, size - 1, size} & set(range(size + 1)))
    for start in places:
        for end in (end for end in places if end > start):
            maker.check_segments(store, start, end)


def test_a_batch_over_several_bundles_is_cut_at_each(backend: Backend) -> None:
    store, maker = backend.new(), Maker()
    store.write(maker.commit(entries(10)))
    store.write(maker.commit(entries(1000)))
    assert [first for first, _ in store.segments(0, 1010)] == [0, 10, 256, 512, 768]


def test_the_newest_checkpoint_is_replaced_and_the_kept_ones_stay(backend: Backend) -> None:
    store, maker = backend.new(), Maker()
    for size in range(1, 40):
        store.write(maker.commit(entries(1), keep=size % 3 == 0))
    assert list(store.stored_sizes()) == [size for size in range(39, 0, -1) if size % 3 == 0]
    first = maker.newest
    store.write(maker.commit(keep=True))  # the same size again, with more signatures
    assert store.checkpoint(39) == store.newest() == maker.newest != first
    maker.check(store)


def test_rows_of_a_published_log_stand_apart(backend: Backend) -> None:
    """A filed checkpoint is not the newest note, nor is the published one; and none is taken for a tile's edge."""
    store, maker = backend.new(), Maker()
    store.write(maker.commit(entries(300), keep=False))
    assert (store.published(), store.epoch()) == (None, None)
    newest = store.newest()
    edge = store.edge(0, 1)
    store.write(Commit(filed=(256, b"filed"), epoch=b"epoch row"))
    store.write(Commit(published=b"shown", filed=(7, b"seven")))
    store.sync()
    for _ in range(2):
        assert (store.newest(), store.published(), store.epoch()) == (newest, b"shown", b"epoch row")
        assert (store.checkpoint(256), store.checkpoint(7)) == (b"filed", b"seven")
        assert list(store.stored_sizes()) == [256, 7]
        assert store.edge(0, 1) == edge
        store = backend.again(store)


def test_sizes_beyond_32_bits_keep_their_order(backend: Backend) -> None:
    store = backend.new()
    sizes = [0, 1, 255, 256, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1]
    for size in sizes:
        store.write(Commit(checkpoint=Checkpointed(size, b"%d" % size, keep=True)))
    for _ in range(2):
        assert list(store.stored_sizes()) == sizes[::-1]
        assert [store.checkpoint(size) for size in sizes] == [b"%d" % size for size in sizes]
        store = backend.again(store)


def test_identities_stand_beside_their_entries(backend: Backend) -> None:
    store, maker = backend.new(), Maker()
    store.write(maker.commit(entries(300), own=[0, 1, 255, 256, 299]))
    store.write(maker.commit(entries(5), own=[2]))
    maker.check(store)
    assert [i for i, _ in store.identities(1, 256)] == [1, 255]
    assert [i for i, _ in store.identities(2, 2)] == []
    assert [i for i, _ in store.identities(300, 10**9)] == [302]


def test_rows_are_forgotten_by_time_and_not_before(backend: Backend) -> None:
    store, maker = backend.new(), Maker()
    store.write(maker.commit(remember=[(key(i), row(1000 + i)) for i in range(10)]))
    assert store.remembered_before(1003, 10) == [key(0), key(1), key(2)]
    assert store.remembered_before(1003, 2) == [key(0), key(1)]
    assert store.remembered_before(1000, 10) == []
    store.write(maker.commit(forget=[key(1), key(0), key(99)]))
    maker.check(store)
    assert store.remembered_before(1003, 10) == [key(2)]
    maker.check(backend.again(store))


def test_a_key_used_anew_is_not_forgotten_with_its_old_row(backend: Backend) -> None:
    store, maker = backend.new(), Maker()
    store.write(maker.commit(remember=[(key(1), row(1000)), (key(2), row(1001))]))
    store.write(maker.commit(remember=[(key(1), row(5000, b"again"))]))
    assert store.remembered_before(2000, 10) == [key(2)]
    store.write(maker.commit(forget=store.remembered_before(2000, 10)))
    assert store.remembered(key(1)) == row(5000, b"again")
    maker.check(store)
    assert store.remembered_before(6000, 10) == [key(1)]
    store.write(maker.commit(forget=[key(1)]))
    assert store.remembered_before(2**62, 10) == []
    maker.check(backend.again(store))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 400), st.booleans()),
        st.tuples(st.just("remember"), st.integers(0, 6), st.integers(0, 50)),
        st.tuples(st.just("forget"), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("again"), st.just(0), st.just(0)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_history(backend: Backend, steps: list[tuple[str, int, int]]) -> None:
    store, maker = backend.new(), Maker()
    for what, a, b in steps:
        if what == "grow":
            store.write(maker.commit(entries(a), own=[a // 2] if b else [], keep=bool(b)))
        elif what == "remember":
            store.write(maker.commit(remember=[(key(a), row(b, b"%d" % len(maker.entries)))]))
        elif what == "forget":
            store.write(maker.commit(forget=store.remembered_before(a, 3)))
        elif what == "settle":
            store.settle()
        else:
            store = backend.again(store)
        maker.check_remembered_before(store)
    maker.check(store)
    maker.check(backend.again(store))
    store.close()


def test_reads_go_on_while_commits_are_written(backend: Backend) -> None:
    """What a reader below the written size sees is whole, whatever the writer does meanwhile."""
    store, maker = backend.new(), Maker()
    store.write(maker.commit(entries(600), own=[3], remember=[(key(1), row(7))], keep=True))
    problems: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                assert len(b"".join(data for _, data in store.segments(0, 512))) > 0
                assert [first for first, _ in store.segments(0, 512)][:3] == [0, 256]
                assert len(store.tile(0, 1) or b"") == 8192
                assert dict(store.identities(0, 600)) == {3: key(1003)}
                assert list(store.stored_sizes())[-1] == 600
                assert store.remembered_before(100, 10) == [key(1)]
                assert store.newest() is not None
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(150):
        store.write(maker.commit(entries(20), remember=[(key(100 + i), row(1000 + i))], keep=i % 2 == 0))
        store.sync()
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    maker.check(store)


def test_a_crash_in_memory_leaves_a_prefix_with_all_that_was_synced() -> None:
    store, makers = MemoryStore(), [Maker()]
    for at in range(6):
        grown = Maker()
        for count in range(at + 1):
            commit = grown.commit(entries(100 + count), keep=True)
        makers.append(grown)
        store.write(commit)
        if at == 2:
            store.sync()
    assert store.synced == 3
    for survivors in range(5):
        makers[min(6, 3 + survivors)].check(store.crash(survivors))


# --- RocksDB alone: what closing and a second opening mean ---


@pytest.fixture
def rocks(tmp_path: Path) -> Iterator[Callable[[], RocksStore]]:
    made: list[RocksStore] = []

    def new() -> RocksStore:
        made.append(RocksStore.create(tmp_path / f"db{len(made)}", {"format": b"1"}))
        return made[-1]

    yield new
    for store in made:
        store.close()


def test_a_closed_store_says_so(rocks: Callable[[], RocksStore]) -> None:
    store, maker = rocks(), Maker()
    store.write(maker.commit(entries(3), keep=True))
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.newest(),
        lambda: store.meta("format"),
        lambda: list(store.segments(0, 1)),
        lambda: list(store.stored_sizes()),
        lambda: store.edge(0, 0),
        lambda: store.remembered_before(1, 1),
        lambda: store.write(maker.commit(entries(1))),
        lambda: store.sync(),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()


def test_a_half_read_scan_does_not_keep_the_lock(rocks: Callable[[], RocksStore]) -> None:
    store, maker = rocks(), Maker()
    store.write(maker.commit(entries(1000), keep=True))
    scans: list[Iterator[object]] = [
        store.segments(0, 1000),
        store.stored_sizes(),
        store.rows("tiles"),
        store.segments(0, 1000),
    ]
    for scan in scans[:3]:
        next(scan)
    store.close()
    again = RocksStore(store.path)
    try:
        maker.check(again)
        for scan in scans:
            with pytest.raises(ClosedError):
                next(scan)
    finally:
        again.close()


def test_a_store_is_opened_for_writing_once(rocks: Callable[[], RocksStore]) -> None:
    store = rocks()
    with pytest.raises(LockedError):
        RocksStore(store.path)
    store.close()
    RocksStore(store.path).close()


def test_a_scan_that_nobody_finishes_is_let_go_of(rocks: Callable[[], RocksStore]) -> None:
    store, maker = rocks(), Maker()
    store.write(maker.commit(entries(600)))
    for _ in range(50):
        next(store.segments(0, 600))
    assert not store._scans._live
