"""A cosigned checkpoint that is kept apart meets a policy only where it is of the tree that was audited."""

from __future__ import annotations

from pathlib import Path

import pytest

import merklelog
from merklelog.audit import AuditReport, FindingKind, audit
from merklelog.formats import (
    Checkpoint,
    Note,
    Policy,
    SignatureType,
    format_checkpoint_text,
    format_note,
    format_vkey,
    generate_signing_key,
    parse_checkpoint,
    parse_policy,
    sign_checkpoint,
)
from merklelog.log.create import load_signers
from merklelog.tree import Hash, TreeSize

ORIGIN = "apart.example/log"
WITNESS = generate_signing_key("w.example/w", SignatureType.COSIGNATURE_ED25519)
TIME = 1_700_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 700 entries that published at 300 too."""
    path = tmp_path_factory.mktemp("apart")
    settings = {
        "store.min_free_bytes": 0,
        "publish.targets": (f"dir:{path / 'target'}",),
        "publish.interval": 0.05,
    }
    merklelog.create_log(path / "log", ORIGIN, settings=settings)
    with merklelog.open(path / "log") as log:
        for start, end in ((0, 300), (300, 700)):
            log.append_batch([b"event %d" % index for index in range(start, end)])
            log.wait_published(end).result(60)
    return path


def shown(made: Path, size: int, root: Hash | None = None) -> tuple[AuditReport, Policy]:
    """The audit of the target with a cosigned checkpoint of that size; `root` None: the tree's own."""
    log = load_signers(made / "log" / "keys", ORIGIN).ed25519
    with merklelog.open_reader(made / "log") as reader:
        own = parse_checkpoint(reader.checkpoint(size)).checkpoint.root
    checkpoint = Checkpoint(ORIGIN, TreeSize(size), root or own)
    lines = (sign_checkpoint(checkpoint, log), sign_checkpoint(checkpoint, WITNESS, TIME))
    note = format_note(Note(format_checkpoint_text(checkpoint), lines))
    (made / "target" / "checkpoint.witnessed").write_bytes(note)
    rules = f"log {format_vkey(log.verifier)}\nwitness w {format_vkey(WITNESS.verifier)}\nquorum w\n"
    policy = parse_policy(rules.encode())
    return audit(f"dir:{made / 'target'}", policy, processes=1), policy


def test_of_the_audited_size_it_says_since_when(made: Path) -> None:
    report, policy = shown(made, 700)
    assert (report.findings, report.existed_by) == ((), TIME)
    # The stored one of a size is met by it as well, and by no other size's.
    again = audit(f"dir:{made / 'target'}", policy, size=700, processes=1)
    assert (again.findings, again.existed_by) == ((), TIME)
    (finding,) = audit(f"dir:{made / 'target'}", policy, size=300, processes=1).findings
    assert finding.kind is FindingKind.SIGNATURE


def test_of_a_smaller_size_it_is_named(made: Path) -> None:
    report, _ = shown(made, 300)
    assert (report.findings, report.existed_by) == ((), None)
    assert any("behind size 300 is signed by the log's other keys" in each for each in report.remarks)


@pytest.mark.parametrize("size", [300, 700])
def test_of_another_tree_it_is_a_finding_and_meets_nothing(made: Path, size: int) -> None:
    report, _ = shown(made, size, Hash(bytes(32)))
    kinds = [finding.kind for finding in report.findings]
    assert kinds == [FindingKind.CHECKPOINT, FindingKind.SIGNATURE]
    assert f"its root is {'00' * 32}, and the tree has" in report.findings[0].detail
    assert report.exit_status == 1


def test_bytes_that_are_no_checkpoint_are_a_finding(made: Path) -> None:
    _, policy = shown(made, 700)
    (made / "target" / "checkpoint.witnessed").write_bytes(b"not one\n")
    report = audit(f"dir:{made / 'target'}", policy, processes=1)
    assert FindingKind.CHECKPOINT in {finding.kind for finding in report.findings}
    assert report.existed_by is None
