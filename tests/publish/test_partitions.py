"""Partitions: lines, and the writer, whose every request fails in turn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.errors import (
    DamagedError,
    FormatError,
    FormatVersionError,
    NotALogError,
    UnreachableError,
)
from merklelog.publish import NewObject, ObjectKind
from merklelog.publish.encoding import decompress
from merklelog.publish.memory import MemoryStore
from merklelog.publish.objects import PLAIN
from merklelog.publish.partitions import Partitioning, PartitionWriter
from merklelog.publish.partitions_layout import (
    STATE_KEY,
    Part,
    parse_part_key,
    period_at,
)
from merklelog.publish.partitions_lines import MAX_ENTRIES, format_lines, parse_lines
from merklelog.tree import EMPTY_ROOT, Hash, TileHashes, leaf_hash, root_hash

HOUR = 3_600
NOON = 1_795_003_200 // 86_400 * 86_400 + 12 * HOUR


# --- lines

SPECIAL = [b"", b"{}", b'{"a":"\\u0000"}', b"\x00", b"\n", b"\r\n\t", b"\x7f", b"\xff" * 9, b'"']
SPECIAL.append("\u00e9\u2028\U0001f600".encode())
some_entries = st.lists(
    st.binary(max_size=40) | st.text(max_size=40).map(str.encode) | st.sampled_from(SPECIAL)
)


@given(st.integers(0, 2**62), some_entries)
def test_lines_are_read_back(first: int, entries: list[bytes]) -> None:
    data = format_lines(first, entries)
    assert parse_lines(data, first) == (entries, [leaf_hash(entry) for entry in entries])


def test_every_line_has_the_same_four_columns() -> None:
    rows = [json.loads(line) for line in format_lines(7, SPECIAL).decode().split("\n")[:-1]]
    assert [row["index"] for row in rows] == list(range(7, 7 + len(SPECIAL)))
    for row, entry in zip(rows, SPECIAL, strict=True):
        assert list(row) == ["index", "leaf_hash", "text", "base64"]
        assert row["leaf_hash"] == leaf_hash(entry).hex()
        assert (row["text"] is None) is (entry in (b"\x00", b"\xff" * 9))
        assert isinstance(row["text"] if row["text"] is not None else row["base64"], str)


@settings(max_examples=300)
@given(st.data())
def test_any_other_byte_in_a_line_is_found(data: st.DataObject) -> None:
    lines = format_lines(3, [b"one", b"\xff\x00", '{"a": "é"}'.encode()])
    at = data.draw(st.integers(0, len(lines) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != lines[at]))
    with pytest.raises(FormatError):
        parse_lines(lines[:at] + bytes((byte,)) + lines[at + 1 :], 3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"index":3,', b'"index":3,"index":3,'),
        (b'"index":3,', b'"index": 3,'),
        (b'"base64":null', b'"base64":"b25l"'),
        (b'"text":"one","base64":null', b'"text":null,"base64":"b25l"'),
        (b'"text":"one"', b'"text":"\\u006fne"'),
        (b'"text":"one"', b'"text":"\\ud800"'),
        (b"\n", b""),
    ],
)
def test_another_spelling_is_refused(old: bytes, new: bytes) -> None:
    lines = format_lines(3, [b"one"])
    assert old in lines
    with pytest.raises(FormatError):
        parse_lines(lines.replace(old, new), 3)


# --- the writer


class Shown:
    """A log in memory and a store, published up to any size."""

    def __init__(self, memory: ModuleType, size: int, store: MemoryStore | None = None) -> None:
        self.log = memory.MemoryLog().grow(size)
        self.store = store or MemoryStore()

    def writer(self, every: Partitioning = Partitioning.HOURLY) -> PartitionWriter:
        return PartitionWriter(self.store, every, self.log.origin)

    def write(self, writer: PartitionWriter, now: int, size: int) -> int:
        """Call `run` until nothing is due; how many files it made."""
        made = writer.run(now, self.at(size), self.log)
        while writer.due(now, size):
            made += writer.run(now, self.at(size), self.log)
        return made

    def at(self, size: int) -> tuple[int, Hash]:
        return size, self.root(size)

    def root(self, size: int) -> Hash:
        if not size:
            return EMPTY_ROOT
        return root_hash(size, TileHashes(size, lambda tile: self.log.tile(*tile)))

    def parts(self) -> list[Part]:
        """The files there, each checked against the log's own entries."""
        found = sorted(map(parse_part_key, self.store.list_keys("partitions/")), key=lambda part: part.start)
        for part in found:
            data, kind = self.store.objects[part.key]
            assert kind.retain
            assert kind.content_encoding is None
            entries, _ = parse_lines(decompress(data, 1 << 26), part.start)
            assert entries == self.log.entries[part.start : part.end]
            assert part.root == self.root(part.end)
        return found


