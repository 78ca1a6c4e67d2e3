"""A log that asks a witness of others and one of ours, both needed: publications, and a start from a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import BehindError, StoppedError
from merklelog.formats import (
    VerifierKey,
    format_vkey,
    parse_checkpoint,
    parse_policy,
)
from merklelog.protocol.verdict import evaluate_policy
from merklelog.witness.create import create_witness
from tests.support.omniwitness import WHAT, keys, omniwitness
from tests.support.witness_programs import omniwitness as program
from tests.witness.support import NAME, Process, served

ORIGIN = "asking.example/log"
SECONDS = 120


def rules(log: list[VerifierKey], theirs: Process, ours: Process, own: VerifierKey) -> str:
    """Both witnesses, and nobody's cosignature alone is enough."""
    lines = [f"log {format_vkey(key)}" for key in log]
    lines += [
        f"witness theirs {format_vkey(keys()[1].verifier)} http://{theirs.address}",
        f"witness ours {format_vkey(own)} http://{ours.address}",
        "group both all theirs ours",
        "quorum both",
    ]
    return "\n".join([*lines, ""])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, need: Callable[[bool, str], None]) -> Iterator[Path]:
    """A log with a target and a policy; its witnesses run."""
    need(program() is not None, WHAT)
    folder = tmp_path_factory.mktemp("asking")
    path = folder / "log"
    settings: dict[str, int | str | tuple[str, ...]] = {
        "store.min_free_bytes": 0,
        "publish.targets": (f"dir:{folder}/copy",),
        "publish.interval": 0.1,  # type: ignore[dict-item]
        "witness.policy": "witnesses.policy",
    }
    vkeys = merklelog.create_log(path, ORIGIN, settings=settings)
    own = create_witness(folder / "ours", NAME, logs=[vkeys[0]])[0]
    with omniwitness(folder / "theirs", [vkeys[0]]) as theirs, served(folder / "ours") as ours:
        (path / "witnesses.policy").write_text(rules(list(vkeys[:2]), theirs, ours, own))
        yield path


def append(path: Path, count: int) -> int:
    with merklelog.open(path) as opened:
        size = opened.append_batch([b"entry %d" % number for number in range(count)])[-1].index + 1
        head = opened.wait_witnessed(size).result(SECONDS)
        assert head.size >= size
    return size


def test_what_is_shown_bears_both_their_cosignatures(log: Path) -> None:
    """Each publication's checkpoint meets the policy; the log is closed and opened between."""
    policy = parse_policy((log / "witnesses.policy").read_bytes())
    for count in (3, 300, 20):
        size = append(log, count)
        note = (log.parent / "copy" / "checkpoint").read_bytes()
        signed = parse_checkpoint(note)
        assert signed.checkpoint.size == size
        verdict = evaluate_policy(policy, signed)
        assert {each.witness.name for each in verdict.cosigners} == {b"theirs", b"ours"}
        assert verdict.existed_by


def test_an_old_copy_of_log_and_target_is_caught_by_witnesses_alone(log: Path, tmp_path: Path) -> None:
    """Whoever brought both back from a copy has only the witnesses left that know better."""
    append(log, 5)
    for name in ("log", "copy"):
        shutil.copytree(log.parent / name, tmp_path / name)
    append(log, 5)
    config = tmp_path / "log" / "merklelog.toml"
    config.write_text(config.read_text().replace(f"{log.parent}/copy", f"{tmp_path}/copy"))
    before = {path.name for path in (tmp_path / "copy" / "checkpoints").iterdir()}
    with pytest.raises((BehindError, StoppedError), match=r"it has cosigned size \d+ of this log"):
        fork(tmp_path / "log")
    assert {path.name for path in (tmp_path / "copy" / "checkpoints").iterdir()} == before, "it signed a fork"


def fork(log: Path) -> None:
    with merklelog.open(log) as opened:
        opened.append(b"a fork")
        opened.wait_published(opened.size + 1).result(SECONDS)
