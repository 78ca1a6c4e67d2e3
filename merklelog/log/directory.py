"""A log's data directory: what stands where, which format it is, and who may write.

FORMAT           one line: the format's name and version; written last when a log is made
merklelog.toml   the configuration
keys/            private keys, unless the configuration puts them elsewhere
db/              the database
index/           the identity index, derived from the database
search/          the search index, derived from the entries
diary/           RocksDB's own notes of what it did
lock             held by the one writer, and names its process
acknowledged     how many entries were acknowledged at least
tokens.json      who may come over the network, by a token's hash
admin.jsonl      each change of tokens, certificates and configuration
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from merklelog.errors import FormatVersionError, LockedError, NotALogError
from merklelog.store import FORMAT, StoreReader
from merklelog.store.problems import os_problem

FORMAT_FILE: Final = "FORMAT"
FORMAT_NAME: Final = "merklelog data directory, format "
DATABASE: Final = "db"
INDEX: Final = "index"
SEARCH: Final = "search"
LOCK: Final = "lock"
TOKENS: Final = "tokens.json"
ADMIN: Final = "admin.jsonl"


def format_line() -> str:
    """What FORMAT says."""
    return f"{FORMAT_NAME}{FORMAT}\n"


def check_path(path: Path) -> None:
    """Raises NotALogError for a path that no database can be at: RocksDB's are UTF-8, and end at a zero byte."""
    text = str(path)
    if "\0" in text or text != text.encode("utf-8", "replace").decode("utf-8"):
        raise NotALogError(f"{text!a} can not be a log's path: it has to be UTF-8, without a zero byte")


def check_directory(directory: Path) -> None:
    """Raises NotALogError or FormatVersionError unless this is a log's directory that this version opens.

    Looks only, and before anything else touches the directory: opening a database at a wrong path would make
    one there.
    """
    check_path(directory)
    path = directory / FORMAT_FILE
    try:
        text = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        there = "no such directory" if not directory.exists() else "it has no FORMAT file"
        raise NotALogError(f"{directory} is not a log's data directory: {there}") from None
    except OSError as error:
        raise NotALogError(f"{directory} is not a log's data directory: {error.strerror}") from error
    version = text.removeprefix(FORMAT_NAME).removesuffix("\n")
    if (
        not text.startswith(FORMAT_NAME)
        or not version.isascii()
        or not version.isdecimal()
        or version.startswith("0")
        or len(version) > 9
    ):
        raise NotALogError(f"{path} says {text[:60]!r}, want {format_line()!r}")
    if int(version) > FORMAT:
        raise FormatVersionError(
            f"{directory} has format {version}; this version of merklelog reads up to format {FORMAT}"
        )
    for name in (DATABASE, f"{DATABASE}/CURRENT"):
        try:
            (directory / name).stat()
        except OSError as error:
            raise NotALogError(
                f"{directory} is not a whole log: {directory / name}: {error.strerror}"
            ) from error


def check_stored_format(store: StoreReader, directory: Path) -> None:
    """Raises FormatVersionError unless the database says the same as the file: the two may have been mixed up."""
    version = (store.meta("format") or b"").decode("ascii", "replace")
    if version != str(FORMAT):
        raise FormatVersionError(
            f"{directory}: the database has format {version!r}; this version of merklelog reads format {FORMAT}"
        )


class WriterLock:
    """The right to write to a log, held while this object is open. Raises LockedError naming who has it."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise os_problem(error, path) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            pid = self._holder()
            self.release()
            who = f"process {pid}" if pid is not None else "another process"
            raise LockedError(f"{directory} is open for writing by {who}", pid) from error
        except OSError as error:
            self.release()
            raise os_problem(error, path) from error

    def _holder(self) -> int | None:
        """Who wrote its process id here; None in the moment between the lock and that."""
        text = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isascii() and text.isdecimal() else None

    def release(self) -> None:
        """Let the next writer in. The file stays: deleting it would let two writers lock two files."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def sync_path(path: Path) -> None:
    """Sync a file or a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, text: str) -> None:
    """Write a small file and fsync it; its directory is the caller's to sync."""
    path.write_text(text, "utf-8")
    sync_path(path)
