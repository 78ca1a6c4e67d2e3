"""Running commands: in this process (`run`), and as a user's shell does (`program`)."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from merklelog.cli import main

ORIGIN = "cli.example/log"
SMALL = ("--set", "store.min_free_bytes=0")  # a test machine may have little room left


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> dict[str, object]:
        assert self.out.count(b"\n") == 1, self.out
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Run = Callable[..., Done]


def _call(words: tuple[object, ...], stdin: bytes) -> Done:
    streams = [
        io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors=errors)
        for data, errors in ((stdin, "surrogateescape"), (b"", "surrogateescape"), (b"", "backslashreplace"))
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        status = main([str(word) for word in words])
    raw = []
    for stream in streams[1:]:
        stream.flush()
        raw.append(stream.buffer.getvalue())  # type: ignore[attr-defined]
    return Done(status, raw[0], raw[1].decode())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`run("get", log, 5, stdin=b"")`: a command in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, stdin: bytes = b"", status: int | None = 0) -> Done:
        done = _call(words, stdin)
        if status is not None:
            assert done.status == status, f"{words}: status {done.status}\n{done.out!r}\n{done.err}"
        return done

    return call


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three entries (one, two, three), made once: making keys and a database takes its time."""
    path = tmp_path_factory.mktemp("cli") / "log"
    assert _call(("init", path, "--origin", ORIGIN, *SMALL), b"").status == 0
    assert _call(("append", path, "--jsonl"), b"one\ntwo\nthree\n").status == 0
    return path


@pytest.fixture
def log(template: Path, tmp_path: Path) -> Path:
    """A log of its own, of three entries: one, two, three."""
    return Path(shutil.copytree(template, tmp_path / "log"))


@pytest.fixture
def vkeys(run: Run, log: Path) -> list[str]:
    """The log's verifier keys, Ed25519 first."""
    return run("vkey", log).text.splitlines()


@pytest.fixture
def copy(run: Run, log: Path, tmp_path: Path) -> str:
    """A published copy of the log, as a target."""
    run("publish", log, "--to", f"dir:{tmp_path / 'copy'}")
    return f"dir:{tmp_path / 'copy'}"


@pytest.fixture
def program() -> list[str]:
    """The words that start the installed program, or (not installed) the same module."""
    script = Path(sys.executable).with_name("merklelog")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "merklelog"]


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    """Variables of the shell that runs the tests must not reach the commands."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MERKLELOG_")}
    yield
    os.environ.update(before)


def _snapshot(path: Path) -> dict[str, bytes | None]:
    return {
        str(each.relative_to(path)): each.read_bytes() if each.is_file() else None
        for each in sorted(path.rglob("*"))
    }


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes | None]]:
    """Every file below a directory with its bytes: for "nothing changed on disk"."""
    return _snapshot
