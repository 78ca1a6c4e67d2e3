"""`merklelog recover` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scenes import ORIGIN, SIGNERS, VERIFIERS, WRITER, Scene

from merklelog.cli.recover import NOT_REBUILT
from merklelog.formats import format_vkey, write_signing_key
from merklelog.protocol.publication import EpochHead
from merklelog.publish import DirectoryStore, publish_copy
from merklelog.publish.pointer import format_head

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def there(tmp_path: Path) -> Scene:
    """A published copy in `copy`, and the private keys in `keys`."""
    scene = Scene(tmp_path, 300, 700)
    store = DirectoryStore(tmp_path / "copy")
    for size in (300, 700):
        part = Scene(tmp_path, *[each for each in (300, 700) if each <= size])
        publish_copy(part.log, store, verifiers=VERIFIERS)
    (tmp_path / "keys").mkdir()
    write_signing_key(tmp_path / "keys" / "ed25519.key", SIGNERS.ed25519)
    write_signing_key(tmp_path / "keys" / "mldsa44.key", SIGNERS.mldsa44)
    return scene


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MERKLELOG_STORE__MIN_FREE_BYTES": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "merklelog", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return call


def test_it_says_what_came_back(there: Scene, run: Run, tmp_path: Path) -> None:
    done = run("recover", "trail", "--from", "dir:copy", "--keys", "keys", "--static-copy")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"recovered {ORIGIN} at size 700 from dir:{tmp_path}/copy: trail",
        "verified: 700 entries, their tiles and root, 2 checkpoints",
        "no epochs: this copy has no head that can be read",
        NOT_REBUILT,
    ]
    assert run("append", "trail", "keys/ed25519.key").stdout.startswith("index 700")
    again = run("recover", "trail", "--from", "dir:copy", "--keys", "keys", "--static-copy", status=2)
    assert "move it away" in again.stderr
    assert again.stdout == ""


def test_a_target_of_the_log(there: Scene, run: Run, tmp_path: Path) -> None:
    head = EpochHead(4, 300, 700, there.root(700), WRITER)
    DirectoryStore(tmp_path / "copy").put("head", format_head(head))
    words = ("recover", "trail", "--from", "dir:copy", *(f"--vkey={format_vkey(key)}" for key in VERIFIERS))
    lines = run(*words).stdout.splitlines()
    assert "epoch 4 began at size 300 and published 700" in lines
    assert any("not known here: what only clients saw" in line for line in lines)
    assert "read-only: no private keys" in lines
    assert f'targets = ["dir:{tmp_path}/copy"]' in (tmp_path / "trail" / "merklelog.toml").read_text()
    refused = run("append", "trail", "keys/ed25519.key", status=2)
    assert "key file" in refused.stderr


def test_json(there: Scene, run: Run, tmp_path: Path) -> None:
    words = ("--from", "dir:copy", "--keys", "keys", "--static-copy", "--json")
    result = json.loads(run("recover", "trail", *words).stdout)
    assert result | {"not_rebuilt": ""} == {
        "origin": ORIGIN,
        "path": f"{tmp_path}/trail",
        "source": f"dir:{tmp_path}/copy",
        "size": 700,
        "root": there.root(700).hex(),
        "staged": 0,
        "resumed": 0,
        "checkpoints": 2,
        "epoch": None,
        "start": None,
        "published": [],
        "read_only": False,
        "left_out": False,
        "not_rebuilt": "",
        "remarks": [],
    }


def test_settings_of_the_new_log(there: Scene, run: Run, tmp_path: Path) -> None:
    words = ("--from", "dir:copy", "--keys", "keys", "--static-copy")
    run("recover", "trail", *words, "--set", "log.dedupe=true")
    assert "dedupe = true" in (tmp_path / "trail" / "merklelog.toml").read_text()
    (tmp_path / "entry").write_bytes(there.log.entries[5])
    assert run("append", "trail", "entry").stdout == "index 5, there already\n"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--from", "dir:copy"), 2, "by which keys"),
        (("--from", "dir:copy", "--keys", "keys", "--vkey", "x"), 2, "not both"),
        (("--from", "dir:copy", "--keys", "elsewhere"), 2, "elsewhere/ed25519.key"),
        (("--from", "dir:nothing", "--keys", "keys"), 2, "no published copy"),
        (("--from", "dir:", "--keys", "keys"), 2, "names no directory"),
        (("--from", "copy", "--keys", "keys"), 2, "want dir:PATH or s3://"),
        (("--from", "https://example.com/", "--keys", "keys"), 2, "want dir:PATH or s3://"),
        (("--from", "s3:///prefix", "--keys", "keys"), 2, "s3:///prefix"),
        (("--from", "dir:copy", "--keys", "keys", "--set", "log.keys=x"), 2, "use --keys"),
        (("--from", "dir:copy", "--keys", "keys", "--set", "log.what=x"), 2, "no key log.what"),
        (("--from", "dir:copy", "--vkey", "nonsense"), 2, "verifier key"),
        (("--from", "dir:copy", "--keys", "keys"), 2, "--static-copy"),
        (
            ("--from", "dir:copy", "--keys", "keys", "--static-copy", "--epoch", "3"),
            2,
            "a static copy has none",
        ),
        (("--keys", "keys"), 2, "--from"),
    ],
)
def test_what_can_not_be(
    there: Scene, run: Run, tmp_path: Path, words: tuple[str, ...], status: int, message: str
) -> None:
    done = run("recover", "trail", *words, status=status)
    assert message in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "trail").exists()


def test_damage_ends_with_1(there: Scene, run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "copy" / "tile" / "entries" / "001"
    data = bundle.read_bytes().replace(b"event 300", b"event 30O")
    bundle.unlink()
    bundle.write_bytes(data)
    done = run("recover", "trail", "--from", "dir:copy", "--keys", "keys", "--static-copy", status=1)
    assert "entry 300 does not have the hash" in done.stderr
    assert not (tmp_path / "trail").exists()
