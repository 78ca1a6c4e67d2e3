""" "Existed by" in every answer that can give it: one time, from the caller's quorum alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from merklelog.formats import (
    Note,
    SignatureType,
    SigningKey,
    format_note,
    format_vkey,
    parse_checkpoint,
    sign_checkpoint,
)
from tests.cli.conftest import Run

WITNESSES = [
    SigningKey(f"witness.example/{n}", SignatureType.COSIGNATURE_ED25519, bytes([60 + n]) * 32)
    for n in range(3)
]
TIMES = (1_700_000_300, 1_700_000_100, 1_700_000_200)
EXISTED_BY = 1_700_000_200  # when two of the three had signed
SHOWN = "existed by 2023-11-14T22:16:40Z"


@pytest.fixture
def copy(run: Run, log: Path, tmp_path: Path) -> str:
    """A published copy whose checkpoints three witnesses cosigned, each at its own time."""
    run("publish", log, "--to", f"dir:{tmp_path / 'copy'}")
    run("append", log, stdin=b"four")
    run("publish", log, "--to", f"dir:{tmp_path / 'copy'}")
    root = tmp_path / "copy"
    for path in (root / "checkpoint", *(root / "checkpoints").iterdir()):
        signed = parse_checkpoint(path.read_bytes())
        lines = [
            sign_checkpoint(signed.checkpoint, key, at) for key, at in zip(WITNESSES, TIMES, strict=True)
        ]
        path.write_bytes(format_note(Note(signed.note.text, (*signed.note.signatures, *lines))))
    return f"dir:{root}"


@pytest.fixture
def policy(vkeys: list[str], tmp_path: Path) -> Path:
    """Two of the three."""
    rows = [
        f"log {vkeys[0]}",
        *(f"witness w{n} {format_vkey(key.verifier)}" for n, key in enumerate(WITNESSES)),
    ]
    path = tmp_path / "trail.policy"
    path.write_text("\n".join([*rows, "group most 2 w0 w1 w2", "quorum most", ""]))
    return path


def test_every_command_gives_the_same_time(run: Run, copy: str, policy: Path) -> None:
    trust = ("--policy", policy)
    for words in (("checkpoint", copy), ("get", copy, 1), ("prove", copy, 1), ("audit", copy)):
        assert run(*words, *trust, "--json").json["existed_by"] == EXISTED_BY, words
    both = run("consistency", copy, 3, 4, *trust, "--json").json
    assert (both["old_existed_by"], both["new_existed_by"]) == (EXISTED_BY, EXISTED_BY)


def test_it_is_said_in_words(run: Run, copy: str, policy: Path, tmp_path: Path) -> None:
    trust = ("--policy", policy)
    assert f"{SHOWN}\n" in run("prove", copy, 1, "-o", "p", *trust).text
    assert SHOWN in run("audit", copy, *trust).text
    assert run("consistency", copy, 3, 4, *trust).text.count(SHOWN) == 2
    (tmp_path / "entry").write_bytes(b"two")
    assert f"{SHOWN}\n" in run("verify", "p", "--entry", "entry", *trust).text
    assert [each["name"] for each in run("prove", copy, 1, *trust, "--json").json["cosigners"]] == [  # type: ignore[attr-defined]
        "w0",
        "w1",
        "w2",
    ]


def test_keys_alone_give_no_time(run: Run, copy: str, log: Path, vkeys: list[str]) -> None:
    for target, trust in ((copy, ("--vkey", vkeys[0])), (log, ())):
        for words in (("checkpoint", target), ("get", target, 1), ("prove", target, 1), ("audit", target)):
            assert run(*words, *trust, "--json").json["existed_by"] is None, words
        assert run("consistency", target, 3, 4, *trust, "--json").json["new_existed_by"] is None


def test_an_audit_gives_no_time_when_the_audited_checkpoint_has_no_quorum(
    run: Run, copy: str, policy: Path
) -> None:
    path = Path(copy.removeprefix("dir:")) / "checkpoint"
    signed = parse_checkpoint(path.read_bytes())
    kept = tuple(line for line in signed.note.signatures if not line.name.endswith(("/0", "/1")))
    path.write_bytes(format_note(Note(signed.note.text, kept)))
    # The stored one of that size has it, so all that was audited is covered.
    done = run("audit", copy, "--policy", policy, "--json").json
    assert (done["existed_by"], done["policy_size"], done["size"]) == (None, 4, 4)
    (path.parent / "checkpoints" / "4").write_bytes(path.read_bytes())
    shown = run("audit", copy, "--policy", policy, status=3).text
    assert shown.startswith("unproven: ")
    assert "\nunknown: cli.example/log at size 4, the policy is met up to size 3 (" in shown
