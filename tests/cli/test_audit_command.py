"""`merklelog audit`: its words and its exit status; what it finds is tested in tests/audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.formats import SignatureType, format_vkey, generate_signing_key


def test_a_sound_log_and_its_copy_are_proven(
    run: Callable, log: Path, copy: str, vkeys: list[str], snapshot: Callable
) -> None:
    before = snapshot(log.parent)
    assert run("audit", log).text.startswith("proven: cli.example/log at size 3 (entries 3, ")
    assert "signatures checked" in run("audit", log).text
    assert "signatures not checked" in run("audit", copy).text
    assert "signatures checked" in run("audit", copy, "--vkey", vkeys[1], "--processes", 1).text
    assert run("audit", log, "--size", 0).text.startswith("proven: cli.example/log at size 0 (")
    assert snapshot(log.parent) == before


def test_the_result_as_json(run: Callable, log: Path) -> None:
    result = run("audit", log, "--json").json
    assert (result["verdict"], result["size"], result["entries"], result["findings"]) == ("proven", 3, 3, [])
    assert (result["signatures_checked"], result["origin"]) == (True, "cli.example/log")


def test_a_changed_entry_is_named_and_disproves(run: Callable, copy: str, vkeys: list[str]) -> None:
    bundle = Path(copy.removeprefix("dir:")) / "tile" / "entries" / "000.p" / "3"
    bundle.write_bytes(bundle.read_bytes().replace(b"two", b"TWO"))
    done = run("audit", copy, "--vkey", vkeys[0], status=1)
    assert "wrong: " in done.text
    assert "entry 1" in done.text
    assert done.text.splitlines()[-1].startswith("disproven: cli.example/log at size 3")
    result = run("audit", copy, "--json", status=1).json
    assert result["verdict"] == "disproven"
    (finding,) = result["findings"]
    assert (finding["start"], finding["end"], finding["disproven"]) == (1, 2, True)
    assert "entries/000.p/3" in finding["where"]


def test_a_copy_signed_by_somebody_else_is_not_proven(run: Callable, copy: str) -> None:
    stranger = generate_signing_key("cli.example/log", SignatureType.ED25519)
    done = run("audit", copy, "--vkey", format_vkey(stranger.verifier), status=None)
    assert done.status in (1, 3)
    assert not done.text.splitlines()[-1].startswith("proven")


@pytest.mark.parametrize("words", [("--processes", 0), ("--size", -1), ("--processes", "many")])
def test_what_can_not_be_audited_is_a_usage_error(run: Callable, log: Path, words: tuple) -> None:
    assert run("audit", log, *words, status=2).out == b""


def test_a_size_without_a_stored_checkpoint_could_not_tell(run: Callable, log: Path) -> None:
    for size in (2, 99):
        assert f"size {size}" in run("audit", log, "--size", size, status=3).err
