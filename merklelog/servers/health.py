"""The standard health service (grpc.health.v1), with a status for each log.

Known names: "" and the service's own name for the server as a whole, and the origin of each log: SERVING while the
log takes appends. A log that a failure stopped is NOT_SERVING though it still answers reads, and so is one that
has not yet compared itself with its publish targets. The server as a whole is when one of its logs is; while
draining, everything is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from grpc_health.v1 import health_pb2 as pb

from merklelog.errors import NotFoundError

from .caller import Caller
from .handlers import SERVICE
from .rpc import Method
from .served import ServedLogs

POLL_SECONDS: Final = 1.0


class Health:
    """Answers health checks; callers need no permission, as load balancers have none."""

    def __init__(self, logs: ServedLogs, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._logs = logs
        self._poll_seconds = poll_seconds
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Everything is NOT_SERVING from now on; watches say so and end."""
        self._draining.set()

    def status(self, service: str) -> pb.HealthCheckResponse.ServingStatus.ValueType:
        """The status of a log by its origin, or of the server; SERVICE_UNKNOWN for other names."""
        whole = service in ("", SERVICE)
        refusing = [
            served.log.stopped or served.log.starting
            for served in self._logs
            if whole or served.log.origin == service
        ]
        if not refusing and not whole:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        if self._draining.is_set() or any(refusing):
            return pb.HealthCheckResponse.NOT_SERVING
        return pb.HealthCheckResponse.SERVING

    async def check(self, request: pb.HealthCheckRequest, _caller: Caller) -> pb.HealthCheckResponse:
        """The status now. Raises NotFoundError for an unknown name."""
        status = self.status(request.service)
        if status == pb.HealthCheckResponse.SERVICE_UNKNOWN:
            raise NotFoundError(f"no service or log {request.service[:255]!r} is served here")
        return pb.HealthCheckResponse(status=status)

    async def watch(
        self, request: pb.HealthCheckRequest, _caller: Caller
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """The status now, then each change of it. An unknown name is SERVICE_UNKNOWN until it is served."""
        last: int | None = None
        while True:
            status = self.status(request.service)
            if status != last:
                yield pb.HealthCheckResponse(status=status)
                last = status
            if self._draining.is_set():
                return
            try:
                # Logs do not say when they stop, so they are asked now and then.
                await asyncio.wait_for(self._draining.wait(), self._poll_seconds)
            except TimeoutError:  # the time to ask again
                continue


_MESSAGES: Final = (pb.HealthCheckRequest, pb.HealthCheckResponse)
METHODS: Final = (
    Method("/grpc.health.v1.Health/Check", *_MESSAGES, False, False, "check", vital=True),
    Method("/grpc.health.v1.Health/Watch", *_MESSAGES, False, True, "watch"),
)
