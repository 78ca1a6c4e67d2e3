"""What a witness must never forget: the newest checkpoint of each log, and where it may not sign.

Rows: `c` + SHA-256 of the origin: the checkpoint's note, with the log's signatures and the witness' own.
`w` + the same: the log sits out, and why. `r`: how often this witness was brought back from a copy; `o` + hash: up
to which of these an operator has said what was newest.

Deciding is done by one thread, the event loop's, against what it recorded last, durable or not: `record` changes
that at once and gives something to wait for. The syncer's thread writes all that waits in one batch and syncs
once; only then are the waits over. Since rows are written in the order in which they were recorded, whatever a
decision was built on is durable when the decision is. So nothing is locked while a disk works, a client that
leaves breaks nothing, and many requests share one fsync.

An error of the disk ends it: nothing is recorded any more, and every wait raises StoppedError. What is on the
disk is known again after a new open.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from merklelog.errors import (
    DamagedError,
    FormatError,
    FormatVersionError,
    MerklelogError,
    StoppedError,
    StorageError,
)
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.note import parse_note
from merklelog.formats.wire import parse_decimal
from merklelog.protocol.witness import NOTHING, Witnessed
from merklelog.store.witness_rows import WitnessRows

FORMAT: Final = b"1"
DATABASE: Final = "db"

Row = tuple[bytes, bytes | None]
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Record:
    """The newest checkpoint of a log that was cosigned: its size and root, and the whole note."""

    witnessed: Witnessed
    note: bytes


class WitnessState:
    """The state of one open witness. `step` hears "written" and "synced", in the syncer's thread.

    `own` are names and IDs of the witness' keys: a checkpoint without a line of theirs (`restore.py`) is not
    shown.
    """

    def __init__(
        self,
        directory: Path,
        *,
        own: Collection[tuple[str, bytes]],
        step: Step = lambda _name: None,
    ) -> None:
        """Raises StorageError, LockedError, DamagedError, FormatVersionError."""
        self._rows = WitnessRows(directory / DATABASE)
        try:
            _check_format(self._rows, directory)
            self._records = {key[1:]: _record(key, note) for key, note in self._rows.rows(b"c")}
            self._sitting = {key[1:]: why.decode() for key, why in self._rows.rows(b"w")}
            self._cleared = {key[1:]: _count(key, value) for key, value in self._rows.rows(b"o")}
            self._restored = _count(b"r", self._rows.get(b"r") or b"0")
        except BaseException:
            self._rows.close()
            raise
        self._shown = {
            name: record.note for name, record in self._records.items() if _has_line(record.note, own)
        }
        self._syncer = _Syncer(self._rows, step)

    # --- what is recorded ----------------------------------------------------------------------------------------

    def record_of(self, origin: str) -> Witnessed:
        """The newest tree of that log that was recorded, durable or not yet."""
        record = self._records.get(_name(origin))
        return NOTHING if record is None else record.witnessed

    def note_of(self, origin: str) -> bytes | None:
        """The note of that checkpoint; None for a log never cosigned."""
        record = self._records.get(_name(origin))
        return None if record is None else record.note

    def shown(self, name: bytes) -> bytes | None:
        """The newest durable checkpoint, by the SHA-256 of its origin; None for a log never cosigned."""
        return self._shown.get(name)

    def __len__(self) -> int:
        """How many logs were ever cosigned."""
        return len(self._shown)

    def sitting_out(self, origin: str) -> str | None:
        """Why nothing may be signed for that log until an operator said what was newest; None when all is well."""
        name = _name(origin)
        if (why := self._sitting.get(name)) is not None:
            return why
        if self._cleared.get(name, 0) < self._restored:
            return "this witness was brought back from a copy, which may be older than what it signed"
        return None

    # --- changing it ---------------------------------------------------------------------------------------------

    def record(self, origin: str, record: Record) -> asyncio.Future[None]:
        """Record a checkpoint as the newest; from now on decisions are built on it.

        The future is done when it is durable, and shown by then; it raises StoppedError. Called by the event
        loop's thread alone, as are the following.
        """
        name = _name(origin)
        self._records[name] = record
        # Shown whether or not its client is still there: the row is durable either way.
        return self._syncer.add([(b"c" + name, record.note)], lambda: self._show(name, record.note))

    def _show(self, name: bytes, note: bytes) -> None:
        self._shown[name] = note

    def settled(self) -> asyncio.Future[None]:
        """Done when all that is recorded now is durable."""
        return self._syncer.settled()

    def sit_out(self, origin: str, why: str) -> asyncio.Future[None]:
        """Nothing is signed for that log any more, after a restart neither, until `resume`."""
        name = _name(origin)
        self._sitting[name] = why
        return self._syncer.add([(b"w" + name, why.encode())])

    @property
    def failure(self) -> MerklelogError | None:
        """What stopped it."""
        return self._syncer.failure

    @property
    def syncs(self) -> tuple[int, int, float]:
        """Since the start: syncs, requests that waited for one, and the seconds that syncs took."""
        return self._syncer.syncs, self._syncer.waits, self._syncer.seconds

    def close(self) -> None:
        """Write and sync what waits, and close the database. Raises StorageError, DamagedError."""
        self._syncer.close()
        self._rows.close()


_Waiting = tuple[list[Row], "asyncio.Future[None]", Callable[[], None]]


def _nothing() -> None:
    pass


class _Syncer:
    """A thread that writes what waits and syncs it, all at once, as often as there is something."""

    def __init__(self, rows: WitnessRows, step: Step) -> None:
        self._rows = rows
        self._step = step
        self._waiting: list[_Waiting] = []
        self._wake = threading.Condition()
        self._closing = False
        self._unsynced = 0  # what was added and is not durable yet
        self.failure: MerklelogError | None = None
        self.syncs = self.waits = 0
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="witness-syncer", daemon=True)
        self._thread.start()

    def add(self, rows: list[Row], after: Callable[[], None] = _nothing) -> asyncio.Future[None]:
        """Rows to write after all before; done once they are durable, when `after` is called in the loop's
        thread.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._wake:
            if self.failure is not None or self._closing:
                done.set_exception(_stopped(self.failure))
                return done
            self._waiting.append((rows, done, after))
            self._unsynced += 1
            if len(self._waiting) == 1:  # else it has been woken, or looks again by itself
                self._wake.notify()
        return done

    def settled(self) -> asyncio.Future[None]:
        """Done when all that was added is durable; at once when it is."""
        with self._wake:
            if self.failure is None and not self._closing and not self._unsynced:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                done.set_result(None)
                return done
        return self.add([])

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    return
                batch, self._waiting = self._waiting, []
            try:
                self._write(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                self._fail(error, batch)
                return
            with self._wake:
                self._unsynced -= len(batch)
            _tell(batch, None)

    def _fail(self, error: Exception, batch: list[_Waiting]) -> None:
        cause = error if isinstance(error, MerklelogError) else StorageError(f"syncing: {error!r}")
        if cause is not error:
            cause.__cause__ = error
        with self._wake:
            self.failure = cause
            batch += self._waiting
            self._waiting = []
        _tell(batch, cause)

    def _write(self, batch: list[_Waiting]) -> None:
        began = perf_counter()
        self._rows.put(row for rows, _, _ in batch for row in rows)
        self._step("written")
        self._rows.sync()
        self._step("synced")
        self.syncs += 1
        self.waits += len(batch)
        self.seconds += perf_counter() - began


def _tell(batch: list[_Waiting], error: MerklelogError | None) -> None:
    loop = batch[0][1].get_loop()

    def resolve() -> None:
        for _, done, after in batch:
            if error is None:
                after()
            if done.done():
                continue  # its client left
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(_stopped(error))

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:
        return  # the loop has ended, and everybody who waited in it


def _stopped(cause: MerklelogError | None) -> StoppedError:
    error = StoppedError(f"the witness stopped: {cause}" if cause is not None else "the witness was closed")
    error.__cause__ = cause
    return error


def _name(origin: str) -> bytes:
    return hashlib.sha256(origin.encode("utf-8")).digest()


def log_key(kind: bytes, origin: str) -> bytes:
    """The key of a log's row of that kind."""
    return kind + _name(origin)


def _check_format(rows: WitnessRows, directory: Path) -> None:
    version = rows.get(b"format")
    if version is None:
        raise DamagedError(f"{directory}: its database is no witness'")
    if version != FORMAT:
        raise FormatVersionError(
            f"{directory}: the database has format {version!r}; this version of merklelog reads format {FORMAT!r}"
        )


def _record(key: bytes, note: bytes) -> Record:
    """Raises DamagedError for a row that is no checkpoint of that log."""
    try:
        checkpoint = parse_checkpoint(note).checkpoint
    except FormatError as error:
        raise DamagedError(f"witness database: row {key.hex()}: {error}") from error
    if _name(checkpoint.origin) != key[1:]:
        raise DamagedError(f"witness database: row {key.hex()} is a checkpoint of another log")
    return Record(Witnessed(checkpoint.size, checkpoint.root), note)


def _has_line(note: bytes, own: Collection[tuple[str, bytes]]) -> bool:
    return any((line.name, line.key_id) in own for line in parse_note(note).signatures)


def _count(key: bytes, value: bytes) -> int:
    try:
        return parse_decimal(value, "count")
    except FormatError as error:
        raise DamagedError(f"witness database: row {key.hex()}: {error}") from error
