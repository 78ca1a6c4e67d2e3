"""Make docs/reference.md and docs/commands/ from the code: `python tools/reference.py`; `--check` only compares.

Runs in the test environment. The commands tell of themselves what `--help` tells; keys come from `log.KEYS`, exit
statuses and errors from `merklelog.errors`, the schemas from the classes that `--json` prints. A test makes the
same and compares, so a change of any of these without a new page fails.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from merklelog import errors
from merklelog.cli.command import Command
from merklelog.cli.failures import Failure
from merklelog.cli.program import NAME, every_command
from merklelog.log import KEYS, Key
from merklelog.servers.settings import SERVER_KEYS
from merklelog.witness.config import WITNESS_KEYS

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs/reference.md")
SCHEMAS = Path("docs/commands")
DRAFT = "https://json-schema.org/draft/2020-12/schema"

STATUSES = {
    0: "proven, or done",
    1: "disproven, or refused for safety",
    2: "usage or configuration",
    3: "could not tell",
    4: "failed for a local reason",
    130: "interrupted",
}
NAMES = {int: "integer", str: "string", bool: "boolean", float: "number"}

HEAD = """# Reference

Made from the code by `tools/reference.py`; a test compares it. Commands, keys, exit statuses and errors are one
table each, here and in the program.

## Targets

| TARGET | what it is |
|---|---|
| `PATH` | a log's data directory, beside its writer or without one |
| `dir:PATH` | a published copy (c2sp.org/tlog-tiles), as a log with targets or `merklelog publish` makes it |
| `s3://BUCKET/PREFIX` | the same in a bucket ([s3.md](s3.md)) |
| `http://HOST[:PORT]/PREFIX`, `https://...` | a tlog-tiles prefix on any server, static copies too |
| `grpc://HOST[:PORT]`, `grpcs://...` | a server of this project, at port 7070 where none is given |

Every command takes a data directory; those that read (`checkpoint get follow prove consistency audit pack
verify-content`) take every target, `append` takes servers as well. `--state FILE` keeps the newest verified
checkpoint of a target and holds it to that for ever.

`merklelog serve` listens at 127.0.0.1: gRPC at port 7070, HTTP at 7080, metrics and readiness at 7090.
`merklelog witness serve` listens at 127.0.0.1, too: HTTP at port 7081, metrics and readiness at 7091.

A data directory tells by which keys its log signs, and is believed in that unless `--policy` or `--vkey` says
otherwise. A published copy and a server are believed in nothing: give one of the two. Without, `checkpoint` prints
what it has not verified and says so, `audit` compares everything but the signatures, and the others refuse.

## Results

Results go to standard output; progress (on a terminal only), notes and errors to standard error. With `--json` a
result is one JSON object on one line, whose keys below are an interface: more may come, none goes. Hashes are
hex, times POSIX seconds, entries base64, signed notes their text; every key is there, null where it says nothing.

