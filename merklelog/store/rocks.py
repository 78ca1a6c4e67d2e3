"""The store on RocksDB, through rocksdict. Layout: `layout.py`; tuning: `options.py`.

Traps that shaped this file: every column family handle is taken once at open, because dropping one flushes it;
iterators end early instead of raising after damage, so each scan asks for its status; opening a wrong path makes
files, so the caller checks the directory first; after a failed write only a new open tells what is stored; a
secondary that catches up with its writer can show an old value of one family beside new ones of another, so a
reader opens read-only, sees one moment, and opens again to see a later one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from rocksdict import AccessType, Cache, ColumnFamily, Rdict, RdictIter, ReadOptions, WriteBatch

from merklelog.errors import ClosedError, DamagedError, MerklelogError
from merklelog.protocol.commit import ENTRIES_A_BUNDLE, Commit
from merklelog.tree import Growth

from . import layout, options
from .beside import PINNING, LookAlike, file_names, sync_logs
from .journal import check_journals
from .problems import translate
from .room import await_room
from .scan import Scans

DIARY = "diary"  # where RocksDB writes its own log of what it did, beside the database
OPEN_TRIES = 20
TILE_LEVELS = 8


class RocksStore:
    """One open database, for its one writer or (opened as a secondary) for readers beside it."""

    __slots__ = (
        *("_alike", "_batch_handles", "_cache", "_database", "_edge_starts", "_families", "_scans", "path"),
    )

    def __init__(self, path: Path, *, create: bool = False, read_only: bool = False) -> None:
        self.path = path
        self._cache = Cache(options.CACHE_BYTES)
        self._database: Rdict | None = None
        self._families: dict[str, Rdict] = {}
        self._batch_handles: dict[str, ColumnFamily] = {}
        self._alike = LookAlike(path) if read_only else None
        self._scans = Scans(self._problem)
        try:
            self._open_database(create=create)
            # Where the pieces of each level's unfinished tile start: they are deleted when it is full.
            self._edge_starts = {
                level: [start for start, _ in self._pieces(level)] for level in range(TILE_LEVELS)
            }
        except BaseException:
            self._let_go()  # or the lock would stay for as long as somebody holds this error
            raise

    @property
    def _place(self) -> Path:
        """Where RocksDB is told that the database is."""
        return self.path if self._alike is None else self._alike.place

    def _open_database(self, *, create: bool) -> None:
        reading = self._alike is not None
        if self._alike is not None:
            check_journals(self._place, self.path)
        access = AccessType.read_only(False) if reading else AccessType.read_write()
        whole = options.database_options(read_only=reading)
        whole.set_db_log_dir(str(self._diary))
        whole.create_if_missing(create)
        whole.create_missing_column_families(create)
        families = options.family_options(self._cache)
        try:
            database = self._database = Rdict(str(self._place), whole, families, access)
            for name in layout.FAMILIES:
                self._families[name] = database.get_column_family(name)
            self._batch_handles = {name: database.get_column_family_handle(name) for name in layout.FAMILIES}
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "opening the database") from error
        if self._alike is not None:
            self._alike.unpin()

    @property
    def _diary(self) -> Path:
        """Where RocksDB writes what it did, 100 KiB at each open: a clean close throws it away."""
        return self.path.parent / DIARY if self._alike is None else self._alike.diary

    @classmethod
    def create(cls, path: Path, metas: Mapping[str, bytes]) -> Self:
        """A new, empty database that holds these values; `path` must not exist."""
        store = cls(path, create=True)
        batch = WriteBatch(raw_mode=True)
        for name, value in metas.items():
            batch.put(name.encode(), value, store._batch_handles["meta"])
        store._write(batch)
        store.sync()
        return store

    @classmethod
    def open_beside(cls, path: Path) -> Self:
        """One durable moment of the database, read-only, also while its writer goes on.

        Changes nothing in the directory. A writer may delete files while they are looked up (their rows are in a
        table then, which the list of files did not name yet): if so, all is done again.
        """
        for _ in range(OPEN_TRIES):
            before = file_names(path)
            try:
                store = cls(path, read_only=True)
            except DamagedError as error:
                damage = error
                if before == file_names(path):
                    raise
                continue
            if PINNING or (store._alike is not None and store._alike.is_current()):
                sync_logs(path)
                return store
            store.close()
            damage = DamagedError(f"{path}: its files were deleted while they were read")
        raise DamagedError(f"{path} changed during each of {OPEN_TRIES} openings; at last: {damage}")

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, commit: Commit) -> None:
        """See Store.write. Raises StorageFullError, StorageError, ClosedError."""
        self._open()
        batch = WriteBatch(raw_mode=True)
        put, handles = batch.put, self._batch_handles
        entries = handles["entries"]
        for first, framed in commit.segments:
            put(layout.number(first), framed, entries)
        self._put_growth(batch, commit.growth)
        for index, identity in commit.identities:
            put(layout.number(index), identity, handles["identities"])
        self._put_remembered(batch, commit)
        if commit.checkpoint is not None:
            put(layout.NEWEST, commit.checkpoint.note, handles["heads"])
            if commit.checkpoint.keep:
                put(layout.kept_key(commit.checkpoint.size), commit.checkpoint.note, handles["heads"])
        if commit.filed is not None:
            put(layout.kept_key(commit.filed[0]), commit.filed[1], handles["heads"])
        if commit.published is not None:
            put(layout.PUBLISHED, commit.published, handles["heads"])
        if commit.epoch is not None:
            put(layout.EPOCH, commit.epoch, handles["heads"])
        if commit.witnessed is not None:
            put(layout.WITNESSED, commit.witnessed, handles["heads"])
        if commit.held is not None:
            put(layout.HELD, commit.held, handles["heads"])
        self._write(batch)

    def _put_growth(self, batch: WriteBatch, growth: Growth) -> None:
        tiles, heads = self._batch_handles["tiles"], self._batch_handles["heads"]
        for tile in growth.full:
            batch.put(layout.tile_key(tile.level, tile.index), tile.hashes, tiles)
            batch.put(layout.nodes_key(tile.level, tile.index), tile.nodes, tiles)
            for start in self._edge_starts.pop(tile.level, ()):
                batch.delete(layout.edge_key(tile.level, start), heads)
        for piece in growth.edges:
            value = layout.number(piece.index) + piece.hashes
            batch.put(layout.edge_key(piece.level, piece.start), value, heads)
            self._edge_starts.setdefault(piece.level, []).append(piece.start)

    def _put_remembered(self, batch: WriteBatch, commit: Commit) -> None:
        rows = self._batch_handles["idempotency"]
        for key, row in commit.remember:
            old = self.remembered(key)
            if old is not None:  # over: left behind, its row by time would have the new one forgotten
                batch.delete(layout.remembered_time_key(layout.remembered_time(old), key), rows)
            batch.put(layout.remembered_key(key), row, rows)
            batch.put(layout.remembered_time_key(layout.remembered_time(row), key), b"", rows)
        for key in commit.forget:
            old = self.remembered(key)
            if old is not None:
                batch.delete(layout.remembered_key(key), rows)
                batch.delete(layout.remembered_time_key(layout.remembered_time(old), key), rows)

    def _write(self, batch: WriteBatch) -> None:
        database = self._open()
        try:
            await_room(database)
            database.write(batch)
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "writing a commit") from error

    def sync(self) -> None:
        """See Store.sync: flushes the write-ahead log's buffer and fsyncs it; lets the GIL go."""
        try:
            self._open().flush_wal(True)
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "syncing the write-ahead log") from error

    def settle(self) -> None:
        """See Store.settle: flushes every memtable, after which no write-ahead log is left to replay."""
        try:
            for family in self._families.values():
                family.flush(True)
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, "flushing memtables") from error

    # --- reading -----------------------------------------------------------------------------------------------

    def meta(self, name: str) -> bytes | None:
        """See StoreReader.meta."""
        return self._get("meta", name.encode())

    def newest(self) -> bytes | None:
        """See StoreReader.newest."""
        return self._get("heads", layout.NEWEST)

    def published(self) -> bytes | None:
        """See StoreReader.published."""
        return self._get("heads", layout.PUBLISHED)

    def epoch(self) -> bytes | None:
        """See StoreReader.epoch."""
        return self._get("heads", layout.EPOCH)

    def witnessed(self) -> bytes | None:
        """See StoreReader.witnessed."""
        return self._get("heads", layout.WITNESSED)

    def held(self) -> bytes | None:
        """See StoreReader.held."""
        return self._get("heads", layout.HELD)

    def checkpoint(self, size: int) -> bytes | None:
        """See StoreReader.checkpoint."""
        return self._get("heads", layout.kept_key(size))

    def stored_sizes(self) -> Iterator[int]:
        """See StoreReader.stored_sizes."""
        for key, _ in self._scan("heads", RdictIter.seek_to_last, backward=True):
            if not key.startswith(layout.KEPT):
                return
            yield int.from_bytes(key[1:], "big")

    def segments(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """See StoreReader.segments."""

        def seek(rows: RdictIter) -> None:
            rows.seek_for_prev(layout.number(start))
            if not rows.valid():
                self._scans.check(rows, "entries")
                rows.seek(layout.number(start))

        for key, framed in self._scan("entries", seek, long=end - start > ENTRIES_A_BUNDLE):
            first = int.from_bytes(key, "big")
            if first >= end:
                return
            yield first, framed

    def tile(self, level: int, index: int) -> bytes | None:
        """See StoreReader.tile."""
        return self._get("tiles", layout.tile_key(level, index))

    def nodes(self, level: int, index: int) -> bytes | None:
        """See StoreReader.nodes."""
        return self._get("tiles", layout.nodes_key(level, index))

    def edge(self, level: int, index: int) -> bytes:
        """See StoreReader.edge. Raises DamagedError when a piece is missing."""
        joined = bytearray()
        own = layout.number(index)
        for start, value in self._pieces(level):
            if value[:8] != own or len(joined) != 32 * start:
                raise DamagedError(
                    f"{self.path}: partial tile {level}/{index}: a piece of tile {level}/"
                    f"{int.from_bytes(value[:8], 'big')} starts at hash {start}, want {len(joined) // 32}"
                )
            joined += value[8:]
        return bytes(joined)

    def _pieces(self, level: int) -> Iterator[tuple[int, bytes]]:
        """The pieces of a level's unfinished tile: where each starts, and its row."""
        first = layout.edge_key(level, 0)
        for key, value in self.rows("heads", first):
            if key[:-1] != first[:-1]:
                return
            yield key[-1], value

    def identity(self, index: int) -> bytes | None:
        """See StoreReader.identity."""
        return self._get("identities", layout.number(index))

    def identities(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """See StoreReader.identities."""
        for key, identity in self.rows("identities", layout.number(start)):
            index = int.from_bytes(key, "big")
            if index >= end:
                return
            yield index, identity

    def remembered(self, key: bytes) -> bytes | None:
        """See StoreReader.remembered."""
        return self._get("idempotency", layout.remembered_key(key))

    def remembered_before(self, time: int, limit: int) -> list[bytes]:
        """See StoreReader.remembered_before."""
        found: list[bytes] = []
        end = b"t" + layout.number(time)
        for key, _ in self.rows("idempotency", b"t"):
            if len(found) == limit or key >= end:
                break
            found.append(key[9:])
        return found

    def rows(self, family: str, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every row of a column family from key `first` on, in key order."""
        return self._scan(family, lambda rows: rows.seek(first), long=True)

    def put_rows(self, family: str, rows: list[tuple[bytes, bytes]]) -> None:
        """Write rows as they are: for a backup being made or a log being opened.

        Into one in use only the very rows that it had, where they are damaged; none that its writer writes.
        """
        batch = WriteBatch(raw_mode=True)
        handle = self._batch_handles[family]
        for key, value in rows:
            batch.put(key, value, handle)
        self._write(batch)

    def _problem(self, error: Exception, doing: str) -> MerklelogError:
        return translate(error, self.path, doing, self._place)

    def _open(self) -> Rdict:
        if self._database is None:
            raise ClosedError(f"{self.path}: the database was closed")
        return self._database

    def _get(self, family: str, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._families[family].get(key)
        except KeyError:
            raise ClosedError(f"{self.path}: the database was closed") from None
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, f"reading {family} {key.hex()}") from error
        return value

    def _scan(
        self, family: str, seek: Callable[[RdictIter], None], *, backward: bool = False, long: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._scans.run(lambda: self._iterator(family, long), family, seek, backward=backward)

    def _iterator(self, family: str, long: bool) -> RdictIter:
        self._open()
        # A long scan would push out of the cache what random reads keep there; going past it also reads a third
        # faster (16 instead of 24 us a bundle of random bytes, 47 instead of 65 compressed).
        how = ReadOptions()
        how.fill_cache(not long)  # type: ignore[call-arg]  # its stub leaves the argument out
        try:
            return self._families[family].iter(how)
        except KeyError:
            raise ClosedError(f"{self.path}: the database was closed") from None
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, f"scanning {family}") from error

    def close(self) -> None:
        """Close the database; safe to call twice. Raises StorageError, DamagedError after it was let go of."""
        if self._database is None:
            return
        failure = self._let_go()
        if failure is not None:
            raise failure
        if self._alike is None:
            shutil.rmtree(self._diary, ignore_errors=True)

    def _let_go(self) -> MerklelogError | None:
        """Scans and handles go first, or the database's lock would stay. Gives the first error back.

        Closing flushes, which a disk or a damaged table may refuse; each handle is let go of all the same.
        """
        handles = [*self._families.values(), *([self._database] if self._database is not None else ())]
        self._database, self._families, self._batch_handles = None, {}, {}
        self._scans.close()
        failure: MerklelogError | None = None
        while handles:
            try:
                handles.pop(0).close()
            except Exception as error:  # noqa: BLE001 - rocksdict raises no narrower class
                failure = failure or self._problem(error, "closing the database")
        if self._alike is not None:
            self._alike.unpin()
            self._alike.remove()
        return failure
