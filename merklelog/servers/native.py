"""The native front: h2corn, a server in Rust, runs one ASGI application over HTTP/1.1 and HTTP/2 on one port.

Every limit that h2corn has is set here, because its defaults are for applications that trust their clients: a body
of a gigabyte, a header block of a megabyte, as many connections as come. What its limits refuse gets a bare status
or a reset stream, not this project's JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import h2corn
import h2corn._lib as lib

from merklelog.errors import ConfigError, StorageError

from .http_append import MAX_BODY
from .rpc import MAX_MESSAGE_BYTES, Method
from .tls import TlsFiles, h2corn_settings

Application = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
Ready = Callable[[tuple[str, ...]], None]
Draining = Callable[[], Awaitable[None] | None]

# More than a message's prefix, so that it is the application that refuses a message too long, and says why.
_FRAMING: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class FrontLimits:
    """What the front takes from its clients. Times are in seconds, and none of them may be 0, which is "for ever".

    A body longer than `body_bytes` is not read on; the application refuses shorter ones that are still too long.
    `message_bytes` is the same for a gRPC call that takes one message; one that takes a stream may go on for ever.
    `drain_seconds` is how long requests under way may take after a stop.
    """

    body_bytes: int = 2 * MAX_BODY
    message_bytes: int = MAX_MESSAGE_BYTES
    header_bytes: int = 32 << 10
    header_fields: int = 100
    connections: int = 8_192
    requests: int = 16_384
    streams: int = 256
    stream_window_bytes: int = 256 << 10
    connection_window_bytes: int = 4 << 20
    handshake_seconds: float = 5.0
    header_seconds: float = 10.0
    body_idle_seconds: float = 20.0
    idle_seconds: float = 120.0
    stall_seconds: float = 30.0
    write_seconds: float = 60.0
    drain_seconds: float = 30.0


def configuration(
    bind: Sequence[str],
    limits: FrontLimits,
    methods: Sequence[Method] = (),
    *,
    tls: TlsFiles | None = None,
    json_log: bool = False,
) -> h2corn.Config:
    """The server's configuration for these addresses ("127.0.0.1:7080", "[::1]:0", "unix:PATH", "fd://3").

    With `methods` it lets gRPC calls through to the application. `json_log`: what the server itself says on
    standard error is an object a line. Raises ConfigError.
    """
    try:
        return h2corn.Config(
            bind=tuple(bind),
            lifespan="off",
            access_log=False,
            log_format="json" if json_log else "text",
            **h2corn_settings(tls),
            grpc=bool(methods),
            request_policies=tuple(_policy(method, limits) for method in methods),
            websocket_max_message_size=1,
            max_request_body_size=limits.body_bytes,
            limit_request_head_size=limits.header_bytes,
            limit_request_line=8 << 10,
            limit_request_fields=limits.header_fields,
            limit_request_field_size=limits.header_bytes // 2,
            # Twice as much, so that gRPC can tell who sends too much metadata; beyond it a connection is closed.
            h2_max_header_list_size=2 * limits.header_bytes,
            h2_max_header_block_size=2 * limits.header_bytes,
            h2_initial_stream_window_size=limits.stream_window_bytes,
            h2_initial_connection_window_size=limits.connection_window_bytes,
            max_concurrent_streams=limits.streams,
            limit_connections=limits.connections,
            limit_concurrency=limits.requests,
            timeout_handshake=limits.handshake_seconds,
            timeout_request_header=limits.header_seconds,
            timeout_request_body_idle=limits.body_idle_seconds,
            timeout_keep_alive=limits.idle_seconds,
            h2_timeout_response_stall=limits.stall_seconds,
            h2_timeout_write=limits.write_seconds,
            timeout_graceful_shutdown=limits.drain_seconds,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"can not listen at {', '.join(bind)}: {error}") from error


def _policy(method: Method, limits: FrontLimits) -> h2corn.RequestPolicy:
    """Without one of its own a gRPC call has no limits at all."""
    endless = method.client_streaming
    return h2corn.RequestPolicy(
        path=method.path,
        max_request_body_size=0 if endless else limits.message_bytes + _FRAMING,
        timeout_request_body_idle=0.0 if endless else limits.body_idle_seconds,
        h2_timeout_response_stall=limits.stall_seconds,
    )


async def serve(
    application: Application,
    bind: Sequence[str],
    stop: asyncio.Event,
    *,
    limits: FrontLimits = FrontLimits(),
    methods: Sequence[Method] = (),
    tls: TlsFiles | None = None,
    json_log: bool = False,
    ready: Ready = lambda _addresses: None,
    draining: Draining = lambda: None,
) -> None:
    """Serve until `stop` is set, then drain: requests under way are answered, no new connection is served.

    (h2corn lets go of the listening socket only after the drain, so a connection made meanwhile is taken by the
    system and closed unanswered at the end.)

    `ready` is called with the addresses, their ports as the system gave them, once connections are taken;
    `draining` when the stop begins, to end what would never end by itself; what it gives is waited for before the
    server itself stops. The others are as in `configuration`. Raises ConfigError, and StorageError for an address
    that can not be had.
    """
    # It would print a banner that no setting turns off into what an operator reads as this program's log.
    lib.emit_banner = lambda config, tls: None  # noqa: ARG005 - its signature
    server = h2corn.Server(application, configuration(bind, limits, methods, tls=tls, json_log=json_log))
    serving = asyncio.create_task(server.serve())
    started = asyncio.create_task(server.wait_started())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
        if started.done() and started.exception() is None:
            ready(server.addresses)
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            waited_for = draining()
            if waited_for is not None:
                await waited_for
            server.shutdown()
        await serving
    except OSError as error:
        raise StorageError(f"can not listen at {', '.join(bind)}: {error.strerror or error}") from error
    finally:
        for task in (started, stopping):
            task.cancel()
