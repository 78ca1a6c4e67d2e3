"""A log that publishes itself: one thread that starts the publisher, and calls it when there is something new.

It begins with the start check (design, "What must always hold", 4): until every target has answered, appends are
refused and reads served, and the targets are asked again. Then it publishes: at most every `publish.interval`, and
not at all while nothing is new.

What a target can not do now is tried again, later each time; the log goes on meanwhile, and its lag says so.
What shows that going on would be wrong (another writer has the target, the target has more than the log or other
entries, an object there is not what was written, settings can not be used) stops the log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from time import monotonic, sleep
from traceback import clear_frames
from typing import TYPE_CHECKING, Final

from merklelog.errors import (
    ClosedError,
    LocalError,
    MerklelogError,
    StoppedError,
    UnknownError,
    UsageError,
)

from .head import Head
from .lag import Lag
from .publish_status import PublishStatus
from .quorums import Quorums
from .waiting import Waiters

if TYPE_CHECKING:
    from merklelog.publish.publishing import PublicationReport

    from .published_log import PublishedRows
    from .quorums import Publishes
    from .sequencer import Sequencer
    from .witnessing import Witnesses, WitnessingStatus

RETRY_FROM: Final = 0.25  # seconds after the first failure; twice as long after each further one
RETRY_TO: Final = 15.0
CLOSING_TRIES: Final = 3  # failures in a row after which a closing log leaves the rest to its next start
TICK: Final = 20.0  # seconds between looks for what is due without a new entry, where anything can be


class Publishing:
    """The publication of one open log. `stop` is called with what makes going on unsafe."""

    def __init__(
        self,
        rows: PublishedRows,
        publisher: Publishes,
        targets: Sequence[str],
        sequencer: Sequencer,
        *,
        interval: float,
        ticks: bool,
        requests: Callable[[], int],
        follows: bool = False,
        witnesses: Witnesses | None = None,
    ) -> None:
        """`follows`: readers are shown each durable head at once, whatever is published of it."""
        self.rows = rows
        self._follows = follows
        self.waiters = Waiters()
        self._publisher = publisher
        self._sequencer = sequencer
        self._interval = interval
        self._ticks = ticks
        self._requests = requests
        self._status = PublishStatus(
            tuple(targets), starting=f"{', '.join(targets) or 'witnesses'}: not asked yet"
        )
        self._listeners: tuple[Callable[[Head], None], ...] = ()
        self._mutex = threading.Lock()
        self._wake = threading.Event()  # something new, asked for or closing
        self._at_once = threading.Event()  # do not wait for the interval
        self._dirty = True
        self._wanted = 0  # the size that was asked for at once: no waiting until it is published
        self._closing = False
        self._is_left = False  # a target took too long at the end: what it still says changes nothing
        self._lag = Lag(rows.head.size, sequencer.head.size, monotonic)
        self._closes = 0.0  # when a log that is being closed waits for witnesses no more
        self.quorums: Quorums | None = None
        if witnesses is not None:
            self.quorums = Quorums(witnesses, rows, publisher, sequencer, self._stir)
        self.started = threading.Event()  # it takes appends, or never will
        self._thread = threading.Thread(target=self._run, name="merklelog-publisher", daemon=True)
        rows.moved = self.moved
        sequencer.listen(self._integrated)
        if follows:
            sequencer.listen(self.moved)
        sequencer.when_stopped(self._stopped)

    def begin(self, seconds: float | None) -> None:
        """Start the thread, and wait so long for it to let appends in; None does not wait."""
        self._thread.start()
        if seconds is not None:
            self.started.wait(seconds)

    # --- any thread --------------------------------------------------------------------------------------------

    @property
    def head(self) -> Head:
        """The head that readers see."""
        return self._sequencer.head if self._follows else self.rows.head

    @property
    def epoch(self) -> int | None:
        """The epoch of this writer; None before it has one."""
        return self.rows.begun

    @property
    def witnessed(self) -> Head | None:
        """The newest checkpoint that a quorum cosigned."""
        return self.rows.witnessed

    @property
    def witnessing(self) -> WitnessingStatus | None:
        """How the log stands with its witnesses; None without."""
        return None if self.quorums is None else self.quorums.status

    def wait_witnessed(self, size: int) -> Future[Head]:
        """See Log."""
        if self.quorums is None:
            raise UsageError("witness.policy is empty: nobody cosigns this log's checkpoints")
        return self.quorums.wait(size)

    @property
    def status(self) -> PublishStatus:
        """As it is now."""
        status = self._status
        shown, integrated = self.head.size, self._sequencer.head.size
        return replace(
            status,
            epoch=self.rows.begun,
            lag_entries=max(0, integrated - shown),
            lag_seconds=self._lag.seconds(shown),
            requests=self._requests(),
        )

    @property
    def is_starting(self) -> bool:
        """Whether appends are refused because a target has not answered yet."""
        return self._status.starting is not None

    def listen(self, listener: Callable[[Head], None]) -> Callable[[], None]:
        """Call `listener` with each new head that readers see, from the publisher's thread; see Syncer.listen."""
        with self._mutex:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._mutex:
                self._listeners = tuple(known for known in self._listeners if known is not listener)

        return end

    def moved(self, head: Head) -> None:
        """Readers see this head now."""
        for listener in self._listeners:
            listener(head)
        self.waiters.moved(head)

    def wait(self, size: int) -> Future[Head]:
        """A future of the first published head of at least `size` entries."""
        future = self.waiters.wait(size, self.head)
        if not future.done():
            self.waiters.moved(self.head)  # it may have moved before the waiter was noted
        return future

    def publish_now(self) -> Future[Head]:
        """Publish what is integrated without waiting for the interval; a future of the head that shows it."""
        size = self._sequencer.head.size
        future = self.wait(size)
        self._wanted = max(self._wanted, size)
        self._stir()
        return future

    def close(self, seconds: float) -> None:
        """Publish what is integrated, for at most so long, and end. Nothing is appended any more."""
        if self.quorums is not None:
            self._closes = monotonic() + min(seconds, self.quorums.patience)
        self._closing = True
        self._dirty = True
        self._stir()
        if self._thread.is_alive():
            self._thread.join(seconds)
            self._is_left = self._thread.is_alive()
        if self.quorums is not None:
            self.quorums.close()

    def check_left(self) -> None:
        """Raise ClosedError once the log was closed and waits no more: nothing further is published."""
        if self._is_left:
            raise ClosedError("the log was closed before that was published")

    def end(self, error: MerklelogError) -> None:
        """The log is closed: tell who waits."""
        self.waiters.fail(error)
        if self.quorums is not None:
            self.quorums.end(error)

    def _stir(self) -> None:
        """There is something to do now."""
        self._wake.set()
        self._at_once.set()

    def _integrated(self, head: Head) -> None:
        self._lag.grew(head.size)
        self._dirty = True
        self._wake.set()

    def _stopped(self, error: MerklelogError) -> None:
        self.waiters.fail(error)
        self._closing = True
        self._stir()
        self.started.set()
        if self.quorums is not None:
            self.quorums.close()

    # --- its own thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._start():
                while self._await_work():
                    self._publish()
        except (
            ClosedError
        ) as error:  # the log is closed, or the program ends: its appends may go on till then
            if not self._is_over():
                self._fail(error)
            self.waiters.fail(error)
        except StoppedError as error:
            if not self._is_over():
                self._sequencer.stop(error)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the log must stop and its operator must hear
            self._fail(error)
            if not self._is_left:
                self._sequencer.stop(error)
            clear_frames(error.__traceback__)  # or it would keep the database open
        finally:
            self.started.set()

    def _is_over(self) -> bool:
        return self._closing or self._sequencer.failure is not None

    def _start(self) -> bool:
        """Start the publisher, however long it takes, and let appends in; False: the log was closed before."""
        pause = RETRY_FROM
        while not self._is_over():
            try:
                if self.quorums is not None:
                    self.quorums.compare()
                self._publisher.start()
            except (StoppedError, ClosedError):
                raise
            except (UnknownError, LocalError) as error:
                self._fail(error, starting=True)
                pause = self._pause(pause, error)
                continue
            if self.quorums is not None:
                self.quorums.begin()
            self._sequencer.admit()  # before it is said: who saw that it has started may append
            behind = self._publisher.behind
            self._status = replace(self._status, starting=None, last_error=None, behind=behind)
            self.started.set()
            return True
        return False

    def _await_work(self) -> bool:
        """Wait until there may be something to do; False: it is over."""
        while self._sequencer.failure is None:
            quorums = self.quorums
            if self._dirty or (quorums is not None and quorums.has_more):
                return True
            left = self._closes - monotonic()
            if self._closing and (quorums is None or not quorums.is_asking or left <= 0):
                return False
            if not self._wake.wait(left if self._closing else self._look()) and not self._closing:
                return True  # time for a look at what is due though nothing is new
            self._wake.clear()
        return False

    def _look(self) -> float | None:
        """Seconds until something may be due though nothing is new; None for never."""
        beat = None if self.quorums is None else self.quorums.beat()
        times = [seconds for seconds in (beat, TICK if self._ticks else None) if seconds is not None]
        return min(times, default=None)

    def _publish(self) -> None:
        """One publication, and the rest of its interval; after failures with pauses until it is through."""
        began = monotonic()
        self._dirty = False
        if not self._closing:
            self._at_once.clear()
        pause, tries = RETRY_FROM, 0
        while True:
            try:
                self._confirm()
                report = self._publisher.publish()
                break
            except (StoppedError, ClosedError):
                raise
            except (UnknownError, LocalError) as error:
                self._fail(error)
                tries += 1
                if self._closing and tries >= CLOSING_TRIES:
                    return
                pause = self._pause(pause, error)
        self._count(report, began)
        if report is not None:
            # until there is nothing left to do; a close does not wait for what is written beside
            self._dirty = not self._closing or report.moved or report.backlog > 0
            # A backlog is worked off without waiting: each of its publications is bounded.
            published = 0 if report.head is None else report.head.size
            if not (self._closing or report.is_cut) and published >= self._wanted:
                self._rest(began + self._interval, published)

    def _rest(self, until: float, published: int) -> None:
        """Publish no more before this time, unless that is asked for; what witnesses cosign is dealt with."""
        while (left := until - monotonic()) > 0 and self._at_once.wait(left):
            self._at_once.clear()
            if self._closing or self._wanted > published or self.quorums is None:
                self._at_once.set()
                return
            try:
                self._confirm()
            except (StoppedError, ClosedError):
                raise
            except (UnknownError, LocalError) as error:
                self._fail(error)  # tried again, with pauses
                return

    def _confirm(self) -> None:
        if self.quorums is not None:
            self.quorums.work()

    def _pause(self, pause: float, error: MerklelogError) -> float:
        """Wait before the next attempt; gives the pause after that. Raises StoppedError when the log stopped."""
        if self._sequencer.failure is not None:
            raise StoppedError("the log stopped") from error
        if self._closing:
            sleep(min(pause, 1.0))
        else:
            asked = getattr(error, "retry_after", None) or 0.0
            self._at_once.clear()
            self._at_once.wait(max(pause, min(asked, RETRY_TO)))
        return min(2 * pause, RETRY_TO)

    def _count(self, report: PublicationReport | None, began: float) -> None:
        said = (report.uncollected if report else None) or self._publisher.unwritten
        status = replace(self._status, last_error=said)
        if report is not None:
            status = replace(
                status,
                publications=status.publications + 1,
                last_seconds=monotonic() - began,
                created=status.created + report.created,
                collected=status.collected + report.collected,
            )
            self._lag.seconds(self.head.size)  # what is published is no longer remembered
        self._status = replace(status, behind=self._publisher.behind)

    def _fail(self, error: BaseException, *, starting: bool = False) -> None:
        said = str(error) or type(error).__name__
        status = replace(self._status, last_error=said, failures=self._status.failures + 1)
        if starting:
            status = replace(status, starting=said)
            self._sequencer.wait_for(said)
        self._status = status


__all__ = ["PublishStatus", "Publishing"]
