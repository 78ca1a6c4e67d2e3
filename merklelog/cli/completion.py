"""`merklelog completion`: the script that teaches a shell our commands."""

from __future__ import annotations

import click

from merklelog.cli.command import command
from merklelog.cli.session import Session


@command("completion", example='eval "$(merklelog completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Load it where the shell starts. bash and zsh: the line below in ~/.bashrc or ~/.zshrc, with the shell's
    name. fish: merklelog completion fish > ~/.config/fish/completions/merklelog.fish
    """
    from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

    from merklelog.cli.program import COMPLETE_VARIABLE, NAME

    kinds: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    made = kinds[shell](context.find_root().command, {}, NAME, COMPLETE_VARIABLE)
    # Not its source(): for bash that runs whichever bash is first in the path to look at its version.
    session: Session = context.obj
    session.write((made.source_template % made.source_vars()).encode("utf-8"))
