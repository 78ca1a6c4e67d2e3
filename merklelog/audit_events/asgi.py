"""ASGI middleware: a request is an audit event (ASGI 3; its "HTTP & WebSocket" specification, version 2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Unpack

from .acting import acting
from .web import REFUSED, WEBSOCKET, Environment, Naming, Options, Request, Rules, user_of

Message = Environment
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]  # frameworks type these in ways of their own

_ACCEPTED: Final = 101
_NOT_ACCEPTED: Final = 403  # what a server answers when a websocket is closed before it was accepted
_HEADERS: Final = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", str(len(REFUSED)).encode("ascii")),
]


class AsgiAudit:
    """Puts an audit event behind each request of `app` whose method is in `methods` (None: every method).

    The action is the method, with the route where the framework says it (`scope["route"]`); the resource is the
    path without its query, or what `resource(scope)` says; `actor(scope)` says who, by default the user that an
    authentication middleware found (`scope["user"]`), None stands for anonymous. Both are asked when the answer is
    known. Paths in `ignore` are no events; `client=True` writes down the client's address. What the application
    emits while it answers has the same actor. `emitter` is the one in use unless given.

    The event is made after the answer (of a websocket: when it is accepted or not). One that can not be emitted is
    said by the logger "merklelog.audit_events" and counted in `lost`. With `required=True`, over an emitter that
    confirms, no answer leaves before its event is durable in the log and verified; when that fails, or takes more
    than `wait` seconds (10), the client gets 503 instead (a websocket is not accepted). An answer that breaks off
    later is an event more.
    Raises UsageError for an emitter that can not do that.
    """

    def __init__(self, app: Application, *, actor: Naming = user_of, **options: Unpack[Options]) -> None:
        self._app = app
        self._rules = Rules(actor, **options)

    @property
    def lost(self) -> int:
        """How many requests have no event, or none that was seen to be stored where that is required."""
        return self._rules.lost

    async def __call__(self, scope: Environment, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = _request_of(scope)
        if request is None or not self._rules.wants(request.method, request.path):
            await self._app(scope, receive, send)
            return
        answer = _Answer(self._rules, request, scope, send)
        try:
            with acting(lambda: self._rules.acting(scope)):
                await self._app(scope, receive, answer.send)
        except BaseException as error:
            await answer.end(error)
            raise
        await answer.end(None)


class _Answer:
    """What becomes of one request: its messages on the way to the server, and its event."""

    def __init__(self, rules: Rules, request: Request, scope: Environment, send: Send) -> None:
        self._rules = rules
        self._request = request
        self._scope = scope
        self._send = send
        self._recorded = False
        self._refused = False

    async def send(self, message: Message) -> None:
        """One message of the application."""
        status = _status_of(message)
        if status is not None and self._request.status is None:
            self._request.status = status
            await self._decided()
        if not self._refused:
            await self._send(message)

    async def _decided(self) -> None:
        """How the request is answered is known, and nobody has heard of it yet."""
        if not self._rules.required and self._request.method != WEBSOCKET:
            return  # how long it took and whether it broke off is worth waiting for
        if not await self._record(None) and self._rules.required:
            self._refused = True
            await self._refuse()

    async def end(self, error: BaseException | None) -> None:
        """The application is done, or has failed."""
        if not self._recorded or (error is not None and not self._refused):
            await self._record(error)

    async def _record(self, error: BaseException | None) -> bool:
        self._recorded = True
        self._request.route = _route_of(self._scope)
        return await self._rules.record_async(self._request, self._scope, error)

    async def _refuse(self) -> None:
        if self._request.method == WEBSOCKET:
            await self._send({"type": "websocket.close", "code": 1011})
            return
        await self._send({"type": "http.response.start", "status": 503, "headers": list(_HEADERS)})
        await self._send({"type": "http.response.body", "body": REFUSED})


def _request_of(scope: Environment) -> Request | None:
    """What the scope says before the application may change it; None for the lifespan protocol and others."""
    if scope["type"] not in {"http", "websocket"}:
        return None
    client = scope.get("client")
    address = str(client[0]) if client else None
    return Request(scope.get("method", WEBSOCKET), scope["path"], address)


def _status_of(message: Message) -> int | None:
    """The status that a message decides; None for one that decides none."""
    kind = message["type"]
    if kind in {"http.response.start", "websocket.http.response.start"}:
        status: int = message["status"]
        return status
    if kind == "websocket.accept":
        return _ACCEPTED
    return _NOT_ACCEPTED if kind == "websocket.close" else None


def _route_of(scope: Environment) -> str | None:
    """The route's template, where the framework leaves it in the scope."""
    path: Any = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else None
