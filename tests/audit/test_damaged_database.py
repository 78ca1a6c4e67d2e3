"""Damage in a data directory: in the files RocksDB keeps, and rows that are whole and wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import merklelog
from merklelog.audit import FindingKind, audit
from merklelog.formats import LENGTHS, SignatureType, generate_signing_key, single_log_policy
from merklelog.log.backup import backup
from merklelog.log.create import load_signers
from merklelog.store import RocksStore, layout
from merklelog.tree import leaf_hash
from tests.support.damaged_logs import ORIGIN, SIZE, log, only, rows_of, whole

__all__ = ["log", "whole"]  # fixtures


def segment(index: int) -> bytes:
    """The entries of the commit that begins at `index`, as far as its bundle goes, framed."""
    last = min(index // 100 * 100 + 100, index // 256 * 256 + 256)
    entries = [b"event %d " % i * (1 + i % 4) for i in range(index, last)]
    return b"".join(LENGTHS[len(entry)] + entry for entry in entries)


def test_the_helper_makes_the_segments_of_the_log(log: Path) -> None:
    with rows_of(log) as store:
        assert dict(store.rows("entries"))[layout.number(700)] == segment(700)


def test_a_changed_entry_is_named(log: Path) -> None:
    with rows_of(log) as store:
        changed = segment(700).replace(b"event 703 ", b"event 7O3 ")
        store.put_rows("entries", [(layout.number(700), changed)])
    finding = only(audit(str(log)))
    assert (finding.kind, finding.entries) == (FindingKind.ENTRY, (703, 704))
    assert finding.where == f"{log}/db: tile/entries/002"


def test_a_changed_entry_of_the_last_bundle_is_named(log: Path) -> None:
    with rows_of(log) as store:
        changed = segment(2900).replace(b"event 2950 ", b"event 295O ")
        store.put_rows("entries", [(layout.number(2900), changed)])
    finding = only(audit(str(log)))
    assert (finding.kind, finding.entries) == (FindingKind.ENTRY, (2950, 2951))


def test_missing_entries_are_named(log: Path) -> None:
    with rows_of(log) as store:
        store._families["entries"].delete(layout.number(600))
        store._families["entries"].delete(layout.number(1000))
    report = audit(str(log))
    assert [(f.kind, f.entries) for f in report.findings] == [
        (FindingKind.BUNDLE, (512, 768)),
        (FindingKind.BUNDLE, (1000, 1024)),
    ]
    assert "entries 600 to 699 are missing" in report.findings[0].detail
    assert "got 232 entries, want 256" in report.findings[1].detail


def test_a_missing_bundle_and_a_missing_end_are_named(log: Path) -> None:
    with rows_of(log) as store:
        for start in (256, 300, 400, 500):
            store._families["entries"].delete(layout.number(start))
        store._families["entries"].delete(layout.number(2900))
    report = audit(str(log))
    assert [finding.entries for finding in report.findings] == [(256, 512), (2900, 3000)]
    assert report.entries == SIZE - 256 - (SIZE - 2816)


def test_a_cut_segment_is_named(log: Path) -> None:
    with rows_of(log) as store:
        store.put_rows("entries", [(layout.number(700), segment(700)[:-30])])
    finding = only(audit(str(log)))
    assert finding.kind is FindingKind.BUNDLE
    assert finding.entries is not None
    assert 700 < finding.entries[0] < finding.entries[1] == 768


def test_a_wrong_tile_is_named(log: Path) -> None:
    with rows_of(log) as store:
        tile = store.tile(0, 4)
        assert tile is not None
        store.put_rows("tiles", [(layout.tile_key(0, 4), tile[:-1] + bytes([tile[-1] ^ 1]))])
    report = audit(str(log))
    finding = only(report)
    assert (finding.kind, finding.where) == (FindingKind.TILE, f"{log}/db: tile/0/004")
    assert "entry 1279 makes" in finding.detail


def test_a_missing_and_a_short_tile_are_named(log: Path) -> None:
    with rows_of(log) as store:
        store._families["tiles"].delete(layout.tile_key(0, 4))
        store.put_rows("tiles", [(layout.tile_key(0, 6), b"short")])
    report = audit(str(log))
    assert [(f.kind, f.entries) for f in report.findings] == [
        (FindingKind.TILE, (1024, 1280)),
        (FindingKind.TILE, (1536, 1792)),
    ]


def test_wrong_inner_hashes_are_named(log: Path) -> None:
    with rows_of(log) as store:
        kept = store.nodes(0, 4)
        assert kept is not None
        store.put_rows("tiles", [(layout.nodes_key(0, 4), kept[:100] + b"\0" + kept[101:])])
        store._families["tiles"].delete(layout.nodes_key(0, 5))
    report = audit(str(log))
    assert [(f.kind, f.entries) for f in report.findings] == [
        (FindingKind.NODES, (1024, 1280)),
        (FindingKind.NODES, (1280, 1536)),
    ]
    assert "inner hashes of tile/0/004" in report.findings[0].where


def test_a_wrong_right_edge_is_named(log: Path) -> None:
    with rows_of(log) as store:
        (start, row), *_ = store._pieces(0)
        changed = row[:-1] + bytes([row[-1] ^ 1])
        store.put_rows("heads", [(layout.edge_key(0, start), changed)])
    finding = only(audit(str(log)))
    assert (finding.kind, finding.where) == (FindingKind.TILE, f"{log}/db: tile/0/011.p/184")


def test_a_kept_checkpoint_of_another_tree_is_named(log: Path) -> None:
    signers = load_signers(log / "keys", ORIGIN)
    forged = signers.sign(700, leaf_hash(b"another tree"), both=True)
    with rows_of(log) as store:
        store.put_rows("heads", [(layout.kept_key(700), forged)])
    finding = only(audit(str(log)))
    assert (finding.kind, finding.entries) == (FindingKind.CHECKPOINT, (600, 700))
    assert finding.where == f"{log}/db: checkpoints/700"


def test_a_newest_checkpoint_of_another_tree_is_named(log: Path) -> None:
    signers = load_signers(log / "keys", ORIGIN)
    forged = signers.sign(SIZE, leaf_hash(b"another tree"), both=True)
    with rows_of(log) as store:
        store.put_rows("heads", [(layout.NEWEST, forged)])
    finding = only(audit(str(log)))
    assert finding.kind is FindingKind.ROOT
    assert leaf_hash(b"another tree").hex() in finding.detail


def test_a_newest_checkpoint_by_a_stranger_is_named_and_a_kept_one_audited(log: Path) -> None:
    with rows_of(log) as store:
        note = store.newest()
        assert note is not None
        text = note.replace(b"\n3000\n", b"\n3001\n")
        store.put_rows("heads", [(layout.NEWEST, text)])
    report = audit(str(log))
    assert report.findings[0].kind is FindingKind.SIGNATURE
    assert (report.size, report.entries, report.exit_status) == (SIZE, SIZE, 1)


def test_what_stands_behind_the_signed_size_is_named(log: Path) -> None:
    signers = load_signers(log / "keys", ORIGIN)
    with rows_of(log) as store:
        store.put_rows("entries", [(layout.number(SIZE), b"\0\1x")])
        store.put_rows("tiles", [(layout.tile_key(0, 20), bytes(8192)), (layout.nodes_key(1, 0), bytes(960))])
        store.put_rows("identities", [(layout.number(SIZE + 5), bytes(32))])
        store.put_rows(
            "heads", [(layout.kept_key(SIZE + 1), signers.sign(SIZE + 1, leaf_hash(b""), both=True))]
        )
    report = audit(str(log))
    assert {finding.kind for finding in report.findings} == {FindingKind.EXTRA}
    assert [finding.detail.split(" behind")[0] for finding in report.findings] == [
        f"entries from {SIZE} on",
        f"the identity of entry {SIZE + 5}",
        "tile 0/20",
        "tile 1/0",
        f"a checkpoint of size {SIZE + 1}",
    ]


def test_entries_that_were_acknowledged_and_are_gone_are_named(log: Path) -> None:
    (log / "acknowledged").write_bytes((SIZE + 7).to_bytes(8, "big"))
    finding = only(audit(str(log)))
    assert (finding.kind, finding.entries) == (FindingKind.DATABASE, (SIZE, SIZE + 7))
    assert f"{SIZE + 7} were acknowledged" in finding.detail


def test_an_identity_that_is_none_is_named(log: Path) -> None:
    with rows_of(log) as store:
        store.put_rows("identities", [(layout.number(5), b"short")])
    finding = only(audit(str(log)))
    assert (finding.kind, finding.entries) == (FindingKind.DATABASE, (5, 6))


def test_a_database_of_no_log_is_a_finding(log: Path) -> None:
    with rows_of(log) as store:
        store.put_rows("meta", [(b"log", b"not json")])
    report = audit(str(log))
    (finding,) = report.findings
    assert (finding.kind, report.exit_status, report.size, report.origin) == (
        FindingKind.DATABASE,
        1,
        0,
        None,
    )


# --- other ways to ask -----------------------------------------------------------------------------------------


def test_the_policy_of_a_stranger_is_not_met(log: Path) -> None:
    stranger = generate_signing_key(ORIGIN, SignatureType.ED25519).verifier
    report = audit(str(log), single_log_policy([stranger]))
    finding = only(report)
    assert finding.kind is FindingKind.SIGNATURE
    assert report.entries == SIZE


def test_a_policy_that_only_an_earlier_checkpoint_meets_is_remarked(log: Path) -> None:
    with merklelog.open_reader(log) as reader:
        ed25519, mldsa44 = reader.vkeys
    signers = load_signers(log / "keys", ORIGIN)
    with rows_of(log) as store:
        newest = signers.sign(SIZE, audit_root(store), both=False)
        store.put_rows("heads", [(layout.NEWEST, newest)])
        store._families["heads"].delete(layout.kept_key(SIZE))
    assert audit(str(log), single_log_policy([ed25519])).remarks == ()
    report = audit(str(log), single_log_policy([mldsa44]))
    assert (report.findings, report.size) == ((), SIZE)
    assert "checkpoints/2900 is the newest checkpoint that meets the policy" in report.remarks[0]


def audit_root(store: RocksStore) -> object:
    from merklelog.formats import parse_checkpoint

    note = store.newest()
    assert note is not None
    return parse_checkpoint(note).checkpoint.root


def test_a_backup_is_proven(log: Path, tmp_path: Path) -> None:
    backup(log, tmp_path / "backup")
    report = audit(str(tmp_path / "backup"))
    assert (report.findings, report.entries, report.signatures_checked) == ((), SIZE, True)


def test_damage_is_told_alike_by_several_processes(tmp_path: Path, data: Callable[[int], Path]) -> None:
    log = tmp_path / "log"
    shutil.copytree(data(70_000), log)
    with rows_of(log) as store:
        tile = store.tile(0, 200)
        assert tile is not None
        store.put_rows("tiles", [(layout.tile_key(0, 200), bytes(32) + tile[32:])])
        store._families["tiles"].delete(layout.tile_key(0, 5))
        store._families["tiles"].delete(layout.nodes_key(1, 0))
        store._families["entries"].delete(layout.number(256 * 150))
    one, two = audit(str(log), processes=1), audit(str(log), processes=2)
    assert (two.processes, one.findings) == (2, two.findings)
    assert [finding.kind for finding in one.findings] == [
        FindingKind.TILE,
        FindingKind.BUNDLE,
        FindingKind.TILE,
        FindingKind.NODES,
    ]
    assert one.entries == two.entries == 70_000 - 256