def test_a_period_is_written_when_it_is_over(memory: ModuleType) -> None:
    there = Shown(memory, 1000)
    writer = there.writer()
    assert writer.due(NOON, 0)  # nobody knows before it has read what is there
    assert writer.run(NOON, there.at(0), there.log) == 0
    for size in (10, 300, 700):  # publications of the same hour
        assert writer.run(NOON + 60, there.at(size), there.log) == 0
    assert not writer.due(NOON + HOUR - 1, 700)
    assert writer.due(NOON + HOUR, 700)
    before = dict(there.store.objects)
    assert writer.run(NOON + HOUR - 1, there.at(700), there.log) == 0
    assert there.store.objects == before
    assert writer.run(NOON + HOUR, there.at(700), there.log) == 1
    (part,) = there.parts()
    assert (part.start, part.end, part.period) == (0, 700, period_at(Partitioning.HOURLY, NOON))
    assert not writer.due(NOON + 9 * HOUR, 700)  # nothing new: an idle log asks for nothing
    # an hour without publications has no file; what comes next belongs to the hour in which it comes
    assert writer.run(NOON + 9 * HOUR, there.at(700), there.log) == 0
    assert writer.run(NOON + 10 * HOUR, there.at(900), there.log) == 1
    assert [(p.start, p.end, p.period.time) for p in there.parts()] == [
        (0, 700, NOON),
        (700, 900, NOON + 9 * HOUR),
    ]


def test_none_writes_nothing(memory: ModuleType) -> None:
    there = Shown(memory, 10)
    writer = there.writer(Partitioning.NONE)
    assert writer.run(NOON, there.at(10), there.log) == 0
    assert not writer.due(NOON + 99 * HOUR, 10)
    assert there.store.objects == {}


def test_a_clock_that_was_set_back_opens_no_period_again(memory: ModuleType) -> None:
    there = Shown(memory, 30)
    writer = there.writer()
    writer.run(NOON, there.at(0), there.log)
    writer.run(NOON - 5 * HOUR, there.at(10), there.log)
    writer.run(NOON + HOUR, there.at(20), there.log)
    assert [(p.start, p.end, p.period.time) for p in there.parts()] == [(0, 20, NOON)]


def test_finer_or_coarser_from_now_on(memory: ModuleType) -> None:
    there = Shown(memory, 30)
    there.writer(Partitioning.DAILY).run(NOON, there.at(0), there.log)
    there.writer(Partitioning.MINUTE).run(NOON + 61, there.at(10), there.log)
    there.writer(Partitioning.HOURLY).run(NOON + 125, there.at(20), there.log)
    there.writer(Partitioning.HOURLY).run(NOON + HOUR, there.at(30), there.log)
    assert [(p.end, p.period.every, p.period.time) for p in there.parts()] == [
        (10, Partitioning.DAILY, NOON - 12 * HOUR),
        (20, Partitioning.MINUTE, NOON + 60),
        (30, Partitioning.HOURLY, NOON),
    ]


