"""`merklelog append --wait` and `merklelog receipt upgrade`, of a log with publish targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.formats import parse_proof
from merklelog.formats.receipt import is_receipt

ORIGIN = "cli.example/log"


@pytest.fixture
def made(run: Callable[..., Any], tmp_path: Path) -> Path:
    """A log with a directory as its target; `event` is an entry to be."""
    target = f"publish.targets=dir:{tmp_path / 'target'}"
    run("init", "made", "--origin", ORIGIN, "--set", target, "--set", "store.min_free_bytes=0")
    (tmp_path / "event").write_bytes(b"event")
    return tmp_path / "made"


def keys(run: Callable[..., Any], made: Path) -> list[str]:
    found: list[str] = run("vkey", made).text.splitlines()
    return found


def test_a_receipt_is_saved_and_becomes_a_proof(run: Callable[..., Any], made: Path, tmp_path: Path) -> None:
    result = run("append", made, "event", "-o", "event.tlog-proof", "--json").json
    assert (result["index"], result["size"], result["epoch"], result["checkpoint"]) == (0, 1, 1, None)
    assert str(result["receipt"]).startswith("merklelog/receipt/v1\n")
    proof = tmp_path / "event.tlog-proof"
    assert is_receipt(parse_proof(proof.read_bytes()).checkpoint)
    vkeys = keys(run, made)
    refused = run("verify", proof, "--entry", "event", "--vkey", vkeys[0], status=1)
    assert "receipt" in refused.err or "checkpoint" in refused.err
    done = run("receipt", "upgrade", proof, "--from", made)
    assert done.text == f"{proof}: entry 0, under the published checkpoint of size 1\n"
    assert run("verify", proof, "--entry", "event", "--vkey", vkeys[0]).text.startswith("proven: entry 0")


def test_an_upgrade_from_the_published_copy_takes_the_receipt_key(
    run: Callable[..., Any], made: Path, tmp_path: Path
) -> None:
    run("append", made, "event", "-o", "a.tlog-proof")
    (tmp_path / "a.tlog-proof").rename(tmp_path / "receipt")
    ed25519, mldsa, receipt_key = keys(run, made)
    copy = f"dir:{tmp_path / 'target'}"
    told = ("receipt", "upgrade", "receipt", "--from", copy, "--entry", "event")
    assert "who signs this log" in run(*told, status=2).err
    assert "trust the log's receipt key too" in run(*told, "--vkey", ed25519, status=2).err
    assert "signs no checkpoint" in run(*told, "--vkey", receipt_key, status=2).err
    assert "want 0xff" in run(*told, "--vkey", ed25519, "--receipt-key", mldsa, status=2).err
    result = run(*told, "--vkey", ed25519, "--receipt-key", receipt_key, "-o", "proof", "--json").json
    assert (result["index"], result["size"], result["epoch"], result["proof"]) == (0, 1, 1, "proof")
    again = run(*told, "--vkey", ed25519, "--vkey", receipt_key, "-o", "-")
    assert again.out == (tmp_path / "proof").read_bytes()
    assert is_receipt(parse_proof((tmp_path / "receipt").read_bytes()).checkpoint)  # left as it was


def test_an_append_may_wait_for_its_publication(run: Callable[..., Any], made: Path) -> None:
    result = run("append", made, "event", "--wait", "published", "-o", "proof", "--json").json
    assert (result["size"], result["epoch"], result["receipt"]) == (1, None, None)
    assert str(result["checkpoint"]).startswith(ORIGIN)
    vkey = keys(run, made)[0]
    run("verify", "proof", "--entry", "event", "--vkey", vkey)


def test_without_targets_nothing_is_published(run: Callable[..., Any], log: Path, tmp_path: Path) -> None:
    (tmp_path / "event").write_bytes(b"event")
    assert "no publish targets" in run("append", log, "event", "--wait", "published", status=2).err
    assert run("checkpoint", log, "--json").json["size"] == 3
    run("append", log, "event", "-o", "proof")
    done = run("receipt", "upgrade", "proof", "--from", log, "--json").json  # it is a proof already
    assert (done["index"], done["epoch"]) == (3, None)


def test_what_is_no_receipt_of_this_log(run: Callable[..., Any], made: Path, tmp_path: Path) -> None:
    (tmp_path / "nonsense").write_bytes(b"nonsense")
    assert "nonsense" in run("receipt", "upgrade", "nonsense", "--from", made, status=1).err
    run("receipt", "upgrade", "missing", "--from", made, status=4)
    other = tmp_path / "other"
    settings = {"store.min_free_bytes": 0, "publish.targets": [f"dir:{tmp_path / 'elsewhere'}"]}
    merklelog.create_log(other, "other.example/log", settings=settings)
    run("append", other, "event", "-o", "theirs")
    assert (
        "no receipt key of that log is trusted"
        in run("receipt", "upgrade", "theirs", "--from", made, status=1).err
    )
