"""A cosigned checkpoint that is kept apart meets a policy only where it is of the tree that was audited."""

from __future__ import annotations

from pathlib import Path

import pytest

import merklelog
from merklelog.audit import AuditReport, FindingKind, audit
from merklelog.audit.published import PublishedRows
from merklelog.cli.search import _disproven
from merklelog.cli.server import Reach
from merklelog.client.searching import Search, SearchAnswer, SearchHit
from merklelog.errors import NotFoundError
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
from merklelog.tree import EMPTY_ROOT, Hash, TreeSize

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
    assert (again.policy_size, again.exit_status) == (700, 0)
    (finding,) = audit(f"dir:{made / 'target'}", policy, size=300, processes=1).findings
    assert finding.kind is FindingKind.SIGNATURE


def test_of_a_smaller_size_it_proves_no_more_than_that(made: Path) -> None:
    report, policy = shown(made, 300)
    (finding,) = report.findings
    assert (finding.kind, finding.entries, finding.disproven) == (FindingKind.POLICY, (300, 700), False)
    assert (report.size, report.policy_size, report.exit_status, report.existed_by) == (700, 300, 3, None)
    # That size is proven, also when the witnesses have gone on: each that was cosigned is kept.
    cosigned = made / "target" / "cosigned" / "300"
    cosigned.parent.mkdir(exist_ok=True)
    cosigned.write_bytes((made / "target" / "checkpoint.witnessed").read_bytes())
    shown(made, 700)
    again = audit(f"dir:{made / 'target'}", policy, size=300, processes=1)
    cosigned.unlink()
    assert (again.exit_status, again.policy_size, again.existed_by) == (0, 300, TIME)


def test_what_came_while_the_audit_began_disproves_nothing(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with merklelog.open_reader(made / "log") as reader:
        older = reader.checkpoint(300)
    monkeypatch.setattr(PublishedRows, "newest", lambda _: older)
    report, _ = shown(made, 700)
    (finding,) = report.findings
    assert (report.size, report.policy_size, finding.kind) == (300, None, FindingKind.POLICY)
    assert "meets the policy at size 700, and came when this had begun: audit again" in finding.detail
    assert report.exit_status == 3


def test_the_empty_tree_meets_nothing(made: Path) -> None:
    report, _ = shown(made, 0, EMPTY_ROOT)
    (finding,) = report.findings
    assert (finding.kind, report.policy_size, report.exit_status) == (FindingKind.SIGNATURE, None, 1)


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


FORGED = SearchHit(5, 1, 0, {"action": "forged"})
BEYOND = SearchHit(600, 1, 0, {})  # signed, and not cosigned


@pytest.mark.parametrize(
    ("hits", "wrong"),
    [
        ((FORGED, BEYOND), ["entry 5: action: the index says 'forged', the entry None"]),
        ((BEYOND, FORGED), ["entry 5: action: the index says 'forged', the entry None"]),
        ((SearchHit(10**15, 1, 0, {}),), [f"entry {10**15}: it is not in the tree of size 700"]),
        ((SearchHit(5, 1, 0, {}),), []),
    ],
)
def test_a_hit_that_witnesses_have_yet_to_cosign_hides_no_other(
    made: Path, hits: tuple[SearchHit, ...], wrong: list[str]
) -> None:
    _, policy = shown(made, 300)
    target = f"dir:{made / 'target'}"
    note = (made / "target" / "checkpoint").read_text()
    asked = (target, policy, Reach(), Search("event"))
    assert _disproven(*asked, SearchAnswer(hits, len(hits), "", 700, 700, note)) == wrong
    with pytest.raises(NotFoundError, match="entry 600: no checkpoint that meets the policy"):
        _disproven(*asked, SearchAnswer((BEYOND,), 1, "", 700, 700, note))
    (claimed,) = _disproven(*asked, SearchAnswer((), 0, "", 10**15, 700, note))
    assert claimed == f"the index says it has {10**15} entries, the newest checkpoint is of 700"
