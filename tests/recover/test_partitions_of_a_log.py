"""Partitions of a real log: written as it publishes, gone on with after its disk was lost, proven by the audit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.audit import AuditReport, audit
from merklelog.formats import single_log_policy
from merklelog.log import opening, publishing
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish import DirectoryStore
from merklelog.publish.encoding import decompress
from merklelog.publish.partitions_layout import Part, parse_part_key
from merklelog.publish.partitions_lines import parse_lines

ORIGIN = "recover.example/partitions"
NOON = 1_795_262_400


class Clock:
    """The time module of a log's engine, with hands."""

    def __init__(self) -> None:
        self.now = float(NOON)
        self.monotonic = time.monotonic

    def time(self) -> float:
        return self.now


class World:
    """A log, its target, and its clock."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path, self.keys, self.clock = folder / "log", folder / "keys", clock
        self.target = f"dir:{folder / 'target'}"
        self.store = DirectoryStore(folder / "target")
        self.settings: dict[str, object] = {
            "store.min_free_bytes": 0,
            "publish.targets": (self.target,),
            "publish.partitions": "minute",
            "publish.interval": 0.05,
        }
        merklelog.create_log(self.path, ORIGIN, keys=self.keys, settings=self.settings)  # type: ignore[arg-type]

    def append(self, *entries: bytes, after: float) -> None:
        """So many seconds later, append and publish."""
        self.clock.now += after
        with merklelog.open(self.path) as log:
            log.append_batch(list(entries))
            log.publish_now().result()

    def parts(self) -> Iterator[tuple[Part, list[bytes]]]:
        found = [parse_part_key(key) for key in self.store.list_keys("partitions/")]
        for part in sorted(found, key=lambda each: each.start):
            lines = decompress(self.store.get(part.key).data, 1 << 20)
            yield part, parse_lines(lines, part.start)[0]

    def audit(self) -> AuditReport:
        with merklelog.open_reader(self.path) as log:
            return audit(self.target, single_log_policy(log.vkeys), processes=1)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock()
    monkeypatch.setattr(opening, "time", clock)
    return World(tmp_path, clock)


def test_a_log_writes_them_as_it_publishes(world: World) -> None:
    world.append(b"one", b"two", after=0)
    world.append(b"three", after=30)
    assert list(world.parts()) == []
    world.append(b"four", after=60)
    world.append(b"five", after=600)
    found = [(part.period.time - NOON, entries) for part, entries in world.parts()]
    assert found == [(0, [b"one", b"two", b"three"]), (60, [b"four"])]
    report = world.audit()
    assert report.findings == ()
    assert any("2 files hold entries 0 to 3" in remark for remark in report.remarks)


def test_a_restarted_idle_log_writes_a_period_that_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.append(b"one", b"two", after=0)
    world.clock.now += 60
    monkeypatch.setattr(publishing, "TICK", 0.02)
    with merklelog.open(world.path):
        until = time.monotonic() + 60
        while not (found := list(world.parts())) and time.monotonic() < until:
            time.sleep(0.02)
    assert [(part.period.time - NOON, entries) for part, entries in found] == [(0, [b"one", b"two"])]


def test_damaged_state_stops_no_publication(world: World) -> None:
    world.append(b"one", after=0)
    world.store.put("partitions.json", b"{}")
    with merklelog.open(world.path) as log:
        for size in (2, 3):
            log.append(b"entry %d" % size)
            assert log.publish_now().result().size == size
            until = time.monotonic() + 60
            while not (said := log.publishing and log.publishing.last_error) and time.monotonic() < until:
                time.sleep(0.01)
            assert said is not None
            assert "partitions.json" in said


def test_a_changed_line_is_found_by_the_audit(world: World) -> None:
    world.append(b"one", b"two", after=0)
    world.append(b"three", after=60)
    ((part, _),) = world.parts()
    file = Path(world.target.removeprefix("dir:")) / part.key
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-1])
    (finding,) = world.audit().findings
    assert finding.where.endswith(part.key)


def test_they_go_on_after_the_disk_was_lost(world: World) -> None:
    world.append(b"one", b"two", after=0)
    world.append(b"three", after=60)
    world.path.rename(world.path.with_name("lost"))
    report = recover_log(
        world.path,
        world.store,
        load_signers(world.keys, ORIGIN),
        settings={**world.settings, "log.keys": str(world.keys)},  # type: ignore[dict-item]
    )
    assert (report.size, report.epoch, report.published) == (3, 2, (3,))
    world.append(b"four", after=60)
    world.append(b"five", after=60)
    assert [entries for _, entries in world.parts()] == [[b"one", b"two"], [b"three"], [b"four"]]
    audited = world.audit()
    assert audited.findings == ()
    assert audited.size == 5
