"""Which record IDs a log has: what makes a retry idempotent, also after restarts and after recovery.

Derived and never the truth: an index of keys (`store.fingerprints`) in `DIR/ids`, which proposes entries, and the
log, which decides. An entry of a record with an ID has the key of that ID; one that conflicts with an earlier
entry of the same ID has a key of its own, made of the ID and the record's hash, by which its own retry is found.
An entry of a record without has its hash as its key, where asked for (`by_hash`). What the index does not cover
after an opening, or after it lost a file, is read from the log, by a thread in the background; what it can not
read it tries to read again, for as long as it takes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Final

import blake3
import msgspec

from merklelog.errors import ClosedError, FormatError, MerklelogError, StorageError, UnavailableError
from merklelog.formats.bundle import parse_bundle
from merklelog.log import Log

from .canonical import record_identity
from .entry import Entry, parse_entry
from .split import join_entries
from .values import text_of
from .verdict import conflict_of

_log: Final = logging.getLogger("merklelog.ingest")
DIRECTORY: Final = "ids"
ID_CONTEXT: Final = "merklelog 2026-11 ingest record ID key v1"
CONFLICT_CONTEXT: Final = "merklelog 2026-11 ingest conflicting record ID key v1"
_ID_KEY: Final = blake3.blake3(derive_key_context=ID_CONTEXT)
_CONFLICT_KEY: Final = blake3.blake3(derive_key_context=CONFLICT_CONTEXT)
# The key of an entry that nobody asks for: a raw one, a later part of a split record, a record without an ID.
NO_KEY: Final = bytes(32)
RECORD_ID: Final = "audit.record.id"
_QUOTED_ID: Final = b'"audit.record.id"'
_WIDTH: Final = 256
_RECENT: Final = 1 << 16
_RETRY_AFTER: Final = 1.0
# So many entries are read while a look-up waits, and it waits so many seconds at most.
_LITTLE: Final = 4096
_MOMENT: Final = 0.5
# How long what failed in the background waits before it is tried again.
_AGAIN: Final = 5.0

Known = tuple[int, bytes]  # the first entry that has a key, and the hash (`record_identity`) of its record
Added = tuple[bytes, int, bytes]  # a key of an entry that was stored, its index, and the hash of its record


def id_key(record_id: str) -> bytes:
    """The key of a record ID, 32 bytes."""
    return _ID_KEY.copy().update(record_id.encode("utf-8", "surrogatepass")).digest()


def conflict_key(record_id: str, record_hash: bytes) -> bytes:
    """The key of an entry whose ID an earlier entry with other content has already, 32 bytes."""
    return _CONFLICT_KEY.copy().update(record_hash + id_key(record_id)).digest()


class RecordIds:
    """The record IDs of one open log; every method may be called from any thread.

    Until all of the log is covered `look_up` raises UnavailableError: a duplicate must not be missed. `by_hash`
    says that records without an ID are found by their hash. Making it waits for so many seconds of reading at
    most; raises what reading the log raises. What fails later is tried again every `again` seconds.
    """

    def __init__(
        self, log: Log, *, by_hash: bool = False, patience: float = 2.0, again: float = _AGAIN
    ) -> None:
        # Here, not above: numpy is for logs that records come to.
        from merklelog.store.fingerprints import FingerprintIndex

        self._log = log
        self._by_hash = by_hash
        self._bundle: tuple[int, int, list[bytes]] = (-1, 0, [])
        self._reading = threading.Lock()
        self._index = FingerprintIndex(log.path / DIRECTORY, confirm=self._still_has)
        self._changed = threading.Condition()
        self._recent: list[dict[bytes, Known]] = [{}, {}]
        self._older_end = 0  # what is in the older half stands below this index
        self._waiting: list[tuple[int, int, dict[int, bytes]]] = []  # added and not in the index yet
        self._size: int = log.integrated.size
        self._again = again
        self._failure: MerklelogError | None = None  # of the last attempt to feed the index
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="merklelog-record-ids", daemon=True)
        self._thread.start()
        try:
            self.wait(patience)
        except BaseException:
            self.close()
            raise

    # --- asked and told ------------------------------------------------------------------------------------------

    @property
    def behind(self) -> int:
        """Entries that are not covered yet."""
        return max(self._size - self._index.end, 0)

    @property
    def trouble(self) -> str:
        """Why entries can not be covered at present, "" for nothing; it is tried again."""
        failure = self._failure
        return "" if failure is None else str(failure)

    def look_up(self, keys: Sequence[bytes]) -> dict[int, Known]:
        """For positions in `keys`, the first entry of the log that has that key; absent where there is none.

        Entries that were `added` are found from then on. Raises UnavailableError while the log is being read,
        StorageError while that fails, ClosedError, and what reading the log raises.
        """
        with self._changed:
            if self._closed:
                raise ClosedError("the record IDs were closed")
            newer, older = self._recent
            found = {at: known for at, key in enumerate(keys) if (known := newer.get(key) or older.get(key))}
            covered = self._size - self._pending()
        left = [at for at in range(len(keys)) if at not in found]
        if not left:
            return found
        asked = [keys[at] for at in left]
        candidates, end = self._index.search(asked)
        if end < covered:
            self._catch_up(end, covered)
            candidates, end = self._index.search(asked)
            if end < covered:
                raise self._not_ready(end)
        for at, indexes in candidates.items():
            key = keys[left[at]]
            known = next((known for index in indexes if (known := self._confirmed(index, key))), None)
            if known is not None:
                found[left[at]] = known
        return found

    def add(self, added: Sequence[Added], start: int, end: int) -> None:
        """The entries [start, end) are durable, and these are their keys; those without have none. Never waits.

        What is not told, entries that came by other doors, is read from the log; and so is what is told while that
        fails, which may be for long.
        """
        with self._changed:
            if self._failure is not None:
                self._size, self._waiting = max(self._size, end), []
                return
            newer = self._recent[0]
            for key, index, record_hash in added:
                newer.setdefault(key, (index, record_hash))
            # What leaves has to be in the index, or a repeat of it would be missed.
            if len(newer) >= _RECENT and self._index.end >= self._older_end:
                self._recent, self._older_end = [{}, newer], max(self._size, end)
            self._waiting.append((start, end, {index: key for key, index, _ in added}))
            self._size = max(self._size, end)
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what `look_up` would of any key that was not added just now."""
        with self._changed:
            if self._closed:
                raise ClosedError("the record IDs were closed")
            covered = self._size - self._pending()
        end = self._index.end
        if end < covered and (self._failure is not None or covered - end > _LITTLE):
            raise self._not_ready(end)

    def wait(self, seconds: float) -> bool:
        """Wait until all of the log is covered; whether it is. Raises what reading the log raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._failure or not self.behind, seconds)
            if self._failure is not None:
                raise self._failure
            return not self.behind

    def close(self) -> None:
        """End the thread and let go of the files; safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._index.close()

    def _pending(self) -> int:
        """Entries at the end of the log that only `_recent` knows yet."""
        return self._size - min((start for start, _, _ in self._waiting), default=self._size)

    def _catch_up(self, end: int, covered: int) -> None:
        """Wait for the thread where little is missing: entries that came by another door just before."""
        if covered - end <= _LITTLE:
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._closed or self._failure or self._index.end >= covered, _MOMENT
                )

    def _not_ready(self, end: int) -> MerklelogError:
        if self._failure is not None:
            return StorageError(f"record IDs can not be read, and it is tried again: {self._failure}")
        with self._changed:
            self._changed.notify_all()  # a file was lost: the thread reads again
        why = f"record IDs are being read from the log: {end:,} of {self._size:,} entries"
        return UnavailableError(why, _RETRY_AFTER)

    # --- the thread that feeds the index -------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._failure is not None:
                    self._changed.wait_for(lambda: self._closed, self._again)
                else:
                    self._changed.wait_for(lambda: self._closed or self.behind)
                if self._closed:
                    return
            failure = self._feed()
            with self._changed:
                self._say(failure)
                self._failure = failure
                self._forget()
                self._changed.notify_all()

    def _feed(self) -> MerklelogError | None:
        """Feed the index with what comes next; gives what kept it from that."""
        with self._changed:
            told, size = self._next(), self._size
        try:
            if told is not None:
                start, end, keys = told
                self._index.add([keys.get(at, NO_KEY) for at in range(start, end)], start)
            else:
                self._read_some(min(size, self._first_told()))
        except MerklelogError as error:
            return error.with_traceback(None)  # it is kept, and what was read is not
        except Exception as error:  # noqa: BLE001 - whatever it is, without this thread no ID would be known again
            return StorageError(f"unexpected {type(error).__name__}: {error}")
        return None

    def _say(self, failure: MerklelogError | None) -> None:
        """Tell the server's log when it begins to fail, and when that is over."""
        if failure is not None and self._failure is None:
            _log.error("record IDs of %s: %s; tried again every %g s", self._log.origin, failure, self._again)
        elif failure is None and self._failure is not None:
            _log.info("record IDs of %s are read again", self._log.origin)

    def _next(self) -> tuple[int, int, dict[int, bytes]] | None:
        """What was told and continues the index."""
        end = self._index.end
        return next((each for each in self._waiting if each[0] <= end < each[1]), None)

    def _first_told(self) -> int:
        with self._changed:
            end = self._index.end
            return min((start for start, _, _ in self._waiting if start > end), default=self._size)

    def _forget(self) -> None:
        end = self._index.end
        self._waiting = [each for each in self._waiting if each[1] > end]

    def _read_some(self, stop: int) -> None:
        """Feed the next entries, up to the end of their bundle, from the log."""
        start = self._index.end
        stop = min(stop, (start // _WIDTH + 1) * _WIDTH)
        if start < stop:
            self._index.add([self._key_at(at) for at in range(start, stop)], start)

    # --- the log -------------------------------------------------------------------------------------------------

    def _still_has(self, index: int, key: bytes) -> bool:
        if index >= self._log.integrated.size:
            return False
        return self._key_at(index) == key or (key == NO_KEY and self._key_at(index, by_hash=False) == NO_KEY)

    def _confirmed(self, index: int, key: bytes) -> Known | None:
        try:
            entry = self._record_at(index)
            if entry is None or _key_of(entry, by_hash=True) != key:
                return None
        except FormatError:
            return None  # see `_key_at`
        return index, record_identity(entry.record_bytes)

    def _key_at(self, index: int, *, by_hash: bool | None = None) -> bytes:
        try:
            entry = self._record_at(index)
            wanted = self._by_hash if by_hash is None else by_hash
            return NO_KEY if entry is None else _key_of(entry, by_hash=wanted)
        except FormatError:
            return NO_KEY  # somebody appended what looks like an entry and is none: no record, so no ID

    def _record_at(self, index: int) -> Entry | None:
        """The whole record whose first entry this is; None for any other entry. Raises FormatError."""
        entry = parse_entry(self._entry(index))
        split = None if entry is None or entry.part is None else entry.part.split
        if split is None:
            return entry
        return None if split.part else join_entries(self._entry, index)

    def _entry(self, index: int) -> bytes:
        number, at = divmod(index, _WIDTH)
        with self._reading:
            kept, width, entries = self._bundle
            if kept != number or width <= at:
                tiles = self._log.integrated_tiles()
                if index >= tiles.head.size:
                    raise FormatError(f"entry {index}: the log ends before it")
                width = min(_WIDTH, tiles.head.size - number * _WIDTH)
                entries = parse_bundle(tiles.bundle(number, width), width)
                self._bundle = (number, width, entries)
            return entries[at]


class _Attribute(msgspec.Struct):
    key: str = ""
    value: dict[str, Any] = {}


class _Attributes(msgspec.Struct):
    attributes: list[_Attribute] = []


_ATTRIBUTES: Final = msgspec.json.Decoder(_Attributes)


def _record_id(record_bytes: bytes) -> str | None:
    """`model.record_id_of` by a record's bytes, of which nothing else is read. Raises FormatError."""
    try:
        found = [each.value for each in _ATTRIBUTES.decode(record_bytes).attributes if each.key == RECORD_ID]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"record: {error}") from None
    return (text_of(found[-1]) or None) if found else None


def _key_of(entry: Entry, *, by_hash: bool) -> bytes:
    """The key of an entry with a whole record. Raises FormatError."""
    if _QUOTED_ID in entry.record_bytes:
        record_id = _record_id(entry.record_bytes)
        if record_id is not None:
            if entry.part is None or conflict_of(entry.part.verdicts) is None:
                return id_key(record_id)
            return conflict_key(record_id, record_identity(entry.record_bytes))
    return record_identity(entry.record_bytes) if by_hash else NO_KEY


__all__ = ["DIRECTORY", "Added", "Known", "RecordIds", "conflict_key", "id_key"]
