"""Who may come to a server: its TLS files, the rules of access to its logs, and where it may listen at all.

Everything here is read at the start and again at each reload. What a reload finds wrong is refused as a whole, and
what was in force stays. A change that counts is a line in each log's admin.jsonl before it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from merklelog.errors import ConfigError, StorageError
from merklelog.log import Log, LogConfig, load_config

from .access import Access, LogAccess
from .admin_log import note_changed
from .exposure import Waivers, check_exposure, is_local
from .hosts import Hosts
from .logging import event
from .metrics import Certificate
from .settings import OPEN_ADMIN, ServerSettings
from .tls import TlsFiles, TlsMaterial
from .tokens import read_tokens

_log: Final = logging.getLogger("merklelog.server")


class Guard:
    """The security of one server. Made before its doors are; raises ConfigError for TLS files that can not be."""

    def __init__(self, settings: ServerSettings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self.files: TlsFiles | None = None
        self._material: TlsMaterial | None = None
        if settings.tls is not None:
            self.files = TlsFiles(settings.tls.certificate, settings.tls.key, settings.tls.client_ca)
            self._material = self.files.load()
        doors = (settings.grpc, settings.http, settings.otlp_grpc, settings.otlp_http)
        self._addresses = [address for address in doors if address]
        self._waivers = Waivers(settings.without_tls, settings.without_tokens)
        if settings.admin and not is_local(settings.admin) and not settings.open_admin:
            raise ConfigError(
                f"server.admin is {settings.admin}, which can be reached from other machines and asks nobody for "
                f'a token: listen on 127.0.0.1, or say in the configuration: server.open_admin = "{OPEN_ADMIN}"'
            )
        self.access = Access(open_to_all=self._open_to([]))

    def hosts(self, address: str) -> Hosts | None:
        """By which names the door at this address may be called without a token; None: by any.

        That is for doors that are open because only this machine reaches them. No browser gets to a Unix socket.
        """
        if address.startswith("unix:") or not is_local(address):
            return None
        return Hosts(self._settings.names)

    def _open_to(self, logs: Iterable[Log]) -> bool:
        """Whether logs without tokens are open to all. Raises ConfigError for an address that may not be had."""
        asking = [(log.path, read_tokens(log.path) is not None) for log in logs]
        return check_exposure(self._addresses, tls=self.files is not None, logs=asking, waivers=self._waivers)

    def admit(self, logs: Iterable[Log]) -> None:
        """These logs are all that are served: read their tokens and who may read them.

        Raises ConfigError for one that may not be served at these addresses, or whose files can not be used; then
        the rules stay as they were.
        """
        every = tuple(logs)
        self._open_to(every)
        configs = [self._config(log) for log in every]
        for log, config in zip(every, configs, strict=True):
            self._note(log, config)
        self.access.refresh(
            LogAccess(log.origin, log.path, config.read) for log, config in zip(every, configs, strict=True)
        )

    def _note(self, log: Log, config: LogConfig) -> None:
        try:
            note_changed(log.path, "configuration", _details({**self._settings.given, **asdict(config)}))
            if self._material is not None:
                note_changed(log.path, "certificate", self._material.details())
        except StorageError as error:
            # A log on a full disk is to be read all the same; what is in force is said here.
            event(_log, logging.ERROR, f"not noted: {error}", origin=log.origin)

    def _config(self, log: Log) -> LogConfig:
        """What is in force of a log's configuration: who may read is read anew, the rest is as it was opened."""
        return replace(log.config, read=load_config(log.path, self._environment).read)

    def renew(self, logs: Iterable[Log]) -> bool:
        """Read the TLS files again; gives whether anything is new in them. Raises ConfigError, KeyFileError."""
        if self.files is None or self._material is None:
            return False
        found = self.files.load()
        if found == self._material:
            return False
        if (found.client_ca is None) != (self._material.client_ca is None):
            raise ConfigError(
                "tls.client_ca: whether clients must show a certificate is settled at the start"
            )
        for log in logs:
            note_changed(log.path, "certificate", found.details())
        self._material = found
        return True

    @property
    def current(self) -> Callable[[], TlsMaterial] | None:
        """What gives the newest TLS material; None without TLS."""
        return None if self._material is None else self._newest

    def _newest(self) -> TlsMaterial:
        if self._material is None:
            raise ConfigError("there is no TLS")
        return self._material

    def certificates(self) -> list[Certificate]:
        """When the certificates in use end: the server's own, and those that clients' must come from."""
        if self._material is None:
            return []
        from .certificates import authorities

        found = [Certificate("server", self._material.not_after.timestamp())]
        for number, each in enumerate(authorities(self._material.client_ca), 1):
            found.append(Certificate(f"client CA {number}", each.not_valid_after_utc.timestamp()))
        return found


def _details(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A configuration as a line of admin.jsonl tells it: no section within another, lists as JSON has them."""
    told: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            told.update(_details(value, f"{above}{name}."))
        else:
            told[above + name] = list(value) if isinstance(value, tuple) else value
    return told


__all__ = ["Guard"]
