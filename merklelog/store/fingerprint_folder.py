"""The folder of runs: which of its files, taken together, cover the indexes from 0 on without a gap."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

from merklelog.errors import StorageError

from .fingerprint_run import Run, RunDamagedError, open_run, run_name

Confirm = Callable[[int, bytes], bool]

_NAME = re.compile(r"([0-9]{20})-([0-9]{20})\.run")
_OURS = re.compile(r"[0-9]{20}-[0-9]{20}\.(?:run|[0-9]+\.tmp)")
# What says something about this process or its rights, and nothing about the file.
_NOT_THE_FILE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM))
_ATTEMPTS = 20


def open_runs(folder: Path, confirm: Confirm, *, read_only: bool) -> tuple[tuple[Run, ...], list[str]]:
    """The adjacent runs from index 0 on, the longest where several begin, and why others were dropped.

    A run whose last key is not confirmed is of another past of this log: dropped like a damaged one. Unless
    `read_only`, the folder is made when it is missing, and every file of ours not among the runs is deleted.
    Raises StorageError when the folder, or a file for a reason that is not the file's, can not be opened.
    """
    try:
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            dropped: list[str] = []
            runs, vanished = _chain(folder, confirm, dropped)
            # Beside a writer a run may have been merged away since the folder was listed: look again.
            if not (vanished and read_only):
                break
        if not read_only:
            _clean(folder, {run.path.name for run in runs}, dropped)
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {error.strerror}") from error
    return tuple(runs), dropped


def _chain(folder: Path, confirm: Confirm, dropped: list[str]) -> tuple[list[Run], bool]:
    ends: dict[int, list[int]] = {}
    for name in _names(folder):
        if match := _NAME.fullmatch(name):
            ends.setdefault(int(match[1]), []).append(int(match[2]))
    runs: list[Run] = []
    at, vanished = 0, False
    while at in ends:
        for end in sorted(ends.pop(at), reverse=True):
            try:
                run = _open_confirmed(folder / run_name(at, end), confirm)
                if runs and run.seed != runs[0].seed:
                    raise RunDamagedError(f"{run.path}: its fingerprints have another seed than those before")
            except FileNotFoundError:
                vanished = True
                continue
            except RunDamagedError as error:
                dropped.append(str(error))
                continue
            runs.append(run)
            at = end
            break
    return runs, vanished


def _open_confirmed(path: Path, confirm: Confirm) -> Run:
    try:
        run = open_run(path)
    except OSError as error:
        if error.errno in _NOT_THE_FILE or isinstance(error, FileNotFoundError):
            raise
        raise RunDamagedError(f"{path}: {error.strerror}") from error
    if not confirm(run.end - 1, run.last_key):
        raise RunDamagedError(f"{path}: entry {run.end - 1} of the log is not the one this run ends with")
    return run


def _clean(folder: Path, keep: set[str], dropped: list[str]) -> None:
    """Delete what is left of merges, of kills, and of runs that were dropped or follow one that was."""
    covered = max((int(name[21:41]) for name in keep), default=0)
    for name in _names(folder):
        if name in keep or not _OURS.fullmatch(name):
            continue
        path = folder / name
        match = _NAME.fullmatch(name)
        if match and int(match[2]) > covered and not any(name in why for why in dropped):
            dropped.append(f"{path}: nothing covers the indexes from {covered} to {int(match[1])}")
        path.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
