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
_OWN: Final = frozenset({"healthz", "openapi.json"})
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

    def rpc(self, path: str, metadata: Iterable[tuple[str, str | bytes]]) -> AbstractContextManager[Span]:
        """The span of a call, current while it lasts. `path` is "/package.Service/Name"."""
        ...


class Watch:
    """Watches the fronts of one event loop."""

    def __init__(self, metrics: Metrics, logs: ServedLogs, spans: Spans | None = None) -> None:
        self._metrics = metrics
        self._logs = logs
        self._spans = spans
        self._rpcs: set[str] = set()
        self._routes: dict[tuple[str, str], RequestTally] = {}

    def calls(self, path: str) -> RequestTally:
        """A tally for the gRPC method of this path, for the front that answers it: its `tallies`."""
        self._rpcs.add(path)
        return self._metrics.request_tally(GRPC, path[1:])

    # --- ASGI --------------------------------------------------------------------------------------------------

    def application(self, application: Application) -> Application:
        """The same ASGI application, watched. It may answer gRPC too, if that counts into `calls`."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await application(scope, receive, send)
            if scope["path"] in self._rpcs:
                return await self._call(application, scope, receive, send)
            tally, answer = self._route(scope["method"], scope["path"]), _HttpAnswer(send)
            began = tally.begin()
            try:
                if self._spans is None:
                    await application(scope, receive, answer.send)
                else:
                    with self._spans.http(scope, tally.method) as span:
                        await _spanned(application, scope, receive, answer, span)
            except Exception:
                answer.failed()
                raise
            finally:
                tally.end(began, answer.code)

        return watched

    async def _call(self, application: Application, scope: Scope, receive: Receive, send: Send) -> None:
        if self._spans is None:
            return await application(scope, receive, send)
        metadata = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        with self._spans.rpc(scope["path"], metadata) as span:
            return await _spanned(application, scope, receive, _GrpcAnswer(send), span)

    def _route(self, method: str, path: str) -> RequestTally:
        key = (method if method in _METHODS else _OTHER, self._template(path))
        tally = self._routes.get(key)
        if tally is None:
            name = f"{key[0]} {key[1] if key[1] == _OTHER else '/' + key[1]}"
            tally = self._routes[key] = self._metrics.request_tally(HTTP, name)
        return tally

    def _template(self, path: str) -> str:
        """The route of a path without what differs from request to request: "add", "tile", "proof/inclusion"."""
        rest = path[1:]
        if rest in _OWN:
            return rest
        if len(self._logs) != 1:  # each log stands below a prefix of one segment
            rest = rest.partition("/")[2]
        if rest == "add" or rest in FILES or rest in STREAMS:
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
        with spans.rpc(path, context.invocation_metadata() or ()) as span:
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


async def _spanned(
    application: Application, scope: Scope, receive: Receive, answer: _HttpAnswer | _GrpcAnswer, span: Span
) -> None:
    try:
        await application(scope, receive, answer.send)
    except Exception:
        answer.failed()
        raise
    finally:
        span.end(answer.code)


class _HttpAnswer:
    """Passes an answer on and keeps its status. 499, as others have it: the client left without an answer."""

    __slots__ = ("_send", "_status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status = 499

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI's send."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        return self._send(message)

    def failed(self) -> None:
        """The application raised: the front answers 500, or cuts what has begun."""
        self._status = 500

    @property
    def code(self) -> str:
        """The status so far."""
        return str(self._status)


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

    def failed(self) -> None:
        """The application raised."""
        self.code = "UNKNOWN"


__all__ = ["Span", "Spans", "Watch"]
