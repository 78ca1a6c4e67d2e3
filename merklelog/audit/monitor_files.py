"""A monitor's state: a directory of small files, each replaced as a whole and synced.

lock                          held by the monitor that runs
findings.jsonl                everything that was found, a line each, never rewritten
sent/<sink>                   how many bytes of it a sink has taken
conditions.json               what lasts, since when, and whether it was told
evidence/<hash>/*.note        signed notes, byte for byte
logs/<hash of origin>/        of each log: `checkpoint`, the newest one that is trusted; `progress.json`
logs/<hash of origin>/seen/   of each target and witness: the largest checkpoint that it showed
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any, Final, Self

from merklelog.errors import DamagedError, FormatError, LockedError, StorageError
from merklelog.formats.wire import parse_decimal
from merklelog.publish.files import make_directories, sync_directory, writing

MAX_STATE_BYTES: Final = 8 << 20
_CHUNK: Final = 1 << 20


def short_hash(text: str) -> str:
    """A file's name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file as a whole: after a crash it is the old one or the new one. Raises StorageError and kin."""
    new = path.with_name(path.name + ".new")
    with writing(str(path)):
        make_directories(path.parent)
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_directory(path.parent)


def read_file(path: Path, limit: int = MAX_STATE_BYTES) -> bytes | None:
    """A file's bytes, None where there is none. Raises DamagedError over the limit, StorageError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise DamagedError(f"{path}: more than {limit} bytes")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the state, empty where there is none. Raises DamagedError, StorageError."""
    data = read_file(path)
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{path}: want a JSON object")
    return found


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a JSON object of the state. Raises StorageError."""
    replace_file(path, json.dumps(value, separators=(",", ":"), sort_keys=True).encode() + b"\n")


class StateDirectory:
    """The directory as a whole, held by one monitor at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises LockedError when another monitor runs on it, StorageError."""
        self.path = Path(path).absolute()
        with writing(str(self.path)):
            make_directories(self.path)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise LockedError(f"{self.path}: another monitor runs with this state") from error
        try:
            self.journal = Journal(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def keep_evidence(self, *notes: bytes) -> tuple[str, ...]:
        """Keep signed notes for good, the same ones once; gives their files. Raises StorageError."""
        name = hashlib.sha256(b"\0".join(notes)).hexdigest()[:32]
        folder = self.path / "evidence" / name
        paths = [folder / f"{number}.note" for number in range(1, len(notes) + 1)]
        for path, note in zip(paths, notes, strict=True):
            if read_file(path) != note:
                replace_file(path, note)
        return tuple(map(str, paths))

    def close(self) -> None:
        """Let another monitor have it; safe to call twice."""
        self.journal.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Journal:
    """Everything that was found, appended and synced before anybody hears of it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "findings.jsonl"
        self._sent = folder / "sent"
        with writing(str(self._path)):
            self._file: IO[bytes] = self._path.open("a+b")
            self._cut_torn()
            sync_directory(folder)

    def _cut_torn(self) -> None:
        """A crash may have left half a line at the end: what it was about is found again."""
        end = self._file.seek(0, os.SEEK_END)
        at = end
        while at:
            start = max(0, at - _CHUNK)
            self._file.seek(start)
            newline = self._file.read(at - start).rfind(b"\n")
            if newline >= 0:
                at = start + newline + 1
                break
            at = start
        if at != end:
            self._file.truncate(at)
            os.fsync(self._file.fileno())

    @property
    def end(self) -> int:
        """How many bytes it has."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, lines: list[bytes]) -> None:
        """Add lines, durably. Raises StorageError, StorageFullError."""
        if not lines:
            return
        with writing(str(self._path)):
            before = self.end
            try:
                self._file.write(b"".join(lines))
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(before)
                raise

    def read(self, start: int) -> list[bytes]:
        """Whole lines from `start` on, about a MiB of them at most (one line at least). Raises StorageError."""
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return file.readlines(_CHUNK)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror or error}") from error

    def sent(self, sink: str) -> int:
        """How many bytes a sink has taken; a new one takes what is found from now on. Raises DamagedError."""
        path = self._sent / sink
        data = read_file(path)
        if data is None:
            self.mark_sent(sink, self.end)
            return self.end
        try:
            at = parse_decimal(data.removesuffix(b"\n"), "position")
        except FormatError as error:
            raise DamagedError(f"{path}: {error}") from error
        if at > self.end:
            raise DamagedError(f"{path}: it is {at}, and {self._path} has {self.end} bytes")
        return at

    def mark_sent(self, sink: str, at: int) -> None:
        """A sink has taken everything before `at`. Raises StorageError."""
        replace_file(self._sent / sink, b"%d\n" % at)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()


__all__ = ["Journal", "StateDirectory", "read_file", "read_json", "replace_file", "short_hash", "write_json"]
