"""`DIR/admin.jsonl`: each change of tokens, certificates and configuration, who made it and when, a line each.

Lines are only ever added, and each is on the disk before what it tells of is done. No secret stands in it: of a
token its ID, of a certificate its fingerprint.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from merklelog.errors import StorageError
from merklelog.log.directory import ADMIN, sync_path

from .tokens import own_as

FILE: Final = ADMIN

Details = Mapping[str, str | int | bool | list[str] | None]


class Line(msgspec.Struct, frozen=True):
    """One line. `time` is RFC 3339 in UTC; `what` is a short fixed word, such as "token added"."""

    time: str
    who: str
    what: str
    details: dict[str, Any]


def operator() -> str:
    """Who runs this process: the user's name and ID, and who called sudo."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user has no name
        name = "uid"
    caller = os.environ.get("SUDO_USER")
    return f"{name} ({uid})" + (f", sudo of {caller}" if caller else "")


def note(directory: Path, what: str, details: Details, *, who: str | None = None) -> None:
    """Write a line and have it on the disk. Raises StorageError: then what it tells of should not be done."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = msgspec.json.encode(Line(now, operator() if who is None else who, what, dict(details)))
    path = directory / FILE
    try:
        is_new = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if is_new:
                own_as(handle, directory)
            os.write(handle, (b"\n" if _is_cut_off(handle) else b"") + line + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            sync_path(directory)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def note_changed(directory: Path, what: str, details: Details, *, who: str | None = None) -> bool:
    """Write a line unless the last one of that kind says the same; gives whether it did.

    For what is read at a start: a change that was made while nothing ran is noted by who finds it. Raises
    StorageError.
    """
    found = [line for line in read_lines(directory) if line.what == what]
    if found and found[-1].details == dict(details):
        return False
    note(directory, what, details, who=who)
    return True


def read_lines(directory: Path) -> list[Line]:
    """All lines, oldest first; one that a crash cut off is left out. Raises StorageError."""
    path = directory / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    lines = []
    for text in data.split(b"\n"):
        try:
            lines.append(msgspec.json.decode(text, type=Line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # the end of a write that a crash cut off, and the empty piece behind the last line
    return lines


def _is_cut_off(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"
