"""How a command gets to a log on a server, and what it remembers of it: `--token --ca --cert --key --timeout
--state`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from merklelog.client import Access

Function = TypeVar("Function", bound=Callable[..., Any])

TOKEN_VARIABLE: Final = "MERKLELOG_TOKEN"  # noqa: S105 - the name of a variable
_NAMES: Final = ("token", "ca", "cert", "key", "timeout", "state")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the options say; `state` is the file that keeps the newest verified checkpoint."""

    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    timeout: float = 30.0
    state: str | None = None

    def access(self) -> Access:
        """As the client library wants it. Raises UsageError."""
        from merklelog.client import Access, Retry

        retry = Retry(total=self.timeout, attempt=min(15.0, self.timeout))
        return Access(self.token, self.ca, self.cert, self.key, retry=retry)


def server_options(*, state: bool = True) -> Callable[[Function], Function]:
    """The options, given to the command as `reach`; `--state` where the command verifies checkpoints."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*words: Any, **given: Any) -> Any:
            reach = Reach(**{name: given.pop(name) for name in _NAMES if name in given})
            return function(*words, reach=reach, **given)

        wrapped: Any = call
        for option in _options(state=state):
            wrapped = option(wrapped)
        found: Function = wrapped
        return found

    return decorate


def _options(*, state: bool) -> list[Callable[[Any], Any]]:
    """The last one stands first in `--help`."""
    path = click.Path()
    options = [
        click.option(
            "--timeout",
            metavar="SECONDS",
            type=click.FloatRange(0, 86_400, min_open=True),
            default=30.0,
            help="How long to go on when a server can not answer.  [default: 30]",
        ),
        click.option("--key", metavar="FILE", type=path, help="The key of --cert.  [default: in its file]"),
        click.option("--cert", metavar="FILE", type=path, help="The certificate (PEM) to show to a server."),
        click.option(
            "--ca",
            metavar="FILE",
            type=path,
            help="Who may vouch for a server (PEM).  [default: the system's]",
        ),
        click.option(
            "--token",
            metavar="TOKEN",
            envvar=TOKEN_VARIABLE,
            help=f"A token of a server; {TOKEN_VARIABLE} keeps it out of the list of processes.",
        ),
    ]
    if state:
        options.append(
            click.option(
                "--state",
                metavar="FILE",
                type=path,
                help="Keep the newest verified checkpoint in FILE, and hold the log to it for ever.",
            )
        )
    return options
