"""Every kind of damage in a published copy: found, named by file and entries, and the audit goes on."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merklelog.audit import AuditFinding, AuditReport, FindingKind, audit
from merklelog.formats import (
    Policy,
    format_bundle,
    parse_bundle,
)

SIZE = 70_000  # tile/0/273 and tile/1/001 are partial; tile/2/000 holds one hash
Make = Callable[..., Any]


def only(report: AuditReport) -> AuditFinding:
    assert len(report.findings) == 1, report.findings
    assert (report.exit_status, report.unlisted, report.size) == (1, 0, SIZE)
    return report.findings[0]


def check(
    report: AuditReport, kind: FindingKind, key: str, entries: tuple[int, int] | None, words: str
) -> None:
    finding = only(report)
    assert (finding.kind, finding.entries) == (kind, entries)
    assert finding.where.endswith(f"/victim/{key}")
    assert words in finding.detail
    assert key in str(finding)


def test_a_changed_entry_is_named(victim: Make) -> None:
    damaged = victim(SIZE)
    key = "tile/entries/100"
    entries = parse_bundle((damaged.path / key).read_bytes(), 256)
    entries[7] = entries[7][:-1] + b"!"
    damaged.write(key, format_bundle(entries))
    index = 100 * 256 + 7
    report = damaged.audit()
    check(report, FindingKind.ENTRY, key, (index, index + 1), f"entry {index} has leaf hash")
    assert "tile/1/000 confirms" in report.findings[0].detail
    assert report.entries == SIZE


def test_the_first_of_several_changed_entries_is_named(victim: Make) -> None:
    damaged = victim(SIZE)
    key = "tile/entries/003"
    entries = parse_bundle((damaged.path / key).read_bytes(), 256)
    entries[9], entries[200] = b"one", b"two"
    damaged.write(key, format_bundle(entries))
    check(damaged.audit(), FindingKind.ENTRY, key, (768 + 9, 768 + 201), "(1 more like it)")


def test_a_changed_entry_of_the_last_bundle_is_named(victim: Make) -> None:
    damaged = victim(SIZE)
    key = f"tile/entries/273.p/{SIZE % 256}"
    entries = parse_bundle((damaged.path / key).read_bytes(), SIZE % 256)
    entries[5] += b"!"
    damaged.write(key, format_bundle(entries))
    index = 273 * 256 + 5
    check(damaged.audit(), FindingKind.ENTRY, key, (index, index + 1), "which the root confirms")


def test_a_flipped_length_is_named_with_the_first_entry_it_breaks(victim: Make) -> None:
    damaged = victim(SIZE)
    key = "tile/entries/002"
    framed = (damaged.path / key).read_bytes()
    at = sum(2 + len(each) for each in parse_bundle(framed, 256)[:30])
    damaged.flip(key, at, bit=7)  # 32,768 bytes more
    check(damaged.audit(), FindingKind.BUNDLE, key, (512 + 30, 768), "runs over the end")


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_truncated_bundle_is_named(victim: Make, cut: int) -> None:
    damaged = victim(SIZE)
    file = damaged.path / "tile/entries/002"
    entries = parse_bundle(file.read_bytes(), 256)
    damaged.write("tile/entries/002", file.read_bytes()[:cut])
    whole = next(n for n in range(257) if len(format_bundle(entries[: n + 1])) > cut)
    assert cut == 0 or (whole > 0) == (cut == 100)
    check(damaged.audit(), FindingKind.BUNDLE, "tile/entries/002", (512 + whole, 768), "bundle: ")


def test_bytes_behind_a_bundle_are_named(victim: Make) -> None:
    damaged = victim(SIZE)
    file = damaged.path / "tile/entries/002"
    damaged.write("tile/entries/002", file.read_bytes() + b"\0\0")
    check(damaged.audit(), FindingKind.BUNDLE, "tile/entries/002", (767, 768), "follow entry 255")


@pytest.mark.parametrize("position", [0, 20, -5, -1])
def test_broken_gzip_is_named(victim: Make, position: int) -> None:
    damaged = victim(SIZE, "gzip")
    damaged.flip("tile/entries/101", position, bit=5)
    finding = only(damaged.audit())
    assert finding.kind in {FindingKind.BUNDLE, FindingKind.ENTRY}
    assert finding.where.endswith("/tile/entries/101")
    assert finding.entries is not None
    assert 101 * 256 <= finding.entries[0] < finding.entries[1] <= 102 * 256


def test_gzip_that_would_not_end_is_refused(victim: Make) -> None:
    damaged = victim(SIZE, "gzip")
    damaged.write("tile/entries/101", gzip.compress(bytes(20 << 20)))
    check(damaged.audit(), FindingKind.BUNDLE, "tile/entries/101", (25_856, 26_112), "more than")


def test_a_flipped_bit_in_a_tile_is_the_tiles(victim: Make) -> None:
    damaged = victim(SIZE)
    damaged.flip("tile/0/100", 7 * 32 + 3)
    check(
        damaged.audit(),
        FindingKind.TILE,
        "tile/0/100",
        (25_600, 25_856),
        f"and entry {25_607} makes",
    )


def test_a_flipped_bit_in_an_upper_tile_is_the_upper_tiles(victim: Make) -> None:
    damaged = victim(SIZE)
    damaged.flip("tile/1/000", 9 * 32)
    finding = only(damaged.audit())
    assert (finding.kind, finding.entries) == (FindingKind.TILE, (0, 65_536))
    assert finding.where.endswith("/tile/1/000")
    assert "hash 9 is" in finding.detail
    assert "tile/0/009 makes" in finding.detail


@pytest.mark.parametrize(("level", "key"), [(0, "273.p/112"), (1, "001.p/17"), (2, "000.p/1")])
def test_a_flipped_bit_in_a_partial_tile_is_the_tiles(victim: Make, level: int, key: str) -> None:
    damaged = victim(SIZE)
    damaged.flip(f"tile/{level}/{key}", 5)
    finding = only(damaged.audit())
    assert finding.kind is FindingKind.TILE
    assert finding.where.endswith(f"/tile/{level}/{key}")
    assert "hash 0 is" in finding.detail
    assert "root confirms" in finding.detail


def test_tiles_and_entries_damaged_at_once_are_each_named(victim: Make) -> None:
    damaged = victim(SIZE)
    damaged.flip("tile/0/273.p/112", 5)
    damaged.flip("tile/1/001.p/17", 5)
    damaged.flip("tile/entries/001", 200)
    damaged.flip("tile/0/002", 200)
    (damaged.path / "tile/entries/003").unlink()
    report = damaged.audit()
    assert [f.where.split("/victim/")[1] for f in report.findings] == [
        "tile/entries/001",
        "tile/0/002",
        "tile/entries/003",
        "tile/0/273.p/112",
        "tile/1/001.p/17",
    ]
    assert report.entries == SIZE - 256


@pytest.mark.parametrize(
    ("key", "kind", "entries"),
    [
        ("tile/entries/007", FindingKind.BUNDLE, (1792, 2048)),
        ("tile/0/007", FindingKind.TILE, (1792, 2048)),
        ("tile/1/000", FindingKind.TILE, (0, 65_536)),
        ("tile/entries/273.p/112", FindingKind.BUNDLE, (69_888, 70_000)),
        ("tile/0/273.p/112", FindingKind.TILE, (69_888, 70_000)),
        ("tile/2/000.p/1", FindingKind.TILE, (0, 65_536)),
    ],
)
def test_a_missing_file_is_disproof(
    victim: Make, key: str, kind: FindingKind, entries: tuple[int, int]
) -> None:
    damaged = victim(SIZE)
    (damaged.path / key).unlink()
    check(damaged.audit(), kind, key, entries, "")


def test_a_bundle_and_its_tile_missing_leave_the_rest_proven(victim: Make) -> None:
    damaged = victim(SIZE)
    (damaged.path / "tile/entries/007").unlink()
    (damaged.path / "tile/0/007").unlink()
    report = damaged.audit()
    assert [f.where.split("/victim/")[1] for f in report.findings] == ["tile/entries/007", "tile/0/007"]


@pytest.mark.parametrize("length", [0, 32, 8191, 8193])
def test_a_tile_of_another_length_is_named(victim: Make, length: int) -> None:
    damaged = victim(SIZE)
    file = damaged.path / "tile/0/007"
    damaged.write("tile/0/007", (file.read_bytes() + b"x")[:length])
    check(damaged.audit(), FindingKind.TILE, "tile/0/007", (1792, 2048), "bytes")


def test_a_leftover_partial_tile_must_be_the_beginning_of_the_whole(victim: Make) -> None:
    damaged = victim(SIZE)
    for key, source, cut in (
        ("tile/0/005.p/3", "tile/0/005", 96),
        ("tile/entries/005.p/3", "tile/entries/005", None),
    ):
        whole = (damaged.path / source).read_bytes()
        damaged.write(key, format_bundle(parse_bundle(whole, 256)[:3]) if cut is None else whole[:cut])
    assert damaged.audit().findings == ()
    damaged.flip("tile/0/005.p/3", 40)
    check(damaged.audit(), FindingKind.TILE, "tile/0/005.p/3", None, "not the beginning of tile/0/005")
    damaged.flip("tile/0/005.p/3", 40)
    damaged.flip("tile/entries/005.p/3", 2)
    check(damaged.audit(), FindingKind.BUNDLE, "tile/entries/005.p/3", None, "not the beginning of")


def test_a_publication_that_was_stopped_is_no_finding(victim: Make) -> None:
    damaged = victim(SIZE)
    damaged.write("unfinished", b"A publication\n")
    damaged.write("tile/0/274", bytes(8192))
    damaged.write("tile/0/273", bytes(8192))
    damaged.write("checkpoints/80000", b"soon")
    damaged.write(".merklelog/left", b"a temporary file")
    report = damaged.audit()
    assert report.findings == ()
    assert "3 objects stand behind size 70000" in report.remarks[0]
    assert "unfinished" in report.remarks[1]


# --- what can not be read --------------------------------------------------------------------------------------


def test_what_is_denied_is_not_disproof(victim: Make) -> None:
    damaged = victim(SIZE)
    file = damaged.path / "tile/entries/007"
    file.unlink()
    file.symlink_to("007")  # a link to itself: opening it is refused, whoever asks
    report = damaged.audit()
    (finding,) = report.findings
    assert (finding.disproven, finding.entries, report.exit_status) == (False, (1792, 2048), 3)
    damaged.flip("tile/0/009", 1)
    assert damaged.audit().exit_status == 1


def test_findings_are_bounded_and_disproof_is_never_crowded_out(victim: Make) -> None:
    damaged = victim(SIZE)
    for number in range(150):
        file = damaged.path / f"tile/entries/{number:03d}"
        file.unlink()
        file.symlink_to(file.name)
    assert damaged.audit().exit_status == 3
    damaged.flip("tile/0/200", 1)
    report = damaged.audit()
    assert (len(report.findings), report.unlisted, report.exit_status) == (100, 51, 1)
    assert report.entries == SIZE - 150 * 256


def test_damage_is_told_alike_by_several_processes(victim: Make) -> None:
    damaged = victim(SIZE)
    damaged.flip("tile/0/002", 5)
    damaged.flip("tile/entries/200", 5)
    damaged.flip("checkpoints/70000", 40)
    (damaged.path / "tile/entries/260").unlink()
    target, policy = f"dir:{damaged.path}", damaged.policy
    one, two = audit(target, policy, processes=1), audit(target, policy, processes=2)
    assert two.processes == 2
    assert one.findings == two.findings
    assert (
        len(one.findings) == 5
    )  # the checkpoint's text says another root, and its signature is of the old text
    assert (one.entries, one.tiles, one.bytes) == (two.entries, two.tiles, two.bytes)
    unchecked: Policy | None = None
    assert len(audit(target, unchecked, processes=1).findings) >= 3


def test_what_all_of_this_was_done_to_is_whole(
    data: Callable[[int], Path], copies: Callable[[int, str], Path], grown: tuple[Path, Path]
) -> None:
    """The victims are hard links: a test that wrote through one would have damaged every other one too."""
    for copy in (copies(SIZE, "identity"), copies(SIZE, "gzip"), grown[1]):
        assert audit(f"dir:{copy}").findings == ()
