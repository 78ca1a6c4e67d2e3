"""An audit of partitions: whole ones are proven, and anything else about any file is named."""

from __future__ import annotations

from types import ModuleType

import pytest

from merklelog.audit.partitions import check_partitions
from merklelog.audit.report import AuditFinding, Findings
from merklelog.publish.encoding import compress, decompress
from merklelog.publish.memory import MemoryStore
from merklelog.publish.partitions import Partitioning, PartitionWriter
from merklelog.publish.partitions_layout import STATE_KEY, Part, format_state, parse_part_key, parse_state
from merklelog.publish.partitions_lines import format_lines
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import EMPTY_ROOT, Hash, TileHashes, root_hash

HOUR = 3_600
NOON = 1_795_262_400
ENDS = (0, 10, 300, 900, 1_000)


class Published:
    """A log in memory of 1,200 entries, whose first 1,000 are in partitions of an hour each."""

    def __init__(self, memory: ModuleType, every: Partitioning = Partitioning.HOURLY) -> None:
        self.log = memory.MemoryLog().grow(1_200)
        self.store = MemoryStore()
        self.size = 1_200
        writer = PartitionWriter(self.store, every, self.log.origin)
        for number, end in enumerate(ENDS):
            writer.run(NOON + number * HOUR, (end, self.root(end)), self.log)
        self.parts = sorted(map(parse_part_key, self.store.list_keys("partitions/")), key=lambda p: p.start)

    def root(self, size: int) -> Hash:
        if not size:
            return EMPTY_ROOT
        return root_hash(size, TileHashes(size, lambda tile: self.log.tile(*tile)))

    def findings(self, remarks: list[str] | None = None) -> list[AuditFinding]:
        findings = Findings()
        tiles = VerifiedTiles(self.log, self.size, self.root(self.size))
        found = check_partitions(self.store, self.store, tiles, self.size, findings)
        if remarks is not None:
            remarks += found
        return findings.listed

    def entries(self, part: Part) -> list[bytes]:
        return list(self.log.entries[part.start : part.end])

    def replace(self, old: Part, new: Part, entries: list[bytes], first: int | None = None) -> None:
        """Put another file in the place of one."""
        self.store.delete(old.key)
        self.store.put(new.key, compress(format_lines(new.start if first is None else first, entries)))


@pytest.fixture
def there(memory: ModuleType) -> Published:
    return Published(memory)


def the_one(findings: list[AuditFinding]) -> AuditFinding:
    assert len(findings) == 1, "\n".join(map(str, findings))
    return findings[0]


def test_whole_partitions_are_proven(there: Published) -> None:
    remarks: list[str] = []
    assert there.findings(remarks) == []
    assert remarks == ["memory:store/partitions/: 4 files hold entries 0 to 999"]
    assert len(there.parts) == 4


def test_no_partitions_are_none(memory: ModuleType) -> None:
    there = Published(memory, Partitioning.NONE)
    remarks: list[str] = []
    assert there.findings(remarks) == []
    assert remarks == []
    assert there.store.objects == {}


def test_a_smaller_audited_tree_leaves_out_what_is_newer(there: Published) -> None:
    there.size = 600
    assert there.findings() == []


def test_an_entry_that_was_changed_is_named(there: Published) -> None:
    part = there.parts[2]
    entries = there.entries(part)
    entries[400 - part.start] += b"!"
    there.replace(part, part, entries)
    found = the_one(there.findings())
    assert found.entries == (400, 401)
    assert found.detail == "not the entry that the tree has"
    assert found.where.endswith(part.key)


def test_a_line_that_was_changed_is_named(there: Published) -> None:
    part = there.parts[1]
    lines = decompress(there.store.get(part.key).data, 1 << 20)
    there.store.put(part.key, compress(lines.replace(b'"index":200,', b'"index":201,')))
    assert "the line of entry 200 says that it is entry 201" in the_one(there.findings()).detail
    there.store.put(part.key, compress(lines.replace(b"event 200", b"event 2OO")))
    assert "the line of entry 200: its leaf hash is not that" in the_one(there.findings()).detail
    there.store.put(part.key, lines)
    assert "gzip" in the_one(there.findings()).detail


