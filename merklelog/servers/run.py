"""A server's life: its logs are opened, then its doors; it serves, reloads at SIGHUP, and drains at SIGTERM.

The order at the end is what keeps every promise: first it says that it wants no more (health and readiness), then
calls that would go on for ever are ended, what is under way is answered, and only then the logs are closed, which
commits what still waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, MerklelogError, VerificationError
from merklelog.log import Log, open_log
from merklelog.version import __version__

from . import loops, open_files
from .admin import Phase
from .assembly import ADMIN, Assembly
from .doors import Door
from .guard import Guard
from .indexing import Indexes
from .logging import configure, event
from .notify import Notifier
from .places import Places
from .preflights import Preflights
from .publication import Teller, rollback_protection
from .searching import check_index
from .selfaudit import SelfAudits
from .served import ServedLogs

_log: Final = logging.getLogger("merklelog.server")
WATCH_SECONDS: Final = 1.0
OPENINGS: Final = 8
# What a reload puts into force; anything else of the configuration waits for a restart.
_RELOADED: Final = ("server.log_format", "server.log_level")

Ready = Callable[[Mapping[str, str]], None]


class Server:
    """One server, from its first log to its last. `run` is called once, in an event loop of its own.

    `options` are dotted keys of the configuration that go before file and environment.
    """

    def __init__(
        self, places: Places, environment: Mapping[str, str], options: Mapping[str, str] | None = None
    ) -> None:
        self._places = places
        self._environment = environment
        self._options = dict(options or {})
        self._settings = places.settings(environment, self._options)
        self._guard = Guard(self._settings, environment)
        self._notifier = Notifier(environment)
        self._preflights = Preflights(environment)
        self._logs = ServedLogs()
        self._indexes = Indexes()
        self._doors: list[Door] = []
        self._stale: list[Door] = []  # doors that still show an old certificate

    async def run(self, ready: Ready = lambda _addresses: None) -> None:
        """Serve until SIGTERM or SIGINT, then drain and close. A second one cuts the drain short.

        `ready` is called with the address of each door by its name, once all take requests. Raises whatever keeps
        the server from starting, and StoppedError at the end for a log that a failure had stopped.
        """
        configure(self._settings.log_format, self._settings.log_level)
        self._stop, self._hurry, self._reload = asyncio.Event(), asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._asked_to_stop, each)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        open_files.raise_limit()
        self._assembly = Assembly(self._settings, self._logs, self._guard)
        self._assembly.metrics.indexed = self._indexes.indexed
        try:
            await self._start(ready)
            await self._serve()
        finally:
            await self._end()

    def _asked_to_stop(self, which: signal.Signals) -> None:
        if self._stop.is_set():
            event(_log, logging.WARNING, f"{which.name} again: what is under way is cut off")
            self._hurry.set()
        else:
            self._assembly.readiness.phase = Phase.DRAINING  # before it is said: who hears it may ask at once
            event(_log, logging.INFO, f"{which.name}: draining", seconds=self._settings.drain_seconds)
            self._stop.set()

    # --- starting ----------------------------------------------------------------------------------------------

    async def _start(self, ready: Ready) -> None:
        addresses: dict[str, str] = {}
        await self._open(self._assembly.admin_doors(), addresses)
        await self._open_logs(self._places.find())
        if self._stop.is_set():
            return
        await asyncio.to_thread(self._guard.admit, [served.log for served in self._logs])
        if not self._logs:
            event(_log, logging.WARNING, "no log is served: SIGHUP takes in new ones", root=self._places.root)
        self._assembly.refresh()
        await self._assembly.begin()
        await self._open(self._assembly.doors(), addresses)
        if not self._stop.is_set():
            self._assembly.readiness.phase = Phase.SERVING
        self._tell_start(addresses)
        ready(addresses)
        self._notifier.ready(self._status())

    async def _open(self, doors: list[Door], addresses: dict[str, str]) -> None:
        for door in doors:
            addresses[door.name] = await door.open()
            self._doors.append(door)

    def _open_log(self, path: Path) -> Log:
        self._preflights.check(path)
        # Reads are served at once; appends once the log has compared itself with its targets, if it has any.
        log = open_log(path, observer=self._assembly.observer, wait=None)
        try:
            check_index(log)
        except ConfigError:
            log.close()
            raise
        return log

    async def _open_logs(self, paths: Sequence[Path]) -> None:
        """Open them, some at a time: opening waits for the disk mostly. Raises the first error, in their order."""
        gate = asyncio.Semaphore(OPENINGS)
        broken = False

        async def opened(path: Path) -> Log | None:
            nonlocal broken
            async with gate:
                if self._stop.is_set() or broken:
                    return None
                try:
                    return await asyncio.to_thread(self._open_log, path)
                except BaseException:
                    broken = True
                    raise

        failed: list[BaseException] = []
        for found in await asyncio.gather(*[opened(path) for path in paths], return_exceptions=True):
            try:
                if isinstance(found, BaseException):
                    failed.append(found)
                elif found is not None:
                    self._take_in(found)
            except ConfigError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _take_in(self, log: Log) -> None:
        try:
            self._logs.add(log, self._places.prefix(log))
        except ConfigError:
            log.close()
            raise

    def _tell_start(self, addresses: Mapping[str, str]) -> None:
        event(_log, logging.INFO, f"merklelog {__version__} serves", logs=len(self._logs), **addresses)
        for served in self._logs:
            self._tell_log(served.log, served.prefix)

    def _tell_log(self, log: Log, prefix: str) -> None:
        event(
            _log,
            logging.INFO,
            f"log open, rollback protection: {rollback_protection(log)}",
            origin=log.origin,
            size=log.integrated.size,
            path=prefix,
            directory=log.path,
        )

    def _status(self) -> str:
        return f"{len(self._logs)} {'log' if len(self._logs) == 1 else 'logs'} served"

    # --- serving -----------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Until it is asked to stop, a door has ended by itself, or a bucket is none to publish to."""
        ends = [
            *[each.closed() for each in self._doors],
            self._reloads(),
            self._watch(),
            self._preflights.again(),
            SelfAudits(lambda: [served.log for served in self._logs], self._settings.audit_pace).run(),
            self._indexes.run(lambda: [served.log for served in self._logs]),
            _wait(self._stop),
        ]
        tasks = [asyncio.create_task(each) for each in ends]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _watch(self) -> None:
        """Say once of each log that it stopped (callers hear no more than that), and how its publication goes."""
        told: set[str] = set()
        tellers: dict[str, Teller] = {}
        while True:
            for served in self._logs:
                log = served.log
                if log.stopped and log.origin not in told:
                    told.add(log.origin)
                    self._tell_stop(log)
                tellers.setdefault(log.origin, Teller(log)).look()
            await asyncio.sleep(WATCH_SECONDS)

    def _tell_stop(self, log: Log) -> None:
        advice = "a restart opens it again"
        if isinstance(log.failure, VerificationError):
            advice = "find out why before a restart"
        event(
            _log,
            logging.ERROR,
            f"a failure stopped the log, {advice}: {log.failure}",
            origin=log.origin,
            directory=log.path,
        )

    # --- reloading ---------------------------------------------------------------------------------------------

    async def _reloads(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            await self._reload_once()
            self._notifier.ready(self._status())

    async def _reload_once(self) -> None:
        """Read everything anew; what can not be used is said, and what was in force stays."""
        failed = 0
        for step in (self._reload_settings, self._reload_certificates, self._reload_logs):
            try:
                failed += await step()
            except MerklelogError as error:
                failed += 1
                event(_log, logging.ERROR, f"reload: {error}")
        event(_log, logging.INFO, "SIGHUP: reloaded", logs=len(self._logs), failures=failed)

    async def _reload_settings(self) -> int:
        new = await asyncio.to_thread(self._places.settings, self._environment, self._options)
        every = {**self._settings.given, **new.given}
        changed = [key for key in every if self._settings.given.get(key) != new.given.get(key)]
        waiting = [key for key in changed if key not in _RELOADED]
        if waiting:
            message = "changed in the configuration, in force after a restart"
            event(_log, logging.WARNING, message, keys=",".join(waiting))
        configure(new.log_format, new.log_level)
        return 0

    async def _reload_certificates(self) -> int:
        if await asyncio.to_thread(self._guard.renew, [served.log for served in self._logs]):
            self._stale = list(self._doors)
        if not self._stale:
            return 0
        while self._stale:  # a door that could not is asked again at the next reload
            await self._stale[0].renew()
            del self._stale[0]
        event(_log, logging.INFO, "new connections get the new certificate")
        return 0

    async def _reload_logs(self) -> int:
        """Read tokens, and open what is new below the root; gives how many logs could not be."""
        await asyncio.to_thread(self._guard.admit, [served.log for served in self._logs])
        known = {served.log.path for served in self._logs}
        found = await asyncio.to_thread(self._places.find)
        failed = sum([not await self._open_new(path) for path in found if path not in known])
        for path in known.difference(found):
            message = "the directory of a log is gone; it is served until a restart"
            event(_log, logging.WARNING, message, directory=path)
        return failed

    async def _open_new(self, path: Path) -> bool:
        """Take in one log. Its tokens are read before it is served."""
        try:
            log = await asyncio.to_thread(self._open_log, path)
            try:
                every = [*[served.log for served in self._logs], log]
                await asyncio.to_thread(self._guard.admit, every)
                self._logs.add(log, self._places.prefix(log))
            except BaseException:
                await asyncio.to_thread(log.close)
                raise
        except MerklelogError as error:
            event(_log, logging.ERROR, f"not taken in: {error}", directory=path)
            return False
        self._assembly.refresh()
        self._tell_log(log, self._places.prefix(log))
        return True

    # --- ending ------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        self._notifier.stopping()
        self._assembly.drain()
        try:
            await self._drain()
        finally:
            await self._assembly.close()
            await asyncio.to_thread(self._indexes.close)
            await asyncio.to_thread(self._logs.close)
        event(_log, logging.INFO, "closed")

    async def _drain(self) -> None:
        """All doors at once; what is not done when the stop is asked for again is cut off."""
        draining = asyncio.create_task(self._drain_doors(self._settings.drain_seconds))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([draining, hurry], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not draining.done():
            draining.cancel()
            await self._drain_doors(0)

    async def _drain_doors(self, seconds: float) -> None:
        """The admin's door last, so that it can be seen how the others drain."""
        for admin in (False, True):
            drains = [door.drain(seconds) for door in self._doors if (door.name == ADMIN) is admin]
            for error in await asyncio.gather(*drains, return_exceptions=True):
                if isinstance(error, Exception):
                    _log.error("a door did not close", exc_info=error)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


def serve(
    places: Places,
    environment: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    *,
    ready: Ready = lambda _addresses: None,
) -> None:
    """Run a server until SIGTERM or SIGINT. Raises as `Server.run` does, and ConfigError."""
    server = Server(places, dict(environment), options)
    # Else h2corn says READY for itself, before the other doors are open.
    os.environ.pop("NOTIFY_SOCKET", None)
    loops.run(server.run(ready))
