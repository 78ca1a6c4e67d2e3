"""One run of one command: where its results go, and how they look."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from merklelog.errors import StorageError


class OutputClosedError(Exception):
    """Whoever read our standard output has had enough: the command ends without a word."""


@dataclass
class Session:
    """How this run writes: results to standard output as bytes, everything else to standard error.

    `json` says that the caller asked for JSON; `wrote` that standard output has something in it already.
    """

    json: bool = False
    wrote: bool = False

    def write(self, data: bytes) -> None:
        """Bytes to standard output, as they are. Raises OutputClosedError, StorageError."""
        self.wrote = True
        try:
            _standard_output().write(data)
        except OSError as error:
            raise _output_error(error) from error

    def flush(self) -> None:
        """Everything written is handed to the system. Raises as `write` does."""
        try:
            _standard_output().flush()
        except OSError as error:
            raise _output_error(error) from error

    def show(self, result: object, lines: Iterable[str]) -> None:
        """A command's result: `result`, a dataclass, as JSON when that was asked for, else these lines."""
        if self.json:
            self.write_json(result)
        else:
            self.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))

    def write_json(self, result: object) -> None:
        """One JSON object on one line."""
        import json
        from dataclasses import asdict, is_dataclass

        values = asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        # A path that is not UTF-8 holds lone surrogates; written as escapes they are JSON.
        self.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def note(self, text: str, label: str = "") -> None:
        """A sentence for the person at the terminal, on standard error; `label` before it is red on a terminal."""
        import click

        color = False if os.environ.get("NO_COLOR") else None  # None: colours on a terminal only
        try:
            if label:
                click.secho(f"{label} ", err=True, nl=False, fg="red", bold=True, color=color)
            click.echo(visible(text, newlines=True), err=True)
        except OSError:
            return  # nobody can be told that nobody can be told


def _standard_output() -> BinaryIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdout.buffer


def _output_error(error: OSError) -> Exception:
    discard_output()
    if isinstance(error, BrokenPipeError):
        return OutputClosedError()
    return StorageError(f"standard output: {error.strerror}")


def discard_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not fail as well."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
    except (OSError, ValueError, AttributeError):
        return  # no real standard output to point anywhere


def visible(text: str, *, newlines: bool = False) -> str:
    """Text from outside as a terminal may show it: what could move a cursor or hide a letter is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (newlines and c == "\n") else ascii(c)[1:-1] for c in text)
