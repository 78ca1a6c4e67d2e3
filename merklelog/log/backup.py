"""A backup: one durable moment of a log as a data directory of its own, taken beside a running writer.

What is copied is read through one read-only opening of the database, which shows one moment: the newest head,
its tree and its entries belong together. The private keys are not copied, and the configuration is copied
without the line that says where they are. The identity index is derived and left out: the first open for writing
makes it anew.

A backup that was brought back knows nothing of what the log signed after it was taken. A log with publish targets
finds that out when it is opened for appending, and refuses. A log without them has nothing to compare itself with,
so appending to it then can sign a fork of what was signed before. That is why a backup opens for reading only,
until its operator puts the keys in place knowing that.

Who may come over the network is copied, for it holds no secret, and without it a log that was brought back would
ask nobody for a token. What was revoked after the backup was taken counts again in it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import DamagedError, MerklelogError, StorageError, UsageError
from merklelog.store import RocksStore
from merklelog.store.layout import FAMILIES
from merklelog.tree import Hash, TreeSize

from .config import FILE, load_config
from .directory import (
    ADMIN,
    DATABASE,
    FORMAT_FILE,
    INDEX,
    TOKENS,
    check_directory,
    sync_path,
    write_synced,
)
from .head import read_head
from .reader import open_reader, open_rows

BATCH_BYTES: Final = 4 << 20

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds: the log's origin, and the size and root of its newest head, published or not."""

    origin: str
    size: TreeSize
    root: Hash


def _no_progress(_done: int, _total: int) -> None:
    """Nobody watches."""


def backup(
    source: str | os.PathLike[str], destination: str | os.PathLike[str], *, progress: Progress = _no_progress
) -> BackupReport:
    """Copy a log, also while another process appends to it, into a directory that must not exist yet.

    Made beside its place, opened, its newest head proven against its tree, and only then renamed into place: there
    is a whole backup or none. `progress(done, total)` counts entries. Memory is bounded; a second copy of the
    log has to fit on the disk.

    Raises UsageError when the destination is there or lies in the log, NotALogError, FormatVersionError,
    ConfigError, DamagedError for a log that can not be read whole, StorageFullError, StorageError.
    """
    log, place = Path(source).absolute(), Path(destination).absolute()
    check_directory(log)
    load_config(log)
    if place.exists() or place.is_symlink():
        raise UsageError(f"{place} is there already; nothing was changed")
    if place.resolve().is_relative_to(log.resolve()):
        raise UsageError(f"{place} is inside the log {log}: a backup goes elsewhere")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}.backup-", dir=place.parent))
    except OSError as error:
        raise StorageError(f"{place.parent}: {error.strerror}") from error
    try:
        report = _fill(log, draft, progress)
        draft.rename(place)
        sync_path(place.parent)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            raise StorageError(f"{place}: {error.strerror}") from error
        raise
    return report


def _fill(log: Path, draft: Path, progress: Progress) -> BackupReport:
    store, info = open_rows(log)
    with closing(store):
        keys = info.keys()
        head, _ = read_head(store, info.origin, keys.verifiers, str(log), keys.receipt)
        _copy_database(store, draft / DATABASE, head.size, progress)
    (draft / INDEX).mkdir()
    write_synced(draft / FILE, without_keys((log / FILE).read_text("utf-8")))
    for name in (TOKENS, ADMIN):
        _copy_private(log / name, draft / name)
    write_synced(draft / FORMAT_FILE, (log / FORMAT_FILE).read_text("ascii"))
    draft.chmod(stat.S_IMODE(log.stat().st_mode))
    for folder, _, _ in os.walk(draft):
        sync_path(Path(folder))
    with open_reader(draft) as made:
        copied = made.integrated
        if (copied.size, copied.root) != (head.size, head.root):
            raise DamagedError(
                f"{log}: its copy has size {copied.size}, want {head.size}: it was not written whole"
            )
    return BackupReport(info.origin, head.size, head.root)


def _copy_private(source: Path, place: Path) -> None:
    """A small file that its owner alone reads; what is not there is left out."""
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        return
    place.touch(0o600)
    place.write_bytes(data)
    sync_path(place)


def without_keys(config: str) -> str:
    """A configuration whose keys are looked for in its own directory, where a backup has none.

    With the original's absolute path, opening a backup for writing would sign with the live keys, by mistake.
    """
    lines, section = [], ""
    for line in config.splitlines():
        if header := re.match(r"\s*\[\s*([^\]\s]+)\s*\]", line):
            section = header[1]
        own = section == "log" and re.match(r"\s*[\"']?keys[\"']?\s*=", line)
        lines.append(f"# not in a backup: {line.strip()}" if own else line)
    return "\n".join(lines) + "\n"


def _copy_database(store: RocksStore, place: Path, size: int, progress: Progress) -> None:
    copy = RocksStore(place, create=True)
    try:
        for family in FAMILIES:
            _copy_family(store, copy, family, size, progress)
        copy.sync()
        copy.settle()
    except BaseException:
        # Closing a database that could not be written fails as well, and says less.
        with suppress(MerklelogError):
            copy.close()
        raise
    copy.close()


def _copy_family(store: RocksStore, copy: RocksStore, family: str, size: int, progress: Progress) -> None:
    rows: list[tuple[bytes, bytes]] = []
    cost = 0
    for key, value in store.rows(family):
        rows.append((key, value))
        cost += len(key) + len(value)
        if cost >= BATCH_BYTES:
            copy.put_rows(family, rows)
            rows, cost = [], 0
            if family == "entries":
                progress(min(size, int.from_bytes(key, "big")), size)
    copy.put_rows(family, rows)


__all__ = ["BackupReport", "backup"]
