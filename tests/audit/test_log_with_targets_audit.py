"""Audits of a log with a publish target: its data directory, whose newest head is a receipt, and the target."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.audit import AuditReport, FindingKind, audit
from merklelog.formats import Policy, SignatureType, generate_signing_key, single_log_policy
from merklelog.log.create import load_signers
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.publish.pointer import parse_head
from merklelog.store import RocksStore
from merklelog.tree import EMPTY_ROOT, Hash, TreeSize
from merklelog.tree.tiles import new_bundles, new_tiles

ORIGIN = "targets.example/log"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that published to `target` at two sizes, in two epochs."""
    path = tmp_path_factory.mktemp("with-targets")
    settings: dict[str, Any] = {
        "store.min_free_bytes": 0,
        "publish.targets": (f"dir:{path / 'target'}",),
        "publish.interval": 0.05,
    }
    merklelog.create_log(path / "log", ORIGIN, settings=settings)
    for start, end in ((0, 300), (300, 700)):
        with merklelog.open(path / "log") as log:
            log.append_batch([b"event %d" % index for index in range(start, end)])
            log.wait_published(end).result(60)
    return path


@pytest.fixture
def both(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "both"))


def policy_of(path: Path) -> Policy:
    with merklelog.open_reader(path / "log") as reader:
        return single_log_policy(reader.vkeys)


def audit_log(path: Path, policy: Policy | None = None) -> AuditReport:
    return audit(str(path / "log"), policy, processes=1)


def test_the_target_is_proven(made: Path) -> None:
    report = audit(f"dir:{made / 'target'}", policy_of(made), processes=1)
    assert (report.findings, report.remarks, report.exit_status) == ((), (), 0)
    assert (report.size, report.entries) == (700, 700)
    assert parse_head((made / "target" / "head").read_bytes()).epoch == 2


def test_the_data_directory_is_proven_up_to_its_newest_receipt(made: Path) -> None:
    report = audit_log(made)
    assert (report.findings, report.exit_status, report.size, report.signatures_checked) == ((), 0, 700, True)
    assert "a receipt of epoch 2" in report.remarks[0]
    assert "readers are shown size 700" in report.remarks[1]
    assert report.checkpoints >= 3
    met = audit_log(made, policy_of(made))
    assert (met.findings, met.policy_size) == ((), 700)  # by the checkpoint of that size, and no receipt


def test_a_receipt_of_another_key_is_named(both: Path) -> None:
    stranger = generate_signing_key(f"{ORIGIN}/receipt", SignatureType.RECEIPT)
    signers = load_signers(both / "log" / "keys", ORIGIN)
    with merklelog.open_reader(both / "log") as reader:
        head = reader.integrated
    sign = replace(signers, receipt=stranger).receipts(2, lambda: 1)
    write(both, Commit(checkpoint=Checkpointed(TreeSize(700), sign(head.size, head.root), keep=False)))
    report = audit_log(both)
    assert [finding.kind for finding in report.findings] == [FindingKind.SIGNATURE]
    assert report.findings[0].where.endswith("/db: receipt")


def test_a_receipt_of_another_tree_is_named(both: Path) -> None:
    sign = load_signers(both / "log" / "keys", ORIGIN).receipts(2, lambda: 1)
    write(
        both, Commit(checkpoint=Checkpointed(TreeSize(700), sign(TreeSize(700), Hash(bytes(32))), keep=False))
    )
    report = audit_log(both)
    assert FindingKind.ROOT in {finding.kind for finding in report.findings}
    assert report.exit_status == 1


@pytest.mark.parametrize(
    ("size", "root", "words"),
    [(700, bytes(32), "has"), (900, bytes(32), "of size 900"), (1, EMPTY_ROOT, "at size 1")],
)
def test_another_published_checkpoint_is_named(both: Path, size: int, root: bytes, words: str) -> None:
    note = load_signers(both / "log" / "keys", ORIGIN).sign(size, Hash(root), both=True)
    write(both, Commit(published=note))
    (finding,) = audit_log(both).findings
    assert (finding.kind, finding.where.rpartition(" ")[2]) == (FindingKind.CHECKPOINT, "published")
    assert words in finding.detail


def test_an_epoch_that_was_not_begun_is_named(both: Path) -> None:
    write(both, Commit(epoch=(1).to_bytes(8, "big") + bytes(40)))
    (finding,) = audit_log(both).findings
    assert "the newest receipt is of epoch 2" in finding.detail


def write(path: Path, commit: Commit) -> None:
    store = RocksStore(path / "log" / "db")
    try:
        store.write(commit)
        store.sync()
    finally:
        store.close()


def test_any_object_of_the_target_that_is_missing_is_named(made: Path, tmp_path: Path) -> None:
    """All but `head`, without which it is a static copy, and what only earlier sizes needed, which locks keep."""
    policy = policy_of(made)
    target = tmp_path / "target"
    shutil.copytree(made / "target", target)
    needed = [tile.path for tile in [*new_bundles(0, 700), *new_tiles(0, 700)]]
    for key in [*needed, "checkpoint", "checkpoints/700", "merklelog.json"]:
        data = (target / key).read_bytes()
        (target / key).unlink()
        report = audit(f"dir:{target}", policy, processes=1)
        assert report.exit_status == 1, key
        assert any(key in str(finding) for finding in report.findings), key
        (target / key).write_bytes(data)
    assert audit(f"dir:{target}", policy, processes=1).findings == ()


def test_any_file_of_the_target_that_is_changed_is_named(made: Path, tmp_path: Path) -> None:
    policy = policy_of(made)
    target = tmp_path / "target"
    shutil.copytree(made / "target", target)
    files = sorted(file for file in target.rglob("*") if file.is_file() and ".merklelog" not in str(file))
    assert len(files) > 12
    for file in files:
        data = file.read_bytes()
        if file.name == "head":
            changed = data.replace(b'"epoch":2', b'"epoch":')
        else:
            changed = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
        file.write_bytes(changed)
        report = audit(f"dir:{target}", policy, processes=1)
        key = str(file.relative_to(target))
        assert report.exit_status == 1, key
        assert any(finding.where.endswith(key) for finding in report.findings), (key, report.findings)
        file.write_bytes(data)
    assert audit(f"dir:{target}", policy, processes=1).findings == ()
