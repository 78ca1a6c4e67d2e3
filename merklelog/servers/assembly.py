"""What stands behind a server's doors: the services, the HTTP application and the admin's, watched and guarded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from merklelog.errors import ConfigError
from merklelog.ingest.intake import Intake, open_intake
from merklelog.log import Log
from merklelog.log.ingest_config import ProtectConfig
from merklelog.log.observer import Observer

from . import open_files, tracing
from .admin import AdminApp, Phase, Readiness
from .alerts import Alerts
from .asgi_grpc import grpc_application
from .calls import GrpcLimits
from .doors import Behind, Door, GrpcioDoor, NativeDoor
from .grpcio_front import GrpcioFront
from .guard import Guard
from .http_api import HttpApi
from .http_audit import AuditDoor
from .http_quick import QuickRequests
from .intakes import Intakes
from .metrics import Metrics
from .native import FrontLimits
from .searching import Searches
from .served import ServedLogs, has_targets
from .services import Services
from .settings import ServerSettings
from .tls import grpc_credentials
from .waits import Waits
from .watch import Watch

ADMIN: Final = "admin"
_NATIVE: Final = "native"
_LEAN: Final = "lean"
# Who waits for a publication is told before the drain ends that it has not come.
_WAITS_OF_DRAIN: Final = 0.8


class Assembly:
    """Everything that answers for one server. Made in the event loop that answers."""

    def __init__(self, settings: ServerSettings, logs: ServedLogs, guard: Guard) -> None:
        self._settings = settings
        self._logs = logs
        self._guard = guard
        self.readiness = Readiness(logs)
        self.metrics = Metrics(logs, certificates=guard.certificates, ready=lambda: self.readiness.ready)
        self.alerts = Alerts()
        self.intakes = Intakes(logs, self._open_intake)
        self.metrics.intakes = self.intakes
        self.readiness.records = self.intakes.say
        self._watch = Watch(self.metrics, logs, tracing.spans())
        self._limits = _grpc_limits(settings)
        self._front = _front_limits(settings)
        self._waits = Waits(settings.limits.wait_seconds)
        searches = Searches()
        self._services = Services(
            logs,
            max_message_bytes=self._limits.max_message_bytes,
            waits=self._waits,
            searches=searches,
        )
        self._api = HttpApi(
            logs,
            guard.access,
            hosts=guard.hosts(settings.http),
            stall_seconds=settings.limits.stall_seconds,
            write_seconds=settings.limits.write_seconds,
            waits=self._waits,
            searches=searches,
            audit=AuditDoor(logs, self.intakes, waits=self._waits),
        )

    def observer(self, origin: str) -> Observer:
        """Who hears of the commits of that log: metrics, and traces where they are configured."""
        return tracing.traced(self.metrics.log_tally(origin), origin)

    def admin_doors(self) -> list[Door]:
        """The admin's door, which opens before there is anything to serve."""
        if not self._settings.admin:
            return []
        admin = AdminApp(self.readiness, self.metrics, self._guard.hosts(self._settings.admin))
        behind = Behind(admin, self._front, json_log=self._json_log)
        return [NativeDoor(ADMIN, behind, self._settings.admin)]

    def doors(self) -> list[Door]:
        """The doors to the logs: one for gRPC and one for HTTP, or one for both at one address."""
        grpc, http = self._settings.grpc, self._settings.http
        native = self._settings.grpc_front == _NATIVE
        one = native and grpc == http != "" and not grpc.endswith(":0")
        found: list[Door] = []
        if grpc:
            found.append(self._native_grpc(with_http=one) if native else self._grpcio())
        if http and not one:
            watched = self._watch.application(self._api)
            behind = Behind(
                watched,
                self._front,
                self._end_http,
                tls=self._guard.files,
                json_log=self._json_log,
                quick=QuickRequests(self._api, self._watch).find
                if self._settings.http_front == _LEAN
                else None,
            )
            found.append(NativeDoor("http", behind, http))
        return [*found, *self._otlp_doors()]

    def _otlp_doors(self) -> list[Door]:
        settings = self._settings
        if not (settings.otlp_grpc or settings.otlp_http):
            return []
        try:
            from .otlp_doors import (
                otlp_doors,
            )  # brings packages that a server without these doors does without
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"server.otlp_grpc and server.otlp_http need {error.name}: install merklelog[otlp]"
            ) from error
        return otlp_doors(
            settings,
            self._logs,
            self._guard,
            self._watch,
            self.intakes,
            self._limits,
            self._front,
            AuditDoor(
                self._logs,
                self.intakes,
                attribute=settings.otlp_log_attribute,
                max_bytes=self._limits.max_message_bytes,
                waits=self._waits,
            ),
        )

    def _open_intake(self, log: Log) -> Intake:
        return open_intake(log, alert=self.alerts.of(log))

    async def begin(self) -> None:
        """Open what records need, where they are expected: a door is for them, or a log says what to protect.

        Raises ConfigError, KeyFileError.
        """
        doors = bool(self._settings.otlp_grpc or self._settings.otlp_http)
        for served in self._logs:
            if doors or served.log.config.ingest.protect != ProtectConfig():
                await self.intakes.opened(served.log.origin)

    async def close(self) -> None:
        """Let go of what records needed, before the logs are closed."""
        await self.intakes.close()
        await asyncio.to_thread(self.alerts.close)

    def refresh(self) -> None:
        """The logs that are served are others now."""
        self._api.refresh()

    def drain(self) -> None:
        """Not ready any more; calls that would go on for ever end, and what is not published yet is, now."""
        self.readiness.phase = Phase.DRAINING
        for served in self._logs:
            if has_targets(served.log):
                served.log.publish_now()  # who waits for it is answered before the doors close
        self._waits.drain(_WAITS_OF_DRAIN * self._settings.drain_seconds)
        self._services.drain()

    def _grpcio(self) -> Door:
        front = GrpcioFront(
            self._services.routes,
            limits=self._limits,
            identify=self._guard.access.identify,
            tallies=self._watch.calls,
            wrap=self._watch.behaviour,
        )
        current = self._guard.current
        credentials = None if current is None else grpc_credentials(current)
        return GrpcioDoor(front, self._settings.grpc, credentials)

    def _native_grpc(self, *, with_http: bool) -> Door:
        application = grpc_application(
            self._services.routes,
            limits=self._limits,
            identify=self._guard.access.identify,
            tallies=self._watch.calls,
            http=self._api if with_http else None,
        )

        def draining() -> Awaitable[None]:
            if with_http:
                self._end_http()
            return application.drain(self._settings.drain_seconds)

        methods = [route.method for route in self._services.routes]
        watched = self._watch.application(application)
        behind = Behind(watched, self._front, draining, methods, self._guard.files, self._json_log)
        return NativeDoor("grpc", behind, self._settings.grpc)

    def _end_http(self) -> None:
        self._api.close_streams()

    @property
    def _json_log(self) -> bool:
        return self._settings.log_format == "json"


def _grpc_limits(settings: ServerSettings) -> GrpcLimits:
    limits = settings.limits
    return GrpcLimits(
        max_message_bytes=limits.message_bytes,
        max_metadata_bytes=limits.header_bytes,
        max_calls=limits.calls,
        max_streams=limits.streams,
        max_streams_per_connection=limits.streams,
        max_unread_bytes=limits.unread_bytes,
        stall_seconds=limits.stall_seconds,
        idle_seconds=limits.idle_seconds,
    )


def _front_limits(settings: ServerSettings) -> FrontLimits:
    limits = settings.limits
    doors = (settings.admin, settings.grpc, settings.http, settings.otlp_grpc, settings.otlp_http)
    return FrontLimits(
        message_bytes=limits.message_bytes,
        header_bytes=limits.header_bytes,
        connections=open_files.connections(limits.connections, sum(map(bool, doors))),
        requests=limits.requests,
        streams=limits.streams,
        header_seconds=limits.header_seconds,
        body_idle_seconds=limits.body_seconds,
        write_seconds=limits.write_seconds,
        stall_seconds=limits.stall_seconds,
        idle_seconds=limits.idle_seconds,
        drain_seconds=max(settings.drain_seconds, 1),
    )
