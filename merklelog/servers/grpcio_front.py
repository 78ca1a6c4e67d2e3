"""The gRPC front on grpcio, the proven one: bytes in, bytes out, statuses, limits and an orderly end.

Deadlines and cancellation: grpcio cancels a handler's task when its caller has gone or its deadline has passed;
nothing here shields one. An append that was cancelled may have been stored all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import grpc

from merklelog.errors import ConfigError, UnauthenticatedError

from .caller import ANYONE, Caller
from .calls import CANCELLED, DEFAULT_LIMITS, OK, Admission, GrpcLimits, Identify, Tallies, told, uncounted
from .peer import grpc_client_name
from .problems import Problem
from .rich import TRAILER, rich_status
from .rpc import Method, Route
from .waits import TIME_LEFT

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]
# Puts something around a method's behaviour, which takes bytes (or a stream of them) and a Context.
Wrap = Callable[[Method, Any], Any]


def options(limits: GrpcLimits) -> list[tuple[str, int]]:
    """These limits as grpcio's channel arguments."""
    return [
        ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls unseen
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes),
        ("grpc.max_concurrent_streams", limits.max_streams_per_connection),
        ("grpc.max_connection_idle_ms", limits.idle_seconds * 1000),
        ("grpc.keepalive_time_ms", limits.ping_seconds * 1000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


class GrpcioFront:
    """A grpc.aio server over routes. Made, started and drained in one event loop.

    Every error of a handler becomes its row of `problems` with rich details; one that has no row is INTERNAL, and
    only the log named "merklelog.grpc" has its text.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        limits: GrpcLimits = DEFAULT_LIMITS,
        identify: Identify | None = None,
        tallies: Tallies = uncounted,
        wrap: Wrap = lambda _method, behaviour: behaviour,
    ) -> None:
        self._identify = identify
        self._tallies = tallies
        self._wrap = wrap
        self._admission = Admission(limits)
        most = 2 * (limits.max_calls + limits.max_streams)
        self._server = grpc.aio.server(options=options(limits), maximum_concurrent_rpcs=most)
        self._server.add_generic_rpc_handlers((_Router({r.method.path: self._handler(r) for r in routes}),))

    @property
    def calls(self) -> int:
        """Calls under way, streams included."""
        return self._admission.calls + self._admission.streams

    def bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen at "host:port" once started, port 0 for any; gives the port. Raises ConfigError."""
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ConfigError(f"gRPC can not listen at {address}: {error}") from error

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def drain(self, seconds: float, *, linger: float = 0.5) -> None:
        """Refuse new calls as UNAVAILABLE, wait for those under way, cancel what is not done after `seconds`.

        End endless calls first (`Services.drain`). For `linger` seconds at least new calls are still answered: one
        that reaches grpcio just as it stops is ended as CANCELLED, which no client takes as a reason to try again.
        """
        self._admission.draining = True
        now = asyncio.get_running_loop().time
        began, end = now(), now() + seconds
        while now() < min(began + linger, end) or (self.calls and now() < end):
            await asyncio.sleep(0.02)
        await self._server.stop(max(0.0, end - now()))

    # --- one call ----------------------------------------------------------------------------------------------

    def _handler(self, route: Route) -> Any:
        """The behaviour grpcio wants for this shape of method; bytes on both sides."""
        method = route.method
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._wrap(method, self._streaming(route)))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._wrap(method, self._streaming(route)))
        return grpc.unary_unary_rpc_method_handler(self._wrap(method, self._unary(route)))

    def _unary(self, route: Route) -> Any:
        method, call, admission = route.method, route.call, self._admission
        tally = self._tallies(method.path)

        async def answer(data: bytes, context: Context) -> bytes:
            began, code = tally.begin(), CANCELLED
            admission.calls += 1
            TIME_LEFT.set(context.time_remaining)
            try:
                if not method.vital:
                    admission.admit_call()
                caller = self._caller(context)
                calling = call(method.parse(data), caller)
                del data
                response = await calling
                code = OK
                return bytes(response.SerializeToString())
            except Exception as error:  # every error gets its status, and is logged if it is ours
                problem = told(method.path, error)
                code = problem.code.name
                _let_go(error)
                await _refuse(problem, context)
                raise
            finally:
                admission.calls -= 1
                tally.end(began, code)

        return answer

    def _streaming(self, route: Route) -> Any:
        method, call, admission = route.method, route.call, self._admission
        tally = self._tallies(method.path)

        async def answer(asked: Any, context: Context) -> AsyncIterator[bytes]:
            began, code = tally.begin(), CANCELLED
            admission.streams += 1
            TIME_LEFT.set(context.time_remaining)
            try:
                admission.admit_stream()
                request = _parsed(method, asked) if method.client_streaming else method.parse(asked)
                async with aclosing(call(request, self._caller(context))) as responses:
                    async for response in responses:
                        yield response.SerializeToString()
                code = OK
            except Exception as error:  # noqa: BLE001 - as above
                problem = told(method.path, error)
                code = problem.code.name
                _let_go(error)
                await _refuse(problem, context)
            finally:
                admission.streams -= 1
                tally.end(began, code)

        return answer

    def _caller(self, context: Context) -> Caller:
        if self._identify is None:
            return ANYONE
        metadata: Any = context.invocation_metadata() or ()
        values = [value for key, value in metadata if key == "authorization"]
        if len(values) > 1:
            raise UnauthenticatedError("authorization: want it once")
        peer: Any = context.auth_context()
        return self._identify(values[0] if values else None, grpc_client_name(peer))


class _Router(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # it is generic in its stubs only
    """Finds a call's handler by its path; grpcio answers UNIMPLEMENTED where there is none."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


async def _parsed(method: Method, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield method.parse(data)


def _let_go(error: Exception) -> None:
    """Forget where an error came from: those frames hold the call's messages, and the error is in a cycle with
    what grpcio raises for it. Under an overload, cycles of a megabyte each come faster than they are looked for.
    """
    error.__traceback__ = None


async def _refuse(problem: Problem, context: Context) -> None:
    """End the call with a problem; raises what grpcio wants raised."""
    await context.abort(_CODES[problem.code], problem.message, ((TRAILER, rich_status(problem)),))
