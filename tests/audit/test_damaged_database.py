"""Damage in a data directory: in the files RocksDB keeps, and rows that are whole and wrong."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import merklelog
from merklelog.audit import AuditFinding, AuditReport, FindingKind, audit
from merklelog.formats import LENGTHS, SignatureType, generate_signing_key, single_log_policy
from merklelog.log.backup import backup
from merklelog.log.create import load_signers
from merklelog.store import RocksStore, layout
from merklelog.tree import leaf_hash

ORIGIN = "example.com/damaged"
SIZE = 3000
FILL = """
import os, sys
import merklelog
from merklelog.log import sequencer
sequencer.KEEP_INTERVAL = 0.0
merklelog.create_log(sys.argv[1], "example.com/damaged", settings={"log.dedupe": True})
log = merklelog.open(sys.argv[1])
for start in range(0, 3000, 100):
    entries = [b"event %d " % i * (1 + i % 4) for i in range(start, start + 100)]
    own = [b"%032d" % i for i in range(start, start + 100)]
    log.append_batch(entries, identities=own, idempotency_key=b"batch %d" % start)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
log.close()
"""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A log of 3,000 entries with identities and idempotency keys, "closed" or "killed"."""
    made: dict[str, Path] = {}

    def get(end: str) -> Path:
        if end not in made:
            path = tmp_path_factory.mktemp("whole") / end
            search = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
            subprocess.run(
                [sys.executable, "-c", FILL, path, end], check=False, env={**os.environ, "PYTHONPATH": search}
            )
            assert audit(str(path)).size == SIZE
            made[end] = path
        return made[end]

    return get


@pytest.fixture
def log(tmp_path: Path, whole: Callable[[str], Path]) -> Path:
    """A copy of the closed log, to be damaged."""
    shutil.copytree(whole("closed"), tmp_path / "log")
    return tmp_path / "log"


@contextmanager
def rows_of(log: Path) -> Iterator[RocksStore]:
    store = RocksStore(log / "db")
    try:
        yield store
    finally:
        store.close()


def only(report: AuditReport, size: int = SIZE) -> AuditFinding:
    assert len(report.findings) == 1, report.findings
    assert (report.exit_status, report.unlisted, report.size) == (1, 0, size)
    return report.findings[0]


def flipped(file: Path, position: int, bit: int) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[position] ^= 1 << bit
    file.write_bytes(damaged)


# --- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_bit_anywhere_in_the_files_is_found_or_means_nothing(
    end: str, tmp_path: Path, whole: Callable[[str], Path]
) -> None:
    """Never an error that is not this project's, never a shorter log, never a wrong one that passes."""
    log, clean, found = whole(end), audit(str(whole(end))), dict[str, int]()
    chance = random.Random(20)
    files = [file.name for file in sorted((log / "db").iterdir()) if file.stat().st_size]
    kinds = {name.split("-")[0] if "-" in name else name.rpartition(".")[2] for name in files}
    assert kinds >= (
        {"sst", "MANIFEST", "CURRENT"} if end == "closed" else {"sst", "log", "MANIFEST", "CURRENT"}
    )
    for name in files:
        length = (log / "db" / name).stat().st_size
        for position in (0, length - 1, *(chance.randrange(length) for _ in range(4))):
            victim = tmp_path / "victim"
            shutil.copytree(log, victim)
            flipped(victim / "db" / name, position, chance.randrange(8))
            report = audit(str(victim), processes=1)
            shutil.rmtree(victim)
            if report.findings:
                assert report.exit_status == 1, (name, position, report)
                found[name] = found.get(name, 0) + 1
                if name.endswith((".sst", ".log")):
                    assert any(name in str(finding) for finding in report.findings), report.findings
                continue
            same = (report.origin, report.size, report.root, report.entries, report.tiles, report.checkpoints)
            assert same == (clean.origin, SIZE, clean.root, SIZE, clean.tiles, clean.checkpoints), (
                name,
                position,
            )
    assert all(found.get(name, 0) >= 4 for name in files if name.endswith((".sst", ".log")))
    assert all(found.get(name, 0) == 6 for name in files if name.startswith(("MANIFEST", "CURRENT")))


@pytest.mark.parametrize("suffix", [".sst", "MANIFEST"])
def test_a_missing_file_is_found(log: Path, suffix: str) -> None:
    files = sorted(file for file in (log / "db").iterdir() if suffix in file.name)
    for file in files:
        file.rename(log / "gone")
        assert audit(str(log)).exit_status == 1
        (log / "gone").rename(file)
    assert files
    assert audit(str(log)).findings == ()


def test_one_damaged_block_costs_only_its_own_entries(tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "log", ORIGIN)
    chance = random.Random(1)
    with merklelog.open(tmp_path / "log") as log:
        log.append_batch([chance.randbytes(256) for _ in range(4096)])
    file = max((tmp_path / "log/db").glob("*.sst"), key=lambda each: each.stat().st_size)
    flipped(file, file.stat().st_size // 2, 3)
    report = audit(str(tmp_path / "log"), processes=1)
    finding = only(report, 4096)
    assert finding.kind is FindingKind.BUNDLE
    assert file.name in finding.detail
    assert finding.entries is not None
    first, end = finding.entries
    assert (first % 256, end % 256) == (0, 0)
    assert end - first <= 3 * 256
    assert first <= 2048 < end + 512
    assert report.entries == 4096 - (end - first)
    assert f"[entries {first} to {end - 1}]" in str(finding)


# --- rows ------------------------------------------------------------------------------------------------------


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
