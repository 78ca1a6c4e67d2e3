"""The gRPC front on grpcio, the proven one: bytes in, bytes out, statuses, limits and an orderly end.

Deadlines and cancellation: grpcio cancels a handler's task when its caller has gone or its deadline has passed;
nothing here shields one. An append that was cancelled may have been stored all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import grpc

from merklelog.errors import ClosedError, ConfigError, MerklelogError, OverloadedError

from .caller import ANYONE, Caller
from .problems import problem_of
from .rich import TRAILER, rich_status
from .rpc import MAX_MESSAGE_BYTES, Method, Route

LOGGER: Final = logging.getLogger("merklelog.grpc")
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]
# Says who a call's metadata speak for. Raises UnauthenticatedError.
Identify = Callable[[Sequence[tuple[str, str | bytes]]], Caller]


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What the front takes: bytes of a message and of metadata, and calls at a time.

    Streams count apart from short calls, so that many watchers leave room for appends. Beyond `max_calls` or
    `max_streams` a call is answered RESOURCE_EXHAUSTED with RetryInfo; beyond twice both together grpcio answers
    so itself, without details, before it reads a message; beyond `max_streams_per_connection` HTTP/2 has the
    client wait.
    """

    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_metadata_bytes: int = 16 << 10
    max_calls: int = 2_048
    max_streams: int = 1_024
    max_streams_per_connection: int = 1_024
    idle_seconds: int = 600
    ping_seconds: int = 60

    def options(self) -> list[tuple[str, int]]:
        """As grpcio's channel arguments."""
        return [
            ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls unseen
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_streams_per_connection),
            ("grpc.max_connection_idle_ms", self.idle_seconds * 1000),
            ("grpc.keepalive_time_ms", self.ping_seconds * 1000),
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
        limits: GrpcLimits = GrpcLimits(),
        identify: Identify | None = None,
    ) -> None:
        self._limits = limits
        self._identify = identify
        self._calls = 0
        self._streams = 0
        self._draining = False
        most = 2 * (limits.max_calls + limits.max_streams)
        self._server = grpc.aio.server(options=limits.options(), maximum_concurrent_rpcs=most)
        self._server.add_generic_rpc_handlers((_Router({r.method.path: self._handler(r) for r in routes}),))

    @property
    def calls(self) -> int:
        """Calls under way, streams included."""
        return self._calls + self._streams

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
        self._draining = True
        now = asyncio.get_running_loop().time
        began, end = now(), now() + seconds
        while now() < min(began + linger, end) or (self.calls and now() < end):
            await asyncio.sleep(0.02)
        await self._server.stop(max(0.0, end - now()))

    # --- one call ----------------------------------------------------------------------------------------------

    def _handler(self, route: Route) -> Any:
        """The behaviour grpcio wants for this shape of method; bytes on both sides."""
        if route.method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(route))
        if route.method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(route))
        return grpc.unary_unary_rpc_method_handler(self._unary(route))

    def _unary(self, route: Route) -> Any:
        method, call, most = route.method, route.call, self._limits.max_calls

        async def answer(data: bytes, context: Context) -> bytes:
            self._calls += 1
            try:
                if not method.vital:
                    self._admit(self._calls, most, "calls")
                response = await call(method.parse(data), self._caller(context))
                return bytes(response.SerializeToString())
            except Exception as error:  # every error gets its status, and is logged if it is ours
                await _refuse(method, error, context)
                raise
            finally:
                self._calls -= 1

        return answer

    def _streaming(self, route: Route) -> Any:
        method, call, most = route.method, route.call, self._limits.max_streams

        async def answer(asked: Any, context: Context) -> AsyncIterator[bytes]:
            self._streams += 1
            try:
                self._admit(self._streams, most, "streams")
                request = _parsed(method, asked) if method.client_streaming else method.parse(asked)
                async with aclosing(call(request, self._caller(context))) as responses:
                    async for response in responses:
                        yield response.SerializeToString()
            except Exception as error:  # noqa: BLE001 - as above
                await _refuse(method, error, context)
            finally:
                self._streams -= 1

        return answer

    def _admit(self, under_way: int, most: int, what: str) -> None:
        if self._draining:
            raise ClosedError("the server is shutting down")
        if under_way > most:
            raise OverloadedError(f"{most:,} {what} are under way, as many as this server takes: try again")

    def _caller(self, context: Context) -> Caller:
        if self._identify is None:
            return ANYONE
        metadata: Any = context.invocation_metadata() or ()
        return self._identify([(key, value) for key, value in metadata])


class _Router(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # it is generic in its stubs only
    """Finds a call's handler by its path; grpcio answers UNIMPLEMENTED where there is none."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


async def _parsed(method: Method, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield method.parse(data)


async def _refuse(method: Method, error: Exception, context: Context) -> None:
    """End the call with the status of an error; raises what grpcio wants raised."""
    problem = problem_of(error)
    if problem.http >= 500 and not isinstance(error, ClosedError):
        # A caller is told no more than the reason; here is the rest. That the server shuts down is no news to it.
        trace = None if isinstance(error, MerklelogError) else error
        LOGGER.error("%s: %s: %s", method.path, type(error).__name__, error, exc_info=trace)
    await context.abort(_CODES[problem.code], problem.message, ((TRAILER, rich_status(problem)),))
