"""OTLP over gRPC: LogsService/Export, and a clear answer for what is no log.

A request's bytes are handed on as they came. The answer has no partial_success: senders only log one, so it never
stands for a loss, and there is none.

Source: opentelemetry-proto, collector/{logs,trace,metrics}/v1; OTLP specification, "OTLP/gRPC".
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from google.protobuf.empty_pb2 import Empty

from merklelog.ingest.choose import HEADER
from merklelog.ingest.otlp_protobuf import read_protobuf

from .asgi_grpc import Application, Receive, Scope, Send
from .caller import Caller
from .grpc_wire import CallError
from .otlp import Receiver
from .problems import Code, Problem
from .rpc import BytesMethod, Route

_SERVICES: Final = "/opentelemetry.proto.collector"
_HEADER: Final = HEADER.encode()
# The value of merklelog-log of the call that is answered in this task.
_LOG: ContextVar[str | None] = ContextVar("_LOG", default=None)
NO_LOGS: Final = Problem(
    Code.UNIMPLEMENTED,
    404,
    "LOGS_ONLY",
    "this port takes logs alone (LogsService/Export, /v1/logs): send traces and metrics elsewhere",
)


class LogsService:
    """The answers of OTLP's services over one Receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every method with what answers it."""
        return (
            Route(_method("logs", "LogsService"), self.export),
            Route(_method("trace", "TraceService"), _refuse),
            Route(_method("metrics", "MetricsService"), _refuse),
            Route(_method("profiles", "ProfilesService", "v1development"), _refuse),
        )

    async def export(self, data: bytes, caller: Caller) -> Empty:
        """Store the records; an ExportLogsServiceResponse without partial_success has no bytes."""
        await self._receiver.take(data, read_protobuf, caller, _LOG.get())
        return Empty()


async def _refuse(_data: bytes, _caller: Caller) -> Empty:
    raise CallError(NO_LOGS)


def _method(signal: str, service: str, version: str = "v1") -> BytesMethod:
    path = f"{_SERVICES}.{signal}.{version}.{service}/Export"
    return BytesMethod(path, Empty, Empty, client_streaming=False, server_streaming=False, attribute="export")


def with_log_header(application: Application) -> Application:
    """The same application, whose calls know the value of `merklelog-log`."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        _LOG.set(log_header(scope))
        await application(scope, receive, send)

    return answering


def log_header(scope: Scope) -> str | None:
    """The value of `merklelog-log`; None without one. Two are joined by a comma, which is no log's name."""
    found = [value for name, value in scope.get("headers", ()) if name == _HEADER]
    return b", ".join(found).decode("utf-8", "replace") if found else None


__all__ = ["NO_LOGS", "LogsService", "log_header", "with_log_header"]
