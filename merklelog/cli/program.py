"""From the words of a command line to an exit status."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import click

from merklelog.cli.failures import report
from merklelog.cli.session import Session
from merklelog.version import __version__

NAME: Final = "merklelog"
COMPLETE_VARIABLE: Final = "_MERKLELOG_COMPLETE"

# Every command, in the order of `--help`, and the module that holds it under its own name.
COMMANDS: Final = {
    "init": "init",
    "serve": "serve",
    "append": "append",
    "checkpoint": "read",
    "vkey": "read",
    "get": "read",
    "follow": "follow",
    "prove": "prove",
    "verify": "verify",
    "policy": "policy",
    "receipt": "receipt",
    "consistency": "prove",
    "pack": "pack",
    "audit": "audit",
    "verify-content": "verify_content",
    "monitor": "monitor",
    "search": "search",
    "index": "index",
    "publish": "copies",
    "backup": "copies",
    "recover": "recover",
    "preflight": "preflight",
    "retention": "retention",
    "freeze": "freeze",
    "chain": "freeze",
    "token": "token",
    "witness": "witness",
    "completion": "completion",
}


class Program(click.Group):
    """The group of all commands; a command's module is imported when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name; None when there is none."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = getattr(importlib.import_module(f"merklelog.cli.{module}"), cmd_name.replace("-", "_"))
        return found if isinstance(found, click.Command) else None


@click.command(
    cls=Program,
    name=NAME,
    epilog="Exit status: 0 proven or done, 1 disproven or refused for safety, 2 usage or configuration, "
    "3 could not tell, 4 a local failure, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
def program() -> None:
    """A transparency log: append, prove, verify offline.

    TARGET is a log's data directory, or dir:PATH for a published copy.
    """


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, under the words that call it: "init", "token add"."""
    context = click.Context(program, info_name=NAME)
    for name in COMMANDS:
        found = program.get_command(context, name)
        if isinstance(found, click.Group):
            yield from ((f"{name} {each}", command) for each, command in found.commands.items())
        elif found is not None:
            yield name, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and give its exit status.

    Nothing is raised but SystemExit by shell completion: every error becomes a sentence on standard error and
    the exit status of the design.
    """
    if (instruction := os.environ.get(COMPLETE_VARIABLE)) and arguments is None:
        return _complete(instruction)
    words = list(sys.argv[1:] if arguments is None else arguments)
    session = Session(json=_asks_for_json(words))
    try:
        return _run(words, session)
    except BaseException as error:  # noqa: BLE001 - the last handler: each error becomes a sentence and a status
        return report(error, session)
    finally:
        if arguments is None:
            # The process ends here. As it goes, Python would look through all that was ever imported for garbage
            # several times over: a seventh of all that a short command takes.
            gc.freeze()


def _asks_for_json(words: list[str]) -> bool:
    """Whether `--json` is among the options: looked up here, so that a misspelt command is answered so too."""
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def _run(words: list[str], session: Session) -> int:
    # Not click's own `main`: it ends with status 1, which here means "disproven", when a pipe is closed.
    status = 0
    try:
        with program.make_context(NAME, words, obj=session) as context:
            program.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version, and a command whose result is a bad one
        status = end.exit_code
    session.flush()
    return status


def _complete(instruction: str) -> int:
    from click.shell_completion import shell_complete

    return shell_complete(program, {}, NAME, COMPLETE_VARIABLE, instruction)