def test_a_long_period_has_several_files(memory: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merklelog.publish.partitions.MAX_BYTES", 2_000)
    monkeypatch.setattr("merklelog.publish.partitions.MAX_ENTRIES", 300)
    there = Shown(memory, 1_111)
    writer = there.writer()
    writer.run(NOON, there.at(0), there.log)
    assert writer.run(NOON + HOUR, there.at(1_111), there.log) == 1
    assert len(there.parts()) == 1
    assert (
        there.writer().run(NOON + HOUR, there.at(1_111), there.log) == 1
    )  # the next writer goes on behind it
    assert there.write(there.writer(), NOON + HOUR, 1_111) == len(there.parts()) - 2 > 2
    parts = there.parts()
    assert [p.start for p in parts] == [0, *(p.end for p in parts[:-1])]
    assert parts[-1].end == 1_111
    for part in parts:
        assert sum(map(len, there.log.entries[part.start : part.end])) <= 2_000
        assert part.end - part.start <= 300 <= MAX_ENTRIES


class Failing(MemoryStore):
    """Fails the write of that number, counted from 1: before it is done, or after."""

    def __init__(self, number: int, *, stored: bool) -> None:
        super().__init__()
        self.left, self.stored = number, stored

    def _fails(self) -> bool:
        self.left -= 1
        if self.left == 0 and not self.stored:
            raise UnreachableError("no answer")
        return self.left == 0

    def put_many(self, objects: Iterable[NewObject]) -> int:
        return sum(self.put_immutable(each.key, each.data, each.kind) for each in objects)

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        fails = self._fails()
        made = super().put_immutable(key, data, kind)
        if fails:
            raise UnreachableError("no answer")
        return made

    def put_if_version(
        self, key: str, data: bytes, expected: str | None, kind: ObjectKind = PLAIN
    ) -> str | None:
        fails = self._fails()
        version = super().put_if_version(key, data, expected, kind)
        if fails:
            raise UnreachableError("no answer")
        return version


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("fresh", [False, True], ids=["the same writer", "the next writer, hours later"])
def test_every_write_fails_in_turn(
    memory: ModuleType, monkeypatch: pytest.MonkeyPatch, stored: bool, fresh: bool
) -> None:
    monkeypatch.setattr("merklelog.publish.partitions.MAX_ENTRIES", 300)
    plan = [
        (NOON, 0),
        (NOON + 60, 400),
        (NOON + HOUR, 800),
        (NOON + 3 * HOUR, 1_000),
        (NOON + 9 * HOUR, 1_000),
    ]
    failures = 0
    for number in range(1, 40):
        there = Shown(memory, 1_000, Failing(number, stored=stored))
        writer, late = there.writer(), 0
        for now, size in plan:
            try:
                there.write(writer, now + late, size)
            except UnreachableError:
                failures += 1
                if fresh:
                    writer, late = there.writer(), HOUR * 5
                there.write(writer, now + late, size)
        parts = there.parts()
        assert [p.start for p in parts] == [0, *(p.end for p in parts[:-1])]
        assert parts[-1].end == 1_000
        assert [p.period.time for p in parts] == sorted(p.period.time for p in parts)
        if failures < number:
            break
    assert failures >= 8
    assert failures < number, "some write was never failed"


def test_two_writers_write_each_file_once(memory: ModuleType) -> None:
    there = Shown(memory, 900)
    one, two = there.writer(), there.writer()
    one.run(NOON, there.at(0), there.log)
    two.run(NOON, there.at(0), there.log)
    assert one.run(NOON + HOUR, there.at(300), there.log) == 1
    assert two.run(NOON + HOUR, there.at(300), there.log) == 0  # lost the swap, read, and found it done
    assert two.run(NOON + 2 * HOUR, there.at(900), there.log) == 1
    assert one.run(NOON + 2 * HOUR, there.at(300), there.log) == 0  # behind the other: not its business
    assert [(p.start, p.end) for p in there.parts()] == [(0, 300), (300, 900)]


def test_a_restarted_writer_finishes_a_period_though_nothing_is_new(memory: ModuleType) -> None:
    there = Shown(memory, 30)
    there.write(there.writer(), NOON, 0)
    again = there.writer()
    assert again.due(NOON + HOUR, 30)
    assert there.write(again, NOON + HOUR, 30) == 1
    assert not again.due(NOON + HOUR, 30)


class Moving(MemoryStore):
    """Whoever compares loses: somebody else was there a moment before, each time."""

    swaps = 0

    def put_if_version(
        self, key: str, data: bytes, expected: str | None, kind: ObjectKind = PLAIN
    ) -> str | None:
        self.swaps += 1
        return None


def test_a_state_that_never_stands_still_is_given_up(memory: ModuleType) -> None:
    there = Shown(memory, 30, store := Moving())
    with pytest.raises(UnreachableError, match=r"partitions.json: 8 times"):
        there.writer().run(NOON, there.at(0), there.log)
    assert store.swaps == 8


def test_a_state_that_is_not_ours_is_refused(memory: ModuleType) -> None:
    there = Shown(memory, 10)
    there.writer().run(NOON, there.at(0), there.log)
    other = PartitionWriter(there.store, Partitioning.HOURLY, "example.com/other")
    with pytest.raises(NotALogError, match=r"partitions.json: partitions of 'log.example/memory'"):
        other.run(NOON, there.at(0), there.log)
    there.store.put(STATE_KEY, b"{}")
    with pytest.raises(DamagedError, match=r"partitions.json"):
        there.writer().run(NOON, there.at(0), there.log)
    there.store.put(STATE_KEY, b'{"format":2}')
    with pytest.raises(FormatVersionError, match="newer"):
        there.writer().run(NOON, there.at(0), there.log)


def test_a_log_that_is_not_what_was_shown_writes_nothing(memory: ModuleType) -> None:
    there = Shown(memory, 600)
    writer = there.writer()
    writer.run(NOON, there.at(0), there.log)
    with pytest.raises(DamagedError):
        writer.run(NOON + HOUR, (600, Hash(bytes(32))), there.log)
    assert there.parts() == []
