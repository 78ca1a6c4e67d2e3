"""`Watch` sees every request of the fronts: it counts each, and traces it where traces are configured.

HTTP is watched around the ASGI application. A gRPC front counts its calls itself, into the tallies that `calls`
gives; only their spans are made here. What a front refuses before it asks its application (a broken request, a
connection too many) is not seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, aclosing
from typing import Any, Final, Protocol

from .http_append import Message, Receive, Send
from .http_events import STREAMS
from .http_reads import FILES, FOLDERS
from .metrics import Metrics
from .rpc import Method
from .served import ServedLogs
from .tally import RequestTally

Scope = dict[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HTTP: Final = "http"
GRPC: Final = "grpc"
# google.rpc.Code by number.
CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
_NAMES: Final = {b"%d" % number: name for number, name in enumerate(CODES)}
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
_OWN: Final = frozenset({"healthz", "openapi.json", "v1/logs", "v1/traces", "v1/metrics", "v1/audit"})
ADD: Final = "add"
MAX_APPENDS: Final = 1_024
LEFT: Final = 499  # as others have it: the client left without an answer
_OTHER: Final = "other"  # whoever asks for any path there is must not make a metric of each


class Span(Protocol):
    """One traced request."""

    def end(self, code: str) -> None:
        """It was answered with this status code."""
        ...


class Spans(Protocol):
    """Makes spans; `tracing.spans` gives one where traces are configured."""

    def http(self, scope: Scope, route: str) -> AbstractContextManager[Span]:
        """The span of a request, current while it lasts. `route` is like "POST /add"."""
        ...

    def rpc(
        self, path: str, metadata: Iterable[tuple[str, str | bytes]], *, current: bool = True
    ) -> AbstractContextManager[Span]:
        """The span of a call, current while it lasts unless told otherwise. `path` is "/package.Service/Name"."""
        ...


class Watch:
    """Watches the fronts of one event loop."""

    def __init__(self, metrics: Metrics, logs: ServedLogs, spans: Spans | None = None) -> None:
        self._metrics = metrics
        self._logs = logs
        self._spans = spans
        self._rpcs: set[str] = set()
        self._routes: dict[tuple[str, str], RequestTally] = {}
        self._appends: dict[
            str, RequestTally
        ] = {}  # by path: what comes by the ten thousand is found at once

    def calls(self, path: str) -> RequestTally:
        """A tally for the gRPC method of this path, for the front that answers it: its `tallies`."""
        self._rpcs.add(path)
        return self._metrics.request_tally(GRPC, path[1:])

    @property
    def traces(self) -> bool:
        """Whether requests have spans, for which the application must be asked."""
        return self._spans is not None

    def route(self, method: str, path: str) -> RequestTally:
        """The tally of such requests at this path, for a front that answers them without the application."""
        return self._route(method, path)

    # --- ASGI --------------------------------------------------------------------------------------------------

    def application(self, application: Application) -> Application:
        """The same ASGI application, watched. It may answer gRPC too, if that counts into `calls`."""
        rpcs, appends = self._rpcs, self._appends

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope.get("path", "")
            if path in rpcs or scope["type"] != "http":
                if self._spans is None or scope["type"] != "http":
                    return await application(scope, receive, send)
                return await self._call(self._spans, application, scope, receive, send)
            method = scope["method"]
            tally = (appends.get(path) if method == "POST" else None) or self._route(method, path)
            status = LEFT

            def sending(message: Message) -> Awaitable[None]:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                return send(message)

            began = tally.begin()
            try:
                if self._spans is None:
                    await application(scope, receive, sending)
                else:
                    with self._spans.http(scope, tally.method) as span:
                        try:
                            await application(scope, receive, sending)
                        finally:
                            span.end(str(status))
            except Exception:
                status = 500  # the front answers that, or cuts what has begun
                raise
            finally:
                tally.end(began, status)

        return watched

    async def _call(
        self, spans: Spans, application: Application, scope: Scope, receive: Receive, send: Send
    ) -> None:
        metadata = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        with spans.rpc(scope["path"], metadata) as span:
            answer = _GrpcAnswer(send)
            try:
                return await application(scope, receive, answer.send)
            finally:
                span.end(answer.code)

    def _route(self, method: str, path: str) -> RequestTally:
        key = (method if method in _METHODS else _OTHER, self._template(path))
        tally = self._routes.get(key)
        if tally is None:
            name = f"{key[0]} {key[1] if key[1] == _OTHER else '/' + key[1]}"
            tally = self._routes[key] = self._metrics.request_tally(HTTP, name)
        if key == ("POST", ADD) and len(self._appends) < MAX_APPENDS:
            self._appends[path] = tally
        return tally

    def _template(self, path: str) -> str:
        """The route of a path without what differs from request to request: "add", "tile", "proof/inclusion"."""
        rest = path[1:]
        if rest in _OWN:
            return rest
        alone = len(self._logs) == 1 and next(iter(self._logs)).prefix == "/"
        if not alone:  # each log stands below a prefix of one segment
            rest = rest.partition("/")[2]
        if rest == ADD or rest in FILES or rest in STREAMS:
            return rest
        folder, slash, _ = rest.partition("/")
        return folder if slash and folder in FOLDERS else _OTHER

    # --- grpcio ------------------------------------------------------------------------------------------------

    def behaviour(self, method: Method, behaviour: Any) -> Any:
        """The same behaviour of a method on grpcio, traced where traces are configured: its front's `wrap`.

        A behaviour takes a message's bytes (or a stream of them) and grpcio's context, and gives the answer's.
        """
        if self._spans is None:
            return behaviour
        streams = method.client_streaming or method.server_streaming
        wrap = _traced_stream if streams else _traced_call
        return wrap(self._spans, method.path, behaviour)


def _traced_call(spans: Spans, path: str, behaviour: Callable[[bytes, Any], Awaitable[bytes]]) -> Any:
    async def traced(data: bytes, context: Any) -> bytes:
        with spans.rpc(path, context.invocation_metadata() or ()) as span:
            code = "CANCELLED"
            try:
                response = await behaviour(data, context)
                code = "OK"
                return response
            except Exception:
                code = _code(context)
                raise
            finally:
                span.end(code)

    return traced


def _traced_stream(spans: Spans, path: str, behaviour: Callable[[Any, Any], AsyncIterator[bytes]]) -> Any:
    async def traced(asked: Any, context: Any) -> AsyncIterator[bytes]:
        # Not current: whoever ends a generator that was left may do it in another context than began it.
        with spans.rpc(path, context.invocation_metadata() or (), current=False) as span:
            code = "CANCELLED"
            try:
                async with aclosing(behaviour(asked, context)) as responses:  # type: ignore[type-var]
                    async for response in responses:
                        yield response
                code = "OK"
            except Exception:
                code = _code(context)
                raise
            finally:
                span.end(code)

    return traced


def _code(context: Any) -> str:
    """The status that the front gave a call which failed."""
    code = context.code()
    number = getattr(code, "value", (code,))[0]
    return CODES[number] if isinstance(number, int) and 0 < number < len(CODES) else "UNKNOWN"


class _GrpcAnswer:
    """Passes the answer to a call on and keeps its status, from the trailers or from headers that are all."""

    __slots__ = ("_send", "code")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.code = "CANCELLED"

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI's send."""
        if message["type"] != "http.response.body":
            for name, value in message.get("headers", ()):
                if name == b"grpc-status":
                    self.code = _NAMES.get(value, "UNKNOWN")
        return self._send(message)


__all__ = ["Span", "Spans", "Watch"]
