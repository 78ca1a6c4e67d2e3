"""Receiving log records by OTLP, whichever door they came by: parsed, sent to their log, answered when durable.

One request after the other is parsed and made into entries, in one thread of its own: the event loop goes on
meanwhile, at most one request is spread out in memory at a time, and the order of entries is the order in which
requests came. What waits for that thread is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final

from merklelog.errors import ClosedError, ForbiddenError, MerklelogError, OverloadedError
from merklelog.ingest.choose import Asked, Chooser
from merklelog.ingest.intake import Intake
from merklelog.ingest.placed import Placements
from merklelog.ingest.record import Record
from merklelog.ingest.submission import Submission

from .caller import Caller, Scope
from .intakes import Intakes
from .served import ServedLogs

# Gives the records of a request's bytes, and raises FormatError while it does.
Decode = Callable[[bytes], Iterable[Record]]
_BUSY: Final = "more requests wait to be parsed than this server keeps: try again"


class Receiver:
    """Takes requests for the logs of a server; belongs to one event loop.

    `attribute` is the resource attribute that may name a record's log. With `max_waiting_bytes` of requests not
    parsed yet, more are refused.
    """

    def __init__(
        self, logs: ServedLogs, intakes: Intakes, *, attribute: str = "", max_waiting_bytes: int = 64 << 20
    ) -> None:
        self._logs = logs
        self._intakes = intakes
        self._chooser = Chooser(attribute)
        self._max_waiting = max_waiting_bytes
        self._waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="merklelog-otlp")

    def close(self) -> None:
        """End the thread, once what it has is done."""
        self._thread.shutdown(wait=False)

    async def take(self, data: bytes, decode: Decode, caller: Caller, header: str | None) -> None:
        """Store the records of one request; returns when all of them are durable and integrated.

        `header` is the value of `merklelog-log`. Raises FormatError for what can not be parsed,
        UnauthenticatedError, FieldError or ForbiddenError where there is no log for it, OverloadedError, and what
        `Intake.submit` raises. A call that fails, or is cancelled, may have been stored in part.
        """
        served = {each.log.origin for each in self._logs}
        if not served:
            raise ClosedError("no log is served yet")
        asked = Asked(granted(caller), header)
        origin = self._chooser.by_request(asked, served)
        if origin is not None:
            self._admit(caller, origin)
            await self._intakes.ready(origin)
        else:
            await self._open_all(served)
        if self._waiting and self._waiting + len(data) > self._max_waiting:
            raise OverloadedError(_BUSY)
        self._waiting += len(data)
        parsing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._submit, data, decode, caller, asked, served, origin
        )
        parsing.add_done_callback(partial(self._parsed, len(data)))
        try:
            # A caller who goes away does not take its place in the queue along: its bytes are held until then.
            sent = await asyncio.shield(parsing)
        finally:
            # An error in it has this frame in its traceback: together they would never be let go of.
            del parsing
        while sent:
            await asyncio.wrap_future(sent.pop(0))  # for the same reason nothing here keeps it

    def _parsed(self, size: int, parsing: asyncio.Future[list[Future[Placements]]]) -> None:
        self._waiting -= size
        if not parsing.cancelled():
            parsing.exception()  # heard here too, where nobody waits any more

    async def _open_all(self, served: Collection[str]) -> None:
        """Any of them may be chosen. One that does not open is told of where a record is for it."""
        for each in served:
            try:
                await self._intakes.ready(each)
            except MerklelogError:
                continue  # it is in the server's log, and `get` raises for this one alone

    def _admit(self, caller: Caller, origin: str) -> None:
        if not caller.may(Scope.APPEND, origin):
            raise ForbiddenError(f"{caller.name or 'an unnamed caller'} may not {Scope.APPEND} here")

    def _submit(
        self,
        data: bytes,
        decode: Decode,
        caller: Caller,
        asked: Asked,
        served: Collection[str],
        origin: str | None,
    ) -> list[Future[Placements]]:
        """Parse, choose the logs, and hand over to them; in the thread."""
        records = decode(data)
        if origin is not None:
            return [self._intakes.get(origin).submit(records, caller.name)]
        chosen = self._chooser.by_records(asked, served, list(records))
        for each in chosen:
            self._admit(caller, each)
        intakes = [self._intakes.get(each) for each in chosen]
        return _send_all(intakes, chosen.values(), caller.name)


def _send_all(
    intakes: Sequence[Intake], parts: Iterable[Sequence[Record]], submitter: str
) -> list[Future[Placements]]:
    """Each intake's part to it, once all of them take theirs, so far as is known before.

    A sender sends all again when one log refuses its part: what others stored of it would be there twice.
    """
    prepared: list[tuple[Intake, Submission]] = []
    try:
        for intake, records in zip(intakes, parts, strict=True):
            prepared.append((intake, intake.prepare(records, submitter)))
        if len(prepared) > 1:
            for intake, submission in prepared:
                intake.check_takes(submission)
        sent = []
        while prepared:
            intake, submission = prepared.pop(0)
            sent.append(intake.send(submission))
        return sent
    except BaseException:
        for intake, submission in prepared:
            intake.withdraw(submission)
        raise


def granted(caller: Caller) -> Collection[str] | None:
    """The logs that the caller's token is for; of several those that it may append to, where there are any."""
    logs = caller.logs
    if logs is None or len(logs) < 2:
        return logs
    return [each for each in logs if caller.may(Scope.APPEND, each)] or logs


__all__ = ["Decode", "Receiver", "granted"]
