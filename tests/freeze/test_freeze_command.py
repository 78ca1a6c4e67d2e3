"""`merklelog freeze`, `chain` and `init --follows`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import merklelog

A, B = "freeze.example/a", "freeze.example/b"


@dataclass
class Done:
    """What a command came to."""

    status: int
    text: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.text)
        return value


def run(*words: object, stdin: bytes = b"") -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "merklelog", *map(str, words)], input=stdin, capture_output=True, timeout=120
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def make(path: Path, origin: str, **settings: Any) -> Path:
    dotted = {name.replace("__", ".", 1): value for name, value in settings.items()}
    merklelog.create_log(path, origin, settings={"store.min_free_bytes": 0, **dotted})
    with merklelog.open(path) as log:
        log.append_batch([b"one", b"two"])
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("freeze") / "a", A)


@pytest.fixture
def log(template: Path, tmp_path: Path) -> Path:
    """A log of two entries."""
    return Path(shutil.copytree(template, tmp_path / "a"))


def test_a_log_is_frozen_once(log: Path) -> None:
    done = run("freeze", log, "--successor", B)
    assert (done.status, done.err) == (0, "")
    assert done.text == f"frozen: {A} ends with entry 2, at size 3; {B} goes on\n"
    again = run("freeze", log, "--json").json
    assert (again["index"], again["size"], again["successor"], again["already"]) == (2, 3, B, True)
    assert again["checkpoint"] == run("checkpoint", log).text
    refused = run("freeze", log, "--successor", "other.example/log")
    assert refused.status == 2
    assert f"the successor it names is {B}" in refused.err
    appended = run("append", log, stdin=b"three")
    assert appended.status == 2
    assert f"{A} is frozen since entry 2: it takes no appends; {B} goes on" in appended.err
    assert run("audit", log).text.startswith(f"proven: {A} at size 3")


def test_the_chain(log: Path, tmp_path: Path) -> None:
    assert run("chain", log).text == f"goes on  {A}, at size 2\n"
    small = ("--set", "store.min_free_bytes=0")
    early = run("init", tmp_path / "b", "--origin", B, "--follows", log, *small)
    assert early.status == 2
    assert f"{A} is not frozen" in early.err
    run("freeze", log, "--successor", B)
    assert run("chain", log).text == f"frozen   {A}, with entry 2\nthen     {B}\n"
    other = run("init", tmp_path / "b", "--origin", "other.example/log", "--follows", log, *small)
    assert other.status == 2
    assert f"{A} says that {B} follows it" in other.err
    assert not (tmp_path / "b").exists()
    made = run("init", tmp_path / "b", "--origin", B, "--follows", log, *small, "--json")
    assert made.json["follows"] == A
    last = run("checkpoint", log, "--json").json
    chain = run("chain", tmp_path / "b", "--json").json
    assert (chain["predecessor"], chain["predecessor_size"], chain["predecessor_root"]) == (
        A,
        3,
        last["root"],
    )
    assert (chain["origin"], chain["size"], chain["frozen"], chain["successor"]) == (B, 1, False, None)
    assert run("append", tmp_path / "b", stdin=b"first").text == "index 1\n"
    assert (
        run("chain", tmp_path / "b").text == f"follows  {A}, which ended at size 3\ngoes on  {B}, at size 2\n"
    )


def test_the_chain_of_a_published_copy_is_the_callers_keys_word(log: Path, tmp_path: Path) -> None:
    run("freeze", log)
    copy = f"dir:{tmp_path / 'copy'}"
    run("publish", log, "--to", copy)
    assert "who signs this log" in run("chain", copy).err
    for vkey in run("vkey", log).text.splitlines()[:2]:
        assert run("chain", copy, "--vkey", vkey, "--json").json["frozen"] is True


def test_a_log_with_a_target_is_frozen_where_it_is_published(tmp_path: Path) -> None:
    target = tmp_path / "target"
    log = make(tmp_path / "a", A, publish__targets=(f"dir:{target}",))
    done = run("freeze", log, "--json")
    assert (done.status, done.json["size"]) == (0, 3)
    assert (target / "checkpoint").read_text() == done.json["checkpoint"]
    vkey = run("vkey", log).text.splitlines()[0]
    assert run("chain", f"dir:{target}", "--vkey", vkey).text == f"frozen   {A}, with entry 2\n"


def test_a_log_that_another_process_has_open(log: Path) -> None:
    with merklelog.open(log):
        done = run("freeze", log)
    assert done.status == 4
    assert run("chain", log, "--json").json["frozen"] is False


def test_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "e"
    merklelog.create_log(path, A, settings={"store.min_free_bytes": 0})
    assert run("chain", path).text == f"goes on  {A}, at size 0\n"
    assert run("freeze", path).text == f"frozen: {A} ends with entry 0, at size 1\n"
    assert run("chain", path).text == f"frozen   {A}, with entry 0\n"
