"""A publication now, to a log's own targets: by this process, or by the one that has the log open."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from merklelog.cli.progress import Advance, progress_bar
from merklelog.errors import LockedError, MerklelogError, UnavailableError, UsageError

if TYPE_CHECKING:
    from merklelog.log import Log, LogReader

PATIENCE: Final = 60.0  # seconds without any progress after which it could not be told
LOOK: Final = 0.1


def publish_now(directory: str, refill: Sequence[str] = ()) -> dict[str, Any]:
    """Publish all that the log has integrated, until every target shows it; the fields of PublishResult.

    The targets in `refill` held the log before, and may be empty now. Raises UsageError for a log without publish
    targets or that was not published there, UnavailableError when a target does not answer or nothing moves for a
    minute, LockedError for `refill` while another process has the log open, and what opening a log raises.
    """
    from merklelog.log import open_reader
    from merklelog.log.places import forget_place

    with open_reader(directory) as reader:
        if not reader.config.publish.targets:
            raise UsageError(
                f"{directory}: publish.targets is empty: this log has no place of its own to be published to; "
                f"make a static copy with --to dir:PATH"
            )
        previous = reader.size
    for location in refill:
        forget_place(directory, location)
    with progress_bar("publishing") as advance:
        try:
            return _publish_here(directory, previous, advance)
        except LockedError as error:
            with closing(open_reader(directory)) as reader:
                return _await_other(reader, previous, advance, error)


def _publish_here(directory: str, previous: int, advance: Advance) -> dict[str, Any]:
    from merklelog.log import open_log

    with open_log(directory, wait=PATIENCE) as log:
        if log.starting:
            status = log.publishing
            raise UnavailableError(f"the log is not published: {status.starting if status else 'it waits'}")
        future = log.publish_now()
        patience = _Patience()
        while not log.stopped and (not future.done() or _is_behind(log)):
            advance(log.size, log.integrated.size)
            patience.spend(_progress(log), lambda: _why(log))
        if isinstance(log.failure, MerklelogError):
            raise log.failure
        head, status = future.result(), log.publishing
        newest, origin = log.integrated.size, log.origin
    created, collected = (status.created, status.collected) if status else (0, 0)
    targets = ", ".join(status.targets) if status else ""
    return _fields(origin, targets, head.size, previous, newest, created, collected)


def _is_behind(log: Log) -> bool:
    """Whether a target, one that was added for example, does not show yet what the others do."""
    status = log.publishing
    return bool(status and status.behind)


def _progress(log: Log) -> int:
    """A number that grows as long as anything gets through."""
    status = log.publishing
    return log.size + (status.created + status.publications if status else 0)


def _why(log: Log) -> str:
    status = log.publishing
    if status is None:
        return "no target answered"
    behind = f"{', '.join(status.behind)}: " if status.behind else ""
    return behind + (status.last_error or "no target answered")


def _await_other(reader: LogReader, previous: int, advance: Advance, error: LockedError) -> dict[str, Any]:
    """The process that has the log open publishes it by itself: wait until it has."""
    wanted = reader.integrated.size
    patience = _Patience()
    while reader.size < wanted:
        advance(reader.size, wanted)
        patience.spend(reader.size, lambda: f"{error}, and it does not publish")
        reader.refresh()
    targets = ", ".join(reader.config.publish.targets)
    return _fields(reader.origin, targets, reader.size, previous, reader.integrated.size, None, None)


def _fields(
    origin: str,
    target: str,
    size: int,
    previous: int,
    newest: int,
    created: int | None,
    collected: int | None,
) -> dict[str, Any]:
    return {
        "origin": origin,
        "target": target,
        "size": size,
        "previous": previous,
        "newest": newest,
        "moved": size != previous,
        "created": created,
        "collected": collected,
    }


class _Patience:
    """Waits a moment at a time; gives up when nothing has moved for a minute."""

    def __init__(self) -> None:
        self._size = -1
        self._until = 0.0

    def spend(self, size: int, why: Callable[[], str]) -> None:
        """Wait a moment. Raises UnavailableError, with what `why()` says, after a minute at the same size."""
        if size != self._size:
            self._size, self._until = size, time.monotonic() + PATIENCE
        if time.monotonic() > self._until:
            raise UnavailableError(f"not published: {why()}")
        time.sleep(LOOK)
