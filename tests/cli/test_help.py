"""Help, version, completion, the reference page, and that `--json` prints what its schema says."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

from merklelog.cli.command import Command
from merklelog.cli.program import COMMANDS, every_command
from merklelog.version import __version__

ROOT = Path(__file__).resolve().parents[2]
OF_THE_DESIGN = (
    *("init", "append", "checkpoint", "vkey", "get", "follow", "prove", "verify", "pack"),
    *("consistency", "audit", "verify-content", "publish", "backup", "recover", "preflight"),
    *("retention extend", "retention hold", "retention release", "receipt upgrade"),
    *("policy check", "freeze", "chain"),
    "monitor",
    *("search", "index update", "index rebuild", "index status"),
    *("token add", "token list", "token revoke", "witness init", "witness resume"),
)


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where typing looks a class's annotations up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return load_tool("reference")


EVERY = dict(every_command())


def _command(name: str) -> Command:
    found = EVERY[name]
    assert isinstance(found, Command)
    return found


def test_every_command_of_the_design_is_there() -> None:
    assert set(OF_THE_DESIGN) | {"completion", "serve", "witness serve"} == set(EVERY)
    assert {name.split()[0] for name in EVERY} == set(COMMANDS)
    for name in OF_THE_DESIGN:
        assert _command(name).result is not None, f"{name} prints a result, so it takes --json"


@pytest.mark.parametrize("name", EVERY)
def test_every_help_has_an_example_that_parses(run: Callable, name: str) -> None:
    command = _command(name)
    called = name.split()
    text = run(*called, "--help").text
    assert run(*called, "-h").text == text
    assert "Example:" in text
    for line in command.example.splitlines():
        assert f"  {line}\n" in text
        inner = line.split("$(")[1].split(")")[0] if line.startswith("eval") else line
        words = shlex.split(inner.split(" | ")[0].split(" > ")[0])
        assert words[: len(called) + 1] == ["merklelog", *called]
        command.make_context(name, words[len(called) + 1 :])


def test_the_list_of_commands_is_whole_sentences(run: Callable) -> None:
    text = run("--help").text
    listed = text.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert not [line for line in listed if line.endswith("...")]


def test_no_arguments_show_the_help_and_are_a_usage_error(run: Callable) -> None:
    assert "Commands:" in run(status=2).err
    assert "No such command 'preach'" in run("preach", status=2).err


def test_the_version(run: Callable) -> None:
    assert run("--version").text == f"merklelog {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Callable, shell: str) -> None:
    script = run("completion", shell).text
    assert "_MERKLELOG_COMPLETE" in script
    found = shutil.which(shell)
    if found:
        subprocess.run([found, "-n", "-c", script] if shell != "fish" else [found, "-n"],
                       input=script, text=True, check=True)  # fmt: skip
    assert "tcsh" in run("completion", "tcsh", status=2).err


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("merklelog ap", "plain,append"),
        ("merklelog verify p --ent", "plain,--entry"),
        ("merklelog publish log --bundle-encoding g", "plain,gzip"),
        ("merklelog get ./lo", "dir,./lo"),
    ],
)
def test_completion_completes(program: list[str], line: str, wanted: str) -> None:
    words = line.split()
    variables = {
        "_MERKLELOG_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(program, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [wanted]


# --- the reference ---


def test_the_reference_is_what_the_code_says(reference: ModuleType) -> None:
    made = reference.files()
    for path, text in made.items():
        assert (ROOT / path).read_text("utf-8") == text, f"{path}: run tools/reference.py"
    assert {path.relative_to(ROOT) for path in (ROOT / "docs" / "commands").iterdir()} <= set(made)


def test_the_reference_has_every_command_key_status_and_error(reference: ModuleType) -> None:
    page = reference.files()[Path("docs/reference.md")]
    for name in EVERY:
        assert f"\n### {name}\n" in page
        for param in _command(name).params:
            if isinstance(param, click.Option):
                assert all(f"{word}" in page for word in param.opts)
    for word in ("`log.max_pending_bytes`", "`MERKLELOG_STORE__MIN_FREE_BYTES`", "| 130 |", "`KeyFileError`"):
        assert word in page


def test_the_check_finds_a_stale_page(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    assert reference.main(["--check"]) == 1
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    page = tmp_path / "docs" / "reference.md"
    page.write_text(page.read_text() + "by hand\n")
    (tmp_path / "docs" / "commands" / "gone.schema.json").write_text("{}")
    assert reference.main(["--check"]) == 1
    assert "gone.schema.json" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def _conforms(value: object, schema: dict, where: str) -> None:
    """Enough of JSON Schema for the schemas that tools/reference.py makes; keys that no schema names fail."""
    if "anyOf" in schema:
        null, (whole,) = {"type": "null"}, [each for each in schema["anyOf"] if each != {"type": "null"}]
        _conforms(value, null if value is None else whole, where)
        return
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    types = {"integer": int, "string": str, "boolean": bool, "number": float, "array": list, "object": dict}
    allowed = tuple(type(None) if kind == "null" else types[kind] for kind in kinds)
    assert type(value) in allowed, f"{where}: {value!r} is not {kinds}"
    if isinstance(value, list):
        for position, item in enumerate(value):
            _conforms(item, schema["items"], f"{where}[{position}]")
    if isinstance(value, dict):
        assert set(value) == set(schema["required"]) == set(schema["properties"]), where
        for key, item in value.items():
            _conforms(item, schema["properties"][key], f"{where}.{key}")


RESULTS = {
    "init": ("new", "--origin", "cli.example/new"),
    "append": ("log", "event"),
    "checkpoint": ("log",),
    "vkey": ("log",),
    "get": ("log", "0:2"),
    "follow": ("log", "--count", "1"),
    "prove": ("log", "1"),
    "verify": ("proof", "--entry", "event", "--vkey", "KEY"),
    "pack": ("log", "0:3", "-o", "evidence.mlpack"),
    "consistency": ("log", "0", "3"),
    "audit": ("copy",),
    "verify-content": ("log", "0:2"),
    "monitor": ("log", "--state", "watch", "--once", "--match", "two"),
    "search": ("log", "two", "--count-by", "actor", "--histogram", "auto", "--entries", "--verify"),
    "index update": ("log",),
    "index rebuild": ("log",),
    "index status": ("log",),
    "policy check": ("trail.policy",),
    "publish": ("log", "--to", "dir:public"),
    "backup": ("log", "backed"),
    "recover": ("recovered", "--from", "copy", "--keys", "log/keys", "--static-copy"),
    "freeze": ("log", "--successor", "cli.example/next"),
    "chain": ("log",),
    "token add": ("log", "--name", "ci", "--scope", "append"),
    "token list": ("log",),
    "token revoke": ("log", "ci"),
    "witness init": ("watcher", "--name", "witness.example/w1", "--vkey", "KEY"),
}
# They need a bucket, or a log that publishes itself: their own tests look at what they print.
ELSEWHERE = {
    *("preflight", "retention extend", "retention hold", "retention release"),
    *("receipt upgrade", "witness resume"),
}


def test_every_result_is_looked_at() -> None:
    assert set(RESULTS) | ELSEWHERE == set(OF_THE_DESIGN)


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_what_their_schemas_say(
    run: Callable, log: Path, copy: str, vkeys: list[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "event").write_bytes(b"two")
    run("prove", log, 1, "-o", "proof")
    if name in {"token list", "token revoke"}:
        run("token", "add", log, "--name", "ci", "--scope", "read")
    if name == "policy check":
        (tmp_path / "trail.policy").write_text(f"log {vkeys[0]}\nquorum none\n")
    if name == "audit":
        bundle = tmp_path / "copy" / "tile" / "entries" / "000.p" / "3"
        bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    words = [{"KEY": vkeys[0], "copy": copy}.get(word, word) for word in RESULTS[name]]
    done = run(*name.split(), *words, "--json", status=1 if name == "audit" else 0)
    file = f"{name.replace(' ', '-')}.schema.json"
    schema = json.loads((ROOT / "docs" / "commands" / file).read_text())
    _conforms(done.json, schema, name)


def test_a_failure_is_what_its_schema_says(run: Callable) -> None:
    schema = json.loads((ROOT / "docs" / "commands" / "failure.schema.json").read_text())
    _conforms(run("get", "nowhere", 0, "--json", status=2).json, schema, "failure")
