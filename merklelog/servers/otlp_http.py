"""OTLP over HTTP: POST /v1/logs with protobuf or JSON, and what else may stand on its port.

Source: OTLP specification, "OTLP/HTTP": requests and answers have one encoding, errors are a google.rpc.Status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from merklelog.formats.wire import quote
from merklelog.ingest.otlp_json import read_json
from merklelog.ingest.otlp_protobuf import read_protobuf

from .asgi_grpc import Message, Receive, Send
from .asgi_grpc import Scope as AsgiScope
from .bodies import Bodies
from .caller import ANYONE, Caller
from .calls import Identify
from .grpc_wire import CallError
from .hosts import Hosts
from .http_append import GoneError
from .http_values import (
    NO_SNIFFING,
    NO_SUCH_PATH,
    TEXT,
    UNCACHED,
    Request,
    Response,
    answer,
    refuse_socket,
    unauthenticated,
)
from .otlp import Decode, Receiver
from .otlp_grpc import NO_LOGS, log_header
from .otlp_problems import JSON, PROTOBUF, otlp_told, status_answer
from .peer import asgi_client_name
from .problems import Code, Problem

LOGS: Final = "/v1/logs"
_OTHERS: Final = frozenset({"/v1/traces", "/v1/metrics", "/v1development/profiles"})
_DECODE: Final[Mapping[bytes, Decode]] = {PROTOBUF: read_protobuf, JSON: read_json}
_BODIES: Final = {PROTOBUF: b"", JSON: b"{}"}
# Answers another POST; the function says who asks. Raises GoneError for a client that went away.
Handler = Callable[[AsgiScope, Receive, Callable[[], Caller]], Awaitable[Response]]


class OtlpHttp:
    """An ASGI application over one Receiver.

    `identify` says who a caller is, None: anyone; `hosts` by which names who shows no token may call. `others` are
    further POSTs, by their path.
    """

    def __init__(
        self,
        receiver: Receiver,
        bodies: Bodies,
        identify: Identify | None = None,
        *,
        hosts: Hosts | None = None,
        others: Mapping[str, Handler] | None = None,
    ) -> None:
        self._receiver = receiver
        self._identify = identify
        self._hosts = hosts
        self._bodies = bodies
        self._others = dict(others or {})

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await refuse_socket(scope, send)
        path, method = scope["path"], scope["method"]
        other = self._others.get(path)
        if other is not None and method == "POST":
            return await self._other(other, scope, receive, send)
        if path == LOGS and method == "POST":
            return await self._logs(scope, receive, send)
        known = path == LOGS or other is not None
        return await _send(_elsewhere(path, method, _answers_in(_content_type(scope)), known=known), send)

    async def _other(self, other: Handler, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            response = await other(scope, receive, lambda: self._caller(scope))
        except GoneError:
            return  # nobody is there to be told
        await _send(response, send)

    async def _logs(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        kind = _content_type(scope)
        try:
            decode = _DECODE.get(kind)
            if decode is None:
                raise CallError(_other_type(kind))
            caller = self._caller(scope)
            data = await self._bodies.read(scope, receive)
            await self._receiver.take(data, decode, caller, log_header(scope))
        except GoneError:
            return  # nobody is there to be told, and nothing was stored
        except Exception as error:  # noqa: BLE001 - each becomes the answer of one request
            await _send(_refusal(error, scope, _answers_in(kind)), send)
            return
        body = _BODIES[kind]
        length = (b"content-length", b"%d" % len(body))
        await _send(Response(200, ((b"content-type", kind), length, UNCACHED, NO_SNIFFING), body), send)

    def _caller(self, scope: AsgiScope) -> Caller:
        """Who asks. Raises UnauthenticatedError, ForbiddenError."""
        shown = host = None
        for name, value in scope["headers"]:
            if name == b"authorization":  # given twice, it is two joined by a comma, which is no token
                shown = value if shown is None else shown + b", " + value
            elif name == b"host":
                host = value
        if self._hosts is not None and shown is None:
            self._hosts.check(host)
        if self._identify is None:
            return ANYONE
        return self._identify(None if shown is None else shown.decode("latin-1"), asgi_client_name(scope))


def _content_type(scope: AsgiScope) -> bytes:
    """The media type without its parameters."""
    found = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return bytes(found).partition(b";")[0].strip().lower()


def _answers_in(kind: bytes) -> bytes:
    """The encoding of an answer to a request of this type."""
    return PROTOBUF if kind == PROTOBUF else JSON


def _other_type(kind: bytes) -> Problem:
    message = f"content-type: got {quote(kind)}, want application/x-protobuf or application/json"
    return Problem(Code.INVALID_ARGUMENT, 415, "UNKNOWN_CONTENT_TYPE", message)


def _elsewhere(path: str, method: str, kind: bytes, *, known: bool) -> Response:
    if path in _OTHERS:
        return status_answer(NO_LOGS, kind)
    if known:
        problem = Problem(Code.UNIMPLEMENTED, 405, "METHOD_NOT_ALLOWED", "this path takes POST")
        return status_answer(problem, kind, (b"allow", b"POST"))
    if path == "/healthz" and method in {"GET", "HEAD"}:
        return answer(b"ok\n", TEXT, UNCACHED)
    return status_answer(NO_SUCH_PATH, kind)


def _refusal(error: Exception, scope: AsgiScope, kind: bytes) -> Response:
    problem = error.problem if isinstance(error, CallError) else otlp_told(LOGS, error)
    if problem.http != 401:
        return status_answer(problem, kind)
    request = Request(scope["method"], scope["path"], b"", scope["headers"])
    challenge = [each for each in unauthenticated(problem, request).headers if each[0] == b"www-authenticate"]
    return status_answer(problem, kind, *challenge)


async def _send(response: Response, send: Send) -> None:
    message: Message = {
        "type": "http.response.start",
        "status": response.status,
        "headers": list(response.headers),
    }
    await send(message)
    await send({"type": "http.response.body", "body": response.body})


__all__ = ["LOGS", "Handler", "OtlpHttp"]
