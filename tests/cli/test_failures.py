"""From an error to a sentence and an exit status: every class, every kind, and nothing swallowed."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from merklelog import errors
from merklelog.cli import init as init_module
from merklelog.cli import read as read_module
from merklelog.cli import session as session_module

CLASSES = sorted(
    (each for each in vars(errors).values() if isinstance(each, type) and each is not errors.MerklelogError),
    key=lambda each: each.__name__,
)


@pytest.fixture
def fail(run: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`fail(error, words...)`: a command that raises this."""

    def call(error: BaseException, *words: str, status: int) -> object:
        def raising(*_: object) -> None:
            raise error

        monkeypatch.setattr(read_module, "read_trust", raising)
        return run("get", "log", 0, *words, status=status)

    return call


def make(kind: type[errors.MerklelogError]) -> errors.MerklelogError:
    """An error of a class, whatever words it wants."""
    try:
        return kind("the value 7")
    except TypeError:
        return kind("the field", "the value 7")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_status_and_its_sentence(
    fail: Callable, kind: type[errors.MerklelogError]
) -> None:
    error = make(kind)
    assert "the value 7" in str(error)
    done = fail(error, status=kind.exit_status)
    assert (done.out, done.err) == (b"", f"merklelog: {error}\n")
    done = fail(error, "--json", status=kind.exit_status)
    assert done.err == f"merklelog: {error}\n"
    assert json.loads(done.out) == {
        "error": kind.__name__,
        "message": str(error),
        "exit_status": kind.exit_status,
    }


def test_the_statuses_are_those_of_the_design() -> None:
    assert {kind.exit_status for kind in CLASSES} == {1, 2, 3, 4}


def test_both_notes_of_a_fork_are_shown(fail: Callable) -> None:
    done = fail(errors.ForkError("two histories", b"note one\n", b"note two\n"), status=1)
    assert "note one\n" in done.err
    assert "note two\n" in done.err


def test_an_error_of_the_system_names_the_file(fail: Callable) -> None:
    done = fail(PermissionError(errno.EACCES, "Permission denied", "/a/file"), status=4)
    assert done.err == "merklelog: /a/file: Permission denied\n"
    assert fail(OSError(errno.EIO, "I/O error"), status=4).err == "merklelog: I/O error\n"
    assert "out of memory" in fail(MemoryError(), status=4).err


def test_an_unforeseen_error_is_a_sentence_and_a_hint(
    fail: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fail(KeyError("x"), status=4)
    assert "unexpected KeyError: 'x'" in done.err
    assert "MERKLELOG_TRACEBACK=1" in done.err
    assert "Traceback" not in done.err
    monkeypatch.setenv("MERKLELOG_TRACEBACK", "1")
    done = fail(KeyError("x"), status=4)
    assert "Traceback" in done.err
    assert "raising" in done.err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_130(fail: Callable, error: BaseException) -> None:
    assert fail(error, status=130).err == "merklelog: interrupted\n"


def test_a_closed_pipe_is_quiet(fail: Callable) -> None:
    done = fail(session_module.OutputClosedError(), status=4)
    assert (done.out, done.err) == (b"", "")


def test_a_usage_error_as_json(run: Callable) -> None:
    done = run("get", "--json", status=2)
    assert json.loads(done.out)["error"] == "UsageError"
    assert "Missing argument 'TARGET'" in json.loads(done.out)["message"]
    assert "Usage: merklelog get" in done.err


def test_half_a_result_is_not_followed_by_an_error_object(run: Callable, copy: str, vkeys: list[str]) -> None:
    bundle = Path(copy.removeprefix("dir:")) / "tile" / "entries" / "000.p" / "3"
    bundle.write_bytes(bundle.read_bytes().replace(b"two", b"TWO"))
    done = run("get", copy, "0:3", "--json", "--vkey", vkeys[0], status=1)
    assert b'"error"' not in done.out
    assert "entry 1" in done.err


def test_what_could_steer_a_terminal_is_escaped(run: Callable, tmp_path: Path) -> None:
    done = run("get", "a\x1b[31mb\u202ec", 0, status=2)
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err
    assert "a\\x1b[31mb\\u202ec" in done.err


def test_an_option_that_does_not_exist_is_told_from_a_negative_number(run: Callable) -> None:
    assert "No such option" in run("get", "log", 0, "--jsnl", status=2).err
    assert "No such option" in run("get", "log", "-x", status=2).err
    assert "whole numbers" in run("get", "log", "-12", status=2).err


def test_settings_name_options_that_exist() -> None:
    options = {name for param in init_module.init.params for name in param.opts}
    assert set(init_module.OWN_OPTION.values()) <= options
