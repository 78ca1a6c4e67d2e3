"""What an error becomes: a sentence on standard error, and an exit status.

0 is never given here. The status of a MerklelogError is that of its class; docs/reference.md lists them.
"""

from __future__ import annotations

import io
import os
import traceback
from dataclasses import dataclass
from typing import Annotated, Final

import click

from merklelog.cli.session import OutputClosedError, Session, discard_output
from merklelog.errors import ForkError, MerklelogError

USAGE: Final = 2
LOCAL: Final = 4
INTERRUPTED: Final = 130
TRACEBACK_VARIABLE: Final = "MERKLELOG_TRACEBACK"


@dataclass(frozen=True, slots=True)
class Failure:
    """What `--json` prints instead of a result when a command fails; the sentence goes to stderr as well."""

    error: Annotated[str, "the error's class: one of the table of errors, or Python's for a file of yours"]
    message: Annotated[str, "what was wrong with which value"]
    exit_status: Annotated[int, "the command's exit status"]


def report(error: BaseException, session: Session) -> int:
    """Say what went wrong and give the exit status."""
    if isinstance(error, OutputClosedError | BrokenPipeError):
        discard_output()
        return LOCAL  # who closed the pipe knows; a verdict against what was verified would have come before
    if isinstance(error, KeyboardInterrupt | click.Abort):
        _say("interrupted", session)
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        return _report_usage(error, session)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else LOCAL
    message, status = _explain(error)
    _say(message, session)
    if isinstance(error, ForkError):
        _say_notes(error, session)
    _maybe_traceback(error, session)
    _report_json(Failure(type(error).__name__, message, status), session)
    return status


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, MerklelogError):
        return str(error), error.exit_status
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{error.strerror}", LOCAL
    if isinstance(error, MemoryError):
        return "out of memory", LOCAL
    hint = f"set {TRACEBACK_VARIABLE}=1 to see where, and please report it"
    return f"unexpected {type(error).__name__}: {error} (a defect of merklelog: {hint})", LOCAL


def _report_usage(error: click.ClickException, session: Session) -> int:
    told = io.StringIO()
    error.show(told)  # not straight to the terminal: it repeats the caller's words as they are
    session.note(told.getvalue().removesuffix("\n"))
    _report_json(Failure("UsageError", error.format_message(), USAGE), session)
    return USAGE


def _say(message: str, session: Session) -> None:
    session.note(message, "merklelog:")


def _say_notes(error: ForkError, session: Session) -> None:
    """The two signed notes are the evidence, and may be gone from the log by tomorrow."""
    for name, note in (("first", error.first), ("second", error.second)):
        if note:
            session.note(f"--- the {name} note\n{note.decode('utf-8', 'backslashreplace')}--- end")


def _maybe_traceback(error: BaseException, session: Session) -> None:
    if os.environ.get(TRACEBACK_VARIABLE):
        session.note("".join(traceback.format_exception(error)))


def _report_json(failure: Failure, session: Session) -> None:
    if not session.json or session.wrote:
        return  # half a result may be on its way already: a second object would hide that
    try:
        session.write_json(failure)
        session.flush()
    except (OutputClosedError, MerklelogError):
        discard_output()  # the status has to say it all
