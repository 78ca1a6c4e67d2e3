"""The HTTP door: one ASGI application that serves every log of a server.

The routes are tables: `http_reads` for what a GET answers, `http_events` for streams, `http_append` for POST. This
module finds the log and the route, turns every error into its problem, and does what all reads share: HEAD, entity
tags and CORS. `HttpApi.answer` is a function from request to answer and needs no server.

ASGI: version 3.0 of its specification, "HTTP & WebSocket ASGI Message Format".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from merklelog.errors import ForbiddenError, MerklelogError
from merklelog.ingest.audit_signal import PATH as AUDIT_PATH
from merklelog.log import Log

from . import http_append, http_events, http_reads, http_search
from .access import Access
from .caller import Scope as Permission
from .growth import Growth
from .hosts import Hosts
from .http_append import GoneError, Message, Receive, Send
from .http_audit import AuditDoor
from .http_events import STALL_SECONDS, Events, Streams
from .http_send import WRITE_SECONDS, Answers
from .http_values import (
    CORS,
    NO_SUCH_PATH,
    TEXT,
    UNCACHED,
    Headers,
    Request,
    Response,
    answer,
    for_no_page,
    for_one_caller,
    no_cors,
    not_allowed,
    problem_answer,
    refuse_socket,
    unauthenticated,
    unless_known,
    without_body,
)
from .http_wishes import RefusedError
from .openapi import describe
from .peer import asgi_client_name
from .problems import problem_of
from .searching import Searches
from .served import ServedLogs, has_targets
from .waits import Waits

Scope = dict[str, Any]
_READS: Final = "GET, HEAD, OPTIONS"
_ADD: Final = "add"
_PREFLIGHT: Final = Response(
    204,
    (
        *CORS,
        (b"access-control-allow-methods", b"GET, HEAD"),
        (b"access-control-allow-headers", b"Authorization, If-None-Match, Last-Event-ID"),
        (b"access-control-max-age", b"86400"),
    ),
)
_log: Final = logging.getLogger("merklelog.http")


class HttpApi:
    """An ASGI application over `logs`. Call `refresh` after logs were added or taken away.

    `access` says who may do what; without it anyone may do everything. `hosts` says by which names who shows
    no token may call it, None: by any. A client that takes nothing of an event stream for `stall_seconds`, or
    of another answer for `write_seconds`, is let go of. `waits` are those of appends for publication; `audit`
    takes audit records, None: none does. It belongs to one event loop. Reads are done in that loop: they come
    from memory or cost one read of the disk.
    """

    def __init__(
        self,
        logs: ServedLogs,
        access: Access | None = None,
        *,
        hosts: Hosts | None = None,
        stall_seconds: float = STALL_SECONDS,
        write_seconds: float = WRITE_SECONDS,
        waits: Waits | None = None,
        searches: Searches | None = None,
        audit: AuditDoor | None = None,
    ) -> None:
        self._logs = logs
        self._audit = audit
        self._searches = Searches() if searches is None else searches
        self._access = access
        self._hosts = hosts
        self._waits = Waits() if waits is None else waits
        self._adds: dict[str, Log] = {}
        self._audits: dict[str, Log] = {}
        self._by_prefix: dict[str, Log] = {}
        self._growth: dict[str, Growth] = {}
        self._streams = Streams(stall_seconds=stall_seconds)
        self._answers = Answers(write_seconds)
        self._own: dict[str, Callable[[Request], Response]] = {
            "/healthz": _healthy,
            "/openapi.json": self._openapi,
        }
        self._description = b""
        self.refresh()

    def refresh(self) -> None:
        """See which logs are served now."""
        served = tuple(self._logs)
        self._by_prefix = {each.prefix: each.log for each in served}
        self._adds = {each.prefix + _ADD: each.log for each in served}
        if self._audit is not None:
            self._audits = {each.prefix + AUDIT_PATH[1:]: each.log for each in served}
        self._description = describe(
            [each.prefix for each in served],
            publishes=any(has_targets(each.log) for each in served),
            audits=self._audit is not None,
        )
        for origin in self._growth.keys() - {each.log.origin for each in served}:
            self._growth.pop(origin).end()

    def close_streams(self) -> None:
        """End every event stream and take no more, so that a server can drain; in the loop's own thread."""
        self._streams.closing = True
        for growth in self._growth.values():
            growth.end()
        self._growth.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await refuse_socket(scope, send)
        if scope["method"] == "POST":
            log = self._adds.get(scope["path"])
            if log is not None:
                return await self._add(log, scope, receive, send)
            log = self._audits.get(scope["path"])
            if log is not None and self._audit is not None:
                return await self._record(self._audit, log, scope, receive, send)
        request = _request(scope)
        if request.path.endswith(http_search.SEARCH) and request.method in {"GET", "HEAD"}:
            log, rest = self._below(request.path)
            if log is not None and rest == http_search.SEARCH:
                return await self._answers.send(await self._search(log, request), send)
        found = self._find_stream(request) if http_events.FOLDER in request.path else None
        if found is not None:
            return await self._stream(*found, request, receive, send)
        return await self._answers.send(self.answer(request), send)

    # --- reads -------------------------------------------------------------------------------------------------

    @staticmethod
    def answers_at_once(request: Request) -> bool:
        """Whether `answer` is all that there is to answering such a request, and what it gives is short."""
        path = request.path
        if request.method not in {"GET", "HEAD"} or http_reads.BUNDLES in path:
            return False
        return http_events.FOLDER not in path and not path.endswith(http_search.SEARCH)

    def answer(self, request: Request) -> Response:
        """The answer to anything but an append and an event stream. Raises nothing."""
        try:
            response = self._answer(request)
        except Exception as error:  # noqa: BLE001 - each becomes the answer of one request
            response = _problem(error, request)
        if not self._pages_may_read(request):
            response = for_no_page(response)
        return without_body(response) if request.method == "HEAD" else response

    def _pages_may_read(self, request: Request) -> bool:
        """Whether a page of any site may see this answer: not what is open only because it is on this machine.

        Else every page that someone opens could read the log that they have on their own machine. Who shows a
        token may pass it on to any page.
        """
        if (
            self._access is None
            or request.method == "OPTIONS"
            or request.header(b"authorization") is not None
        ):
            return True
        log = self._below(request.path)[0]
        return log is None or self._access.is_for_everyone(log.origin)

    def _answer(self, request: Request) -> Response:
        read = self._find(request.path)
        if read is None and (request.path in self._adds or request.path in self._audits):
            return _allow_of_add(request)
        if read is None and self._below(request.path)[1] not in {*http_events.STREAMS, http_search.SEARCH}:
            return problem_answer(NO_SUCH_PATH)
        if read is not None and request.method in {"GET", "HEAD"}:
            return unless_known(request, read(request))
        return _PREFLIGHT if request.method == "OPTIONS" else not_allowed(_READS)

    def _find(self, path: str) -> Callable[[Request], Response] | None:
        own = self._own.get(path)
        if own is not None:
            return own
        log, rest = self._below(path)
        if log is None:
            return None
        read = http_reads.FILES.get(rest)
        if read is None:
            folder, _, rest = rest.partition("/")
            read = http_reads.FOLDERS.get(folder) if rest else None
        if read is None:
            return None
        found: Log = log
        function, below = read, rest
        return lambda request: self._read(function, found, below, request)

    def _read(self, function: http_reads.Read, log: Log, below: str, request: Request) -> Response:
        if self._access is None:
            return function(log, below, request)
        self._admit(self._access, Permission.READ, log, request.headers, request.certificate)
        response = function(log, below, request)
        return response if self._access.is_public(log.origin) else for_one_caller(response)

    def _admit(
        self, access: Access, permission: Permission, log: Log, headers: Headers, certificate: str | None
    ) -> str:
        """The caller's name. Raises UnauthenticatedError, ForbiddenError."""
        shown, host = self.credentials(headers)
        return self._may(access, permission, log, shown, host, certificate)

    def _may(
        self,
        access: Access,
        permission: Permission,
        log: Log,
        shown: str | None,
        host: bytes | None,
        certificate: str | None = None,
    ) -> str:
        for_everyone = permission is Permission.READ and access.is_for_everyone(log.origin)
        if self._hosts is not None and shown is None and not for_everyone:
            self._hosts.check(host)
        caller = access.identify(shown, certificate)
        if not caller.may(permission, log.origin):
            raise ForbiddenError(f"{caller.name} may not {permission} here")
        return caller.name

    def _below(self, path: str) -> tuple[Log | None, str]:
        """The log whose prefix begins this path, and the rest of it."""
        log = self._by_prefix.get("/")
        if log is not None:
            return log, path[1:]
        name, slash, rest = path[1:].partition("/")
        return self._by_prefix.get(f"/{name}{slash}"), rest

    def _openapi(self, _request: Request) -> Response:
        return answer(self._description, b"application/json", (b"cache-control", b"no-cache"))

    # --- plain appends, whose front keeps what it found out about a head -----------------------------------------

    @staticmethod
    def credentials(headers: Headers) -> tuple[str | None, bytes | None]:
        """What a request shows: its Authorization header, and the host it names."""
        shown = host = None
        for name, value in headers:
            if name == b"authorization":  # given twice, it is two joined by a comma, which is no token
                shown = value if shown is None else shown + b", " + value
            elif name == b"host":
                host = value
        return None if shown is None else shown.decode("latin-1"), host

    def log_of_add(self, path: str) -> Log | None:
        """The log that takes appends at this path."""
        return self._adds.get(path)

    def admit_add(self, log: Log, shown: str | None, host: bytes | None) -> None:
        """Raises UnauthenticatedError, ForbiddenError unless who shows this, and no certificate, may append."""
        if self._access is not None:
            self._may(self._access, Permission.APPEND, log, shown, host)

    def problem(self, error: Exception, method: str, path: str, headers: Headers) -> Response:
        """The answer to a request that failed so."""
        return _problem(error, Request(method, path, b"", headers))

    # --- appends and streams -----------------------------------------------------------------------------------

    async def _add(self, log: Log, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        try:
            name = ""
            if self._access is not None:
                name = self._admit(self._access, Permission.APPEND, log, headers, asgi_client_name(scope))
            await http_append.add(log, headers, receive, send, name, self._waits)
        except GoneError:
            return  # nobody is there to be told, and nothing was stored
        except RefusedError as error:
            await self._answers.send(problem_answer(error.problem), send)
        except Exception as error:  # noqa: BLE001 - each becomes the answer of one request
            await self._answers.send(_problem(error, _request(scope)), send)

    async def _search(self, log: Log, request: Request) -> Response:
        try:
            if self._access is not None:
                self._admit(self._access, Permission.READ, log, request.headers, request.certificate)
            found = await self._searches.search(log, http_search.search_asked(request.query))
            response = http_search.search_answer(found)
        except Exception as error:  # noqa: BLE001 - each becomes the answer of one request
            response = _problem(error, request)
        if not self._pages_may_read(request):
            response = for_no_page(response)
        return without_body(response) if request.method == "HEAD" else response

    async def _record(self, audit: AuditDoor, log: Log, scope: Scope, receive: Receive, send: Send) -> None:
        """An audit record: the door tells its own errors, the caller's included."""

        def find() -> tuple[None, str, Log]:
            if self._access is None:
                return None, "", log
            certificate = asgi_client_name(scope)
            name = self._admit(self._access, Permission.APPEND, log, scope["headers"], certificate)
            return None, name, log

        try:
            await self._answers.send(await audit.answer(find, scope, receive), send)
        except GoneError:
            return  # nobody is there to be told

    def _find_stream(self, request: Request) -> tuple[Events, Log] | None:
        if request.method not in {"GET", "HEAD"}:
            return None
        log, rest = self._below(request.path)
        events = http_events.STREAMS.get(rest)
        return (events, log) if events is not None and log is not None else None

    async def _stream(self, events: Events, log: Log, request: Request, receive: Receive, send: Send) -> None:
        started = False

        def allowed() -> bool:
            try:
                if self._access is not None:
                    self._admit(self._access, Permission.READ, log, request.headers, request.certificate)
            except (
                MerklelogError
            ):  # nothing can be told any more: the stream ends, and who comes again hears it
                return False
            return True

        for_pages = self._pages_may_read(request)

        async def sending(message: Message) -> None:
            nonlocal started
            if not started and not for_pages:
                message = {**message, "headers": no_cors(message["headers"])}
            started = True
            await send(message)

        try:
            if self._access is not None:
                self._admit(self._access, Permission.READ, log, request.headers, request.certificate)
            growth = self._growth.get(log.origin)
            if growth is None:
                growth = self._growth[log.origin] = Growth(log)
            await http_events.run(events, log, growth, self._streams, request, receive, sending, allowed)
        except Exception as error:
            if started:
                raise  # the answer has begun: the front cuts the stream, and logs why
            response = _problem(error, request)
            await self._answers.send(response if for_pages else for_no_page(response), send)


def _healthy(_request: Request) -> Response:
    """The process answers. Whether each log takes appends is for /readyz, on the admin port."""
    return answer(b"ok\n", TEXT, UNCACHED)


def _allow_of_add(request: Request) -> Response:
    if request.method != "OPTIONS":
        return not_allowed("POST, OPTIONS")
    return Response(204, ((b"allow", b"POST, OPTIONS"),))  # no CORS: a page of another site may not append


def _problem(error: Exception, request: Request) -> Response:
    problem = problem_of(error)
    if (
        problem.http == 500
    ):  # what is refused for now is logged where it began, once and not for every request
        _log.error("%s %s: %s", request.method, request.path[:200], problem.reason, exc_info=error)
    return unauthenticated(problem, request) if problem.http == 401 else problem_answer(problem)


def _request(scope: Scope) -> Request:
    name = asgi_client_name(scope)
    return Request(scope["method"], scope["path"], scope["query_string"], scope["headers"], name)
