"""The repository keeps its word: what it pins, what it says in its pages, and that its examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = (
    *("requirements.txt", "requirements-serve.txt"),
    *("requirements-build.txt", "requirements-dev.txt"),
)
PAGES = (
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md"),
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
)
# Written with a class around one letter, so that this file does not match itself.
INDEX_ADDRESS = re.compile(
    rb"--(?:extra-)?index-ur[l]|--find-link[s]|https?://[^ \"]*/(?:simple|packages)/"
    rb"|py[p]i\.(?:org|python\.org)|python[h]osted|\"resolved\": *\"http"
)


def tracked() -> list[Path]:
    """The files git knows; in an unpacked source distribution, all of them."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-z"]
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


def test_no_file_names_a_package_index() -> None:
    files = tracked()
    assert ROOT / "pyproject.toml" in files
    found = [str(path.relative_to(ROOT)) for path in files if INDEX_ADDRESS.search(path.read_bytes())]
    assert not found


@pytest.mark.parametrize(
    "line", [b"--index-" + b"url x", b"https://a.example/simp" + b"le/", b"pyp" + b"i.org"]
)
def test_the_search_for_a_package_index_finds_one(line: bytes) -> None:
    assert INDEX_ADDRESS.search(line.replace(b"simp" + b"le", b"simple"))


def pins(name: str) -> dict[str, Version]:
    """Package -> version of a compiled file. Fails on a line that is not a pinned, hashed requirement."""
    found = {}
    for block in re.split(r"\n(?=\S)", (ROOT / name).read_text("utf-8")):
        if not block.startswith("#"):
            match = re.match(r"([a-z0-9-]+)==(\S+) \\\n", block)
            assert match, f"{name}: {block[:80]!r} is not a pinned requirement"
            hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}", block)
            assert hashes, f"{name}: {match[1]} has no hash"
            found[match[1]] = Version(match[2])
    return found


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_pinned_by_hash_and_name_no_place(name: str) -> None:
    assert len(pins(name)) >= 5
    text = (ROOT / name).read_text("utf-8")
    assert "://" not in text
    assert " @ " not in text
    assert not re.search(r"(?m)^#.*\s/", text), "the header names a path of the machine that compiled it"


def test_requirements_are_those_of_the_project() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = {
        "requirements.txt": settings["project"]["dependencies"],
        "requirements-build.txt": settings["build-system"]["requires"],
        "requirements-dev.txt": settings["project"]["optional-dependencies"]["dev"],
    }
    for name, rows in wanted.items():
        pinned = pins(name)
        for row in map(Requirement, rows):
            assert row.name in pinned, f"{name} lacks {row.name}: run tools/lock.py"
            assert pinned[row.name] in row.specifier, f"{name}: {row.name} {pinned[row.name]} is not {row}"


def test_everything_runs_on_the_same_versions() -> None:
    everything = pins("requirements-dev.txt")
    for name in ("requirements.txt", "requirements-build.txt"):
        assert pins(name).items() <= everything.items()


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert text.rstrip().endswith("limitations under the License.")
    assert "MIT License" in (ROOT / "tools" / "sample" / "LICENSE").read_text("utf-8")


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", (ROOT / "README.md").read_text("utf-8")))
    assert linked == {page for page in PAGES if page.startswith("docs/")}


@pytest.mark.parametrize("name", PAGES)
def test_pages_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = page.read_text("utf-8")
    assert text.startswith("# ")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{name}: {target} is not there"
    for target in re.findall(r"`((?:merklelog|tests|tools|docs)/(?!\w+/v\d)[\w/.-]+)`", text):
        assert (ROOT / target).exists(), f"{name}: {target} is not there"


def test_what_the_code_says_to_read_is_there() -> None:
    for path in tracked():
        if path.suffix == ".py":
            for target in re.findall(r"`(docs/[\w/]+\.\w+)`", path.read_text("utf-8")):
                assert (ROOT / target).exists(), f"{path.relative_to(ROOT)}: {target} is not there"


def blocks(language: str) -> Iterator[str]:
    """The README's code blocks in one language, in order; those that need a server are `test_service_page`'s."""
    text = (ROOT / "README.md").read_text("utf-8").partition("## As a service")[0]
    yield from re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run_example(command: list[str], directory: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    code = "\n".join(blocks("python"))
    assert "append_batch" in code
    shown = run_example([sys.executable, "-W", "error", "-c", code], tmp_path)
    assert "[1, 2, 3]" in shown
    assert shown.endswith("0 of example.com/audit\n")


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    (commands,) = [block for block in blocks("sh") if "merklelog init" in block]
    shown = run_example(["sh", "-eu", "-c", commands], tmp_path)
    assert "example.com/trail" in shown
    assert (tmp_path / "public" / "checkpoint").is_file()


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    first = next(blocks("sh"))
    commands = [line.split("#")[0].strip() for line in first.splitlines()]
    assert commands == ["python3 tools/demo.py", "python3 tools/test.py"]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "set -Eeuo pipefail" in script
    for command in commands:
        assert re.search(rf"(?m)^[^#]*{re.escape(command)}", script), f".ci/run does not call {command}"


def test_ci_is_a_script_that_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_nothing_is_left_unfinished() -> None:
    marker = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|NotImplemented[E]rror)\b")
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml"}:
            found = marker.search(path.read_text("utf-8"))
            assert not found, f"{path.relative_to(ROOT)}: {found}"
