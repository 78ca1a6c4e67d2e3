"""What every command has: an example in its help, `--json`, strict numbers, and the words for targets and keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Function = TypeVar("Function", bound=Callable[..., Any])

_NEGATIVE: Final = re.compile(r"-[0-9]")
_SCHEME: Final = re.compile(r"(dir:|[A-Za-z][A-Za-z0-9+.-]*://)")
_SERVER: Final = re.compile(r"(grpc|http)s?://", re.IGNORECASE)
_RANGE: Final = re.compile(r"([0-9]*):([0-9]*)")


class Command(click.Command):
    """A command with an example; `result` is the class of what `--json` prints, None when it prints none."""

    def __init__(self, *args: Any, example: str = "", result: type | None = None, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.example = example
        self.result = result

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the options."""
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, but a negative number is told from an option."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not _NEGATIVE.match(error.option_name):
                raise
            word = next((word for word in words if word.startswith(error.option_name)), error.option_name)
            raise click.UsageError(f"{word}: indexes and sizes are whole numbers from 0 on", ctx) from error


def command(
    name: str, *, example: str, result: type | None = None
) -> Callable[[Callable[..., Any]], Command]:
    """A command of this project; with a `result` it takes `--json`."""

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=Command, example=example, result=result)(function)
        if result is not None:
            text = "Print the result as one JSON object."
            made.params.append(click.Option(["--json"], is_flag=True, expose_value=False, help=text))
        return made

    return decorate


def number(value: str | int) -> int:
    """A tree size or an index: a decimal without sign, from 0 to 2**63 - 1. Raises BadParameter naming it."""
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) >= 2**63:
        raise click.BadParameter(f"{text!r} is not a whole number from 0 to 2**63 - 1")
    return int(text)


@dataclass(frozen=True, slots=True)
class Span:
    """`INDEX`, or a half-open range `A:B` of indexes; an `end` of None is the log's."""

    start: int
    end: int | None
    is_range: bool


def span(value: str | Span) -> Span:
    """Reads an index or a range. Raises BadParameter naming it."""
    if isinstance(value, Span):
        return value
    if ":" not in value:
        index = number(value)
        return Span(index, index + 1, is_range=False)
    match = _RANGE.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is neither an index nor a range A:B of indexes")
    start, end = number(match[1] or "0"), number(match[2]) if match[2] else None
    if end is not None and end < start:
        raise click.BadParameter(f"{value!r} ends before it begins")
    return Span(start, end, is_range=True)


def _directory(value: str) -> str:
    """A log's data directory, where another kind of target can not do. Raises BadParameter naming it."""
    if kind := _SCHEME.match(value):
        only = "this command takes a log's data directory only"
        raise click.BadParameter(f"{value!r} is a {kind[0]} target, and {only}")
    if not value:
        raise click.BadParameter("'' is no path")
    return value


def _appendable(value: str) -> str:
    """A data directory or a server. Raises BadParameter naming another kind of target."""
    return value if _SERVER.match(value) else _directory(value)


def _complete_directory(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """The shell's own directories."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(text, type="dir")]


def target_argument(function: Function) -> Function:
    """TARGET: a log to read from; checked when it is opened."""
    return click.argument("target", metavar="TARGET", type=str, shell_complete=_complete_directory)(function)


def directory_argument(
    metavar: str = "DIR", name: str = "directory", nargs: int = 1
) -> Callable[[Function], Function]:
    """DIR: a log's data directory; `nargs` of -1 takes any number of them."""
    return click.argument(
        name, metavar=metavar, type=_directory, nargs=nargs, shell_complete=_complete_directory
    )


def append_argument(function: Function) -> Function:
    """TARGET: a log to append to, a data directory or a server."""
    return click.argument("target", metavar="TARGET", type=_appendable, shell_complete=_complete_directory)(
        function
    )


def trust_options(function: Function) -> Function:
    """`--policy` and `--vkey`: whom the caller trusts."""
    keys = click.option(
        "--vkey",
        "vkeys",
        metavar="KEY",
        multiple=True,
        help="A verifier key of the log, as `merklelog vkey` prints it; again for more: any one is enough.",
    )
    policy = click.option(
        "--policy",
        metavar="FILE",
        type=click.Path(),
        help="A trust policy (c2sp.org/tlog-policy): logs, witnesses and the quorum that must have signed.",
    )
    return policy(keys(function))


def receipt_key_option(function: Function) -> Function:
    """`--receipt-key`: for who trusts a policy, in which there is none."""
    option = click.option(
        "--receipt-key",
        metavar="KEY",
        help="The log's receipt key, the third that `merklelog vkey` prints. [default: what of --vkey is one]",
    )
    return option(function)


proven_size_option = click.option(
    "--size",
    metavar="N",
    type=number,
    help="Prove to the stored checkpoint of that size.  [default: the newest that meets the policy]",
)


def output_option(what: str) -> Callable[[Function], Function]:
    """`-o FILE`: where `what` is written."""
    return click.option(
        "-o",
        "--output",
        "path",
        metavar="FILE",
        type=click.Path(),
        help=f"Write {what} to FILE, not to standard output.",
    )