## Commands
"""


def files() -> dict[Path, str]:
    """Every generated file and its text, relative to the repository."""
    made = {PAGE: _page()}
    for name, command in commands():
        if command.result is not None:
            made[_schema_path(name)] = _schema_text(f"{NAME} {name} --json", command.result)
    made[SCHEMAS / "failure.schema.json"] = _schema_text("any command with --json that fails", Failure)
    return made


def commands() -> Iterator[tuple[str, Command]]:
    """Every command, in the order of `--help`."""
    for name, found in every_command():
        if not isinstance(found, Command):
            raise SystemExit(f"{name}: not a command of merklelog.cli.command")
        yield name, found


def _schema_path(name: str) -> Path:
    return SCHEMAS / f"{name.replace(' ', '-')}.schema.json"


# --- the page --------------------------------------------------------------------------------------------------


def _page() -> str:
    parts = [HEAD]
    parts += [_command(name, command) for name, command in commands()]
    parts += [_failure(), _keys(), _variables(), _statuses(), _errors()]
    return "\n".join(parts)


def _command(name: str, command: Command) -> str:
    context = click.Context(command, info_name=f"{NAME} {name}")
    usage = " ".join([f"{NAME} {name}", *command.collect_usage_pieces(context)])
    lines = [f"### {name}", "", inspect.cleandoc(command.help or ""), "", "```sh", f"# {usage}"]
    lines += [command.example, "```", ""]
    options = [each for each in command.params if isinstance(each, click.Option)]
    rows = [record for each in options if (record := each.get_help_record(context))]
    if rows:
        lines += _table(("option", "meaning"), [(f"`{words}`", text) for words, text in rows])
    if command.result is not None:
        about = inspect.cleandoc(command.result.__doc__ or "")
        lines += [f"`--json` ([schema](commands/{_schema_path(name).name})): {about}", ""]
        lines += _fields(command.result)
    return "\n".join(lines)


def _fields(result: type) -> list[str]:
    rows = [(f"`{key}`", kind, text) for key, kind, text, _ in _described(result)]
    lines = _table(("key", "type", "meaning"), rows)
    for key, _, _, inner in _described(result):
        if inner is not None:
            lines += [f"Each of `{key}`:", "", *_fields(inner)]
    return lines


def _failure() -> str:
    about = (
        "A command that fails before it wrote anything prints instead, beside the sentence on standard error"
    )
    lead = f"{about} ([schema](commands/failure.schema.json)):"
    return "\n".join(["### When a command fails", "", lead, "", *_fields(Failure)])


def _keys() -> str:
    log = (
        "`DIR/merklelog.toml`, checked whole whenever a log is opened; an error names the file, the line and the "
        "key. The variable, where it is set, goes before the file. `init --set KEY=VALUE` writes a new one."
    )
    server = (
        "A server's: the file that `serve --config` names, or `ROOT/server.toml`, or `merklelog.toml` of the only "
        "log that is served. Relative paths are below that file's directory."
    )
    witness = (
        "A witness': `DIR/witness.toml`, which `witness init` writes. Relative paths are below DIR. "
        "`witness serve` takes `http`, `admin` and `log_format` as options too."
    )
    lines = ["## Configuration", "", log, "", *_key_table(KEYS), server, "", *_key_table(SERVER_KEYS)]
    lines += [witness, "", *_key_table(WITNESS_KEYS)]
    return "\n".join(lines)


def _key_table(keys: Sequence[Key]) -> list[str]:
    rows = [
        (f"`{key.dotted}`", _default(key), _bounds(key), f"`{key.variable}`", key.meaning) for key in keys
    ]
    return _table(("key", "default", "from-to", "variable", "meaning"), rows)


def _default(key: Key) -> str:
    if isinstance(key.default, bool):
        return "`true`" if key.default else "`false`"
    return f"`{key.default}`" if key.default not in ("", ()) else "none"


def _bounds(key: Key) -> str:
    if key.choices:
        return ", ".join(key.choices)
    if isinstance(key.default, tuple):
        return f"a list, each {key.form}"
    is_number = isinstance(key.default, int | float) and not isinstance(key.default, bool)
    return f"{key.low} to {'2^63 - 1' if key.high == 2**63 - 1 else key.high}" if is_number else ""


def _variables() -> str:
    rows = [
        ("`MERKLELOG_TRACEBACK`", "set: an error is followed by where in the program it was raised"),
        ("`NO_COLOR`", "set: no colours, on a terminal either"),
    ]
    return "\n".join(["## Other variables", "", *_table(("variable", "meaning"), rows)])


def _statuses() -> str:
    rows = [(str(status), meaning) for status, meaning in STATUSES.items()]
    return "\n".join(["## Exit statuses", "", *_table(("status", "meaning"), rows)])


def _errors() -> str:
    intro = "`merklelog.errors`; every error of a program that embeds merklelog is one of them, too."
    found = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.MerklelogError)
    ]
    rows = [
        (f"`{each.__name__}`", str(each.exit_status), f"`{each.__base__.__name__}`", _first(each))
        for each in found
        if each is not errors.MerklelogError and each.__base__ is not None
    ]
    return "\n".join(["## Errors", "", intro, "", *_table(("class", "status", "is a", "meaning"), rows)])


def _first(each: type) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(each.__doc__ or "").split("\n\n")[0].split())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells: list[tuple[str, ...]] = [head, ("---",) * len(head), *rows]
    return ["|" + "|".join(f" {_cell(text)} " for text in row) + "|" for row in cells] + [""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- the schemas -----------------------------------------------------------------------------------------------


def _described(result: type) -> Iterator[tuple[str, str, str, type | None]]:
    """A result's keys: name, type in words, meaning, and the class of an object in it."""
    hints = typing.get_type_hints(result, include_extras=True)
    for field in dataclasses.fields(result):
        kind, text = typing.get_args(hints[field.name])[:2]
        yield field.name, _word(kind), text, _inner(kind)


def _inner(kind: object) -> type | None:
    """The class of an object: alone, in a list, or where null may stand for it."""
    inside = (
        typing.get_args(kind) if typing.get_origin(kind) is list or isinstance(kind, types.UnionType) else ()
    )
    found = [each for each in (*inside, kind) if isinstance(each, type) and dataclasses.is_dataclass(each)]
    return found[0] if found else None


def _word(kind: object) -> str:
    if typing.get_origin(kind) is list:
        item = typing.get_args(kind)[0]
        return f"array of {'objects' if _inner(kind) else NAMES[item] + 's'}"
    if isinstance(kind, types.UnionType):
        return " or ".join(
            "null" if each is types.NoneType else _word(each) for each in typing.get_args(kind)
        )
    return "object" if _inner(kind) else NAMES[typing.cast("type", kind)]


def _schema(result: type) -> dict[str, object]:
    hints = typing.get_type_hints(result, include_extras=True)
    properties: dict[str, object] = {}
    for field in dataclasses.fields(result):
        kind, text = typing.get_args(hints[field.name])[:2]
        properties[field.name] = {"description": text, **_schema_of(kind)}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schema_of(kind: object) -> dict[str, object]:
    if typing.get_origin(kind) is list:
        return {"type": "array", "items": _schema_of(typing.get_args(kind)[0])}
    if isinstance(kind, types.UnionType):
        parts = typing.get_args(kind)
        if _inner(kind):
            return {
                "anyOf": [{"type": "null"} if each is types.NoneType else _schema_of(each) for each in parts]
            }
        return {"type": ["null" if each is types.NoneType else NAMES[each] for each in parts]}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _schema(kind)
    return {"type": NAMES[typing.cast("type", kind)]}


def _schema_text(title: str, result: type) -> str:
    about = inspect.cleandoc(result.__doc__ or "")
    whole = {"$schema": DRAFT, "title": title, "description": about, **_schema(result)}
    return json.dumps(whole, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` say which differ (status 1)."""
    made = files()
    stale = [path for path, text in made.items() if not _is(ROOT / path, text)]
    strangers = [path for path in (ROOT / SCHEMAS).glob("*") if path.relative_to(ROOT) not in made]
    if arguments == ["--check"]:
        for path in (*stale, *strangers):
            print(f"{path}: not what the code says; run tools/reference.py")
        return 1 if stale or strangers else 0
    if arguments:
        raise SystemExit("usage: python tools/reference.py [--check]")
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(made[path], "utf-8")
        print(path)
    for path in strangers:
        path.unlink()
    return 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
