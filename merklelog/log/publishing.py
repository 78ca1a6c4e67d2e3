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
from dataclasses import dataclass, replace
from time import monotonic, sleep
from traceback import clear_frames
from typing import TYPE_CHECKING, Final

from merklelog.errors import ClosedError, LocalError, MerklelogError, StoppedError, UnknownError

from .head import Head
from .lag import Lag
from .waiting import Waiters

if TYPE_CHECKING:
    from merklelog.publish.publisher import Publisher
    from merklelog.publish.publishing import PublicationReport

    from .published_log import PublishedRows
    from .sequencer import Sequencer

RETRY_FROM: Final = 0.25  # seconds after the first failure; twice as long after each further one
RETRY_TO: Final = 15.0
CLOSING_TRIES: Final = 3  # failures in a row after which a closing log leaves the rest to its next start
TICK: Final = 20.0  # seconds between looks for what is due without a new entry, where anything can be


@dataclass(frozen=True, slots=True)
class PublishStatus:
    """How a log's publication stands.

    `starting` says whom a log waits for that takes no appends yet, and why; None since it takes them.
    `lag_seconds` is how long the oldest entry that is not published has been integrated (what was there when the
    log was opened counts from then), `behind` names the targets that do not show yet what the others do,
    `last_error` is what the last attempt failed with, None where it did not. `publications`, `failures`,
    `requests` (to S3), new tiles and bundles (`created`) and superseded objects that went (`collected`) are
    counted since the log was opened, over all targets; `last_seconds` is how long the last publication took.
    """

    targets: tuple[str, ...]
    epoch: int | None = None
    starting: str | None = None
    lag_entries: int = 0
    lag_seconds: float = 0.0
    behind: tuple[str, ...] = ()
    last_error: str | None = None
    publications: int = 0
    failures: int = 0
    requests: int = 0
    last_seconds: float = 0.0
    created: int = 0
    collected: int = 0


class Publishing:
    """The publication of one open log. `stop` is called with what makes going on unsafe."""

    def __init__(
        self,
        rows: PublishedRows,
        publisher: Publisher,
        targets: Sequence[str],
        sequencer: Sequencer,
        *,
        interval: float,
        ticks: bool,
        requests: Callable[[], int],
    ) -> None:
        self.rows = rows
        self.waiters = Waiters()
        self._publisher = publisher
        self._sequencer = sequencer
        self._interval = interval
        self._ticks = ticks
        self._requests = requests
        self._status = PublishStatus(tuple(targets), starting=f"{', '.join(targets)}: not asked yet")
        self._listeners: tuple[Callable[[Head], None], ...] = ()
        self._mutex = threading.Lock()
        self._wake = threading.Event()  # something new, asked for or closing
        self._at_once = threading.Event()  # do not wait for the interval
        self._dirty = True
        self._wanted = 0  # the size that was asked for at once: no waiting until it is published
        self._closing = False
        self._is_left = False  # a target took too long at the end: what it still says changes nothing
        self._lag = Lag(rows.head.size, sequencer.head.size, monotonic)
        self.started = threading.Event()  # it takes appends, or never will
        self._thread = threading.Thread(target=self._run, name="merklelog-publisher", daemon=True)
        rows.moved = self.moved
        sequencer.listen(self._integrated)
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
        return self.rows.head

    @property
    def epoch(self) -> int | None:
        """The epoch of this writer; None before it has one."""
        return self.rows.begun

    @property
    def status(self) -> PublishStatus:
        """As it is now."""
        status = self._status
        shown, integrated = self.rows.head.size, self._sequencer.head.size
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
        future = self.waiters.wait(size, self.rows.head)
        if not future.done():
            self.waiters.moved(self.rows.head)  # it may have moved before the waiter was noted
        return future

    def publish_now(self) -> Future[Head]:
        """Publish what is integrated without waiting for the interval; a future of the head that shows it."""
        size = self._sequencer.head.size
        future = self.wait(size)
        self._wanted = max(self._wanted, size)
        self._at_once.set()
        self._wake.set()
        return future

    def close(self, seconds: float) -> None:
        """Publish what is integrated, for at most so long, and end. Nothing is appended any more."""
        self._closing = True
        self._dirty = True
        self._at_once.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
            self._is_left = self._thread.is_alive()

    def check_left(self) -> None:
        """Raise ClosedError once the log was closed and waits no more: nothing further is published."""
        if self._is_left:
            raise ClosedError("the log was closed before that was published")

    def end(self, error: MerklelogError) -> None:
        """The log is closed: tell who waits."""
        self.waiters.fail(error)

    def _integrated(self, head: Head) -> None:
        self._lag.grew(head.size)
        self._dirty = True
        self._wake.set()

    def _stopped(self, error: MerklelogError) -> None:
        self.waiters.fail(error)
        self._closing = True
        self._at_once.set()
        self._wake.set()
        self.started.set()

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
                self._publisher.start()
            except (StoppedError, ClosedError):
                raise
            except (UnknownError, LocalError) as error:
                self._fail(error, starting=True)
                pause = self._pause(pause, error)
                continue
            behind = self._publisher.behind
            self._status = replace(self._status, starting=None, last_error=None, behind=behind)
            self._sequencer.admit()
            self.started.set()
            return True
        return False

    def _await_work(self) -> bool:
        """Wait until there may be something to do; False: it is over."""
        while self._sequencer.failure is None:
            if self._dirty:
                return True
            if self._closing:
                return False
            if not self._wake.wait(TICK if self._ticks else None):
                return True  # time for a look at what is due though nothing is new
            self._wake.clear()
        return False

    def _publish(self) -> None:
        """One publication, and the rest of its interval; after failures with pauses until it is through."""
        began = monotonic()
        self._dirty = False
        if not self._closing:
            self._at_once.clear()
        pause, tries = RETRY_FROM, 0
        while True:
            try:
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
            if not (self._closing or report.is_cut) and self.rows.head.size >= self._wanted:
                self._at_once.wait(max(0.0, self._interval - (monotonic() - began)))

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
            self._lag.seconds(self.rows.head.size)  # what is published is no longer remembered
        self._status = replace(status, behind=self._publisher.behind)

    def _fail(self, error: BaseException, *, starting: bool = False) -> None:
        said = str(error) or type(error).__name__
        status = replace(self._status, last_error=said, failures=self._status.failures + 1)
        if starting:
            status = replace(status, starting=said)
            self._sequencer.wait_for(said)
        self._status = status


__all__ = ["PublishStatus", "Publishing"]
