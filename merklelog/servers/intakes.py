"""The intakes of a server's logs: what turns records into entries, one for each log that records came for.

Opening one looks through what the log has got since its index of record IDs was written, so it is done beside the
event loop, and requests for that log wait a little for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final

from merklelog.errors import (
    ClosedError,
    DamagedError,
    EntryError,
    FormatError,
    MerklelogError,
    OverloadedError,
    UnknownLogError,
)
from merklelog.ingest.intake import Intake
from merklelog.log import Log

from .logging import event
from .served import ServedLogs

WAIT_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 0.02
_log: Final = logging.getLogger("merklelog.ingest")
Open = Callable[[Log], Intake]


class Intakes:
    """Opens the intake of a log when it is first asked for, and again after it failed.

    It belongs to one event loop; `get` may be called from any thread.
    """

    def __init__(self, logs: ServedLogs, open_intake: Open) -> None:
        self._logs = logs
        self._open = open_intake
        self._opened: dict[str, Intake] = {}
        self._opening: dict[str, asyncio.Task[Intake]] = {}
        self._closing = False

    def __iter__(self) -> Iterator[Intake]:
        """Those that are open."""
        return iter(tuple(self._opened.values()))

    def get(self, origin: str) -> Intake:
        """The intake of that log, which `ready` was awaited for. Raises UnknownLogError."""
        found = self._opened.get(origin)
        if found is None:
            raise UnknownLogError(f"no intake of a log of origin {origin[:255]!r} is open here")
        return found

    def say(self, origin: str) -> str | None:
        """Whether records of that log are taken, in words; None where none came and none are expected."""
        found = self._opened.get(origin)
        if found is None:
            return None
        if found.failed:
            return "the index of their IDs failed; the next request opens it anew"
        behind = found.behind
        if not behind:
            return "taken"
        why = f": {found.trouble}; tried again" if found.trouble else ""
        return f"those without an ID are taken; IDs of {behind:,} entries are unread{why}"

    async def ready(self, origin: str) -> Intake:
        """The intake of that log, opened now if it is not yet.

        Raises UnknownLogError, ClosedError, OverloadedError while it takes longer, and what kept it from opening.
        """
        found = self._opened.get(origin)
        if found is not None and not found.failed:
            return found
        task = self._task(origin, found)
        done, _ = await asyncio.wait({task}, timeout=WAIT_SECONDS)
        if not done:
            raise OverloadedError(
                "the record IDs of this log are still being looked through: try again", WAIT_SECONDS
            )
        return task.result()

    async def opened(self, origin: str) -> Intake:
        """`ready`, however long it takes."""
        found = self._opened.get(origin)
        return found if found is not None else await asyncio.shield(self._task(origin, None))

    def _task(self, origin: str, before: Intake | None) -> asyncio.Task[Intake]:
        """What opens it, begun now if it is not yet; `before` is closed first."""
        task = self._opening.get(origin)
        if task is None:
            if self._closing:
                raise ClosedError("the server is shutting down")
            log = self._logs.find(origin).log
            task = self._opening[origin] = asyncio.create_task(self._start(log, before))
        return task

    async def _start(self, log: Log, before: Intake | None) -> Intake:
        try:
            if before is not None:
                await asyncio.to_thread(before.close)
                # What it has on its way another one would not know of, and store again.
                while before.held and not self._closing:
                    await asyncio.sleep(_SETTLE_SECONDS)
            intake = await asyncio.to_thread(self._opened_for, log)
            if self._closing:
                await asyncio.to_thread(intake.close)
                raise ClosedError("the server is shutting down")
            self._opened[log.origin] = intake
            return intake
        except Exception as error:
            kind = None if isinstance(error, MerklelogError) else error
            event(_log, logging.ERROR, f"no records are taken in: {error}", origin=log.origin)
            if kind is not None:
                _log.error("%s", log.origin, exc_info=kind)
            raise
        finally:
            self._opening.pop(log.origin, None)

    def _opened_for(self, log: Log) -> Intake:
        try:
            return self._open(log)
        except (FormatError, EntryError) as error:  # of what the log holds, so no fault of any request
            raise DamagedError(f"{log.path}: {error}") from error

    async def close(self) -> None:
        """Close every intake, before its log is closed; what was submitted is settled by the log."""
        self._closing = True
        if self._opening:
            await asyncio.wait(list(self._opening.values()))
        for intake in self:
            await asyncio.to_thread(intake.close)
        self._opened.clear()


__all__ = ["Intakes"]
