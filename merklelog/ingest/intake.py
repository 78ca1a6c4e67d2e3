"""The intake of one log: records in, entries out, each told where it stands once it is durable.

A record is made ready beside others (`ready`); then, one submission at a time, it gets its intake time and goes to
the log's queue, so times never decrease along the log and the order of entries is the order of submissions. What
bears an ID that the log has is not stored again, or stored with its conflict.

An ID that is on its way counts too: a record with the same one waits until the first is durable, and is then
looked at again. So what happens to it never depends on what a crash left of the first.

Two locks: who has the turn plans a batch, looks its IDs up and hands it to the log; the other one is held for a
moment only, and alone is taken by the log's own thread, which must not wait for a look-up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
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

from .ids import RecordIds
from .later import Later
from .placed import Alert, Finding, Placed, Placements
from .planning import Planner
from .protect import Protect
from .ready import Lacking, Maker, Special
from .record import Record
from .repeats import Found, Repeats, Stored, Window, read_end
from .submission import Batch, Submission
from .tallies import Tallies
from .verdict import Verdict

# So much of one request goes to the log at a time; the rest follows once that is durable.
CHUNK_BYTES: Final = 8 << 20
# What an entry may tell of the names of fields that were protected.
MAX_NAMES_BYTES: Final = 4_096


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
        self._planner = Planner(min(CHUNK_BYTES, log.config.max_pending_bytes // 4), dedupes=self._dedupes)
        self._making = threading.Lock()
        self._turn = threading.Lock()
        self._time = newest_ns  # of who has the turn
        self._noting = threading.Lock()
        self._lock = threading.Lock()
        self._flight: dict[bytes, Batch] = {}
        self._failure: MerklelogError | None = None
        self._held = 0
        self._later = Later(self._go_on)
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

    @property
    def trouble(self) -> str:
        """Why record IDs can not be read at present, "" for nothing; until then records with one are refused."""
        return self._repeats.trouble

    @property
    def held(self) -> int:
        """Bytes of all records whose futures are not done yet, counted as the log's queue counts entries."""
        return self._held

    def submit(
        self, records: Iterable[Record], submitter: str, *, lacking: Lacking | None = None
    ) -> Future[Placements]:
        """Store records; a future of where each stands, resolved when all are durable and integrated.

        They may be made while they are asked for: what that raises this does, and nothing is stored.

        `submitter` is the authenticated name, empty for none; `lacking` says what a record lacks, for its
        verdict. Raises, or the future has, OverloadedError, UnavailableError, StorageError, StorageFullError,
        StoppedError, ClosedError, FrozenError, and EntryError for a record longer than all that may wait
        (log.max_pending_bytes), when all others of the call are stored. After another error some may be: to send
        all again stores those with an ID once. OverloadedError is also for records that would be more than
        log.max_pending_bytes with all that are not stored yet; where there are none such, any number is taken.
        """
        return self.send(self.prepare(records, submitter, lacking=lacking))

    def prepare(
        self, records: Iterable[Record], submitter: str, *, lacking: Lacking | None = None
    ) -> Submission:
        """The first half of `submit`, which stores nothing: to be followed by `send` or `withdraw`."""
        with self._making:  # one call's records at a time are spread out beside those that are held
            self._check_room(0)
            ready = self._maker.make(records, lacking)
        submission = Submission(ready, submitter)
        with self._lock:
            self._check_room(submission.cost)
            self._held += submission.cost
        return submission

    def send(self, submission: Submission) -> Future[Placements]:
        """The second half of `submit`."""
        try:
            self._advance(submission)
        except BaseException:
            self.withdraw(submission)  # nobody has its future
            raise
        submission.future.add_done_callback(lambda _: self.withdraw(submission))
        return submission.future

    def withdraw(self, submission: Submission) -> None:
        """Give back the room of what was prepared and is not stored."""
        with self._lock:
            self._held -= submission.cost

    def check_takes(self, submission: Submission) -> None:
        """Raise what `send` would, so far as that is known already, were all its records new."""
        if self._failure is not None:
            raise self._failure
        self._log.check_takes()
        if any(each.record_id is not None for each in submission.records.specials.values()):
            try:
                self._repeats.check()
            except UnavailableError as error:
                raise _later(error) from error

    def _check_room(self, size: int) -> None:
        most = self._log.config.max_pending_bytes
        if self._held and self._held + size > most:
            raise OverloadedError(
                f"{self._held:,} bytes of records wait to be stored, log.max_pending_bytes is {most:,}: try again"
            )

    def close(self) -> None:
        """Take no more. What was submitted is settled by the log."""
        with self._lock:
            self._failure = ClosedError("the log takes no records any more: it is being closed")
        self._repeats.close()

    # --- on the way to the log ---------------------------------------------------------------------------------

    def _advance(self, submission: Submission) -> None:
        """Send on what can be; settle the submission when nothing is left."""
        while True:
            with self._turn:
                batch, first, stored = self._next(submission)
            if stored is not None:
                stored.add_done_callback(partial(self._settled, submission, batch, first))
                return
            if batch.waits_for is not None and not batch.entries:
                with self._lock:
                    if not batch.waits_for.over:
                        batch.waits_for.waiting.append(submission)
                        return
            elif not submission.todo:
                submission.finish()
                return

    def _next(self, submission: Submission) -> tuple[Batch, int, Future[BatchReceipt] | None]:
        """Send the next batch; gives the log's size before, and None where nothing was sent. Who has the turn."""
        # Where nothing is left to do all of it is stored, and its sender hears so.
        if self._failure is not None and submission.todo:
            raise self._failure
        time_ns = max(self._clock(), self._time)
        batch = self._planner.plain(submission, time_ns)
        if batch is None:
            some = self._planner.some(submission)
            flight, found = self._look_up(some, submission.records.specials, time_ns)
            batch = self._planner.plan(submission, some, time_ns, flight, found)
        first, stored = 0, None
        if batch.entries:
            first = int(self._log.integrated.size)
            stored = self._send(submission, batch)
        # Only now: what was refused is still to be done.
        submission.todo = batch.rest
        self.tallies.known += batch.repeats
        return batch, first, stored

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
        with self._lock:
            self._flight.update(dict.fromkeys(batch.keys, batch))
        return stored

    def _look_up(
        self, todo: Sequence[int], specials: dict[int, Special], now_ns: int
    ) -> tuple[dict[bytes, Batch], dict[int, Found]]:
        """Who is on the way, by key, and, of what was not when that was looked at, what the log has.

        What settles meanwhile still counts as on the way: it was not looked up.
        """
        if not specials:
            return {}, {}
        with self._lock:
            flight = self._flight.copy()
        asked: dict[int, Special] = {}
        for position in todo:
            special = specials.get(position)
            if special is not None and special.key is not None and special.key not in flight:
                asked[position] = special
        try:
            return flight, self._repeats.find(asked, now_ns) if asked else {}
        except UnavailableError as error:
            raise _later(error) from error

    # --- once it is durable ------------------------------------------------------------------------------------

    def _settled(
        self, submission: Submission, batch: Batch, first: int, stored: Future[BatchReceipt]
    ) -> None:
        """Note what became of a batch, and tell who waited for it. In the log's thread: it waits for nothing."""
        error = stored.exception()
        if error is None:
            try:
                with self._noting:
                    self._note(submission, batch, first, stored.result().indexes)
            except Exception as failed:  # noqa: BLE001 - whoever waits must hear, or would for ever
                error = failed
        with self._lock:
            batch.over = True
            for key in batch.keys:
                self._flight.pop(key, None)
        if error is not None:
            submission.fail(error)
        elif not submission.todo:
            submission.finish()
        else:
            batch.waiting.insert(0, submission)
        self._later.put(batch.waiting)

    def _go_on(self, submission: Submission) -> bool:
        """`_advance` where nobody is there to be raised at; False for what is to be tried again.

        Of a submission that is stored in part the rest waits for room: were it refused, all would come again.
        """
        try:
            self._advance(submission)
        except OverloadedError as error:
            if submission.begun:
                return False
            submission.fail(error)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the future
            submission.fail(error)
        return True

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


def _later(error: UnavailableError) -> OverloadedError:
    """What is said while record IDs are still being read."""
    return OverloadedError(str(error), error.retry_after or 1.0)


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


__all__ = ["Alert", "Finding", "Intake", "Placed", "open_intake"]