def test_lines_left_out_or_too_many(there: Published) -> None:
    part = there.parts[2]
    entries = there.entries(part)
    there.replace(part, part, entries[:-1])
    assert the_one(there.findings()).detail == "it has 599 lines, want 600"
    there.replace(part, part, [*entries, b"more"])
    assert the_one(there.findings()).detail == "it has 601 lines, want 600"


def test_a_file_that_is_gone(there: Published) -> None:
    there.store.delete(there.parts[1].key)
    found = the_one(there.findings())
    assert found.entries == (10, 300)
    assert "entries 10 to 299 are in no file" in found.detail


def test_the_last_file_is_gone(there: Published) -> None:
    there.store.delete(there.parts[-1].key)
    assert the_one(there.findings()).entries == (900, 1_000)


def test_a_file_that_is_there_twice(there: Published) -> None:
    part = there.parts[2]
    other = Part(there.parts[3].period, part.start, part.end, part.root)
    there.store.put(other.key, there.store.get(part.key).data)
    assert "entries 300 to 899 are in another file" in the_one(there.findings()).detail


def test_a_file_moved_to_another_hour(there: Published) -> None:
    old, earlier = there.parts[2], there.parts[0]
    moved = Part(earlier.period, old.start, old.end, old.root)
    there.replace(old, moved, there.entries(old))
    assert there.parts[1].key in the_one(there.findings()).detail


def test_a_name_that_says_another_root(there: Published) -> None:
    part = there.parts[1]
    there.replace(part, Part(part.period, part.start, part.end, Hash(bytes(32))), there.entries(part))
    assert the_one(there.findings()).detail.startswith(f"its name says the root {bytes(32).hex()}")


def test_a_name_that_says_another_range(there: Published) -> None:
    part = there.parts[1]
    there.replace(part, Part(part.period, part.start, part.end + 1, part.root), there.entries(part))
    assert len(there.findings()) >= 1


def test_an_object_that_is_none_of_the_partitions(there: Published) -> None:
    there.store.put("partitions/year=2026/notes.txt", b"x")
    assert the_one(there.findings()).detail == "it is no file of the partitions"


def test_a_file_behind_what_was_published(there: Published) -> None:
    last = there.parts[-1]
    there.log.append([b"unpublished"] * 100)
    there.replace(last, last, there.entries(last))
    more = Part(last.period, 1_200, 1_300, Hash(bytes(32)))
    there.store.put(more.key, compress(format_lines(1_200, [b"unpublished"] * 100)))
    assert the_one(there.findings()).detail == "its entries are behind those that were published"


@pytest.mark.parametrize("data", [None, b"{}", b'{"format":2}'])
def test_a_state_that_is_gone_or_damaged(there: Published, data: bytes | None) -> None:
    there.store.delete(STATE_KEY)
    if data is not None:
        there.store.put(STATE_KEY, data)
    found = there.findings()
    assert found
    assert all(each.where.endswith(STATE_KEY) for each in found)


def test_a_state_that_was_set_back_hides_nothing(there: Published) -> None:
    state = parse_state(there.store.get(STATE_KEY).data)
    there.store.put(STATE_KEY, format_state(type(state)(state.origin, 10, state.open)))
    assert there.findings() == []  # the files are there, and each is proven
    there.store.delete(there.parts[2].key)
    assert the_one(there.findings()).entries == (300, 900)


def test_files_are_checked_behind_one_that_is_damaged(there: Published) -> None:
    first, third = there.parts[0], there.parts[2]
    there.replace(first, first, [b"other"] * (first.end - first.start))
    entries = there.entries(third)
    entries[5] = b"other"
    there.replace(third, third, entries)
    assert [found.entries for found in there.findings()] == [(0, 10), (305, 306)]


def test_coarser_partitions_come_late_and_are_sorted(memory: ModuleType) -> None:
    there = Published(memory)
    writer = PartitionWriter(there.store, Partitioning.DAILY, there.log.origin)
    writer.run(NOON + 4 * HOUR + 60, (1_000, there.root(1_000)), there.log)
    writer.run(NOON + 30 * HOUR, (1_200, there.root(1_200)), there.log)
    names = [parse_part_key(key).start for key in there.store.list_keys("partitions/")]
    assert names != sorted(names), "the daily file stands before those of its hours"
    assert there.findings() == []
