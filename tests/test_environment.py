"""The environments the tools make for themselves: made once, made anew when interrupted, shared by waiting."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/environment.py over a checkout of its own, whose commands only note that they were called."""
    spec = importlib.util.spec_from_file_location("environment_under_test", ROOT / "tools" / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "tools").mkdir()
    for name in (
        "requirements.txt",
        "requirements-build.txt",
        "requirements-dev.txt",
        "tools/environment.py",
    ):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    calls: list[tuple[str, ...]] = []

    def call(what: str, *words: str, python: Path = Path(sys.executable)) -> None:
        calls.append(words)
        if words[:2] == ("-m", "venv"):
            Path(words[2]).mkdir()

    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "_call", call)
    module.calls = calls  # type: ignore[attr-defined]
    return module


def test_an_environment_is_made_once(environment: ModuleType, tmp_path: Path) -> None:
    place = environment.ensure("run")
    made = len(environment.calls)
    assert made == 3
    assert environment.ensure("run") == place
    assert len(environment.calls) == made
    assert (tmp_path / ".venv" / "run").resolve() == place
    assert environment.ensure("test") != place


def test_everything_is_installed_by_hash_and_nothing_is_built(environment: ModuleType) -> None:
    environment.ensure("test")
    pinned = environment.calls[1]
    assert {"--require-hashes", "--only-binary", "--no-deps"} <= set(pinned)
    project = environment.calls[2]
    assert {"--no-index", "--no-build-isolation", "--no-deps"} <= set(project)


def test_an_interrupted_one_is_made_anew(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = environment._call

    def interrupted(what: str, *words: str, python: Path = Path(sys.executable)) -> None:
        if what.startswith("pip"):
            raise KeyboardInterrupt
        whole(what, *words, python=python)

    monkeypatch.setattr(environment, "_call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.ensure("run")
    monkeypatch.setattr(environment, "_call", whole)
    place = environment.ensure("run")
    assert (place / "complete").exists()


def test_a_changed_requirement_gives_another(environment: ModuleType, tmp_path: Path) -> None:
    before = environment.ensure("run")
    with (tmp_path / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    after = environment.ensure("run")
    assert after != before
    assert before.exists()
    assert (tmp_path / ".venv" / "run").resolve() == after


def test_a_linter_setting_does_not(environment: ModuleType, tmp_path: Path) -> None:
    before = environment.ensure("run")
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write("\n[tool.something]\nof = 'no matter'\n")
    assert environment.ensure("run") == before


def test_one_makes_it_while_others_wait(environment: ModuleType) -> None:
    places: list[Path] = []
    threads = [threading.Thread(target=lambda: places.append(environment.ensure("run"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 8
    assert len(set(places)) == 1
    assert len(environment.calls) == 3


def test_an_old_python_gets_a_sentence(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "OLDEST", (9, 0))
    with pytest.raises(SystemExit, match=r"needs Python 9\.0 or newer; .* is 3\."):
        environment.ensure("run")


def test_the_callers_python_settings_do_not_leak(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PIP_TARGET", "/somewhere")
    monkeypatch.setenv("PIP_CERT", "/kept")
    kept = environment.clean_environment()
    assert "PYTHONPATH" not in kept
    assert "PIP_TARGET" not in kept
    assert kept["PIP_CERT"] == "/kept"


NEEDY = """
def test_with_a_server(need):
    need(False, "a server")
def test_without(need):
    need(True, "nothing")
"""


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 passed, 1 skipped"), ("true", "1 failed, 1 passed")])
def test_a_missing_server_is_a_failure_in_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "test_needy.py").write_text(NEEDY)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(tmp_path),
    ]
    settings = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
    assert outcome in done.stdout
