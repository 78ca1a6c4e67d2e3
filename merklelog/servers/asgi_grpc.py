"""gRPC as an ASGI application: any HTTP/2 server that gives an application trailers can be a gRPC front.

It answers the same routes as the front on grpcio, with the same statuses and details. What is not gRPC goes to
another application, so that one port can serve both.

Deadlines and cancellation: a handler is cancelled when its caller's deadline has passed, and when the caller has
gone: by the server, which cancels the application's task, and while a stream is answered also by ASGI's
`http.disconnect`. An append that was cancelled may have been stored all the same.

Sources: ASGI 3.0 with its extension "HTTP Trailers"; gRPC over HTTP/2 (see `grpc_wire`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

from merklelog.errors import FormatError, UnauthenticatedError

from .caller import ANYONE, Caller
from .calls import CANCELLED, DEFAULT_LIMITS, OK, Admission, GrpcLimits, Identify, Tallies, told, uncounted
from .grpc_wire import (
    GZIP,
    NO_METHOD,
    NOT_ONE,
    PAST_DEADLINE,
    TOO_MUCH_METADATA,
    CallError,
    Decoder,
    Frames,
    GoneError,
    check_encoding,
    frame,
    parse_timeout,
    status_trailers,
    whole,
)
from .http_values import refuse_socket
from .peer import asgi_client_name
from .problems import Problem
from .rpc import Method, Route
from .waits import TIME_LEFT

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Wanted = dict[bytes, bytes]
Tell = Callable[[str, Exception], Problem]

_HEADERS: Final = frozenset((b"content-type", b"grpc-timeout", b"grpc-encoding", b"authorization"))
_TYPES: Final = frozenset((b"application/grpc", b"application/grpc+proto"))
_TRAILERS: Final = "http.response.trailers"
_TYPE: Final = (b"content-type", b"application/grpc")
_START: Final[Message] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [_TYPE, (b"grpc-accept-encoding", b"identity,gzip")],
    "trailers": True,
}
_NO_BODY: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}
_SUCCESS: Final[Message] = {"type": _TRAILERS, "headers": [(b"grpc-status", b"0")]}
_OTHER_TYPE: Final = b"this port speaks gRPC only: want content-type application/grpc\n"


class GrpcApplication:
    """An ASGI application over routes. It belongs to one event loop."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        limits: GrpcLimits = DEFAULT_LIMITS,
        identify: Identify | None = None,
        tallies: Tallies = uncounted,
        http: Application | None = None,
        decoders: Mapping[bytes, Decoder] = GZIP,
        tell: Tell = told,
    ) -> None:
        """`decoders` are for compressed messages; `tell` says what a caller is told of an error."""
        self._routes = {route.method.path: route for route in routes}
        self._limits = limits
        self._identify = identify
        self._tallies = {path: tallies(path) for path in self._routes}
        self._http = http
        self._decoders = decoders
        self._tell = tell
        self._admission = Admission(limits)

    @property
    def calls(self) -> int:
        """Calls under way, streams included."""
        return self._admission.calls + self._admission.streams

    async def drain(self, seconds: float, *, linger: float = 0.5) -> None:
        """Refuse new calls as UNAVAILABLE and wait for those under way, at most `seconds`, at least `linger`.

        End endless calls first (`Services.drain`), and stop the server after this: a call that reaches a server
        just as it stops may be reset, which not every client takes as a reason to try again.
        """
        self._admission.draining = True
        now = asyncio.get_running_loop().time
        began, end = now(), now() + seconds
        while now() < min(began + linger, end) or (self.calls and now() < end):
            await asyncio.sleep(0.02)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await refuse_socket(scope, send)
        wanted, size = {}, 0
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name in _HEADERS:
                wanted[name] = value
        kind = wanted.get(b"content-type", b"")
        if kind not in _TYPES and not _is_grpc(kind):
            if self._http is None:
                return await _other_type(send)
            return await self._http(scope, receive, send)
        if _TRAILERS not in scope["extensions"]:
            return await _without_trailers(send)
        route = self._routes.get(scope["path"])
        if route is None or scope["method"] != "POST":
            return await _end(send, NO_METHOD)
        if size > self._limits.max_metadata_bytes:
            return await _end(send, TOO_MUCH_METADATA)
        tally = self._tallies[route.method.path]
        began, code = tally.begin(), CANCELLED
        try:
            if route.method.client_streaming or route.method.server_streaming:
                code = await self._stream(route, wanted, scope, receive, send)
            else:
                code = await self._unary(route, wanted, scope, receive, send)
        except (GoneError, asyncio.CancelledError):
            # The caller has gone, or the server gave it up. The task ends here in any case, and a server that saw
            # it end by an exception would log a trace for everybody who breaks off.
            return None
        finally:
            tally.end(began, code)

    # --- one message in, one message out -----------------------------------------------------------------------

    async def _unary(self, route: Route, wanted: Wanted, scope: Scope, receive: Receive, send: Send) -> str:
        """Answer the call; gives its status. Raises GoneError."""
        admission = self._admission
        admission.calls += 1
        timer = None
        try:
            if not route.method.vital:
                admission.admit_call()
            if b"grpc-timeout" in wanted:
                timer = asyncio.timeout(parse_timeout(wanted[b"grpc-timeout"]))
                async with timer:
                    TIME_LEFT.set(partial(_left, timer))
                    response = await self._answer(route, wanted, scope, receive)
            else:
                response = await self._answer(route, wanted, scope, receive)
        except GoneError:
            raise
        except Exception as error:  # noqa: BLE001 - every error gets its status, and is logged if it is ours
            problem = self._problem(route.method, error, timer)
            await _end(send, problem)
            return problem.code.name
        finally:
            admission.calls -= 1
        try:
            await send(_START)
            await send({"type": "http.response.body", "body": response})
            await send(_SUCCESS)
        except OSError:  # the caller has gone: it is not told what it would not hear
            return CANCELLED
        return OK

    async def _answer(self, route: Route, wanted: Wanted, scope: Scope, receive: Receive) -> bytes:
        caller = ANYONE if self._identify is None else self._caller(wanted, scope)
        message = await receive()
        body: bytes = message.get("body", b"")
        if body and whole(body):  # nearly always, and this is the path that carries the load
            while message.get("more_body", False):
                message = await _next(receive)
                if message.get("body"):
                    raise CallError(NOT_ONE)
            data = body[5:]
        else:
            data = await self._one(wanted, receive, message)
        response = await route.call(route.method.parse(data), caller)
        return frame(response.SerializeToString())

    async def _one(self, wanted: Wanted, receive: Receive, message: Message) -> bytes:
        """The only message of a call, of which `message` has come.

        Raises CallError, FormatError, OverloadedError, GoneError.
        """
        found = None
        async with aclosing(self._messages(wanted, receive, message)) as messages:
            async for data in messages:
                if found is not None:
                    raise CallError(NOT_ONE)
                found = data
        if found is None:
            raise CallError(NOT_ONE)
        return found

    async def _messages(
        self, wanted: Wanted, receive: Receive, message: Message | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The messages of a call; `message` is what was received of it already."""
        decode = check_encoding(wanted.get(b"grpc-encoding", b"identity"), self._decoders)
        frames = Frames(self._admission, self._limits.max_message_bytes, decode)
        try:
            while True:
                if message is None:
                    message = await receive()
                if message["type"] != "http.request":
                    raise GoneError
                body = message.get("body", b"")
                if body:
                    frames.feed(body)
                    while (data := frames.take()) is not None:
                        yield data
                if not message.get("more_body", False):
                    frames.end()
                    return
                message = None
        finally:
            frames.close()

    # --- streams -----------------------------------------------------------------------------------------------

    async def _stream(self, route: Route, wanted: Wanted, scope: Scope, receive: Receive, send: Send) -> str:
        """Answer a call with a stream on either side; gives its status. Raises GoneError."""
        admission = self._admission
        admission.streams += 1
        timer = asyncio.timeout(None)
        answers = _Answers(send, self._limits.stall_seconds)
        try:
            admission.admit_stream()
            async with timer:
                if b"grpc-timeout" in wanted:
                    seconds = parse_timeout(wanted[b"grpc-timeout"])
                    timer.reschedule(asyncio.get_running_loop().time() + seconds)
                    TIME_LEFT.set(partial(_left, timer))
                caller = ANYONE if self._identify is None else self._caller(wanted, scope)
                await self._responses(route, wanted, caller, receive, answers)
        except GoneError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            problem = self._problem(route.method, error, timer)
            await answers.end(problem)
            return problem.code.name
        finally:
            admission.streams -= 1
        await answers.end(None)
        return OK

    async def _responses(
        self, route: Route, wanted: Wanted, caller: Caller, receive: Receive, answers: _Answers
    ) -> None:
        method = route.method
        if method.client_streaming:
            async with (
                aclosing(self._messages(wanted, receive)) as messages,
                aclosing(_parsed(method, messages)) as requests,
                aclosing(route.call(requests, caller)) as responses,
            ):
                await answers.send_all(responses)
            return
        request = method.parse(await self._one(wanted, receive, await receive()))
        gone = asyncio.create_task(_until_gone(receive))
        task = asyncio.current_task()
        gone.add_done_callback(lambda _: None if gone.cancelled() or task is None else task.cancel())
        try:
            async with aclosing(route.call(request, caller)) as responses:
                await answers.send_all(responses)
        finally:
            gone.cancel()

    def _caller(self, wanted: Wanted, scope: Scope) -> Caller:
        if self._identify is None:
            return ANYONE
        authorization = wanted.get(b"authorization")
        if authorization is not None and sum(name == b"authorization" for name, _ in scope["headers"]) > 1:
            raise UnauthenticatedError("authorization: want it once")
        shown = None if authorization is None else authorization.decode("latin-1")
        return self._identify(shown, asgi_client_name(scope))

    def _problem(self, method: Method, error: Exception, timer: asyncio.Timeout | None) -> Problem:
        if isinstance(error, CallError):
            return error.problem
        if isinstance(error, TimeoutError) and timer is not None and timer.expired():
            return PAST_DEADLINE
        return self._tell(method.path, error)


class _Answers:
    """The response stream of a call: its head goes out before the first message, or before the end."""

    __slots__ = ("_patience", "_send", "_started")

    def __init__(self, send: Send, patience: float) -> None:
        self._send = send
        self._patience = patience
        self._started = False

    async def send_all(self, responses: AsyncIterator[Any]) -> None:
        """These messages. Raises GoneError, and what `responses` raises."""
        async for response in responses:
            data = frame(response.SerializeToString())
            response = None  # while a slow reader is waited for, nothing is held twice
            try:
                async with asyncio.timeout(self._patience):
                    if not self._started:
                        self._started = True
                        await self._send(_START)
                    await self._send({"type": "http.response.body", "body": data, "more_body": True})
            except OSError as error:  # it has gone, or does not read
                raise GoneError from error

    async def end(self, problem: Problem | None) -> None:
        """The status."""
        await _end(self._send, problem, started=self._started)


def grpc_application(
    routes: Sequence[Route],
    *,
    limits: GrpcLimits = DEFAULT_LIMITS,
    identify: Identify | None = None,
    tallies: Tallies = uncounted,
    http: Application | None = None,
    decoders: Mapping[bytes, Decoder] = GZIP,
    tell: Tell = told,
) -> GrpcApplication:
    """The application that answers these routes, and gives what is not gRPC to `http` (None: 415)."""
    return GrpcApplication(
        routes, limits=limits, identify=identify, tallies=tallies, http=http, decoders=decoders, tell=tell
    )


def _is_grpc(kind: bytes) -> bool:
    """Whether a content type that is not spelled as usual means gRPC with protobuf messages all the same."""
    return kind.partition(b";")[0].strip().lower() in _TYPES


def _left(timer: asyncio.Timeout) -> float | None:
    when = timer.when()
    return None if when is None else when - asyncio.get_running_loop().time()


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] != "http.request":
        raise GoneError
    return message


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _parsed(method: Method, messages: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    async for data in messages:
        yield method.parse(data)


async def _end(send: Send, problem: Problem | None, *, started: bool = False) -> None:
    """End a call with its status, unless its caller has gone."""
    with suppress(OSError):  # it has: nobody would hear
        if not started:
            await send(_START)
        await send(_NO_BODY)
        await send(_SUCCESS if problem is None else {"type": _TRAILERS, "headers": status_trailers(problem)})


async def _without_trailers(send: Send) -> None:
    """Refuse who takes no trailers: a success could not be told. The status goes into the head instead."""
    error = FormatError("te: want trailers; a proxy may have taken it away")
    headers = [_TYPE, *status_trailers(told("", error))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send(_NO_BODY)


async def _other_type(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_OTHER_TYPE))]
    await send({"type": "http.response.start", "status": 415, "headers": headers})
    await send({"type": "http.response.body", "body": _OTHER_TYPE})
