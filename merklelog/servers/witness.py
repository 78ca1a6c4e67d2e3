"""A witness' life as a server: its state is opened, then its doors; SIGHUP reloads, SIGTERM drains.

It ends by itself when the disk fails: only a new open tells what is stored, and a service manager does that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from merklelog.errors import ConfigError, MerklelogError, StoppedError
from merklelog.version import __version__
from merklelog.witness.config import OPEN_ADMIN as OPEN
from merklelog.witness.config import WITHOUT_TLS, WitnessConfig, load_witness_config
from merklelog.witness.service import Witness
from merklelog.witness.syncer import Step

from . import loops
from .doors import Behind, NativeDoor
from .exposure import is_local
from .hosts import Hosts
from .logging import configure, event
from .native import FrontLimits
from .notify import Notifier
from .tls import TlsFiles
from .witness_http import WitnessAdminApp, WitnessApp
from .witness_metrics import WitnessMetrics

_log: Final = logging.getLogger("merklelog.witness")
_WATCH_SECONDS: Final = 0.5

Ready = Callable[[Mapping[str, str]], None]


class WitnessServer:
    """One witness on the network. `run` is called once, in an event loop of its own."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        options: Mapping[str, str] | None = None,
        *,
        step: Step = lambda _name: None,
    ) -> None:
        """Raises ConfigError."""
        self._directory = directory
        self._environment = environment
        self._options = dict(options or {})
        self._step = step
        self._notifier = Notifier(environment)
        self._config = load_witness_config(directory, environment, self._options)
        self._tls = _tls(self._config)
        _check_exposure(self._config)

    async def run(self, ready: Ready = lambda _addresses: None) -> None:
        """Serve until SIGTERM or SIGINT, then drain and close. `ready` is called with the doors' addresses.

        Raises what keeps it from starting, and StoppedError when its disk failed.
        """
        config = self._config
        configure(config.log_format, config.log_level)
        stop, reload, hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, lambda: (hurry if stop.is_set() else stop).set())
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        witness = Witness(self._directory, config, step=self._step)
        try:
            metrics = WitnessMetrics(witness)
            admin = WitnessAdminApp(witness, metrics, Hosts() if is_local(config.admin) else None)
            doors = self._doors(WitnessApp(witness, metrics), admin)
            addresses = {door.name: await door.open() for door in doors}
            self._tell(witness, addresses)
            ready(addresses)
            self._notifier.ready(f"{len(witness.logs)} logs known")
            reloading = asyncio.create_task(self._reloads(reload, witness, doors))
            await self._until(stop, witness, doors)
            reloading.cancel()
            admin.draining = True
            self._notifier.stopping()
            await _drain(doors, config.drain_seconds, hurry)
        finally:
            await asyncio.to_thread(witness.close)
        if witness.state.failure is not None:
            raise StoppedError(f"the witness stopped: {witness.state.failure}") from witness.state.failure
        event(_log, logging.INFO, "closed")

    def _doors(self, application: WitnessApp, admin: WitnessAdminApp) -> list[NativeDoor]:
        config = self._config
        limits = FrontLimits(connections=config.connections, drain_seconds=config.drain_seconds)
        json_log = config.log_format == "json"
        found = [
            NativeDoor("http", Behind(application, limits, tls=self._tls, json_log=json_log), config.http)
        ]
        if config.admin:
            found.append(NativeDoor("admin", Behind(admin, limits, json_log=json_log), config.admin))
        return found

    async def _until(self, stop: asyncio.Event, witness: Witness, doors: list[NativeDoor]) -> None:
        """Until it is asked to stop, its disk fails, or a door ends by itself."""
        ends = [asyncio.create_task(door.closed()) for door in doors]
        stopping = asyncio.create_task(stop.wait())
        while not stopping.done() and witness.state.failure is None and not any(end.done() for end in ends):
            await asyncio.wait([stopping, *ends], timeout=_WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, *ends):
            task.cancel()
        for end in ends:
            if end.done() and not end.cancelled():
                end.result()
        if witness.state.failure is not None:
            event(_log, logging.ERROR, f"a failure stopped the witness: {witness.state.failure}")

    async def _reloads(self, asked: asyncio.Event, witness: Witness, doors: list[NativeDoor]) -> None:
        while True:
            await asked.wait()
            asked.clear()
            self._notifier.reloading()
            try:
                count = witness.reload()
                if self._tls is not None:
                    self._tls.load()
                    await doors[0].renew()
                event(_log, logging.INFO, "SIGHUP: reloaded", logs=count)
            except MerklelogError as error:
                event(_log, logging.ERROR, f"SIGHUP: what was in force stays: {error}")
            self._notifier.ready(f"{len(witness.logs)} logs known")

    def _tell(self, witness: Witness, addresses: Mapping[str, str]) -> None:
        event(
            _log,
            logging.INFO,
            f"merklelog {__version__} witnesses",
            name=self._config.name,
            logs=len(witness.logs),
            **addresses,
        )
        for origin, why in witness.sitting_out().items():
            event(_log, logging.WARNING, f"sitting out: {why}", origin=origin)


async def _drain(doors: list[NativeDoor], seconds: float, hurry: asyncio.Event) -> None:
    """All doors at once; a second signal cuts off what is left."""
    draining = asyncio.gather(*[door.drain(seconds) for door in doors])
    hurried = asyncio.create_task(hurry.wait())
    both: tuple[asyncio.Future[Any], ...] = (draining, hurried)
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not draining.done():
        draining.cancel()
        await asyncio.gather(*[door.drain(0) for door in doors])


def _tls(config: WitnessConfig) -> TlsFiles | None:
    """Raises ConfigError, KeyFileError for files that can not be used."""
    if config.certificate is None:
        return None
    files = TlsFiles(*config.certificate)
    files.load()
    return files


def _check_exposure(config: WitnessConfig) -> None:
    if config.certificate is None and not is_local(config.http) and not config.without_tls:
        raise ConfigError(
            f"witness_server.http is {config.http}, which can be reached from other machines, and there is no "
            f"TLS: set certificate and certificate_key, listen on 127.0.0.1 behind a proxy, or say in the "
            f'configuration: witness_server.without_tls = "{WITHOUT_TLS}"'
        )
    if config.admin and not is_local(config.admin) and not config.open_admin:
        raise ConfigError(
            f"witness_server.admin is {config.admin}, which can be reached from other machines: listen on "
            f"127.0.0.1, or say "
            f'in the configuration: witness_server.open_admin = "{OPEN}"'
        )


def serve_witness(
    directory: Path,
    environment: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    *,
    ready: Ready = lambda _addresses: None,
    step: Step = lambda _name: None,
) -> None:
    """Run a witness until SIGTERM or SIGINT. Raises as `WitnessServer.run` does, and ConfigError."""
    server = WitnessServer(directory, dict(environment), options, step=step)
    os.environ.pop("NOTIFY_SOCKET", None)  # else h2corn says READY for itself, before the doors are open
    loops.run(server.run(ready))
