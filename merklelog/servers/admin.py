"""The admin door: metrics, and whether the server lives and is ready. One ASGI application, on a port of its own.

    /metrics   for Prometheus (text format, or OpenMetrics where it is asked for)
    /readyz    200 while requests are to be sent here, else 503; a line a log, or JSON where Accept has it
    /livez     200 while the event loop turns; /healthz is the same

A log that refuses appends for want of disk leaves the server ready: its reads go on, and its appends come back by
themselves. One that has not yet compared itself with its publish targets does not, nor one that a failure stopped
(as the health service of gRPC says too): only a restart brings that one back. Nobody is asked who they are here,
so the port belongs on loopback or inside a cluster; on loopback it answers to local names only, so that no page of
a browser reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from merklelog.errors import ForbiddenError
from merklelog.log import Log
from merklelog.publish.encoding import compress

from .hosts import Hosts
from .http_append import Receive, Send
from .http_values import (
    JSON,
    NO_SNIFFING,
    NO_SUCH_PATH,
    TEXT,
    UNCACHED,
    Request,
    Response,
    accepts_gzip,
    not_allowed,
    problem_answer,
    refuse_socket,
    without_body,
)
from .metrics import Metrics, free_bytes
from .problems import Problem, problem_of
from .publication import rollback_protection
from .served import ServedLog, ServedLogs


class Phase(StrEnum):
    """Where a server is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class WitnessSeen(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of a log's witnesses: the size of what it cosigned last (left out while it is not known), and why not
    more. `alarm`: it says that it has more of this log than the log has, or another tree.
    """

    name: str
    url: str
    size: int | None = None
    behind: int | None = None
    error: str | None = None
    alarm: bool = False


class LogStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One log as /readyz shows it. `state` is "taking appends", "refusing appends", "starting" or "stopped".

    `size` counts entries that are in the tree, `published` those that readers are shown, `witnessed` those under a
    checkpoint that meets the log's policy. `records` says whether OpenTelemetry's records are taken. What a log
    has not (an epoch, a target, an error, a door for records) is left out.
    """

    origin: str
    prefix: str
    size: int
    state: str
    detail: str
    rollback_protection: str
    published: int | None = None
    epoch: int | None = None
    unpublished_seconds: float | None = None
    publication_error: str | None = None
    witnessed: int | None = None
    unwitnessed_seconds: float | None = None
    witnesses: list[WitnessSeen] = []
    records: str | None = None


class ServerStatus(msgspec.Struct, frozen=True):
    """What /readyz says as JSON."""

    ready: bool
    phase: str
    logs: list[LogStatus]


@dataclass(slots=True)
class Readiness:
    """Whether a server wants requests: its phase, set by who runs it, and its logs."""

    logs: ServedLogs
    phase: Phase = Phase.STARTING
    records: Callable[[str], str | None] = lambda _origin: None  # whether a log takes records, by its origin

    @property
    def ready(self) -> bool:
        """Serving, and no log waits for its targets or witnesses, or was stopped by a failure."""
        refusing = any(served.log.stopped or served.log.starting for served in self.logs)
        return self.phase is Phase.SERVING and not refusing

    def status(self) -> ServerStatus:
        """All of it, for /readyz."""
        return ServerStatus(self.ready, str(self.phase), [self._status(each) for each in self.logs])

    def _status(self, served: ServedLog) -> LogStatus:
        return msgspec.structs.replace(_log_status(served), records=self.records(served.log.origin))


def _log_status(served: ServedLog) -> LogStatus:
    log = served.log
    state, detail = _state(log)
    protection = rollback_protection(log)
    size = int(log.integrated.size)
    status = log.publishing
    if status is None:
        return LogStatus(log.origin, served.prefix, size, state, detail, protection)
    return LogStatus(
        log.origin,
        served.prefix,
        size,
        state,
        detail,
        protection,
        published=min(int(log.size), size),
        epoch=status.epoch,
        unpublished_seconds=status.lag_seconds,
        publication_error=status.last_error,
        **_witnessed(log, size),
    )


def _witnessed(log: Log, size: int) -> dict[str, Any]:
    status = log.witnessing
    if status is None:
        return {}
    seen = [
        WitnessSeen(
            each.name,
            each.url,
            each.size,
            None if each.size is None else max(0, size - each.size),
            each.error,
            each.alarm,
        )
        for each in status.witnesses
    ]
    return {
        "witnessed": min(status.size or 0, size),
        "unwitnessed_seconds": status.lag_seconds,
        "witnesses": seen,
    }


def _state(log: Log) -> tuple[str, str]:
    if log.stopped:
        return "stopped", "a failure stopped it and its log says which; restart the server"
    publishing = log.publishing
    if publishing is not None and publishing.starting is not None:
        return "starting", publishing.starting
    free, reserve = free_bytes(log), log.config.min_free_bytes
    if free < reserve:
        detail = f"{free:,} bytes are free on its disk, store.min_free_bytes is {reserve:,}"
        return "refusing appends", detail
    return "taking appends", ""


class AdminApp:
    """The ASGI application of the admin port."""

    def __init__(self, readiness: Readiness, metrics: Metrics, hosts: Hosts | None = None) -> None:
        """`hosts`: by which names it may be called; None: by any."""
        self._hosts = hosts
        self._readiness = readiness
        self._metrics = metrics
        self._paths: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/metrics": self._scrape,
            "/readyz": self._ready,
            "/livez": _alive,
            "/healthz": _alive,
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """One request."""
        if scope["type"] != "http":
            await refuse_socket(scope, send)
            return
        request = Request(scope["method"], scope["path"], scope["query_string"], scope["headers"])
        response = await self.answer(request)
        await send(
            {"type": "http.response.start", "status": response.status, "headers": list(response.headers)}
        )
        await send({"type": "http.response.body", "body": response.body})

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""
        answering = self._paths.get(request.path)
        refused = self._refused(request)
        if refused is not None:
            response = problem_answer(refused)
        elif answering is None:
            response = problem_answer(NO_SUCH_PATH)
        elif request.method not in {"GET", "HEAD"}:
            response = not_allowed("GET, HEAD")
        else:
            response = await answering(request)
        return without_body(response) if request.method == "HEAD" else response

    def _refused(self, request: Request) -> Problem | None:
        if self._hosts is None:
            return None
        try:
            self._hosts.check(request.header(b"host"))
        except ForbiddenError as error:
            return problem_of(error)
        return None

    async def _scrape(self, request: Request) -> Response:
        accept = (request.header(b"accept") or b"").decode("latin-1")
        # In a thread: of hundreds of logs it takes a while, and the doors may turn in this same loop.
        media_type, body = await asyncio.to_thread(self._metrics.render, accept)
        if accepts_gzip(request):
            return _plain(compress(body), media_type.encode(), 200, (b"content-encoding", b"gzip"))
        return _plain(body, media_type.encode())

    async def _ready(self, request: Request) -> Response:
        status = self._readiness.status()
        code = 200 if status.ready else 503
        if b"application/json" in (request.header(b"accept") or b""):
            return _plain(msgspec.json.encode(status), JSON, code)
        return _plain(format_status(status).encode(), TEXT, code)


def format_status(status: ServerStatus) -> str:
    """A line for the server, and one for each log."""
    lines = ["ready" if status.ready else f"not ready: {_reason(status)}"]
    for log in status.logs:
        detail = f" ({log.detail})" if log.detail else ""
        lines.append(
            f"{log.origin} at {log.prefix}: {log.state}{detail}; "
            f"{log.size} {'entry' if log.size == 1 else 'entries'}{_published(log)}; "
            f"rollback protection: {log.rollback_protection}{_records(log)}"
        )
    return "\n".join(lines) + "\n"


def _records(log: LogStatus) -> str:
    return "" if log.records is None else f"; records: {log.records}"


def _published(log: LogStatus) -> str:
    if log.published is None:
        return ""
    told = f", {log.published} published"
    if log.epoch is not None:
        told += f" in epoch {log.epoch}"
    if log.publication_error is not None:
        told += f" (not published for {log.unpublished_seconds:.0f} s: {log.publication_error})"
    if log.witnessed is not None:
        told += f", {log.witnessed} witnessed"
        missing = [f"{each.name}: {each.error}" for each in log.witnesses if each.error is not None]
        told += f" ({'; '.join(missing)})" if missing else ""
    return told


def _reason(status: ServerStatus) -> str:
    if status.phase != Phase.SERVING:
        return status.phase
    if any(log.state == "stopped" for log in status.logs):
        return "a log is stopped"
    starting = next((log for log in status.logs if log.state == "starting"), None)
    what = "targets" if starting is None else starting.rollback_protection
    return f"a log has not compared itself with its {what}"


async def _alive(_request: Request) -> Response:
    return _plain(b"ok\n", TEXT)


_VARIES: Final = (b"vary", b"accept, accept-encoding")


def _plain(body: bytes, content_type: bytes, status: int = 200, *extra: tuple[bytes, bytes]) -> Response:
    length = (b"content-length", b"%d" % len(body))
    return Response(
        status, ((b"content-type", content_type), length, UNCACHED, NO_SNIFFING, _VARIES, *extra), body
    )
