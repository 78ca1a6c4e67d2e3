"""The intake of a log: every record an entry, in order and in time; repeats, conflicts, what it can not take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import ClosedError, ConfigError, EntryError, FrozenError, KeyFileError, OverloadedError
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import LogPart, encode_entry, parse_entry
from merklelog.ingest.intake import Intake
from merklelog.ingest.placed import Placed
from merklelog.ingest.split import join_entries
from merklelog.ingest.verdict import Verdict
from tests.otlp.conftest import ORIGIN, Place
from tests.otlp.events import hashed, record

MakePlace = Callable[..., Place]


def put(intake: Intake, *records: dict[str, object], submitter: str = "alice") -> list[Placed]:
    return list(intake.submit(records, submitter).result(60))


def parts(place: Place) -> list[LogPart]:
    found = [parse_entry(data) for data in place.entries()]
    return [each.part for each in found if each is not None and each.part is not None]


def held(disk: threading.Event) -> Callable[[str], None]:
    """A step that keeps commits from beginning until the event is set."""

    def step(name: str) -> None:
        if name == "drained":
            disk.wait(60)

    return step


def test_every_record_is_an_entry_in_order(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    records = [record(f"event {i}") for i in range(700)]
    first, then = intake.submit(records[:300], "alice"), intake.submit(records[300:], "bob")
    assert [each.index for each in (*first.result(60), *then.result(60))] == list(range(700))
    want = [
        encode_entry(LogPart(place.clock, "alice" if i < 300 else "bob"), encode_record(each))
        for i, each in enumerate(records)
    ]
    assert place.entries() == want
    placed = first.result()
    assert placed[5] == Placed(5, time_ns=place.clock)
    assert placed[-1] == placed[299] == placed[298:][1]
    assert intake.tallies.records == 700


def test_nothing_submitted_is_nothing_stored(make_place: MakePlace) -> None:
    place = make_place()
    assert put(place.open()) == []
    assert place.entries() == []


def test_times_never_decrease_whatever_the_clock_does(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    for step in (0, 5, -7, 0, 3):
        place.clock += step
        put(intake, record())
    place.clock = 1
    put(place.open(), record())  # the newest entry's time counts after a start, too
    times = [part.time - 10**18 for part in parts(place)]
    assert times == [0, 5, 5, 5, 5, 5]


def test_raw_entries_and_forged_ones_are_looked_past_for_the_time(make_place: MakePlace) -> None:
    place = make_place()
    put(place.open(), record())
    assert place.log is not None
    place.log.append_batch([b"raw", b'{"log":{"format":"merklelog/entry/v1"', *[b"more"] * 300])
    place.clock = 5
    put(place.open(), record())
    assert {part.time for part in parts_of_ours(place)} == {10**18}


def parts_of_ours(place: Place) -> list[LogPart]:
    ends = place.entries()[0], place.entries()[-1]
    found = [parse_entry(each) for each in ends]
    return [each.part for each in found if each is not None and each.part is not None]


def test_one_id_is_one_entry(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    a, b = record("a", "id-a"), record("b", "id-b")
    assert [each.index for each in put(intake, a, b, a)] == [0, 1, 0]
    assert [(each.index, each.duplicate) for each in put(intake, b, record("c"), a)] == [
        (1, True),
        (2, False),
        (0, True),
    ]
    intake = place.open()
    assert [each.duplicate for each in put(intake, a, b)] == [True, True]
    assert intake.tallies.duplicates == 2
    assert len(place.entries()) == 3


def test_other_content_of_one_id_is_kept_and_told(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    a, other, third = record("a", "id"), record("other", "id"), record("third", "id")
    placed = put(intake, a, other, a, other)
    assert [each.index for each in placed] == [0, 1, 0, 1]
    assert (placed[1].conflict_with, placed[3].duplicate) == (0, True)
    assert put(intake, third)[0].conflict_with == 0
    intake = place.open()
    assert [(each.index, each.duplicate) for each in put(intake, third, other, a)] == [
        (2, True),
        (1, True),
        (0, True),
    ]
    assert [part.verdicts for part in parts(place)] == [
        {},
        *[{"record_id": {"conflict_with": 0}}] * 2,
    ]
    assert [(each.origin, each.index, each.record_id) for each in place.findings] == [
        (ORIGIN, 1, "id"),
        (ORIGIN, 2, "id"),
    ]


def test_the_same_from_many_threads_at_once_is_stored_once(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    events = [record(f"{i}", f"id-{i}") for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: [each.index for each in put(intake, *events)], range(16)))
    assert all(answer == answers[0] for answer in answers)
    assert sorted(answers[0]) == list(range(40))
    assert len(place.entries()) == 40


def test_any_order_of_repeats_and_conflicts(make_place: MakePlace) -> None:
    """Every (ID, content) is one entry, all futures name it; only the first content of an ID is no conflict."""
    place = make_place()
    intake = place.open()
    batch = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=6)

    @given(batches=st.lists(batch, max_size=8))
    def any_order(batches: list[list[tuple[int, int]]]) -> None:
        base = len(place.entries())  # of what was tried before; it makes this example's IDs its own
        futures = [intake.submit([record(f"{c}", f"{base}-{i}") for i, c in each], "") for each in batches]
        index: dict[tuple[int, int], int] = {}
        for each, future in zip(batches, futures, strict=True):
            for key, placed in zip(each, future.result(60), strict=True):
                assert index.setdefault(key, placed.index) == placed.index
        entries = place.entries()
        assert sorted(index.values()) == list(range(base, len(entries)))
        firsts = {i: min(at for (j, _), at in index.items() if j == i) for i, _ in index}
        for (i, _), at in index.items():
            want = {} if firsts[i] == at else {"record_id": {"conflict_with": firsts[i]}}
            entry = parse_entry(entries[at])
            assert entry is not None
            assert entry.part is not None
            assert entry.part.verdicts == want

    any_order()


def test_without_an_id_the_same_is_known_for_a_while(make_place: MakePlace) -> None:
    place = make_place(**{"ingest.dedupe_seconds": 10})
    intake = place.open()
    assert [each.index for each in put(intake, record("a"), record("a"), record("b"))] == [0, 0, 1]
    place.clock += 9 * 10**9
    intake = place.open()
    assert [each.index for each in put(intake, record("b"), record("a"))] == [1, 0]
    place.clock += 2 * 10**9
    assert [each.index for each in put(intake, record("a"), record("a"))] == [2, 2]
    assert intake.tallies.duplicates == 3


def test_without_the_setting_the_same_is_stored_again(make_place: MakePlace) -> None:
    place = make_place()
    assert [each.index for each in put(place.open(), record("a"), record("a"))] == [0, 1]


def test_a_log_that_dedupes_does_so_by_the_record_alone(make_place: MakePlace) -> None:
    place = make_place(**{"log.dedupe": True})
    intake = place.open()
    long = record("long" * 50_000)
    assert put(intake, record("a"))[0] == Placed(0, time_ns=place.clock)
    place.clock += 5
    placed = put(intake, record("a"), long, record("b"), record("b"), long, submitter="bob")
    assert [(each.index, each.duplicate) for each in placed] == [
        (0, True),
        (1, False),
        (1 + placed[1].entries, False),
        (1 + placed[1].entries, True),
        (1, True),
    ]
    assert len(place.entries()) == 2 + placed[1].entries
    assert intake.tallies.records == 3


def test_a_record_longer_than_an_entry_is_split_and_joined(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    long = record("€" * 100_000, "id-long")
    placed = put(intake, record("before"), long, record("behind"))
    count = placed[1].entries
    assert [each.index for each in placed] == [0, 1, 1 + count]
    entries = place.entries()
    assert max(map(len, entries)) <= 65_535
    for index in range(1, 1 + count):
        assert join_entries(entries.__getitem__, index).record_bytes == encode_record(long)
    assert put(place.open(), long)[0].index == 1
    assert intake.tallies.split == 1


def test_more_than_goes_at_once_goes_in_pieces(make_place: MakePlace) -> None:
    """A quarter of log.max_pending_bytes goes at a time; the rest follows, and times and order hold."""
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    records = [record(f"{i} " + "x" * 2_000, f"id-{i}" if i % 3 else None) for i in range(2_000)]
    intake = place.open()
    assert [each.index for each in put(intake, *records)] == list(range(2_000))
    assert [each.index for each in put(intake, *records)][1] == 1
    assert intake.tallies.duplicates == 1_333


def test_the_rest_of_what_is_stored_in_part_waits_for_room(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it refused, its sender would send all of it again."""
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    intake = place.open()
    assert place.log is not None
    calls, submit = iter(range(100)), place.log.submit_batch

    def full_at_times(*what: object, **how: object) -> object:
        if next(calls) in {1, 2, 4}:
            raise OverloadedError("full")
        return submit(*what, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(place.log, "submit_batch", full_at_times)
    records = [record(f"{i} " + "x" * 2_000) for i in range(400)]
    assert [each.index for each in put(intake, *records)] == list(range(400))


def test_a_record_longer_than_all_that_may_wait_is_told_so(make_place: MakePlace) -> None:
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    intake = place.open()
    poison = record("x" * (1 << 20))
    with pytest.raises(EntryError, match=r"log\.max_pending_bytes is 1,048,576"):
        put(intake, poison)
    with pytest.raises(EntryError):
        put(intake, record("before it"), poison, poison, record("behind it"))
    assert put(intake, record("after it")) == [Placed(2, time_ns=place.clock)]


def test_too_much_at_once_is_refused_and_nothing_is_left_behind(make_place: MakePlace) -> None:
    place = make_place(**{"log.max_pending_bytes": 1 << 20})
    disk = threading.Event()  # a disk that takes its time
    intake = place.open(step=held(disk))
    taken, refused = [], []
    for i in range(60):
        try:
            taken.append(intake.submit([record("x" * 60_000, f"id-{i}")], ""))
        except OverloadedError:
            refused.append(i)
    disk.set()
    assert refused, "60 of them are 3.6 MB"
    assert sorted(each.index for future in taken for each in future.result(60)) == list(range(len(taken)))
    again = put(intake, *[record("x" * 60_000, f"id-{i}") for i in (0, refused[0])])
    assert [each.duplicate for each in again] == [True, False]


def test_content_hashes_are_checked_and_told(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    event = {"who": "älice", "n": 1.5, "nested": {"b": [1, None], "a": True}}
    placed = put(intake, hashed(event), hashed(event, wrong=True), record("no", audit__content_hash="abc"))
    assert [each.verdict for each in placed] == [Verdict.OK, Verdict.MISMATCH, Verdict.NOT_CHECKABLE]
    assert [part.verdicts["content_hash"] for part in parts(place)] == ["ok", "mismatch", "not checkable"]
    assert [(each.index, each.verdict) for each in place.findings] == [(1, Verdict.MISMATCH)]
    assert intake.tallies.verdicts == dict.fromkeys(Verdict, 1)


def test_content_hashes_are_left_alone_where_told_so(make_place: MakePlace) -> None:
    place = make_place(**{"ingest.check_content": False})
    assert put(place.open(), hashed({"a": 1}, wrong=True))[0].verdict is None
    assert parts(place)[0].verdicts == {}


def test_a_check_that_breaks_does_not_hold_up_a_record(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("merklelog.ingest.ready.judge_content", broken)
    place = make_place()
    placed = put(place.open(), hashed({"a": 1}), record("after it"))
    assert [each.verdict for each in placed] == [Verdict.NOT_CHECKABLE, None]


def test_what_is_protected_is_checked_first_and_stored_without(make_place: MakePlace) -> None:
    place = make_place(**{"ingest.protect.drop": ("body",)})
    intake = place.open()
    placed = put(intake, hashed({"secret": 1}), record("secret", "id"), record("other secret", "id"))
    assert placed[0].verdict is Verdict.OK
    assert not any(b"secret" in entry for entry in place.entries())
    assert {part.protected for part in parts(place)} == {("drop:body",)}
    assert (placed[2].index, placed[2].duplicate) == (1, True), "what is stored of them is the same"


def test_what_can_not_protect_does_not_open(make_place: MakePlace) -> None:
    with pytest.raises(ConfigError):
        make_place(**{"ingest.protect.hmac": ("user",)}).open()
    with pytest.raises(KeyFileError):
        make_place(**{"ingest.protect.hmac": ("user",), "ingest.protect.key": "none"}).open()
    names = tuple(f"{i:05}" + "n" * 100 for i in range(50))
    with pytest.raises(ConfigError, match="4,096"):
        make_place(**{"ingest.protect.drop": names}).open()


def test_a_frozen_log_and_a_closed_intake_say_so(make_place: MakePlace) -> None:
    place = make_place()
    intake = place.open()
    put(intake, record())
    assert place.log is not None
    place.log.freeze()
    with pytest.raises(FrozenError):
        intake.submit([record()], "")
    intake.close()
    with pytest.raises(ClosedError):
        intake.submit([record()], "")


def test_what_is_on_its_way_when_it_closes_is_answered(make_place: MakePlace) -> None:
    place = make_place()
    disk = threading.Event()
    intake = place.open(step=held(disk))
    future = intake.submit([record("x"), record("y", "id")], "")
    intake.close()
    disk.set()
    assert [each.index for each in future.result(60)] == [0, 1]
