"""A witness' rows on RocksDB: a handful of bytes a log, written together and made durable by one sync.

The same engine, options and traps as `rocks.py`; one column family is enough here. `put` may be called while
`sync` runs in another thread; what was put before a sync began is durable when it returns, and after a crash a
prefix of what was put is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from rocksdict import Cache, Rdict, WriteBatch

from merklelog.errors import ClosedError, MerklelogError, StorageError

from . import options
from .problems import translate
from .room import await_room

DIARY = "diary"
_CACHE_BYTES = 8 * options.MIB
_BUFFER_BYTES = 8 * options.MIB


class WitnessRows:
    """One open database, for its one writer."""

    __slots__ = ("_database", "path")

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Raises StorageError, StorageFullError, DamagedError, LockedError; StorageError for one that is not
        there.
        """
        self.path = path
        self._database: Rdict | None = None
        if not create and not (path / "CURRENT").is_file():  # opening a wrong path makes files
            raise StorageError(f"{path}: there is no database")
        how = options.database_options()
        how.set_db_log_dir(str(self._diary))
        how.create_if_missing(create)
        how.set_write_buffer_size(_BUFFER_BYTES)
        how.set_block_based_table_factory(options.table_options(Cache(_CACHE_BYTES), block=4 * options.KIB))
        try:
            self._database = Rdict(str(path), how)
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "opening the database") from error

    @property
    def _diary(self) -> Path:
        return self.path.parent / DIARY

    def get(self, key: bytes) -> bytes | None:
        """The value of a row; None without one."""
        try:
            value: bytes | None = self._open().get(key)
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, f"reading {key.hex()}") from error
        return value

    def rows(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Every row whose key begins so, in key order."""
        found: list[tuple[bytes, bytes]] = []
        scan = self._open().iter()
        try:
            scan.seek(prefix)
            while scan.valid() and (key := scan.key()).startswith(prefix):
                found.append((key, scan.value()))
                scan.next()
            scan.status()  # a scan over damage ends early instead of raising
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, f"scanning {prefix!r}") from error
        return found

    def put(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Write rows, all of them or none; None deletes. Not durable before a `sync` that begins later."""
        batch = WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        database = self._open()
        try:
            await_room(database)
            database.write(batch)
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "writing rows") from error

    def sync(self) -> None:
        """Make durable what was put before; lets the GIL go."""
        try:
            self._open().flush_wal(True)
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "syncing the write-ahead log") from error

    def close(self) -> None:
        """Close the database; safe to call twice. Raises StorageError, DamagedError after it was let go of."""
        database, self._database = self._database, None
        if database is None:
            return
        try:
            database.close()
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "closing the database") from error
        shutil.rmtree(self._diary, ignore_errors=True)

    def _open(self) -> Rdict:
        if self._database is None:
            raise ClosedError(f"{self.path}: the database was closed")
        return self._database

    def _problem(self, error: Exception, doing: str) -> MerklelogError:
        return translate(error, self.path, doing)
