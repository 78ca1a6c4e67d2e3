"""The doors that OpenTelemetry's logs come in by: gRPC and HTTP, each at its own address, behind one Receiver."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

from merklelog.errors import ClosedError
from merklelog.ingest.audit_signal import PATH as AUDIT_PATH

from .asgi_grpc import grpc_application
from .bodies import Bodies
from .caller import Caller
from .calls import Admission, GrpcLimits
from .doors import Behind, Door, NativeDoor
from .guard import Guard
from .http_audit import AuditDoor
from .intakes import Intakes
from .native import FrontLimits
from .otlp import Receiver
from .otlp_encodings import DECODERS
from .otlp_grpc import LogsService, with_log_header
from .otlp_http import OtlpHttp
from .otlp_problems import otlp_told
from .served import ServedLogs
from .settings import ServerSettings
from .watch import Watch


def otlp_doors(
    settings: ServerSettings,
    logs: ServedLogs,
    guard: Guard,
    watch: Watch,
    intakes: Intakes,
    limits: GrpcLimits,
    front: FrontLimits,
    audit: AuditDoor,
) -> list[Door]:
    """The doors that the configuration asks for. Made in the event loop that answers."""
    receiver = Receiver(
        logs,
        intakes,
        attribute=settings.otlp_log_attribute,
        max_waiting_bytes=settings.limits.unread_bytes,
    )
    json_log = settings.log_format == "json"

    def identify(authorization: str | None, certificate: str | None) -> Caller:
        if not logs:  # nobody's token is known yet, and who is told that throws its records away
            raise ClosedError("no log is served yet")
        return guard.access.identify(authorization, certificate)

    found: list[Door] = []
    if settings.otlp_grpc:
        routes = LogsService(receiver).routes
        application = grpc_application(
            routes, limits=limits, identify=identify, tallies=watch.calls, decoders=DECODERS, tell=otlp_told
        )

        def draining() -> Awaitable[None]:
            return application.drain(settings.drain_seconds)

        behind = Behind(
            with_log_header(watch.application(application)),
            front,
            draining,
            [route.method for route in routes],
            guard.files,
            json_log,
        )
        found.append(NativeDoor("otlp_grpc", behind, settings.otlp_grpc))
    if settings.otlp_http:
        http = OtlpHttp(
            receiver,
            Bodies(limits.max_message_bytes, Admission(limits), DECODERS),
            identify,
            hosts=guard.hosts(settings.otlp_http),
            others={AUDIT_PATH: audit.answer_called},
        )
        # A little more, so that it is the application that refuses what is too long, and says why.
        longer = replace(front, body_bytes=limits.max_message_bytes + (64 << 10))
        behind = Behind(watch.application(http), longer, tls=guard.files, json_log=json_log)
        found.append(NativeDoor("otlp_http", behind, settings.otlp_http))
    return found


__all__ = ["otlp_doors"]
