"""Who demands a quorum reads a log whose newest checkpoint has none: what witnesses cosigned is beside it."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import merklelog
from merklelog.audit import audit
from merklelog.audit.monitor import Monitor
from merklelog.audit.report import FindingKind
from merklelog.client import VerifiedReads, open_target
from merklelog.errors import NotFoundError, PolicyUnmetError
from merklelog.formats import (
    Policy,
    SignatureType,
    format_vkey,
    generate_signing_key,
    parse_policy,
    parse_proof,
)
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash
from tests.witness_client.scene import OneLog, Scene, run
from tests.witness_client.test_witnessed_doors import serving

ENTRIES = [b"one", b"two", b"three"]
SECONDS = 60.0


@pytest.fixture(scope="module", params=["continue", "hold, alone"])
def behind(
    witnessed: Scene, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> OneLog:
    """A log that was cosigned at size 3, and grew to 4 while its witnesses were away."""
    mode, _, alone = request.param.partition(", ")
    made = witnessed.log(mode=f'"{mode}"', timeout=0.5)
    if not alone:
        made.configure(None, mode=f'"{mode}"', timeout=0.5, target=tmp_path_factory.mktemp("target") / "copy")
    with merklelog.open(made.path) as log:
        log.append_batch(ENTRIES)
        log.wait_witnessed(3).result(SECONDS)
        for each in witnessed.witnesses[1:]:
            each.kill()
        log.append(b"not cosigned")
    for each in witnessed.witnesses[1:]:
        each.start()
    return made


@pytest.fixture(scope="module")
def stranger(behind: OneLog, witnessed: Scene) -> Policy:
    """The log's policy, and one witness more that never cosigned it."""
    key = generate_signing_key("stranger.example/w", SignatureType.COSIGNATURE_ED25519).verifier
    rules = witnessed.rules(behind.keys).replace("quorum q\n", f"witness x {format_vkey(key)}\n")
    return parse_policy(f"{rules}group both all q x\nquorum both\n".encode())


def apart(log: OneLog, tmp_path: Path) -> OneLog:
    """A copy of the log, and of its target in which alone it goes on."""
    path = shutil.copytree(log.path, tmp_path / "log")
    if log.target is None:
        return replace(log, path=path)
    target = shutil.copytree(log.target, tmp_path / "copy")
    file = path / "merklelog.toml"
    file.write_text(file.read_text().replace(str(log.target), str(target)))
    return replace(log, path=path, target=target)


def targets(log: OneLog) -> list[str]:
    return [str(log.path)] if log.target is None else [str(log.path), f"dir:{log.target}"]


def test_files_are_read_under_the_newest_that_meets(behind: OneLog) -> None:
    for target in targets(behind):
        with closing(open_target(target)) as source:
            reads = VerifiedReads(source, behind.policy)
            assert reads.head().checkpoint.size == 3, target
            assert reads.head(3).verdict.existed_by, target
            assert list(reads.entries(0)) == ENTRIES
            proof = parse_proof(reads.prove(1))
            assert verify_proof_file(proof, leaf_hash(b"two"), behind.policy).index == 1


def test_an_audit_says_what_the_policy_reaches(behind: OneLog) -> None:
    for target in targets(behind):
        report = audit(target, behind.policy)
        assert report.policy_size == 3
        if report.size == 3:  # a copy that waits for its witnesses shows no more
            assert (report.findings, bool(report.existed_by)) == ((), True)
        else:
            (finding,) = report.findings
            assert (finding.kind, finding.entries, report.exit_status) == (FindingKind.POLICY, (3, 4), 3)
            proven = audit(target, behind.policy, size=3)
            assert (proven.findings, proven.size, bool(proven.existed_by)) == ((), 3, True)


def test_a_hit_that_witnesses_have_yet_to_cosign_is_not_disproven(behind: OneLog) -> None:
    if behind.target is None:
        return  # its readers, and so its index, end where its witnesses do
    words = ("--verify", "--policy", str(behind.path / "witnesses.policy"))
    (hit,) = run("search", str(behind.path), "two", *words)["hits"]
    assert hit["index"] == 1
    run("search", str(behind.path), "cosigned", *words, status=3)


def test_over_the_network_too(behind: OneLog, stranger: Policy, tmp_path: Path) -> None:
    """The doors show both; once it runs again, the witnesses cosign what they had missed.

    In a copy of the log and of what it had published: the other tests read it as it was.
    """
    behind = apart(behind, tmp_path)
    with merklelog.open(behind.path) as log:
        log.wait_witnessed(4).result(SECONDS)
    with serving(behind.path) as doors:
        for target in (f"grpc://{doors['grpc']}", f"http://{doors['http']}"):
            with merklelog.connect(target, trust=behind.policy) as client:
                head = client.checkpoint()
                assert (head.checkpoint.size, head.note) == (4, client.checkpoint(4).note)
                assert head.verdict.existed_by
                assert next(client.follow(3)) == (3, b"not cosigned")
                proof = parse_proof(client.prove(3))
                assert verify_proof_file(proof, leaf_hash(b"not cosigned"), behind.policy).index == 3
            with merklelog.connect(target, trust=stranger) as client:
                with pytest.raises(NotFoundError, match="no checkpoint that is shown meets the policy"):
                    client.checkpoint()
                with pytest.raises(PolicyUnmetError):
                    client.checkpoint(4)
            (finding,) = audit(target, stranger).findings
            assert finding.kind is FindingKind.SIGNATURE
            report = audit(target, behind.policy)
            assert not report.findings
            assert (report.size, bool(report.existed_by)) == (4, True)
            with Monitor([target], behind.policy, tmp_path / target[:4]) as monitor:
                assert not monitor.catch_up().unknown
                (watched,) = monitor.logs
                assert monitor.lasting == []
                assert not watched.behind


def test_a_policy_that_nobody_meets_is_met_nowhere(behind: OneLog, stranger: Policy) -> None:
    for target in targets(behind):
        source = open_target(target)
        with closing(source), pytest.raises(NotFoundError, match=r"none of .* meets the policy"):
            VerifiedReads(source, stranger).head()
        shown_none = pytest.raises(NotFoundError, match="no checkpoint that is shown meets the policy")
        with merklelog.connect(target, trust=stranger) as client, shown_none:
            client.checkpoint()
        (finding,) = audit(target, stranger).findings
        assert finding.kind is FindingKind.SIGNATURE
