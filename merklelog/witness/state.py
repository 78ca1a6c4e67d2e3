"""What a witness must never forget: the newest checkpoint of each log, and where it may not sign.

Rows: `c` + SHA-256 of the origin: the checkpoint's note, with the log's signatures and the witness' own.
`w` + the same: the log sits out, and why. `r`: how often this witness was brought back from a copy; `o` + hash: up
to which of these an operator has said what was newest.

Deciding is done by one thread at a time, whoever has `turn`, against what was recorded last, signed and durable or
not yet: `record` changes that at once and gives a place to put what is signed. The syncer's thread writes all that
is signed in one batch and syncs once; only then are requests answered. Since rows are written in the order in
which they were recorded, whatever a decision was built on is durable when the decision is. So nothing is locked
while a key or a disk works, a client that leaves breaks nothing, and many requests share one fsync.

An error of the disk ends it: nothing is recorded any more, and whoever waits gets StoppedError. What is on the
disk is known again after a new open.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from merklelog.errors import DamagedError, FormatError, FormatVersionError, MerklelogError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.note import parse_note
from merklelog.formats.wire import parse_decimal
from merklelog.protocol.witness import NOTHING, Witnessed
from merklelog.store.witness_rows import WitnessRows

from .answer import Answer
from .syncer import Done, Step, Syncer, Waiting

FORMAT: Final = b"1"
DATABASE: Final = "db"


@dataclass(frozen=True, slots=True)
class Record:
    """The newest checkpoint of a log that was cosigned: its size and root, and its note.

    The note has the log's signatures, and once it is durable the witness' own.
    """

    witnessed: Witnessed
    note: bytes


class Recorded:
    """A checkpoint that was recorded, and is to be signed and made durable."""

    __slots__ = ("name", "note", "record", "waiting")

    def __init__(self, name: bytes, record: Record) -> None:
        self.name = name
        self.record = record
        self.note = record.note
        self.waiting: Waiting


class WitnessState:
    """The state of one open witness; `step` is as in `Syncer`.

    `turn` is held from reading what is recorded to changing it. `own` are names and IDs of the witness' keys: a
    checkpoint without a line of theirs (`restore.py`) is not shown.
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
        self.turn = threading.Lock()
        self._syncer = Syncer(self._rows, step)

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

    def record(self, origin: str, record: Record, done: Done) -> Recorded:
        """Record a checkpoint as the newest; from now on decisions are built on it. Who has `turn` calls this.

        What it gives goes to `signed` or to `failed`, one of the two. Raises StoppedError.
        """
        recorded = Recorded(_name(origin), record)
        recorded.waiting = self._syncer.add(done, partial(self._show, recorded))
        self._records[recorded.name] = record
        return recorded

    def signed(self, recorded: Recorded, note: bytes, answer: Answer) -> None:
        """Its note with the witness' own signatures: once that is durable it is shown, and `done` is answered."""
        recorded.note = note
        self._syncer.there(recorded.waiting, [(b"c" + recorded.name, note)], answer)

    def failed(self, recorded: Recorded, error: Exception) -> None:
        """It could not be signed: the witness stops, since what was decided since may be built on it."""
        self._syncer.failed(recorded.waiting, error)

    def _show(self, recorded: Recorded) -> None:
        """In the event loop's thread, whether or not its client is still there: the row is durable either way."""
        name, record = recorded.name, recorded.record
        self._shown[name] = recorded.note
        with self.turn:
            if self._records[name] is record:
                self._records[name] = Record(record.witnessed, recorded.note)

    def settled(self, done: Done, answer: Answer) -> bool:
        """`done` gets the answer when all that is recorded now is durable; False, and it gets none, when it is.

        Raises StoppedError.
        """
        return self._syncer.settled(done, answer)

    def sit_out(self, origin: str, why: str, done: Done, answer: Answer) -> None:
        """Nothing is signed for that log any more, after a restart neither, until `resume`; answered once that is
        durable. Who has `turn` calls this. Raises StoppedError.
        """
        name = _name(origin)
        self._sitting[name] = why
        self._syncer.there(self._syncer.add(done), [(b"w" + name, why.encode())], answer)

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


@lru_cache(maxsize=4_096)  # asked for several times a request
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
