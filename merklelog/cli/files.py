"""Files that the caller names: read bounded, written whole or not at all. `-` is standard input or output."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from merklelog.cli.session import Session
from merklelog.errors import UsageError

STANDARD: Final = "-"
STANDARD_INPUT: Final = "standard input"

Write = Callable[[bytes], object]


def name_of(path: str) -> str:
    """How messages call an input."""
    return STANDARD_INPUT if path == STANDARD else path


def read_bytes(path: str, limit: int) -> bytes:
    """At most `limit` bytes of a file; one more when it has more, which is for the caller to refuse.

    Raises OSError with the path in it.
    """
    if path == STANDARD:
        return sys.stdin.buffer.read(limit + 1)
    with Path(path).open("rb") as file:
        return file.read(limit + 1)


def read_argument(path: str, limit: int, what: str) -> bytes:
    """A whole file that an option or argument names. Raises OSError, UsageError when it is over `limit` bytes."""
    data = read_bytes(path, limit)
    if len(data) > limit:
        raise UsageError(f"{name_of(path)}: more than {limit:,} bytes, which is no {what}")
    return data


@contextlib.contextmanager
def output(path: str | None, session: Session) -> Iterator[Write]:
    """Where a result's bytes go: standard output, or a file that appears under its name when it is whole.

    A file that is there is replaced, by renaming; what is not a plain file (a device, a pipe) is written to
    as it is. Raises OSError with the path in it; then a file that was there is as it was.
    """
    if path is None or path == STANDARD:
        yield session.write
        return
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    with _naming(path):
        is_plain = target.is_file() or not target.exists()
        file = draft.open("xb") if is_plain else target.open("wb")
    try:
        try:
            yield _writer(file, path)
        finally:
            with _naming(path):  # what could not be written is tried once more here, and fails again
                file.close()
        if is_plain:
            with _naming(path):
                if target.exists():
                    draft.chmod(stat.S_IMODE(target.stat().st_mode))
                draft.replace(target)
    except BaseException:
        if is_plain:
            draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """An OSError inside names `path`, as the caller wrote it, and not the draft or nothing."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _writer(file: BinaryIO, path: str) -> Write:
    def write(data: bytes) -> None:
        with _naming(path):
            file.write(data)

    return write


def write_file(path: str | None, data: bytes, session: Session) -> None:
    """All of `data` to a file or to standard output. Raises as `output` does."""
    with output(path, session) as write:
        write(data)
