"""The intake of one log: records in, entries out, each told where it stands once it is durable.

A record is made ready beside others (`ready`); then, one submission at a time, it gets its intake time and goes to
the log's queue, so times never decrease along the log and the order of entries is the order of submissions. What
bears an ID that the log has is not stored again, or stored with its conflict.

An ID that is on its way counts too: a record with the same one waits until the first is durable, and is then
looked at again. So what happens to it never depends on what a crash left of the first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from merklelog.errors import (
    ClosedError,
    ConfigError,
    EntryError,
    MerklelogError,
    OverloadedError,
    StorageError,
    UnavailableError,
)
from merklelog.log import BatchReceipt, Log
from merklelog.log.ingest_config import IngestConfig

from .canonical import record_identity
from .entry import MAX_ENTRY_BYTES, LogPart, encode_log_part
from .ids import RecordIds
from .placed import Alert, Finding, Placed, Placements
from .protect import Protect
from .ready import Maker, Special
from .record import Record
from .repeats import Found, Repeats, Stored, Window, read_end
from .split import part_identity, split_entry
from .submission import Batch, Submission
from .tallies import Tallies
from .verdict import Verdict

# So much of one request goes to the log at a time; the rest follows once that is durable.
CHUNK_BYTES: Final = 8 << 20
# How long the rest of a submission waits before it is tried again.
ROOM_SECONDS: Final = 0.05
# What an entry may tell of the names of fields that were protected.
MAX_NAMES_BYTES: Final = 4_096
# What an entry counts for beside its bytes, as the log's queue counts it.
_OVERHEAD: Final = 160


class Intake:
    """Takes records for one open log. Any thread may call it; `close` it before the log. `open_intake` makes one.

    `alert` hears of findings, in the log's own thread: it must be quick and not raise.
    """

    def __init__(
        self,
        log: Log,
        maker: Maker,
        repeats: Repeats,
        newest_ns: int,
        *,
        alert: Alert = lambda _finding: None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """`newest_ns` is the intake time of the log's newest record."""
        self._log = log
        self._maker = maker
        self._repeats = repeats
        self._alert = alert
        self._clock = clock
        self._dedupes = log.config.dedupe
        self._most = min(CHUNK_BYTES, log.config.max_pending_bytes // 4)
        self._lock = threading.Lock()
        self._time = newest_ns
        self._flight: dict[bytes, Batch] = {}
        self._failure: MerklelogError | None = None
        self.tallies = Tallies()

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self._log.origin

    @property
    def failed(self) -> bool:
        """Whether it takes no more records, for good: it was closed, or its index failed; another one may."""
        return self._failure is not None

    @property
    def behind(self) -> int:
        """Entries whose record IDs are not known yet; until they are, records with an ID are refused for now."""
        return self._repeats.behind

    def submit(
        self, records: Sequence[Record], submitter: str, *, incomplete: Sequence[str] = ()
    ) -> Future[Placements]:
        """Store records; a future of where each stands, resolved when all are durable and integrated.

        `submitter` is the authenticated name, empty for none; `incomplete` what the records lack, for their
        verdicts. Raises, or the future has, OverloadedError, UnavailableError, StorageFullError, StoppedError,
        ClosedError, FrozenError, and EntryError for a record longer than all that may wait
        (log.max_pending_bytes), when all others of the call are stored. After another error some may be: to send
        all again stores those with an ID once.
        """
        submission = Submission(self._maker.make(records, incomplete), submitter)
        self._advance(submission)
        return submission.future

    def close(self) -> None:
        """Take no more. What was submitted is settled by the log."""
        with self._lock:
            self._failure = ClosedError("the log takes no records any more: it is being closed")
        self._repeats.close()

    # --- on the way to the log ---------------------------------------------------------------------------------

    def _advance(self, submission: Submission) -> None:
        """Send on what can be; settle the submission when nothing is left."""
        with self._lock:
            # Where nothing is left to do all of it is stored, and its sender hears so.
            if self._failure is not None and submission.todo:
                raise self._failure
            plain = self._plain(submission)
            batch, waits_for = self._plan(submission) if plain is None else (plain, None)
            first, stored = 0, None
            if batch.entries:
                first = int(self._log.integrated.size)
                stored = self._send(submission, batch)
            # Only now: what was refused is still to be done.
            submission.todo = batch.rest
            self.tallies.duplicates += batch.repeats
            if not batch.entries and waits_for is not None:
                waits_for.waiting.append(submission)
                return
        if stored is not None:
            stored.add_done_callback(partial(self._settled, submission, batch, first))
        elif submission.todo:
            self._advance(submission)
        elif submission.refused is not None:
            submission.future.set_exception(submission.refused)
        else:
            submission.future.set_result(submission.placed)

    def _send(self, submission: Submission, batch: Batch) -> Future[BatchReceipt] | None:
        """Hand a batch to the log. None for a record that could never fit: the others are stored all the same."""
        identities = batch.identities if self._dedupes else None
        try:
            stored = self._log.submit_batch(batch.entries, identities=identities)
        except EntryError as error:
            if len(batch.positions) > 1:
                raise
            submission.refused = error
            return None
        self._time = batch.time_ns
        for key in batch.keys:
            self._flight[key] = batch
        return stored

    def _plain(self, submission: Submission) -> Batch | None:
        """All of a submission as one batch, where nothing of it is special and it is not too much."""
        todo, data = submission.todo, submission.records.data
        if submission.records.specials or self._dedupes or not data or len(todo) != len(data):
            return None
        batch = Batch(max(self._clock(), self._time), positions=todo)
        before, after = _around(LogPart(batch.time_ns, submission.submitter))
        batch.entries = [before + each + after for each in data]
        sizes = list(map(len, batch.entries))
        batch.size = sum(sizes) + _OVERHEAD * len(sizes)
        return batch if max(sizes) <= MAX_ENTRY_BYTES and batch.size <= self._most else None

    def _plan(self, submission: Submission) -> tuple[Batch, Batch | None]:
        """The next batch of a submission; where there is none, the batch on its way that it has to wait for."""
        batch = Batch(max(self._clock(), self._time))
        todo, specials = submission.todo, submission.records.specials
        positions: list[int] = []
        batch.positions = positions
        plain = LogPart(batch.time_ns, submission.submitter)
        around = _around(plain)
        found = self._found(todo, specials, batch.time_ns) if specials else {}
        forms: dict[object, tuple[LogPart, tuple[bytes, bytes]]] = {}  # what many entries say alike, by what
        waits_for: Batch | None = None
        later: list[int] = []
        mine: set[bytes] = set()
        done = 0
        for position in todo:
            data, special = submission.records.data[position], specials.get(position)
            if batch.entries and batch.size + len(data) > self._most:
                break  # a very long record goes alone
            done += 1
            if special is None:
                positions.append(position)
                self._put(batch, position, data, plain, around)
                continue
            key, known = special.key, found.get(position)
            if key is not None and (key in self._flight or key in mine):
                waits_for = self._flight.get(key, waits_for)
                later.append(position)
                continue
            if known is not None and known.same:
                repeat = Placed(known.index, duplicate=True, verdict=special.content)
                submission.placed.put(position, repeat)
                batch.repeats += 1
                continue
            if known is not None:
                batch.conflicts[position] = known.index
            if key is not None:
                mine.add(key)
            positions.append(position)
            if known is not None:
                part = _part(plain, special, known.index)
                self._put(batch, position, data, part, _around(part))
                continue
            says = (special.content, special.protected, special.incomplete)
            form = forms.get(says)
            if form is None:
                part = _part(plain, special)
                form = forms[says] = part, _around(part)
            self._put(batch, position, data, *form)
        batch.keys = list(mine)
        batch.rest = [*later, *todo[done:]] if later else todo[done:]
        return batch, waits_for

    def _found(self, todo: Sequence[int], specials: dict[int, Special], now_ns: int) -> dict[int, Found]:
        flight = self._flight
        asked: dict[int, Special] = {}
        for position in todo:
            special = specials.get(position)
            if special is not None and special.key is not None and special.key not in flight:
                asked[position] = special
        try:
            return self._repeats.find(asked, now_ns) if asked else {}
        except UnavailableError as error:
            raise OverloadedError(str(error), error.retry_after or 1.0) from error

    def _put(
        self,
        batch: Batch,
        position: int,
        data: bytes,
        part: LogPart,
        around: tuple[bytes, bytes],
    ) -> None:
        before, after = around
        size = len(before) + len(data) + len(after)
        if size <= MAX_ENTRY_BYTES:
            batch.entries.append(before + data + after)
            batch.size += size + _OVERHEAD
            count = 1
        else:
            entries = split_entry(part, data)
            count = batch.counts[position] = len(entries)
            batch.entries += entries
            batch.size += sum(map(len, entries)) + _OVERHEAD * count
        if self._dedupes:
            identity = record_identity(data)
            batch.identities += [part_identity(identity, number) for number in range(count)]

    # --- once it is durable ------------------------------------------------------------------------------------

    def _settled(
        self, submission: Submission, batch: Batch, first: int, stored: Future[BatchReceipt]
    ) -> None:
        """Note what became of a batch, tell who waited for it, and go on; in the log's thread."""
        error = stored.exception()
        if error is None:
            try:
                self._note(submission, batch, first, stored.result().indexes)
            except Exception as failed:  # noqa: BLE001 - whoever waits must hear, or would for ever
                error = failed
        with self._lock:
            for key in batch.keys:
                self._flight.pop(key, None)
        if error is not None:
            submission.future.set_exception(error)
        for each in (*([submission] if error is None else ()), *batch.waiting):
            self._go_on(each)

    def _go_on(self, submission: Submission) -> None:
        """`_advance` where nobody is there to be raised at.

        Of a submission that is stored in part the rest waits for room: were it refused, all would come again.
        """
        try:
            self._advance(submission)
        except OverloadedError as error:
            if not submission.begun:
                submission.future.set_exception(error)
                return
            timer = threading.Timer(ROOM_SECONDS, self._go_on, (submission,))
            timer.daemon = True
            timer.start()
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the future
            submission.future.set_exception(error)

    def _note(self, submission: Submission, batch: Batch, first: int, indexes: Sequence[int]) -> None:
        submission.begun = True
        stored: list[Stored] = []
        if submission.records.specials or batch.counts or self._dedupes:
            stored = self._place(submission, batch, first, indexes)
        else:
            submission.placed.put_plain(batch.positions[0], indexes, batch.time_ns)
            self.tallies.records += len(batch.positions)
        new = sorted({index for index in indexes if index >= first}) if self._dedupes else indexes
        try:
            self._repeats.add(stored, new, batch.time_ns)
        except MerklelogError as error:
            # What was stored is stored; no more is taken, or a repeat could be missed.
            self._failure = StorageError(f"the index of record IDs took no more: {error}")

    def _place(
        self, submission: Submission, batch: Batch, first: int, indexes: Sequence[int]
    ) -> list[Stored]:
        """Note where each record of a batch stands; gives those that are new and may come again."""
        stored: list[Stored] = []
        seen: set[int] = set()
        at = 0
        for position in batch.positions:
            count = batch.counts.get(position, 1)
            index = indexes[at]
            at += count
            # What a log that dedupes has already is not new, though nobody looked for it here.
            repeated = False
            if self._dedupes:
                repeated = index < first or index in seen
                seen.add(index)
            special = submission.records.specials.get(position)
            conflict = batch.conflicts.get(position)
            verdict = None if special is None else special.content
            time_ns = None if repeated else batch.time_ns
            placed = Placed(index, repeated, conflict, verdict, time_ns, count)
            submission.placed.put(position, placed)
            self.tallies.count(placed)
            if special is not None and not repeated:
                if special.key is not None:
                    stored.append(Stored(special, index, conflict))
                if verdict is Verdict.MISMATCH or conflict is not None:
                    self._alert(Finding(self.origin, index, special.record_id, verdict, conflict))
        return stored


def open_intake(
    log: Log,
    config: IngestConfig | None = None,
    *,
    alert: Alert = lambda _finding: None,
    clock: Callable[[], int] = time.time_ns,
) -> Intake:
    """The intake of an open log, by its configuration. The end of the log is read first.

    Raises ConfigError and KeyFileError for what is to be protected, DamagedError, StorageError.
    """
    config = config or log.config.ingest
    protect = Protect.load(config.protect, log.path)
    names = sum(map(len, (*config.protect.drop, *config.protect.hmac)))
    if names + (len(config.protect.hmac) * len(protect.key_name)) > MAX_NAMES_BYTES:
        raise ConfigError(
            f"[ingest.protect] names fields in over {MAX_NAMES_BYTES:,} bytes: an entry tells them all"
        )
    window = Window(config.dedupe_seconds * 10**9) if config.dedupe_seconds else None
    newest = read_end(log, window)
    maker = Maker(config, protect or None)
    return Intake(log, maker, Repeats(RecordIds(log), window), newest, alert=alert, clock=clock)


def _part(plain: LogPart, special: Special, conflict_with: int | None = None) -> LogPart:
    """The log part of a record of which something is special."""
    return LogPart(plain.time, plain.submitter, special.verdicts(conflict_with), special.protected)


def _around(part: LogPart) -> tuple[bytes, bytes]:
    """What stands before and after a record in its entry, as `entry.encode_entry` has it."""
    return b'{"log":%s,"record":' % encode_log_part(part), b"}"


__all__ = ["Alert", "Finding", "Intake", "Placed", "open_intake"]
